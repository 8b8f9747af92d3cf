import { createEffect, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { askSession, sessionState } from "./api/session";
import { Shell } from "./shell";
import { ProblemNotice } from "./ui/states";

const SignIn = lazy(() => import("./pages/signin"));

export function App() {
  const unreachable = () => {
    const state = sessionState();
    return state.phase === "unreachable" ? state.problem : null;
  };
  const ended = () => {
    const state = sessionState();
    return state.phase === "out" && state.ended;
  };
  createEffect(() => {
    if (sessionState().phase === "out") document.title = "Sign in · Outwork";
  });
  return (
    <Suspense>
      <Switch>
        <Match when={sessionState().phase === "in"}>
          <Shell />
        </Match>
        <Match when={sessionState().phase === "out"}>
          <SignIn ended={ended()} />
        </Match>
        <Match when={unreachable()}>
          {(problem) => (
            <main class="dialog-place">
              <Show when={problem()}>
                <ProblemNotice problem={problem()} retry={() => void askSession()} />
              </Show>
            </main>
          )}
        </Match>
      </Switch>
    </Suspense>
  );
}
