import { createEffect, createSignal, createUniqueId, For, type JSX, on, onCleanup, Show } from "solid-js";
import type { Problem } from "../api/client";
import { serverNow } from "../api/live";
import type { Counts } from "../api/types";
import { count, percent } from "../format";
import { href } from "../router";
import { Icon } from "./icon";

/** The present in milliseconds, ticking: the server's, as the times it tells are, unless another clock is given. */
export function createNow(every = 1000, clock: () => number = serverNow): () => number {
  const [ticks, setTicks] = createSignal(0);
  const timer = setInterval(() => setTicks((n) => n + 1), every);
  onCleanup(() => clearInterval(timer));
  return () => {
    ticks();
    return clock();
  };
}

export function Tabs(props: { label: string; current: string; items: { path: string; text: string }[] }) {
  let nav: HTMLElement | undefined;
  // On a phone the row scrolls: the current tab must be in sight.
  createEffect(
    on(
      () => props.current,
      () => nav?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }),
    ),
  );
  return (
    <nav class="tabs" aria-label={props.label} ref={nav}>
      <For each={props.items}>
        {(item) => (
          <a href={href(item.path)} aria-current={item.path === props.current ? "page" : undefined}>
            {item.text}
          </a>
        )}
      </For>
    </nav>
  );
}

export function Segments<T extends string>(props: {
  label: string;
  value: T;
  options: { value: T; text: string }[];
  onChange: (value: T) => void;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be laid out inline in every browser
    <div class="segments" role="group" aria-label={props.label}>
      <For each={props.options}>
        {(option) => (
          <button
            type="button"
            aria-pressed={option.value === props.value}
            onClick={() => props.onChange(option.value)}
          >
            {option.text}
          </button>
        )}
      </For>
    </div>
  );
}

export function Utilisation(props: { counts: Counts; warning: boolean; label: string }) {
  const share = (n: number) => (props.counts.total === 0 ? "0%" : `${(n / props.counts.total) * 100}%`);
  return (
    // biome-ignore lint/a11y/useSemanticElements: the meter element cannot show three shares
    <div
      class="meter"
      classList={{ warning: props.warning }}
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={1}
      aria-valuenow={props.counts.utilisation}
      aria-valuetext={percent(props.counts.utilisation)}
      title={`${count(props.counts.active)} active, ${count(props.counts.offered)} offered, ${count(props.counts.declined)} declined, ${count(props.counts.free)} free`}
    >
      <span class="active" style={{ width: share(props.counts.active) }} />
      <span class="offered" style={{ width: share(props.counts.offered) }} />
      <span class="declined" style={{ width: share(props.counts.declined) }} />
    </div>
  );
}

export function Search(props: {
  label: string;
  placeholder: string;
  value: string;
  onInput: (text: string) => void;
}) {
  const id = createUniqueId();
  let input: HTMLInputElement | undefined;
  // "/" goes to the page's search, as operators expect, unless they are typing.
  const onKey = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (
      event.key !== "/" ||
      event.ctrlKey ||
      event.metaKey ||
      /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)
    )
      return;
    event.preventDefault();
    input?.focus();
  };
  document.addEventListener("keydown", onKey);
  onCleanup(() => document.removeEventListener("keydown", onKey));
  return (
    <div class="search">
      <label class="visually-hidden" for={id}>
        {props.label}
      </label>
      <Icon name="search" />
      <input
        id={id}
        ref={input}
        class="input"
        type="search"
        placeholder={props.placeholder}
        value={props.value}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
    </div>
  );
}

export function Field(props: {
  label: string;
  hint?: JSX.Element;
  /** The field's name in the API: a refusal that blames it is shown here. */
  name: string;
  problem?: Problem | null;
  children: (attributes: {
    id: string;
    name: string;
    "aria-describedby": string;
    "aria-invalid": boolean;
  }) => JSX.Element;
}) {
  const id = createUniqueId();
  const fault = () =>
    props.problem?.key === props.name ? props.problem.detail || props.problem.title : null;
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children({
        id,
        name: props.name,
        "aria-describedby": `${id}-hint`,
        get "aria-invalid"() {
          return fault() !== null;
        },
      })}
      <Show
        when={fault()}
        fallback={
          <Show when={props.hint}>
            <div class="hint" id={`${id}-hint`}>
              {props.hint}
            </div>
          </Show>
        }
      >
        <div class="fault" id={`${id}-hint`} role="alert">
          {fault()}
        </div>
      </Show>
    </div>
  );
}

export function CopyButton(props: { text: string; label: string }) {
  const [copied, setCopied] = createSignal(false);
  const copy = async () => {
    // Absent on plain HTTP away from loopback; the text beside the button is selectable.
    await navigator.clipboard?.writeText(props.text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <Show when={navigator.clipboard}>
      <button type="button" class="button small" onClick={() => void copy()}>
        <Icon name={copied() ? "check" : "copy"} size={14} />
        {copied() ? "Copied" : props.label}
      </button>
    </Show>
  );
}
