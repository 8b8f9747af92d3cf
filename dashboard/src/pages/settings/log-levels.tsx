import { createUniqueId, For, Show } from "solid-js";
import { api } from "../../api/client";
import { createAction, createQuery } from "../../api/query";
import { may } from "../../api/session";
import { notify } from "../../ui/notify";
import { Loaded, ProblemNotice } from "../../ui/states";

type Levels = { levels: Record<string, string> };

const LEVELS = ["off", "error", "warn", "info", "debug", "trace"];

export function LogLevels() {
  const levels = createQuery<null, Levels>(
    () => null,
    (_, signal) => api.get("/log/levels", signal),
  );
  const change = createAction(async (name: string, level: string) => {
    try {
      await api.put("/log/levels", { levels: { ...levels.data()?.levels, [name]: level } });
      notify(`${name} now logs at ${level}`);
    } finally {
      levels.refetch();
    }
  });
  return (
    <section class="card levels" aria-label="Log levels">
      <Loaded query={levels} height={240}>
        {(data) => (
          <>
            <div class="toolbar">
              <p class="muted">
                A change takes effect at once and lasts until the next restart. The configuration file keeps
                what should stay.
              </p>
            </div>
            <Show when={change.problem()}>
              {(problem) => (
                <div class="card-body">
                  <ProblemNotice problem={problem()} />
                </div>
              )}
            </Show>
            <For each={Object.keys(data.levels).sort()}>
              {(name) => {
                const id = createUniqueId();
                return (
                  <div class="level">
                    <label for={id}>{name}</label>
                    <Show when={may("operator")} fallback={<output id={id}>{data.levels[name]}</output>}>
                      <select
                        id={id}
                        class="input"
                        disabled={change.pending()}
                        onChange={(event) => void change.run(name, event.currentTarget.value)}
                      >
                        <For each={LEVELS}>
                          {(level) => (
                            <option value={level} selected={level === data.levels[name]}>
                              {level}
                            </option>
                          )}
                        </For>
                      </select>
                    </Show>
                  </div>
                );
              }}
            </For>
          </>
        )}
      </Loaded>
    </section>
  );
}
