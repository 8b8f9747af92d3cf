import "./alerts.css";
import { For, Show } from "solid-js";
import { useAlerts } from "../../alerts";
import type { Alert } from "../../api/types";
import { relative, timestamp } from "../../format";
import { href } from "../../router";
import { Icon } from "../../ui/icon";
import { Said } from "../../ui/said";
import { ProblemNotice } from "../../ui/states";
import { createNow } from "../../ui/widgets";

const SEVERITY = {
  critical: { tone: "bad", icon: "critical", text: "Critical" },
  warning: { tone: "warn", icon: "alert", text: "Warning" },
} as const;

/** Where more is to be seen of what the alert is about. */
const MORE: Record<string, { path: string; text: string }> = {
  pools_high: { path: "/dhcp", text: "See the pools" },
  pools_exhausted: { path: "/dhcp", text: "See the pools" },
};

function Row(props: { alert: Alert; now: number }) {
  const severity = () => SEVERITY[props.alert.severity];
  return (
    <li>
      <span class={`badge ${severity().tone}`}>
        <Icon name={severity().icon} size={14} />
        {severity().text}
      </span>
      <div class="alert-text">
        <strong>
          <Said text={props.alert.what} />
        </strong>
        <p>
          <Said text={props.alert.advice} />
        </p>
        <p class="muted alert-keys">
          <Show when={props.alert.settings.length > 0}>
            Settings: <For each={props.alert.settings}>{(key) => <code>{key}</code>}</For>
          </Show>
          <Show when={MORE[props.alert.id]}>{(more) => <a href={href(more().path)}>{more().text}</a>}</Show>
        </p>
      </div>
      <time class="muted" datetime={props.alert.since} title={`${props.alert.since} (UTC)`}>
        {relative(Date.parse(props.alert.since), props.now)}
        <small>{timestamp(props.alert.since)}</small>
      </time>
    </li>
  );
}

/** The alerts that hold, the worst first. Where there is none, the line that heads the page says so. */
export function Alerts() {
  const alerts = useAlerts();
  const now = createNow();
  const items = () => alerts.data()?.items ?? [];
  // A server that is away is told by the connection banner.
  const failure = () => (alerts.error()?.status === 0 ? null : alerts.error());
  return (
    <>
      <Show when={failure()}>
        {(problem) => <ProblemNotice problem={problem()} retry={alerts.refetch} />}
      </Show>
      <Show when={items().length > 0}>
        <section class="card" aria-label="Alerts">
          <div class="card-head">
            <h2>Alerts</h2>
          </div>
          <ul class="alerts">
            <For each={items()}>{(alert) => <Row alert={alert} now={now()} />}</For>
          </ul>
        </section>
      </Show>
    </>
  );
}
