import { createEffect, type JSX, Match, Show, Switch } from "solid-js";
import type { Problem } from "../api/client";
import type { Query } from "../api/query";
import { Icon, type IconName } from "./icon";

type Tone = "good" | "warn" | "bad" | "plain";

const TONE_ICON: Record<Tone, IconName> = { good: "check", warn: "alert", bad: "alert", plain: "info" };

export function Notice(props: { tone: Tone; children: JSX.Element; action?: JSX.Element }) {
  return (
    <div class={`notice ${props.tone}`} role={props.tone === "bad" ? "alert" : "status"}>
      <Icon name={TONE_ICON[props.tone]} />
      <div>{props.children}</div>
      {props.action}
    </div>
  );
}

/** What the reader can do about a refusal. */
function advice(problem: Problem): string {
  if (problem.status === 403) return "Your token's role does not allow this. Sign in with one that does.";
  if (problem.status === 404) return "It may have been removed meanwhile. Go back and refresh.";
  if (problem.status === 429) return "Too many requests at once. Wait a moment, then retry.";
  if (problem.status >= 500) return "The server's log says more. Retry once the cause is mended.";
  return "";
}

/** A refusal as the server told it, the setting it blames, and what to do. */
export function ProblemNotice(props: { problem: Problem; retry?: () => void }) {
  return (
    <Notice
      tone="bad"
      action={
        <Show when={props.retry}>
          {(retry) => (
            <button type="button" class="button small" onClick={() => retry()()}>
              Retry
            </button>
          )}
        </Show>
      }
    >
      <strong>{props.problem.title}</strong>
      <Show when={props.problem.detail !== ""}>
        <div>{props.problem.detail}</div>
      </Show>
      <Show when={props.problem.key}>
        {(key) => (
          <div>
            Setting: <code>{key()}</code>
          </div>
        )}
      </Show>
      <Show when={advice(props.problem)}>{(text) => <div class="muted">{text()}</div>}</Show>
    </Notice>
  );
}

/** Holds the place while something loads, so that nothing jumps when it arrives. */
export function Skeleton(props: { height?: number }) {
  let element: HTMLDivElement | undefined;
  createEffect(() => element?.style.setProperty("--skeleton", `${props.height ?? 240}px`));
  return (
    <div class="skeleton" ref={element} role="status">
      <span class="visually-hidden">Loading</span>
    </div>
  );
}

export function Empty(props: { icon: IconName; title: string; children?: JSX.Element }) {
  return (
    <div class="empty">
      <Icon name={props.icon} size={24} />
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

/** The states of a query: waiting, failed (with what was there before still shown), and the answer. */
export function Loaded<T extends object>(props: {
  query: Query<T>;
  height?: number;
  children: (data: T) => JSX.Element;
}) {
  // A server that is away is told once, by the connection banner, as long as there is something to show.
  const failure = () => {
    const problem = props.query.error();
    return problem?.status === 0 && props.query.data() ? null : problem;
  };
  return (
    <>
      <Show when={failure()}>
        {(problem) => (
          <div class="card-body">
            <ProblemNotice problem={problem()} retry={props.query.refetch} />
          </div>
        )}
      </Show>
      <Switch>
        <Match when={props.query.data()}>{(data) => props.children(data())}</Match>
        <Match when={props.query.error() === null}>
          <Skeleton height={props.height ?? 240} />
        </Match>
      </Switch>
    </>
  );
}
