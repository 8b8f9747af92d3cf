import "./settings.css";
import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { api } from "../../api/client";
import { createAction } from "../../api/query";
import { may } from "../../api/session";
import { plural } from "../../format";
import { pageOf, route } from "../../router";
import { useStatus } from "../../status";
import { Icon } from "../../ui/icon";
import { NoPage } from "../../ui/no-page";
import { Notice, ProblemNotice } from "../../ui/states";
import { Tabs } from "../../ui/widgets";
import { Audit } from "./audit";
import { Configuration } from "./configuration";
import { LogLevels } from "./log-levels";
import { Tokens } from "./tokens";

const FIRST = { path: "/settings", text: "Configuration" };
const TABS = [
  FIRST,
  { path: "/settings/logs", text: "Log levels" },
  { path: "/settings/tokens", text: "Access tokens" },
  { path: "/settings/audit", text: "Audit log" },
];

function ReloadResult(props: { changed: string[]; onClose: () => void }) {
  return (
    <Notice
      tone="good"
      action={
        <button type="button" class="button quiet small icon" aria-label="Dismiss" onClick={props.onClose}>
          <Icon name="close" size={14} />
        </button>
      }
    >
      <Show
        when={props.changed.length > 0}
        fallback={<strong>Reloaded. Nothing in the configuration has changed.</strong>}
      >
        <strong>Reloaded. {plural(props.changed.length, "setting")} changed:</strong>
        <ul>
          <For each={props.changed}>
            {(key) => (
              <li>
                <code>{key}</code>
              </li>
            )}
          </For>
        </ul>
      </Show>
    </Notice>
  );
}

export default function Settings() {
  const status = useStatus();
  const tab = createMemo(() => pageOf(TABS, route().segments));
  const [changed, setChanged] = createSignal<string[] | null>(null);
  // Counts reloads, so that the configuration on screen is asked for again.
  const [generation, setGeneration] = createSignal(0);
  const reload = createAction(async () => {
    setChanged(null);
    const result = await api.post<{ changed: string[] }>("/reload");
    setChanged(result.changed);
    setGeneration((n) => n + 1);
    status.refetch();
  });
  return (
    <>
      <div class="page-head">
        <h1>Settings</h1>
        <p>{status.data()?.config_file ?? (status.data() ? "No configuration file: defaults" : "")}</p>
        <Show when={may("operator")}>
          <div class="actions">
            <button
              type="button"
              class="button"
              disabled={reload.pending()}
              onClick={() => void reload.run()}
            >
              <Icon name="refresh" /> {reload.pending() ? "Reloading…" : "Reload configuration"}
            </button>
          </div>
        </Show>
      </div>
      <Show when={reload.problem()}>
        {(problem) => (
          <div class="reload-result form">
            <ProblemNotice problem={problem()} retry={() => void reload.run()} />
            <p class="muted">Outwork goes on with the configuration it had.</p>
          </div>
        )}
      </Show>
      <Show when={changed()}>
        {(keys) => (
          <div class="reload-result">
            <ReloadResult changed={keys()} onClose={() => setChanged(null)} />
          </div>
        )}
      </Show>
      <Tabs label="Settings" current={tab() ?? ""} items={TABS} />
      <Switch>
        <Match when={tab() === "/settings/logs"}>
          <LogLevels />
        </Match>
        <Match when={tab() === "/settings/tokens"}>
          <Tokens />
        </Match>
        <Match when={tab() === "/settings/audit"}>
          <Audit />
        </Match>
        <Match when={tab() === null}>
          <NoPage first={FIRST} />
        </Match>
        <Match when={true}>
          <Configuration generation={generation()} />
        </Match>
      </Switch>
    </>
  );
}
