import { Show } from "solid-js";
import type { Subnet } from "../../api/types";

/** What a subnet is called in a list to choose from. */
export function titleOf(subnet: Subnet): string {
  return subnet.name ? `${subnet.name} (${subnet.prefix})` : subnet.prefix;
}

/** Its name with the prefix beside it; the prefix alone where it has none, the id where there is no such subnet any more. */
export function SubnetLabel(props: { subnet: Subnet | undefined; id: number }) {
  return (
    <Show when={props.subnet?.name} fallback={props.subnet?.prefix ?? `subnet ${props.id}`}>
      {(name) => (
        <>
          {name()} <span class="muted">{props.subnet?.prefix}</span>
        </>
      )}
    </Show>
  );
}
