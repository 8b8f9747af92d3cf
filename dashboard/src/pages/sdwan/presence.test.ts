import { expect, test } from "vitest";
import type { Enrolment, NetworkDocument, Presence } from "../../api/controller-types";
import {
  enrolled,
  lag,
  latestVersion,
  presenceReading,
  presenceTally,
  releaseNote,
  tokenAsked,
  tokenNetworks,
  tokenReading,
} from "./presence";

const site = (changes: Partial<Presence>): Presence => ({
  site: "north",
  status: "connected",
  last_seen: "2026-11-23T10:00:00Z",
  version: 7,
  current: true,
  refused: null,
  release: "0.1.0",
  ...changes,
});

test.each<[Partial<Presence>, string, string]>([
  [{}, "connected", "network of now"],
  [{ current: false, version: 4 }, "behind", "3 changes behind"],
  [{ current: false, version: null }, "behind", "holds nothing yet"],
  [{ current: false, version: 4, refused: "policy[0]: no class is called x" }, "refuses", "stays as it was"],
  [{ status: "gone", current: false, version: 4, refused: "it did" }, "gone", "as it was told last"],
  [{ status: "gone", current: false, version: 4 }, "gone", "goes on as it was told last"],
  [{ status: "unknown", version: null, current: false, last_seen: null }, "never came", "enrol"],
])("a site that is %o reads %s", (changes, text, detail) => {
  const reading = presenceReading(site(changes), 7);
  expect(reading.text).toBe(text);
  expect(reading.detail).toContain(detail);
});

test("how far a site is behind is told where some site has what is now", () => {
  const behind = site({ current: false, version: 6 });
  expect(latestVersion([behind, site({})])).toBe(7);
  expect(lag(behind, latestVersion([behind, site({})]))).toBe("1 change behind");
  expect(lag(behind, latestVersion([behind]))).toBe("It holds version 6");
  expect(presenceTally([behind, site({}), site({ status: "unknown" })])).toBe(
    "1 connected, 1 behind, 1 never came",
  );
});

test("sites that refuse what they are told are counted by themselves", () => {
  expect(presenceTally([site({}), site({ current: false, refused: "no class is called x" })])).toBe(
    "1 connected, 1 refuses",
  );
});

test("a site of another release than its controller's is told of, and one that has not said it is not", () => {
  expect(releaseNote(site({ release: "0.2.0" }), "0.1.0")).toBe("release 0.2.0, this controller 0.1.0");
  expect(releaseNote(site({}), "0.1.0")).toBe(null);
  expect(releaseNote(site({ release: null }), "0.1.0")).toBe(null);
  expect(releaseNote(site({ release: "0.2.0" }), undefined)).toBe(null);
});

test("a site comes with its uplinks, and with how it is", () => {
  const document = (id: string, body = {}) => ({ id, version: 1, body }) as NetworkDocument;
  const all = enrolled(
    [document("north"), document("south")],
    [document("north/lte", { site: "north", name: "lte" }), document("gone/x", { site: "gone" })],
    [site({})],
  );
  expect(all.map((one) => [one.id, one.uplinks.length, one.presence?.status])).toEqual([
    ["north", 1, "connected"],
    ["south", 0, undefined],
  ]);
});

test("a token is good once, for a while", () => {
  const token: Enrolment = {
    id: 1,
    site: "north",
    created: "2026-11-23T10:00:00Z",
    created_by: "ann",
    expires: "2026-11-23T11:00:00Z",
    used: null,
    subnets: null,
  };
  const at = Date.parse("2026-11-23T10:30:00Z");
  expect(tokenReading(token, at).text).toBe("good");
  expect(tokenReading(token, at + 3_600_000).text).toBe("expired");
  expect(tokenReading({ ...token, used: token.created }, at).text).toBe("used");
});

test("a token names networks only where some are said", () => {
  expect(tokenAsked(" north ", "", 60)).toEqual({ site: "north", expires_in: 60 });
  expect(tokenAsked("north", "10.1.0.0/16, 2001:db8::/48", 60)).toEqual({
    site: "north",
    expires_in: 60,
    subnets: ["10.1.0.0/16", "2001:db8::/48"],
  });
  expect([null, [], ["10.1.0.0/16", "10.2.0.0/16"]].map(tokenNetworks)).toEqual([
    "any",
    "none",
    "10.1.0.0/16, 10.2.0.0/16",
  ]);
});
