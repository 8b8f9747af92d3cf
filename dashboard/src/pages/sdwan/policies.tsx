import "./documents.css";
import { createMemo, createSignal, For, type JSX, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { api } from "../../api/client";
import type { NetworkDocument } from "../../api/controller-types";
import { createAction, createQuery, type Query } from "../../api/query";
import type { Policy, PolicyRule, TrafficClass } from "../../api/sdwan-types";
import { may } from "../../api/session";
import { bytes, count, plural, relative, timestamp } from "../../format";
import { useStatus } from "../../status";
import { Icon } from "../../ui/icon";
import { RowMenu } from "../../ui/menu";
import { notify } from "../../ui/notify";
import { Empty, Loaded, ProblemNotice, Skeleton } from "../../ui/states";
import { createNow, Search } from "../../ui/widgets";
import { DocumentDialog, RemoveDialog } from "./document-form";
import { addressOf, inOrder, isStale, moved } from "./documents";
import { Explain } from "./explain";
import { createDocuments, type Documents, useRoles } from "./network-data";
import { chooses, follows, limits, matches, ruleOf, searched, unreached } from "./policy";

const Traffic = lazy(() => import("./traffic-view"));

/** With more policies than this there is something to search in. */
const FEW = 8;

/** What flows have to be. */
function Matches(props: { rule: PolicyRule }) {
  return (
    <ul class="matches">
      <For each={matches(props.rule)} fallback={<li class="match">everything</li>}>
        {(one) => (
          <li class="match">
            <small>{one.what}</small> {one.values}
          </li>
        )}
      </For>
    </ul>
  );
}

function Rows(props: {
  rules: PolicyRule[];
  /** What was sent under it, where this process is a site. */
  sent: (name: string) => Policy | undefined;
  name: (rule: PolicyRule) => JSX.Element;
  tools?: ((rule: PolicyRule, place: number) => JSX.Element) | undefined;
  /** How many there are: what is found may be fewer. */
  all: PolicyRule[];
}) {
  const never = createMemo(() => unreached(props.all));
  const place = (rule: PolicyRule) => props.all.findIndex((one) => one.name === rule.name);
  return (
    <div class="table-frame">
      <table class="table stacking policies">
        <thead>
          <tr>
            <th scope="col">Policy</th>
            <th scope="col">Class</th>
            <th scope="col">Flows</th>
            <th scope="col">Path</th>
            <th scope="col" class="number">
              Sent
            </th>
            <Show when={props.tools}>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </Show>
          </tr>
        </thead>
        <tbody>
          <For each={props.rules}>
            {(rule) => (
              <tr>
                <td>
                  <span class="rank" title="Its priority: the lowest is asked first">
                    {rule.priority}
                  </span>{" "}
                  {props.name(rule)}
                  <Show when={never().get(rule.name)}>
                    {(by) => <div class="note">No flow comes to it: {by()}, asked before, takes all</div>}
                  </Show>
                </td>
                <td>
                  <span class="phone-only muted">class </span>
                  {rule.class === "" ? <span class="muted">default</span> : rule.class}
                </td>
                <td class="wide">
                  <Matches rule={rule} />
                </td>
                <td class="wide">
                  {chooses(rule)}
                  <Show when={rule.mark}>
                    <span class="muted">, marked {rule.mark}</span>
                  </Show>
                </td>
                <td class="number" classList={{ "phone-hidden": !props.sent(rule.name) }}>
                  <Show when={props.sent(rule.name)} fallback={<span class="muted">–</span>}>
                    {(sent) => <span title={`${count(sent().packets)} packets`}>{bytes(sent().bytes)}</span>}
                  </Show>
                  <span class="phone-only muted"> sent</span>
                </td>
                <Show when={props.tools}>
                  {(tools) => <td class="tools side">{tools()(rule, place(rule))}</td>}
                </Show>
              </tr>
            )}
          </For>
        </tbody>
      </table>
    </div>
  );
}

function Found(props: { rules: PolicyRule[]; text: string; children: (found: PolicyRule[]) => JSX.Element }) {
  const found = createMemo(() =>
    props.rules.filter((rule) => searched(rule).includes(props.text.trim().toLowerCase())),
  );
  return (
    <Show when={found().length > 0} fallback={<Empty icon="search" title="No policy is like that" />}>
      {props.children(found())}
    </Show>
  );
}

type Asked =
  | { what: "add" }
  | { what: "change"; document: NetworkDocument }
  | { what: "remove"; document: NetworkDocument };

/** The policies of the network, where this process says what they are. */
function Editor(props: { documents: Query<Documents>; inForce: Policy[] }) {
  const [asked, setAsked] = createSignal<Asked | null>(null);
  const [text, setText] = createSignal("");
  const now = createNow(10_000);
  const all = createMemo(() =>
    inOrder(
      (props.documents.data()?.items ?? []).map((document) => ({
        id: document.id,
        priority: ruleOf(document.body).priority,
        document,
      })),
    ),
  );
  const rules = createMemo(() => all().map(({ document }) => ruleOf(document.body)));
  const of = (name: string) => all().find(({ id }) => id === name)?.document;
  const close = () => setAsked(null);
  const move = createAction(async (from: number, to: number) => {
    try {
      for (const { id, priority } of moved(all(), from, to)) {
        const document = of(id);
        if (!document) continue;
        const body = { ...document.body, priority };
        await api.put(addressOf("policies", id), { body }, document.version);
      }
      notify(`Moved ${all()[from]?.id}: sites are told`);
    } finally {
      props.documents.refetch();
    }
  });
  const target = (what: "change" | "remove") => {
    const now = asked();
    return now?.what === what ? now.document : undefined;
  };
  const refusal = () => {
    const problem = move.problem();
    return problem && isStale(problem) ? null : problem;
  };
  return (
    <section class="card" aria-label="Policies">
      <div class="toolbar">
        <Show
          when={rules().length > FEW}
          fallback={
            <p class="muted">The first that fits a flow counts. Changes are told to sites at once.</p>
          }
        >
          <Search
            label="Search policies"
            placeholder="Name, class, network or port"
            value={text()}
            onInput={setText}
          />
        </Show>
        <Show when={may("operator")} fallback={<span class="muted push">Only operators change them</span>}>
          <button type="button" class="button push" onClick={() => setAsked({ what: "add" })}>
            <Icon name="plus" /> Add policy
          </button>
        </Show>
      </div>
      <Show when={move.problem()}>
        {(problem) => (
          <div class="card-body">
            <Show
              when={refusal()}
              fallback={
                <ProblemNotice
                  problem={problem()}
                  retry={() => {
                    move.clear();
                    props.documents.refetch();
                  }}
                />
              }
            >
              {(other) => <ProblemNotice problem={other()} />}
            </Show>
          </div>
        )}
      </Show>
      <Loaded query={props.documents} height={300}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="sdwan" title="No policy yet">
                <p>
                  Without one, every flow is of the default class and takes the path that suits it most. A
                  policy says of some flows what they need, and by which uplinks they go.
                </p>
              </Empty>
            }
          >
            <Found rules={rules()} text={text()}>
              {(found) => (
                <Rows
                  rules={found}
                  all={rules()}
                  sent={(name) => props.inForce.find((one) => one.name === name)}
                  name={(rule) => (
                    <>
                      <Show
                        when={may("operator") && of(rule.name)}
                        fallback={<strong class="policy-name">{rule.name}</strong>}
                      >
                        {(document) => (
                          <button
                            type="button"
                            class="link policy-name"
                            onClick={() => setAsked({ what: "change", document: document() })}
                          >
                            {rule.name}
                          </button>
                        )}
                      </Show>
                      <Show when={of(rule.name)}>
                        {(document) => (
                          <div class="muted sub" title={timestamp(document().updated)}>
                            {document().updated_by}, {relative(Date.parse(document().updated), now())}
                          </div>
                        )}
                      </Show>
                    </>
                  )}
                  tools={
                    may("operator")
                      ? (rule, place) => (
                          <span class="row">
                            <button
                              type="button"
                              class="button quiet small icon"
                              aria-label={`Ask ${rule.name} earlier`}
                              title="Ask it earlier"
                              disabled={place <= 0 || move.pending()}
                              onClick={() => void move.run(place, place - 1)}
                            >
                              <span class="up">
                                <Icon name="down" size={14} />
                              </span>
                            </button>
                            <button
                              type="button"
                              class="button quiet small icon"
                              aria-label={`Ask ${rule.name} later`}
                              title="Ask it later"
                              disabled={place >= rules().length - 1 || move.pending()}
                              onClick={() => void move.run(place, place + 1)}
                            >
                              <Icon name="down" size={14} />
                            </button>
                            <Show when={of(rule.name)}>
                              {(document) => (
                                <RowMenu
                                  label={`More for ${rule.name}`}
                                  items={[
                                    {
                                      text: "Change…",
                                      icon: "edit",
                                      onSelect: () => setAsked({ what: "change", document: document() }),
                                    },
                                    {
                                      text: "Remove…",
                                      icon: "trash",
                                      danger: true,
                                      onSelect: () => setAsked({ what: "remove", document: document() }),
                                    },
                                  ]}
                                />
                              )}
                            </Show>
                          </span>
                        )
                      : undefined
                  }
                />
              )}
            </Found>
          </Show>
        )}
      </Loaded>
      <Switch>
        <Match when={asked()?.what === "add"}>
          <DocumentDialog
            kind="policies"
            begin={{ priority: Math.min(2 ** 32 - 1, (all().at(-1)?.priority ?? 90) + 10) }}
            onClose={close}
            onDone={props.documents.refetch}
          />
        </Match>
        <Match when={target("change")}>
          {(document) => (
            <DocumentDialog
              kind="policies"
              document={document()}
              onClose={close}
              onDone={props.documents.refetch}
            />
          )}
        </Match>
        <Match when={target("remove")}>
          {(document) => (
            <RemoveDialog
              kind="policies"
              document={document()}
              onClose={close}
              onDone={props.documents.refetch}
            />
          )}
        </Match>
      </Switch>
    </section>
  );
}

/** The policies that are in force at this site, where somebody else says what they are. */
function InForce(props: { policies: Policy[] }) {
  const status = useStatus();
  const [text, setText] = createSignal("");
  const detail = () => status.data()?.services.find((one) => one.name === "sdwan")?.detail ?? "";
  const who = () => follows(detail());
  return (
    <section class="card" aria-label="Policies">
      <div class="toolbar">
        <Show when={props.policies.length > FEW}>
          <Search
            label="Search policies"
            placeholder="Name, class, network or port"
            value={text()}
            onInput={setText}
          />
        </Show>
        <p class="muted">
          <Show
            when={who().controller}
            fallback={
              <>
                These are in force. They are changed in{" "}
                {status.data()?.config_file ?? "the configuration file"}, as <code>[[sdwan.policy]]</code>,
                and by a reload.
              </>
            }
          >
            These are in force. They are changed at the controller
            {who().address ? ` (${who().address})` : ""}, which tells this site at once.
          </Show>
        </p>
      </div>
      <Show
        when={props.policies.length > 0}
        fallback={
          <Empty icon="sdwan" title="No policy is in force">
            <p>Every flow is of the default class, and takes the path that suits it most.</p>
          </Empty>
        }
      >
        <Found rules={props.policies} text={text()}>
          {(found) => (
            <Rows
              rules={found}
              all={props.policies}
              sent={(name) => props.policies.find((one) => one.name === name)}
              name={(rule) => <strong class="policy-name">{rule.name}</strong>}
            />
          )}
        </Found>
      </Show>
    </section>
  );
}

function Classes(props: { classes: TrafficClass[] }) {
  return (
    <section class="card" aria-label="Classes">
      <div class="card-head">
        <h2>Classes</h2>
        <span class="muted push">{plural(props.classes.length, "class", "classes")} in force here</span>
      </div>
      <div class="table-frame">
        <table class="table stacking">
          <thead>
            <tr>
              <th scope="col">Class</th>
              <th scope="col">What it needs of its path</th>
            </tr>
          </thead>
          <tbody>
            <For each={props.classes}>
              {(one) => (
                <tr>
                  <td>
                    <strong>{one.name}</strong>{" "}
                    <Show when={one.default}>
                      <span class="badge" title="Flows under no policy are of it">
                        default
                      </span>
                    </Show>
                  </td>
                  <td>{limits(one)}</td>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** What was sent under policies here, and what classes need. */
function createInForce(): {
  policies: Query<{ items: Policy[] }>;
  classes: Query<{ items: TrafficClass[] }>;
} {
  const policies = createQuery<null, { items: Policy[] }>(
    () => null,
    (_, signal) => api.get("/sdwan/policies", signal),
    { every: 5_000, key: "name" },
  );
  const classes = createQuery<null, { items: TrafficClass[] }>(
    () => null,
    (_, signal) => api.get("/sdwan/classes", signal),
    { every: 30_000, key: "name" },
  );
  return { policies, classes };
}

function AtSite(props: { controls: boolean }) {
  const { policies, classes } = createInForce();
  return (
    <>
      <Show
        when={props.controls}
        fallback={<Loaded query={policies} children={(data) => <InForce policies={data.items} />} />}
      >
        <AtController inForce={policies.data()?.items ?? []} />
      </Show>
      <Explain />
      <Loaded query={classes} height={200}>
        {(data) => <Classes classes={data.items} />}
      </Loaded>
    </>
  );
}

function AtController(props: { inForce: Policy[] }) {
  const documents = createDocuments("policies");
  const names = () => (documents.data()?.items ?? []).map(({ id }) => id);
  return (
    <>
      <Editor documents={documents} inForce={props.inForce} />
      <Suspense fallback={<Skeleton height={200} />}>
        <Traffic policies={names()} />
      </Suspense>
    </>
  );
}

/** Which flows are of which class, and how their paths are chosen: changed here where this process is the controller. */
export default function Policies() {
  const { controls, joins } = useRoles();
  return (
    <div class="stack">
      <Show when={joins()} fallback={<AtController inForce={[]} />}>
        <AtSite controls={controls()} />
      </Show>
    </div>
  );
}
