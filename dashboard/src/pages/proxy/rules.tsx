import { createMemo, createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import type { Rule } from "../../api/proxy-types";
import { createQuery } from "../../api/query";
import { FIRST_POOL } from "../../examples";
import { count } from "../../format";
import { href } from "../../router";
import { Icon } from "../../ui/icon";
import { More } from "../../ui/pager";
import { Said } from "../../ui/said";
import { Empty, Loaded } from "../../ui/states";
import { Teach } from "../../ui/teach";
import { Search, Segments } from "../../ui/widgets";
import { ofEveryRoute, ownReasons, type Reason } from "./fold";

/** Rows drawn at once; more on request. */
const STEP = 50;
/** With more rules than this there is something to search in. */
const FEW = 12;

const FAST = "The kernel can pass it on by itself, where a tier is in use";
const ORDINARY = "Outwork passes it on itself: what the API calls the slow path";

type Path = "all" | Rule["path"];

function Row(props: {
  rule: Rule;
  /** What is said of all routes above. */
  shared: Reason[];
}) {
  const own = () => ownReasons(props.rule, props.shared);
  const isLikeOthers = () => own().length === 0 && props.rule.reasons.length > 0;
  return (
    <tr>
      <td class="rule">
        <code class="backend-key">{props.rule.rule}</code>
        <div class="muted backend-place">
          {[props.rule.kind, props.rule.protocol.toUpperCase(), ...props.rule.addresses].join(" · ")}
        </div>
      </td>
      <td class="side">
        <Show
          when={props.rule.path === "fast"}
          fallback={
            <span class="badge" title={ORDINARY}>
              <Icon name="proxy" size={12} /> ordinary path
            </span>
          }
        >
          <span class="badge good" title={FAST}>
            <Icon name="cache" size={12} /> fast path
          </span>
        </Show>
      </td>
      <td>
        <span class="phone-only muted">tier </span>
        {props.rule.tier}
      </td>
      <td>
        <span class="phone-only muted">to </span>
        <a href={href("/proxy")}>{props.rule.pools.join(", ")}</a>
      </td>
      <td class="wide reasons-cell">
        <Show
          when={own().length > 0}
          fallback={<span class="muted">{isLikeOthers() ? "as every route" : "nothing is in the way"}</span>}
        >
          <ul>
            <For each={own()}>
              {(reason) => (
                <li title={reason.reason}>
                  <Said text={reason.detail} />
                </li>
              )}
            </For>
          </ul>
        </Show>
      </td>
    </tr>
  );
}

/** Which rules the kernel may pass on by itself, and what keeps the others from it. */
export default function Rules() {
  const rules = createQuery<null, { items: (Rule & { key: string })[] }>(
    () => null,
    async (_, signal) => {
      const items = await api.get<Rule[]>("/proxy/rules/classification", signal);
      return { items: items.map((rule) => ({ ...rule, key: `${rule.kind} ${rule.rule}` })) };
    },
    { every: 5_000, key: "key" },
  );
  const [path, setPath] = createSignal<Path>("all");
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const all = () => rules.data()?.items ?? [];
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return all().filter(
      (rule) =>
        (path() === "all" || rule.path === path()) &&
        `${rule.rule} ${rule.addresses} ${rule.pools} ${rule.tier} ${rule.protocol}`
          .toLowerCase()
          .includes(needle),
    );
  });
  const shared = createMemo(() => ofEveryRoute(all()));
  const fast = () => all().filter((rule) => rule.path === "fast").length;
  return (
    <Loaded query={rules} height={400}>
      {(data) => (
        <section class="card" aria-label="Rules">
          <Show
            when={data.items.length > 0}
            fallback={
              <Teach icon="proxy" title="No rule yet" snippet={FIRST_POOL}>
                A rule is a listener of layer 4, or a route that passes requests on to a pool. Here stands
                which of them the kernel can serve by itself, and what keeps the others from that.
              </Teach>
            }
          >
            <div class="card-head">
              <h2>Rules</h2>
              <span class="muted push">
                {count(fast())} of {count(all().length)} fit the fast path
              </span>
            </div>
            <Show when={data.items.length > 1}>
              <div class="toolbar">
                <Show when={data.items.length > FEW}>
                  <Search
                    label="Search rules"
                    placeholder="Rule, address, pool or tier"
                    value={text()}
                    onInput={setText}
                  />
                </Show>
                <Segments
                  label="Path"
                  value={path()}
                  options={[
                    { value: "all", text: "All" },
                    { value: "fast", text: "Fast path" },
                    { value: "slow", text: "Ordinary path" },
                  ]}
                  onChange={setPath}
                />
              </div>
            </Show>
            <Show when={shared().length > 0}>
              <p class="rules-shared">
                <Icon name="info" size={14} />
                <span>
                  Every route is passed on by Outwork itself, as is meant for routes:{" "}
                  {shared()
                    .map((reason) => reason.detail)
                    .join("; ")}
                  .
                </span>
              </p>
            </Show>
            <Show when={found().length > 0} fallback={<Empty icon="search" title="No rule is like that" />}>
              <div class="table-frame">
                <table class="table stacking rules">
                  <thead>
                    <tr>
                      <th scope="col">Rule</th>
                      <th scope="col">Path</th>
                      <th scope="col">Tier now</th>
                      <th scope="col">Pool</th>
                      <th scope="col">Why</th>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={found().slice(0, most())}>
                      {(rule) => <Row rule={rule} shared={shared()} />}
                    </For>
                  </tbody>
                </table>
              </div>
              <More shown={most()} total={found().length} noun="rule" onMore={() => setMost(most() + STEP)} />
            </Show>
          </Show>
        </section>
      )}
    </Loaded>
  );
}
