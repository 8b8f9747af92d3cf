import { expect, test } from "vitest";
import type { Certificate, FrontRoute } from "../../api/web-types";
import { routeNames, routeRow, routeSinceStart, statementRow } from "./rows";
import { urgency } from "./urgency";

const ROUTE: FrontRoute = {
  route: "GET /a",
  answers: "files",
  with: "/srv",
  writes: false,
  cached: true,
  requests: 7,
  client_errors: 1,
  server_errors: 2,
  sent_bytes: 900,
  p50: 0.001,
  p99: 0.02,
};

test("a row is the mean of rates and the largest of quantiles, gaps left out", () => {
  const series = [
    { name: 'front_route_time_rate{route="GET /a"}', unit: "", values: [2, null, 4] },
    { name: 'front_route_time_p99{route="GET /a"}', unit: "", values: [0.1, null, 0.3] },
    { name: 'front_route_time_rate{route="/b"}', unit: "", values: [100, 100, 100] },
  ];
  const row = routeRow(ROUTE, { step: 10, start: 0, series });
  expect([row.requests, row.p99, row.serverErrors]).toEqual([3, 0.3, null]);
});

test("every series of a table is asked for, for each route", () => {
  const names = routeNames(["/a", "/b"]);
  expect(names).toHaveLength(10);
  expect(names).toContain('front_route_server_errors_rate{route="/b"}');
});

test("what nobody has asked for has no figures, not zeroes", () => {
  expect(statementRow(ROUTE, undefined)).toEqual({
    route: ROUTE,
    requests: null,
    runs: null,
    hits: null,
    failures: null,
    p99: null,
  });
  expect(routeSinceStart({ ...ROUTE, requests: 0 }).p99).toBeNull();
  expect(routeSinceStart(ROUTE)).toMatchObject({ requests: 7, serverErrors: 2, p99: 0.02 });
});

const certificate = (changes: Partial<Certificate>): Certificate => ({
  name: "a",
  names: ["a"],
  addresses: [],
  kind: "acme",
  subject: "",
  issuer: "",
  fingerprint: "",
  not_before: "2026-01-01T00:00:00Z",
  not_after: "2026-04-01T00:00:00Z",
  expires_in_seconds: 40 * 86_400,
  provisional: false,
  next_renewal: null,
  failures: 0,
  last_error: null,
  warnings: [],
  ...changes,
});

test.each([
  ["has time", {}, "good", "40 days left"],
  ["renews itself and has not", { expires_in_seconds: 5 * 86_400 }, "warn", "5 days left"],
  ["renews itself and fails to", { expires_in_seconds: 20 * 86_400, failures: 3 }, "warn", "20 days left"],
  ["comes from files and ends soon", { kind: "files", expires_in_seconds: 90_000 }, "bad", "1 day left"],
  [
    "lives for a week only",
    { kind: "local", not_after: "2026-01-08T00:00:00Z", expires_in_seconds: 3 * 86_400 },
    "good",
    "3 days left",
  ],
  ["has ended", { expires_in_seconds: -1 }, "bad", "expired"],
  ["stands in for another", { provisional: true }, "warn", "stands in"],
] as const)("a certificate that %s", (_, changes, tone, text) => {
  expect(urgency(certificate(changes))).toEqual({ tone, text });
});
