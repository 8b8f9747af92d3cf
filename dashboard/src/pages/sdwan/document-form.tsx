import "./documents.css";
import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { api, Problem } from "../../api/client";
import type { Body, ChangeList, DocumentKind, NetworkDocument } from "../../api/controller-types";
import { createAction, createQuery } from "../../api/query";
import { timestamp, tomlValue } from "../../format";
import { FormDialog } from "../../ui/dialog";
import { notify } from "../../ui/notify";
import { Notice, ProblemNotice } from "../../ui/states";
import { Field } from "../../ui/widgets";
import { Changed, OtherReleases } from "./changed";
import {
  addressOf,
  bodyOf,
  calledOf,
  type Draft,
  differences,
  draftOf,
  type FieldSpec,
  faultAt,
  faultsElsewhere,
  fieldsOf,
  groupsOf,
  idOf,
  isStale,
  KINDS,
  type Known,
  keptOf,
  shapedIn,
} from "./documents";
import { fetchKnown } from "./network-data";

interface Dialog {
  kind: DocumentKind;
  onClose: () => void;
  /** Something has changed: lists are old. */
  onDone: () => void;
}

/** Names to choose in an order: each goes in behind the others, and comes out again. */
function Picks(props: {
  label: string;
  picked: string[];
  known: string[];
  ordered: boolean;
  onChange: (picked: string[]) => void;
}) {
  // What is picked and known no longer can be taken out all the same.
  const offered = () => [...new Set([...props.picked, ...props.known])];
  const place = (name: string) => props.picked.indexOf(name);
  return (
    // biome-ignore lint/a11y/useSemanticElements: it is a part of a fieldset already
    <div class="chips" role="group" aria-label={props.label}>
      <For each={offered()} fallback={<span class="muted">There are none yet</span>}>
        {(name) => (
          <button
            type="button"
            class="chip"
            aria-pressed={place(name) >= 0}
            onClick={() =>
              props.onChange(
                place(name) >= 0 ? props.picked.filter((one) => one !== name) : [...props.picked, name],
              )
            }
          >
            <Show when={props.ordered && place(name) >= 0}>
              <strong>{place(name) + 1}. </strong>
            </Show>
            {name}
          </button>
        )}
      </For>
    </div>
  );
}

function Input(props: {
  spec: FieldSpec;
  draft: Draft;
  known: Known;
  fixed: boolean;
  problem: Problem | null;
  onChange: (value: string | boolean | string[]) => void;
}) {
  const value = () => props.draft[props.spec.key];
  const text = () => {
    const now = value();
    return typeof now === "string" ? now : "";
  };
  const names = () => (props.spec.known ? props.known[props.spec.known] : []);
  const options = (): [string, string][] => {
    if (props.spec.options) return props.spec.options;
    const offered = text() === "" || names().includes(text()) ? names() : [text(), ...names()];
    const none: [string, string][] = props.spec.required
      ? text() === ""
        ? [["", "Choose one"]]
        : []
      : [["", `Not said: ${props.spec.unset ?? "none"}`]];
    return [...none, ...offered.map((name): [string, string] => [name, name])];
  };
  return (
    <Switch>
      <Match when={props.spec.as === "flag"}>
        <div class="field">
          <label class="check">
            <input
              type="checkbox"
              name={props.spec.key}
              checked={value() === true}
              onChange={(event) => props.onChange(event.currentTarget.checked)}
            />
            <span>
              {props.spec.label}
              <Show when={props.spec.hint}>
                <span class="muted">. {props.spec.hint}</span>
              </Show>
            </span>
          </label>
          <Show when={props.problem}>
            {(problem) => (
              <div class="fault" role="alert">
                {problem().detail}
              </div>
            )}
          </Show>
        </div>
      </Match>
      <Match when={props.spec.as === "picks"}>
        <div class="field">
          <span class="label">{props.spec.label}</span>
          <Picks
            label={props.spec.label}
            picked={Array.isArray(value()) ? (value() as string[]) : []}
            known={names()}
            ordered={props.spec.key === "uplinks"}
            onChange={props.onChange}
          />
          <Show when={props.problem}>
            {(problem) => (
              <div class="fault" role="alert">
                {problem().detail}
              </div>
            )}
          </Show>
        </div>
      </Match>
      <Match when={true}>
        <Field label={props.spec.label} name={props.spec.key} hint={props.spec.hint} problem={props.problem}>
          {(attributes) => (
            <Show
              when={props.spec.as === "choice"}
              fallback={
                <input
                  {...attributes}
                  class="input"
                  classList={{ mono: props.spec.mono ?? false }}
                  value={text()}
                  placeholder={props.spec.unset ?? ""}
                  inputmode={props.spec.as === "number" ? "decimal" : undefined}
                  required={props.spec.required ?? false}
                  readonly={props.fixed}
                  autocomplete="off"
                  autocapitalize="none"
                  spellcheck={false}
                  onInput={(event) => props.onChange(event.currentTarget.value)}
                />
              }
            >
              <select
                {...attributes}
                class="input"
                disabled={props.fixed}
                required={props.spec.required ?? false}
                onChange={(event) => props.onChange(event.currentTarget.value)}
              >
                <For each={options()}>
                  {([name, shown]) => (
                    <option value={name} selected={name === text()}>
                      {shown}
                    </option>
                  )}
                </For>
              </select>
            </Show>
          )}
        </Field>
      </Match>
    </Switch>
  );
}

/** Fields in rows: those that stand beside each other share one. */
function rows(fields: FieldSpec[]): FieldSpec[][] {
  const found: FieldSpec[][] = [];
  for (const spec of fields) {
    const last = found.at(-1);
    if (spec.beside && last) last.push(spec);
    else found.push([spec]);
  }
  return found;
}

function Kept(props: { kind: DocumentKind; body: Body; classes: string[] }) {
  const kept = () => keptOf(props.kind, props.body, props.classes);
  return (
    <Show when={kept().length > 0}>
      <section aria-label="Kept as they are">
        <h3 class="muted">Kept as they are</h3>
        <dl class="facts">
          <For each={kept()}>
            {([name, value]) => (
              <>
                <dt>{name}</dt>
                <dd class="mono">{tomlValue(value)}</dd>
              </>
            )}
          </For>
        </dl>
      </section>
    </Show>
  );
}

const NOTHING: Known = { sites: [], uplinks: [], classes: [], applications: [] };

/** Makes a document, or changes it. What is wrong is told at its field; what somebody else has changed meanwhile is put side by side. */
export function DocumentDialog(
  props: Dialog & {
    /** The document that is changed; none when one is made. */
    document?: NetworkDocument | undefined;
    /** What a new one begins with. */
    begin?: Body;
    /** Classes of the network, where the document says something of each. */
    classes?: string[];
  },
) {
  const known = createQuery<null, Known>(
    () => null,
    (_, signal) => fetchKnown(signal),
  );
  const [base, setBase] = createSignal(props.document);
  const classes = createMemo(() => [...new Set([...(props.classes ?? []), ...shapedIn(base()?.body ?? {})])]);
  const [draft, setDraft] = createStore<Draft>(
    draftOf(props.kind, props.document?.body ?? props.begin ?? {}, classes()),
  );
  let place: HTMLDivElement | undefined;
  const [theirs, setTheirs] = createSignal<NetworkDocument | null>(null);
  const body = () => bodyOf(props.kind, draft, base()?.body, classes());
  const id = createMemo(() => base()?.id ?? idOf(props.kind, body()));
  const sole = () => KINDS[props.kind].sole;
  // What is at all sites at once is tried first, and sent once it was seen what comes of it.
  const [trial, setTrial] = createSignal<{ of: string; list: ChangeList } | null>(null);
  const written = createMemo(() => JSON.stringify(body()));
  const tried = () => (trial()?.of === written() ? (trial()?.list ?? null) : null);
  const send = (how: string) => {
    const before = base();
    return before
      ? api.put<ChangeList>(`${addressOf(props.kind, before.id)}${how}`, { body: body() }, before.version)
      : api.post<ChangeList>(`/controller/${props.kind}${how}`, { body: body() });
  };
  const action = createAction(async () => {
    const before = base();
    setTheirs(null);
    try {
      if (sole() && !tried()) {
        const of = written();
        setTrial({ of, list: await send("?dry_run=true") });
        return;
      }
      await send("");
    } catch (error) {
      setTrial(null);
      // Of what there is one of, somebody else may have made the first.
      const isTaken = (problem: Problem) => !before && sole() !== undefined && problem.status === 409;
      if (error instanceof Problem && (isTaken(error) || (before && isStale(error))))
        setTheirs(await api.get<NetworkDocument>(addressOf(props.kind, id())));
      throw error;
    }
    notify(`${before || sole() ? "Changed" : "Added"} ${calledOf(props.kind, id())}: sites are told`);
    props.onDone();
    props.onClose();
  });
  const at = (spec: FieldSpec): Problem | null => {
    const problem = action.problem();
    const fault = faultAt(problem, props.kind, id(), spec.key);
    return problem && fault ? new Problem(problem.status, problem.title, fault, spec.key) : null;
  };
  const shown = () => fieldsOf(props.kind, classes()).filter((spec) => !spec.when || spec.when(draft));
  const elsewhere = () => faultsElsewhere(action.problem(), props.kind, id(), classes());
  // What is told at a field, or side by side, is not told once more below.
  const general = () => {
    const problem = action.problem();
    if (!problem || theirs()) return null;
    if (elsewhere().length > 0)
      return new Problem(problem.status, problem.title, elsewhere().join(". "), null, problem.faults);
    return shown().some((spec) => at(spec) !== null) ? null : problem;
  };
  const save = async () => {
    await action.run();
    // Of a long form, what is wrong, or what would come of it, may be out of sight.
    const [fault] = place?.closest("form")?.querySelectorAll(".fault, .notice, .would-be") ?? [];
    fault?.scrollIntoView({ block: "center" });
  };
  const title = () => {
    const one = sole();
    if (one) return `Change ${one}`;
    return base() ? `Change ${calledOf(props.kind, base()?.id ?? "")}` : `Add a ${KINDS[props.kind].word}`;
  };
  const submit = () => {
    if (sole()) return tried() ? "Save" : "Try it";
    return base() ? "Save" : "Add";
  };
  // What was tried and changes nothing need not be sent.
  const changesNothing = () =>
    tried()?.items.every((one) => differences(one.before ?? {}, one.after ?? {}).length === 0) ?? false;
  const take = (document: NetworkDocument, mine: boolean) => {
    setBase(document);
    if (!mine) setDraft(reconcile(draftOf(props.kind, document.body, classes())));
    setTrial(null);
    setTheirs(null);
    action.clear();
  };
  return (
    <FormDialog
      title={title()}
      submit={submit()}
      pending={action.pending()}
      problem={general()}
      disabled={theirs() !== null || changesNothing()}
      onSubmit={() => void save()}
      onClose={props.onClose}
    >
      <Show when={known.error()}>
        {(problem) => <ProblemNotice problem={problem()} retry={known.refetch} />}
      </Show>
      <div class="form" ref={place}>
        <For each={groupsOf(props.kind, classes())}>
          {(group) => (
            <fieldset class="group">
              <Show when={group.title !== ""}>
                <legend>{group.title}</legend>
              </Show>
              <Show when={group.hint}>
                <p class="muted group-hint">{group.hint}</p>
              </Show>
              <For each={rows(group.fields.filter((spec) => !spec.when || spec.when(draft)))}>
                {(row) => (
                  <div classList={{ "form-pair": row.length > 1 }}>
                    <For each={row}>
                      {(spec) => (
                        <Input
                          spec={spec}
                          draft={draft}
                          known={known.data() ?? NOTHING}
                          fixed={(spec.fixed ?? false) && base() !== undefined}
                          problem={at(spec)}
                          onChange={(value) => setDraft(spec.key, value)}
                        />
                      )}
                    </For>
                  </div>
                )}
              </For>
            </fieldset>
          )}
        </For>
      </div>
      <Kept kind={props.kind} body={base()?.body ?? {}} classes={classes()} />
      <Show when={tried()}>
        {(list) => (
          <section class="would-be" aria-label="What would change">
            <h3>What would change</h3>
            <Show when={!changesNothing()} fallback={<p class="muted">Nothing: it says that already.</p>}>
              <Changed list={list()} />
              <OtherReleases count={list().other_releases} />
            </Show>
          </section>
        )}
      </Show>
      <Show when={theirs()}>
        {(other) => (
          <Notice tone="warn">
            <strong>
              {other().updated_by} has changed it meanwhile, at {timestamp(other().updated)}
            </strong>
            <table class="conflict">
              <thead>
                <tr>
                  <th scope="col">Setting</th>
                  <th scope="col">Theirs</th>
                  <th scope="col">Yours</th>
                </tr>
              </thead>
              <tbody>
                <For each={differences(other().body, body())}>
                  {(one) => (
                    <tr>
                      <td>{one.label}</td>
                      <td class="mono">{one.before}</td>
                      <td class="mono">{one.after}</td>
                    </tr>
                  )}
                </For>
              </tbody>
            </table>
            <div class="row wrap conflict-choice">
              <button type="button" class="button small" onClick={() => take(other(), false)}>
                Load theirs
              </button>
              <button type="button" class="button small" onClick={() => take(other(), true)}>
                Keep mine, then save
              </button>
            </div>
          </Notice>
        )}
      </Show>
    </FormDialog>
  );
}

/** Removes a document that nobody has changed since it was shown. */
export function RemoveDialog(props: Dialog & { document: NetworkDocument; children?: string }) {
  const [base, setBase] = createSignal(props.document);
  const [stale, setStale] = createSignal(false);
  const action = createAction(async () => {
    const { id, version } = base();
    setStale(false);
    try {
      await api.delete(addressOf(props.kind, id), version);
    } catch (error) {
      if (error instanceof Problem && isStale(error)) {
        setBase(await api.get<NetworkDocument>(addressOf(props.kind, id)));
        setStale(true);
      }
      throw error;
    }
    notify(`Removed ${KINDS[props.kind].word} ${id}: sites are told`);
    props.onDone();
    props.onClose();
  });
  const general = () => {
    const problem = action.problem();
    if (!problem || stale()) return null;
    const faults = faultsElsewhere(problem, props.kind, base().id);
    return faults.length === 0
      ? problem
      : new Problem(problem.status, "It is still needed", faults.join(". "));
  };
  return (
    <FormDialog
      title={`Remove ${KINDS[props.kind].word} ${props.document.id}`}
      submit="Remove"
      danger
      pending={action.pending()}
      problem={general()}
      onSubmit={() => void action.run()}
      onClose={props.onClose}
    >
      <p>
        {props.children ??
          "Sites are told at once. The history takes it back, and so does “outwork sdwan undo” at the controller."}
      </p>
      <Show when={stale()}>
        <Notice tone="warn">
          <strong>
            {base().updated_by} has changed it meanwhile, at {timestamp(base().updated)}
          </strong>
          <For each={differences(props.document.body, base().body)}>
            {(one) => (
              <div class="mono">
                {one.label}: {one.before} → {one.after}
              </div>
            )}
          </For>
          <div>Remove it all the same, or close this and look at it first.</div>
        </Notice>
      </Show>
    </FormDialog>
  );
}
