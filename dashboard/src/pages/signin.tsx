import "./signin.css";
import { createSignal, Show } from "solid-js";
import { Problem } from "../api/client";
import { createAction } from "../api/query";
import { signIn } from "../api/session";
import { Brand } from "../ui/brand";
import { Notice, ProblemNotice } from "../ui/states";
import { CopyButton, Field } from "../ui/widgets";

/** What makes a token, on the machine of the server. */
const CREATE = "outwork token create my-laptop --role admin";

/** The server's own words for a wrong token are right but short; this says where a good one comes from. */
function explain(problem: Problem): Problem {
  if (problem.status !== 401) return problem;
  return new Problem(
    401,
    "That token is not accepted",
    "It may be mistyped, revoked or expired. Create another on the server with the command below.",
  );
}

export default function SignIn(props: { ended: boolean }) {
  const [token, setToken] = createSignal("");
  const [shown, setShown] = createSignal(false);
  const action = createAction(async () => signIn(token().trim()));
  return (
    <main class="signin">
      <form
        class="card form"
        onSubmit={(event) => {
          event.preventDefault();
          void action.run();
        }}
      >
        <div class="brand">
          <Brand /> Outwork
        </div>
        <h1>Sign in</h1>
        <Show when={props.ended && action.problem() === null}>
          <Notice tone="plain">
            <strong>Your session has ended</strong>
            <div>
              Outwork was restarted, the token was revoked, or nobody was here for long. Sign in to continue
              where you were.
            </div>
          </Notice>
        </Show>
        {/* Password managers file the token under a name. */}
        <input type="text" name="username" autocomplete="username" value="outwork" readOnly hidden />
        <Field label="Access token" name="token">
          {(attributes) => (
            <div class="row">
              <input
                {...attributes}
                class="input mono"
                type={shown() ? "text" : "password"}
                value={token()}
                onInput={(event) => setToken(event.currentTarget.value)}
                autocomplete="current-password"
                autocapitalize="none"
                spellcheck={false}
                autofocus
                required
              />
              <button type="button" class="button" aria-pressed={shown()} onClick={() => setShown(!shown())}>
                {shown() ? "Hide" : "Show"}
              </button>
            </div>
          )}
        </Field>
        <Show when={action.problem()}>{(problem) => <ProblemNotice problem={explain(problem())} />}</Show>
        <button type="submit" class="button primary" disabled={action.pending() || token().trim() === ""}>
          {action.pending() ? "Signing in…" : "Sign in"}
        </button>
        <p class="muted">
          The first start prints an admin token once. Without it, create another on the server's machine, with
          a name of your choice:
        </p>
        <div class="signin-command">
          <pre class="snippet">{CREATE}</pre>
          <CopyButton text={CREATE} label="Copy" />
        </div>
      </form>
    </main>
  );
}
