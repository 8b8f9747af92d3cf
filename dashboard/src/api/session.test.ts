import { afterEach, expect, test, vi } from "vitest";
import { askSession, may, sessionState } from "./session";

afterEach(() => vi.unstubAllGlobals());

const answers = (status: number, body: object) =>
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(body), { status }));

test("a session that two streams find ended is told as ended, not as never begun", async () => {
  answers(200, { name: "night-shift", role: "operator" });
  expect(await askSession()).toBe(true);
  expect(may("operator")).toBe(true);
  expect(may("admin")).toBe(false);

  answers(401, { title: "Sign in" });
  expect(await Promise.all([askSession(), askSession()])).toEqual([false, false]);
  expect(sessionState()).toEqual({ phase: "out", ended: true });
  expect(may("viewer")).toBe(false);
});
