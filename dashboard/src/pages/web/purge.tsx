import { createSignal, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createAction } from "../../api/query";
import type { CacheSummary, PurgeReport, WarmReport } from "../../api/web-types";
import { plural } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Notice } from "../../ui/states";
import { Field } from "../../ui/widgets";
import { outcome, type PurgeKind, reach, requestOf, urlsIn } from "./reach";

export interface Purge {
  kind: PurgeKind;
  target: string;
}

const KINDS: Record<PurgeKind, { text: string; label: string; hint: string; placeholder: string }> = {
  url: {
    text: "One URL",
    label: "URL",
    hint: "Every variant of it goes, in whatever language or coding.",
    placeholder: "https://www.example.org/page",
  },
  prefix: {
    text: "URLs that begin alike",
    label: "Beginning",
    hint: "Scheme and host included.",
    placeholder: "https://www.example.org/news/",
  },
  tag: {
    text: "A tag",
    label: "Tag",
    hint: "What answers bear in Surrogate-Key or Cache-Tag.",
    placeholder: "article-7",
  },
  all: { text: "Everything", label: "Type everything to confirm", hint: "", placeholder: "" },
};

export function PurgeDialog(props: {
  purge: Purge;
  summary: CacheSummary;
  onClose: () => void;
  onDone: () => void;
}) {
  // What was chosen when the dialog opened; from then on it is the form's own.
  const [kind, setKind] = createSignal<PurgeKind>(props.purge.kind);
  const [target, setTarget] = createSignal(props.purge.target);
  const [confirmed, setConfirmed] = createSignal("");
  const ready = () => (kind() === "all" ? confirmed().trim() === "everything" : target().trim() !== "");
  const action = createAction(async () => {
    const report = await api.post<PurgeReport>("/cache/purge", requestOf(kind(), target().trim()));
    const { text, tone } = outcome(report);
    notify(text, tone);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title="Purge from the cache"
      submit="Purge"
      danger
      disabled={!ready()}
      pending={action.pending()}
      problem={action.problem()}
      fields={["url", "prefix", "tag"]}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field label="What" name="kind">
        {(attributes) => (
          <select
            {...attributes}
            class="input"
            onChange={(event) => {
              setKind(event.currentTarget.value as PurgeKind);
              action.clear();
            }}
          >
            <For each={Object.entries(KINDS)}>
              {([value, { text }]) => (
                <option value={value} selected={value === kind()}>
                  {text}
                </option>
              )}
            </For>
          </select>
        )}
      </Field>
      <Show
        when={kind() !== "all"}
        fallback={
          <Field label={KINDS.all.label} name="confirm">
            {(attributes) => (
              <input
                {...attributes}
                class="input mono"
                value={confirmed()}
                autocomplete="off"
                spellcheck={false}
                onInput={(event) => setConfirmed(event.currentTarget.value)}
              />
            )}
          </Field>
        }
      >
        <Field label={KINDS[kind()].label} name={kind()} hint={KINDS[kind()].hint} problem={action.problem()}>
          {(attributes) => (
            <input
              {...attributes}
              class="input mono"
              value={target()}
              placeholder={KINDS[kind()].placeholder}
              autocomplete="off"
              spellcheck={false}
              onInput={(event) => setTarget(event.currentTarget.value)}
            />
          )}
        </Field>
      </Show>
      <Notice tone={kind() === "all" ? "warn" : "plain"}>
        <strong>What it reaches</strong>
        <ul class="reach">
          <For each={reach(kind(), props.summary)}>{(line) => <li>{line}</li>}</For>
        </ul>
      </Notice>
    </FormDialog>
  );
}

export function WarmDialog(props: { onClose: () => void; onDone: () => void }) {
  const [text, setText] = createSignal("");
  const urls = () => urlsIn(text());
  const action = createAction(async () => {
    const { queued, stored, unstored } = await api.post<WarmReport>("/cache/warm", { urls: urls() });
    const [first] = unstored;
    const why = first ? `; ${first.url}: ${first.status ?? "no answer"}, ${first.why}` : "";
    notify(`${stored} of ${plural(queued, "URL")} fetched into the cache${why}`);
    props.onDone();
    props.onClose();
  });
  return (
    <FormDialog
      title="Warm the cache"
      submit={urls().length === 0 ? "Fetch" : `Fetch ${plural(urls().length, "URL")}`}
      disabled={urls().length === 0}
      pending={action.pending()}
      problem={action.problem()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <Field
        label="URLs"
        name="urls"
        hint="One on each line. They are fetched here and now, and stored where the answer may be: what a route does not cache stays uncached."
      >
        {(attributes) => (
          <textarea
            {...attributes}
            class="input mono"
            rows={6}
            placeholder="https://www.example.org/"
            spellcheck={false}
            value={text()}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
      </Field>
    </FormDialog>
  );
}
