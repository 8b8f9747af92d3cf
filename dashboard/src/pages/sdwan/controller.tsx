import "./documents.css";
import { createMemo, createSignal, For, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { api } from "../../api/client";
import type { NetworkDocument, Presence } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import { count, plural, relative, timestamp } from "../../format";
import { route, setParams } from "../../router";
import { useStatus } from "../../status";
import { FormDialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { RowMenu } from "../../ui/menu";
import { notify } from "../../ui/notify";
import { More } from "../../ui/pager";
import { Said } from "../../ui/said";
import { Empty, Loaded, Notice, ProblemNotice, Skeleton } from "../../ui/states";
import { createNow, Search, Segments } from "../../ui/widgets";
import { DocumentDialog, RemoveDialog } from "./document-form";
import { createDocuments, everything } from "./network-data";
import {
  type Enrolled,
  enrolled,
  lag,
  latestVersion,
  presenceReading,
  presenceTally,
  releaseNote,
} from "./presence";
import { State } from "./shared";
import { TokenDialog } from "./token-dialog";

const Enrolments = lazy(() => import("./enrolments"));
const DocumentTable = lazy(() => import("./document-table"));
const Settings = lazy(() => import("./settings"));
const Changes = lazy(() => import("./changes"));

/** Rows drawn at once; more on request. */
const STEP = 50;
/** With more sites than this there is something to search in. */
const FEW = 12;

const VIEWS = [
  { value: "sites", text: "Sites" },
  { value: "tokens", text: "Tokens" },
  { value: "classes", text: "Classes" },
  { value: "applications", text: "Applications" },
  { value: "settings", text: "Settings" },
  { value: "history", text: "History" },
] as const;

type View = (typeof VIEWS)[number]["value"];

/** A site is believed no longer, and stays in the network. */
function RevokeDialog(props: { site: string; onClose: () => void; onDone: () => void }) {
  const action = createAction(async () => {
    const { certificates } = await api.delete<{ certificates: number }>(
      `/controller/sites/${encodeURIComponent(props.site)}/certificates`,
    );
    notify(`${props.site} is believed no longer: ${plural(certificates, "certificate")} revoked`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title={`Believe ${props.site} no longer`}
      submit="Revoke"
      danger
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        Its certificates and tokens are good for nothing from now on, and its connection ends. Its tunnels
        stay until it is removed. It comes back by a new token.
      </p>
    </FormDialog>
  );
}

type Asked =
  | { what: "change"; document: NetworkDocument }
  | { what: "remove"; site: Enrolled }
  | { what: "revoke"; site: string }
  | { what: "token"; site: string }
  | { what: "uplink"; site: string }
  | { what: "change-uplink"; document: NetworkDocument }
  | { what: "remove-uplink"; document: NetworkDocument };

function Row(props: {
  site: Enrolled;
  latest: number | null;
  now: number;
  /** The release of this controller. */
  release: string | undefined;
  onAsk: (asked: Asked) => void;
}) {
  const presence = () => props.site.presence;
  const nets = () => {
    const subnets = props.site.document.body.subnets;
    return Array.isArray(subnets) ? subnets.join(", ") : "";
  };
  return (
    <tr>
      <td>
        <span class="site-name">{props.site.id}</span>{" "}
        <Show when={props.site.document.body.hub === true}>
          <span class="badge accent" title="It passes on what other sites cannot send each other">
            hub
          </span>
        </Show>
        <div class="muted site-nets mono">{nets()}</div>
      </td>
      <td class="side">
        <Show when={presence()} fallback={<span class="muted">–</span>}>
          {(one) => <State of={presenceReading(one(), props.latest)} />}
        </Show>
      </td>
      <td>
        <Show when={presence()?.version} fallback={<span class="muted">holds nothing yet</span>}>
          {(version) => (
            <>
              version {count(version())}
              <Show when={presence()?.current === false}>
                <div class="note">{lag(presence() as Presence, props.latest)}</div>
              </Show>
            </>
          )}
        </Show>
        <Show when={presence()?.refused}>
          {(reason) => (
            <div class="note refusal">
              <Said text={reason()} />
            </div>
          )}
        </Show>
        <Show
          when={presence() && releaseNote(presence() as Presence, props.release)}
          fallback={
            <Show when={presence()?.release}>
              {(release) => <div class="muted sub phone-hidden">release {release()}</div>}
            </Show>
          }
        >
          {(note) => <div class="note">{note()}</div>}
        </Show>
      </td>
      <td title={presence()?.last_seen ? timestamp(presence()?.last_seen ?? "") : undefined}>
        <span class="phone-only muted">seen </span>
        {presence()?.last_seen ? relative(Date.parse(presence()?.last_seen ?? ""), props.now) : "never"}
      </td>
      <td class="wide">
        <ul class="matches">
          <For
            each={props.site.uplinks}
            fallback={<li class="muted">no uplink yet: it brings its own when it is enrolled</li>}
          >
            {(uplink) => (
              <li>
                <Show when={may("operator")} fallback={<span class="match">{String(uplink.body.name)}</span>}>
                  <button
                    type="button"
                    class="chip"
                    title={String(uplink.body.endpoint ?? "It dials")}
                    onClick={() => props.onAsk({ what: "change-uplink", document: uplink })}
                  >
                    {String(uplink.body.name)}
                  </button>
                </Show>
              </li>
            )}
          </For>
        </ul>
      </td>
      <Show when={may("operator")}>
        <td class="tools side">
          <RowMenu
            label={`More for ${props.site.id}`}
            items={[
              {
                text: "Change…",
                icon: "edit",
                onSelect: () => props.onAsk({ what: "change", document: props.site.document }),
              },
              {
                text: "Add an uplink…",
                icon: "plus",
                onSelect: () => props.onAsk({ what: "uplink", site: props.site.id }),
              },
              ...props.site.uplinks.map((uplink) => ({
                text: `Remove uplink ${String(uplink.body.name)}…`,
                icon: "minus" as const,
                danger: true,
                onSelect: () => props.onAsk({ what: "remove-uplink", document: uplink }),
              })),
              ...(may("admin")
                ? [
                    {
                      text: "Make a token…",
                      icon: "key" as const,
                      onSelect: () => props.onAsk({ what: "token", site: props.site.id }),
                    },
                  ]
                : []),
              {
                text: "Believe it no longer…",
                icon: "offline",
                danger: true,
                onSelect: () => props.onAsk({ what: "revoke", site: props.site.id }),
              },
              {
                text: "Remove…",
                icon: "trash",
                danger: true,
                onSelect: () => props.onAsk({ what: "remove", site: props.site }),
              },
            ]}
          />
        </td>
      </Show>
    </tr>
  );
}

/** The sites of the network: what each is to be, whether it is there, and what it holds. */
function Sites() {
  const [sites, uplinks] = [createDocuments("sites"), createDocuments("uplinks")];
  const presences = createQuery<null, { items: Presence[] }>(
    () => null,
    async (_, signal) => ({ items: await everything<Presence>("/controller/presence", signal) }),
    { every: 5_000, key: "site" },
  );
  const [asked, setAsked] = createSignal<Asked | null>(null);
  const [text, setText] = createSignal("");
  const [most, setMost] = createSignal(STEP);
  const now = createNow();
  const status = useStatus();
  const all = createMemo(() =>
    enrolled(sites.data()?.items ?? [], uplinks.data()?.items ?? [], presences.data()?.items ?? []),
  );
  const latest = createMemo(() => latestVersion(presences.data()?.items ?? []));
  const found = createMemo(() => {
    const needle = text().trim().toLowerCase();
    return all().filter((site) => {
      const state = site.presence ? presenceReading(site.presence, latest()).text : "";
      const words = [site.id, state, site.document.body.subnets, ...site.uplinks.map(({ id }) => id)];
      return words.join(" ").toLowerCase().includes(needle);
    });
  });
  const byId = createMemo(() => new Map(found().map((site) => [site.id, site])));
  // A row stays, with its open menu, as long as its site does.
  const ids = createMemo(() =>
    JSON.stringify(
      found()
        .slice(0, most())
        .map(({ id }) => id),
    ),
  );
  const shown = createMemo(() => JSON.parse(ids()) as string[]);
  const close = () => setAsked(null);
  const done = () => {
    for (const query of [sites, uplinks, presences]) query.refetch();
  };
  const target = <W extends Asked["what"]>(what: W) => {
    const is = asked();
    return is?.what === what ? (is as Extract<Asked, { what: W }>) : undefined;
  };
  return (
    <section class="card" aria-label="Sites of the network">
      <div class="toolbar">
        <Show
          when={all().length > FEW}
          fallback={<p class="muted">{presenceTally(presences.data()?.items ?? [])}</p>}
        >
          <Search
            label="Search sites"
            placeholder="Name, network, uplink or state"
            value={text()}
            onInput={setText}
          />
          <span class="muted">{presenceTally(presences.data()?.items ?? [])}</span>
        </Show>
        <Show when={may("admin")} fallback={<span class="muted push">Only an admin lets sites in</span>}>
          <button type="button" class="button push" onClick={() => setAsked({ what: "token", site: "" })}>
            <Icon name="key" /> Invite a site
          </button>
        </Show>
      </div>
      <Loaded query={sites} height={300}>
        {(data) => (
          <Show
            when={data.items.length > 0}
            fallback={
              <Empty icon="sdwan" title="No site yet">
                <p>
                  Invite one: a token lets it in, once. <code>outwork sdwan enrol TOKEN</code> there brings
                  its networks and uplinks along.
                </p>
              </Empty>
            }
          >
            <Show when={found().length > 0} fallback={<Empty icon="search" title="No site is like that" />}>
              <div class="table-frame">
                <table class="table stacking enrolled">
                  <thead>
                    <tr>
                      <th scope="col">Site</th>
                      <th scope="col">State</th>
                      <th scope="col">Holds</th>
                      <th scope="col">Last seen</th>
                      <th scope="col">Uplinks</th>
                      <Show when={may("operator")}>
                        <th scope="col">
                          <span class="visually-hidden">Actions</span>
                        </th>
                      </Show>
                    </tr>
                  </thead>
                  <tbody>
                    <For each={shown()}>
                      {(id) => (
                        <Show when={byId().get(id)}>
                          {(site) => (
                            <Row
                              site={site()}
                              latest={latest()}
                              now={now()}
                              release={status.data()?.version}
                              onAsk={setAsked}
                            />
                          )}
                        </Show>
                      )}
                    </For>
                  </tbody>
                </table>
              </div>
              <More shown={most()} total={found().length} noun="site" onMore={() => setMost(most() + STEP)} />
            </Show>
          </Show>
        )}
      </Loaded>
      <Switch>
        <Match when={target("token")}>
          {(one) => <TokenDialog site={one().site} onClose={close} onDone={done} />}
        </Match>
        <Match when={target("change")}>
          {(one) => <DocumentDialog kind="sites" document={one().document} onClose={close} onDone={done} />}
        </Match>
        <Match when={target("uplink")}>
          {(one) => (
            <DocumentDialog kind="uplinks" begin={{ site: one().site }} onClose={close} onDone={done} />
          )}
        </Match>
        <Match when={target("change-uplink")}>
          {(one) => <DocumentDialog kind="uplinks" document={one().document} onClose={close} onDone={done} />}
        </Match>
        <Match when={target("remove-uplink")}>
          {(one) => (
            <RemoveDialog kind="uplinks" document={one().document} onClose={close} onDone={done}>
              Every path by it ends, at all sites and at once.
            </RemoveDialog>
          )}
        </Match>
        <Match when={target("remove")}>
          {(one) => (
            <RemoveDialog kind="sites" document={one().site.document} onClose={close} onDone={done}>
              {`Its ${plural(one().site.uplinks.length, "uplink")} and every tunnel to it go, at all sites and at once, and it is believed no longer. To come back it needs a new token.`}
            </RemoveDialog>
          )}
        </Match>
        <Match when={target("revoke")}>
          {(one) => <RevokeDialog site={one().site} onClose={close} onDone={done} />}
        </Match>
      </Switch>
    </section>
  );
}

/** Said for as long as the controller tells sites nothing, as it came out of an older backup. */
function HeldBack() {
  const status = createQuery<null, { held_back: boolean }>(
    () => null,
    (_, signal) => api.get("/sdwan/status", signal),
    { every: 10_000 },
  );
  const action = createAction(async () => {
    const { version } = await api.post<{ version: number }>("/controller/changes/accept");
    notify(`Sites are told version ${count(version)}`);
    status.refetch();
  });
  return (
    <Show when={status.data()?.held_back}>
      <Notice
        tone="warn"
        action={
          <Show when={may("operator")}>
            <button
              type="button"
              class="button small"
              disabled={action.pending()}
              onClick={() => void action.run()}
            >
              Tell sites what is here
            </button>
          </Show>
        }
      >
        Sites were told more than this controller has: it came out of an older backup, and tells them nothing
        until somebody has looked at what the network is here and says so. They go on as they were told last.
      </Notice>
      <Show when={action.problem()}>{(problem) => <ProblemNotice problem={problem()} />}</Show>
    </Show>
  );
}

/** What the network is to be, who is in it, and who has changed what. */
export default function ControllerPages() {
  const view = createMemo((): View => {
    const asked = route().params.get("show");
    return VIEWS.find(({ value }) => value === asked)?.value ?? "sites";
  });
  return (
    <div class="stack">
      <HeldBack />
      <div class="views">
        <Segments
          label="Of the network"
          value={view()}
          options={[...VIEWS]}
          onChange={(value) => setParams({ show: value === "sites" ? null : value }, "push")}
        />
      </div>
      <Suspense fallback={<Skeleton height={400} />}>
        <Switch fallback={<Sites />}>
          <Match when={view() === "tokens"}>
            <Enrolments />
          </Match>
          <Match when={view() === "classes"}>
            <DocumentTable kind="classes" />
          </Match>
          <Match when={view() === "applications"}>
            <DocumentTable kind="applications" />
          </Match>
          <Match when={view() === "settings"}>
            <Settings />
          </Match>
          <Match when={view() === "history"}>
            <Changes />
          </Match>
        </Switch>
      </Suspense>
    </div>
  );
}
