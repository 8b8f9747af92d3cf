import { createSignal } from "solid-js";
import { api, asProblem, Problem, whenUnauthorized } from "./client";
import type { Role, Session } from "./types";

type SessionState =
  | { phase: "asking" }
  | { phase: "out"; ended: boolean }
  | { phase: "in"; session: Session }
  | { phase: "unreachable"; problem: Problem };

const [state, setState] = createSignal<SessionState>({ phase: "asking" });
export const sessionState = state;

whenUnauthorized(() => setState({ phase: "out", ended: true }));

/** Asks who the cookie belongs to. Resolves true where there is a session. */
export async function askSession(): Promise<boolean> {
  try {
    setState({ phase: "in", session: await api.get<Session>("/session") });
    return true;
  } catch (error) {
    const problem = asProblem(error);
    const before = state().phase;
    if (problem.status === 401) {
      // Each stream asks when its connection breaks: the first to hear has said that the session ended.
      if (before !== "out") setState({ phase: "out", ended: before === "in" });
    }
    // A signed-in page stays up while the server is away: the connection banner tells of it.
    else if (before !== "in") setState({ phase: "unreachable", problem });
    return false;
  }
}

export async function signIn(token: string): Promise<void> {
  await api.post("/session", { token });
  if (!(await askSession()))
    throw new Problem(
      0,
      "The browser did not keep the session",
      "Allow cookies for this address, then sign in again.",
    );
}

export async function signOut(): Promise<void> {
  await api.delete("/session");
  setState({ phase: "out", ended: false });
}

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/** Whether the signed-in caller has at least this role. The server checks again; this hides what it would refuse. */
export function may(role: Role): boolean {
  const now = state();
  return now.phase === "in" && RANK[now.session.role] >= RANK[role];
}
