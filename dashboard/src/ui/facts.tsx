import "./facts.css";
import { For } from "solid-js";

type Fact = [name: string, value: string | null | undefined, warned?: boolean];

const known = (items: Fact[]) => items.filter(([, value]) => value !== null && value !== undefined);

export function Facts(props: { items: Fact[] }) {
  return (
    <dl class="facts">
      <For each={known(props.items)}>
        {([name, value, warned]) => (
          <>
            <dt>{name}</dt>
            <dd classList={{ warned: warned ?? false }}>{value}</dd>
          </>
        )}
      </For>
    </dl>
  );
}

/** Facts side by side, for a card as wide as the page; `narrow` puts more of them beside each other. */
export function Figures(props: { items: Fact[]; narrow?: boolean }) {
  return (
    <dl class="figures" classList={{ narrow: props.narrow ?? false }}>
      <For each={known(props.items)}>
        {([name, value, warned]) => (
          <div>
            <dt>{name}</dt>
            <dd classList={{ failing: warned ?? false }}>{value}</dd>
          </div>
        )}
      </For>
    </dl>
  );
}
