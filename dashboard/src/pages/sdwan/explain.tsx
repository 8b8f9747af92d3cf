import { createSignal, For, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { api, query } from "../../api/client";
import { createAction } from "../../api/query";
import type { Considered, Explanation, PathState } from "../../api/sdwan-types";
import { latency, percent } from "../../format";
import { Icon } from "../../ui/icon";
import { Said } from "../../ui/said";
import { ProblemNotice } from "../../ui/states";
import { Field } from "../../ui/widgets";
import { becomes } from "./reading";
import { State } from "./shared";

const QUESTIONS = [
  { name: "source", label: "From address", hint: "10.1.0.5", required: true },
  { name: "destination", label: "To address", hint: "10.2.0.9", required: true },
  { name: "protocol", label: "Protocol", hint: "tcp" },
  { name: "port", label: "To port", hint: "443" },
  { name: "source_port", label: "From port", hint: "any" },
  { name: "dscp", label: "Traffic class", hint: "EF" },
  { name: "name", label: "Server’s name", hint: "example.com" },
] as const;

type Question = Partial<Record<(typeof QUESTIONS)[number]["name"], string>>;

const HEARD: PathState[] = ["up", "suspect", "trial"];

function ConsideredRow(props: { path: Considered }) {
  const measured = () => HEARD.includes(props.path.state);
  return (
    <tr>
      <td>{props.path.path}</td>
      <td class="side">
        <State of={{ ...becomes(props.path.state), detail: "" }} />{" "}
        <Show when={props.path.taken}>
          {(place) => (
            <span class="badge accent">
              <Icon name="right" size={12} /> {place() === "first" ? "taken" : "second"}
            </span>
          )}
        </Show>
      </td>
      <td>{props.path.keeps_limits ? "keeps the class’s limits" : "breaks the class’s limits"}</td>
      <td class="number">{measured() ? latency(props.path.latency_ms / 1000) : "–"}</td>
      <td class="number phone-hidden">{measured() ? latency(props.path.jitter_ms / 1000) : "–"}</td>
      <td class="number phone-hidden">{measured() ? percent(props.path.loss) : "–"}</td>
    </tr>
  );
}

function Answer(props: { of: Explanation }) {
  const taken = () => props.of.paths.filter((path) => path.taken !== null).map((path) => path.path);
  return (
    <div class="explained" role="status" aria-label="Where it would go">
      <p class="verdict">
        <Show when={props.of.to} fallback={<strong>It goes to no site and no peer</strong>}>
          It goes to <strong>{props.of.to}</strong>
          <Show when={props.of.class}>
            {" "}
            as class <strong>{props.of.class}</strong>
          </Show>
          {", "}
          <Show when={props.of.policy} fallback="under no policy">
            under policy <strong>{props.of.policy}</strong>
          </Show>
          <Show when={taken().length > 0}>
            {", by "}
            <strong>{taken().join(" and ")}</strong>
          </Show>
          <Show when={props.of.mark}>
            , marked <strong>{props.of.mark}</strong>
          </Show>
          .
        </Show>
      </p>
      <ol class="because" aria-label="Why">
        <For each={props.of.why}>
          {(sentence) => (
            <li>
              <Said text={sentence} />
            </li>
          )}
        </For>
      </ol>
      <Show when={props.of.paths.length > 0}>
        <div class="table-frame considered">
          <table class="table stacking">
            <thead>
              <tr>
                <th scope="col">Path</th>
                <th scope="col">State</th>
                <th scope="col">Limits</th>
                <th scope="col" class="number">
                  Latency
                </th>
                <th scope="col" class="number">
                  Jitter
                </th>
                <th scope="col" class="number">
                  Lost
                </th>
              </tr>
            </thead>
            <tbody>
              <For each={props.of.paths}>{(path) => <ConsideredRow path={path} />}</For>
            </tbody>
          </table>
        </div>
      </Show>
    </div>
  );
}

/** A dry run: what would become of a flow that begins now, and why. Nothing is sent. */
export function Explain() {
  const [asked, setAsked] = createStore<Question>({});
  const [answer, setAnswer] = createSignal<Explanation | null>(null);
  const action = createAction(async () => {
    const said = Object.fromEntries(Object.entries(asked).map(([name, value]) => [name, value.trim()]));
    setAnswer(await api.get<Explanation>(`/sdwan/explain${query(said)}`));
  });
  // A field that cannot be read as a number or an address is refused with the request as a whole.
  const general = () => {
    const problem = action.problem();
    return problem && QUESTIONS.some(({ name }) => name === problem.key) ? null : problem;
  };
  return (
    <section class="card" aria-label="Where would it go">
      <div class="card-head">
        <h2>Where would it go?</h2>
        <span class="muted push">a flow that begins now at this site; nothing is sent</span>
      </div>
      <form
        class="explain"
        onSubmit={(event) => {
          event.preventDefault();
          void action.run();
        }}
      >
        <For each={QUESTIONS}>
          {(question) => (
            <Field label={question.label} name={question.name} problem={action.problem()}>
              {(attributes) => (
                <input
                  {...attributes}
                  class="input mono"
                  placeholder={question.hint}
                  required={"required" in question}
                  autocomplete="off"
                  autocapitalize="none"
                  spellcheck={false}
                  value={asked[question.name] ?? ""}
                  onInput={(event) => setAsked(question.name, event.currentTarget.value)}
                />
              )}
            </Field>
          )}
        </For>
        <button type="submit" class="button primary" disabled={action.pending()}>
          Ask
        </button>
      </form>
      <Show when={general()}>
        {(problem) => (
          <div class="card-body">
            <ProblemNotice problem={problem()} />
          </div>
        )}
      </Show>
      <Show when={!action.problem() && answer()}>{(found) => <Answer of={found()} />}</Show>
    </section>
  );
}
