import { describe, expect, test } from "vitest";
import { Problem, type ServerFault } from "../../api/client";
import {
  addressOf,
  bodyOf,
  calledOf,
  changed,
  differences,
  draftOf,
  enrolledAnew,
  faultAt,
  faultsElsewhere,
  idOf,
  inOrder,
  isStale,
  keptOf,
  kindOf,
  listed,
  moved,
  type Ranked,
  saidOf,
} from "./documents";

const POLICY = {
  name: "calls",
  priority: 50,
  ports: ["5060", "10000-20000"],
  class: "voice",
  strategy: "ordered",
  uplinks: ["fibre", "lte"],
  later: { setting: 1 },
};

describe("a document as a form", () => {
  test("says what it said before where nobody changes anything, what the form does not know as well", () => {
    expect(bodyOf("policies", draftOf("policies", POLICY), POLICY)).toEqual(POLICY);
    const uplink = { site: "north", name: "lte", public_key: "key", cost: 20, metered: true };
    expect(bodyOf("uplinks", draftOf("uplinks", uplink), uplink)).toEqual(uplink);
    const lossy = { name: "gold", latency: "20ms", loss: 0.01 };
    expect(bodyOf("classes", draftOf("classes", lossy), lossy)).toEqual(lossy);
    expect(keptOf("policies", POLICY)).toEqual([["later", { setting: 1 }]]);
  });

  test("says nothing of what is left empty, nor of what its strategy does not look at", () => {
    const draft = { ...draftOf("policies", POLICY), strategy: "best", ports: " ", priority: "" };
    expect(bodyOf("policies", draft)).toEqual({ name: "calls", class: "voice" });
    const mends = { ...draft, strategy: "fec", data: "10", parity: "2" };
    expect(bodyOf("policies", mends)).toMatchObject({ strategy: "fec", data: 10, parity: 2 });
    expect(bodyOf("sites", { name: "x", subnets: "", hub: false })).toEqual({ name: "x" });
  });

  test("has lists as they are typed, and leaves what is no number to the server", () => {
    expect(listed("10.1.0.0/16,  10.2.0.0/16\n2001:db8::/48")).toEqual([
      "10.1.0.0/16",
      "10.2.0.0/16",
      "2001:db8::/48",
    ]);
    expect(bodyOf("policies", { ...draftOf("policies", {}), name: "a", priority: "soon" })).toEqual({
      name: "a",
      priority: "soon",
    });
  });

  test("is known by its name, an uplink by its site's as well", () => {
    expect(idOf("uplinks", { site: "north", name: "lte" })).toBe("north/lte");
    expect(addressOf("uplinks", "north/lte")).toBe("/controller/uplinks/north/lte");
    expect(addressOf("classes", idOf("classes", { name: "a b" }))).toBe("/controller/classes/a%20b");
  });
});

describe("the settings of all sites as a form", () => {
  const SETTINGS = {
    default_class: "gold",
    health: { misses: 5, interval: "10s", later: true },
    qos: { class: { voice: { share: 0.25, dscp: ["EF"], marks: ["0x10"] }, "a.b": { ceiling: 0.5 } } },
  };
  const classes = ["gold", "a.b"];

  test("say what they said before, tables and what the form does not know as well", () => {
    const draft = draftOf("settings", SETTINGS, classes);
    expect(draft["health.interval"]).toBe("10s");
    expect(bodyOf("settings", draft, SETTINGS, classes)).toEqual(SETTINGS);
    expect(keptOf("settings", SETTINGS, classes)).toEqual([
      ["health.later", true],
      ["qos.class.voice.marks", ["0x10"]],
    ]);
  });

  test("have tables only where something is in them", () => {
    const draft = { ...draftOf("settings", {}), "health.misses": "7" };
    expect(bodyOf("settings", draft)).toEqual({ health: { misses: 7 } });
    const cleared = { ...draftOf("settings", SETTINGS, classes), "qos.class.a.b.ceiling": "" };
    const { qos } = bodyOf("settings", cleared, SETTINGS, classes);
    expect(qos).toEqual({ class: { voice: SETTINGS.qos.class.voice } });
  });

  test("are one document, and what each says has its name", () => {
    expect(addressOf("settings", idOf("settings", {}))).toBe("/controller/settings/network");
    expect(calledOf("settings", "network")).toBe("the settings of all sites");
    expect(calledOf("policies", "calls")).toBe("policy calls");
    expect(["settings", "policy", "later"].map(kindOf)).toEqual(["settings", "policies", undefined]);
    expect(saidOf("settings", SETTINGS, classes).map(({ key, label }) => [key, label !== ""])).toEqual([
      ["default_class", true],
      ["health.misses", true],
      ["health.interval", true],
      ["qos.class.voice.share", true],
      ["qos.class.voice.dscp", true],
      ["qos.class.a.b.ceiling", true],
      ["health.later", false],
      ["qos.class.voice.marks", false],
    ]);
  });

  test("are told what is wrong at the field that it is in, and the rest by its key", () => {
    const fault = (key: string): ServerFault => ({
      kind: "settings",
      id: "network",
      key,
      found: "found the number 99",
      expected: "a value from 2 to 20",
      help: null,
    });
    const problem = new Problem(422, "The configuration is refused", "", "body.health.misses", [
      fault("health.misses"),
      fault("qos.class"),
    ]);
    expect(faultAt(problem, "settings", "network", "health.misses")).toContain(
      "expected a value from 2 to 20",
    );
    expect(faultAt(problem, "settings", "network", "health.mtu_tries")).toBe(null);
    expect(faultsElsewhere(problem, "settings", "network")).toEqual([
      "qos.class: Found the number 99: expected a value from 2 to 20",
    ]);
  });

  test("are compared value by value", () => {
    expect(differences(SETTINGS, { ...SETTINGS, health: { misses: 6, later: true } })).toEqual([
      { key: "health.misses", label: "health.misses", before: "5", after: "6" },
      { key: "health.interval", label: "health.interval", before: '"10s"', after: "–" },
    ]);
  });
});

test("a site that was said to have no network keeps saying so", () => {
  const site = { name: "north", subnets: [] };
  expect(bodyOf("sites", draftOf("sites", site), site)).toEqual(site);
  expect(bodyOf("sites", { ...draftOf("sites", site), subnets: "10.1.0.0/16" }, site)).toEqual({
    name: "north",
    subnets: ["10.1.0.0/16"],
  });
});

test("a site that comes back by what is taken back is enrolled anew, and nothing else is", () => {
  const change = (kind: string, before: object | null, after: object | null) => ({
    kind,
    id: kind,
    before: before as Record<string, unknown> | null,
    after: after as Record<string, unknown> | null,
  });
  expect(
    enrolledAnew([
      change("site", null, { name: "north" }),
      change("uplink", null, { name: "lte" }),
      change("policy", { name: "a" }, null),
    ]),
  ).toEqual(["site"]);
  expect(enrolledAnew([change("site", { name: "north" }, null)])).toEqual([]);
});

describe("what is wrong", () => {
  const fault = (changes: Partial<ServerFault>): ServerFault => ({
    kind: "policy",
    id: "calls",
    key: "",
    found: '"0" is no port',
    expected: null,
    help: null,
    ...changes,
  });
  const refused = (...faults: ServerFault[]) =>
    new Problem(422, "The configuration is refused", "policy calls", "body.ports[0]", faults);

  test("is told at its field, in all of a list, and at no other", () => {
    const problem = refused(
      fault({ key: "ports[0]", expected: "1 to 65535", help: "write 1" }),
      fault({ key: "ports[2]", found: "another" }),
    );
    expect(faultAt(problem, "policies", "calls", "ports")).toBe(
      '"0" is no port: expected 1 to 65535. Write 1. Another',
    );
    expect(faultAt(problem, "policies", "calls", "source_ports")).toBe(null);
    expect(faultAt(problem, "policies", "other", "ports")).toBe(null);
    expect(faultAt(null, "policies", "calls", "ports")).toBe(null);
    expect(faultsElsewhere(problem, "policies", "calls")).toEqual([]);
  });

  test("with another document, or with the whole, is told by its name", () => {
    const problem = refused(
      fault({ kind: "policy", id: "mail", key: "class", found: 'no class is called "gold"' }),
      fault({ key: "", found: "no flow comes to it" }),
      fault({ kind: null, id: null, key: "policy", found: "257 policies", expected: "at most 256" }),
    );
    expect(faultsElsewhere(problem, "policies", "calls")).toEqual([
      'policy mail, class: No class is called "gold"',
      "No flow comes to it",
      "policy: 257 policies: expected at most 256",
    ]);
  });

  test("with a field alone, by the field that the server blames", () => {
    const problem = new Problem(400, "The request is not valid", "it needs a name", "body.name");
    expect(faultAt(problem, "sites", "", "name")).toBe("it needs a name");
    const taken = new Problem(409, "In conflict", "there is a site already: {…}", "body.name");
    expect(faultAt(taken, "sites", "north", "name")).toBe("There is one that is called north already");
    expect(isStale(taken)).toBe(false);
    expect(isStale(new Problem(409, "In conflict", "bob has changed it", "version"))).toBe(true);
    expect(isStale(new Problem(412, "It is not as taken for granted", "bob has changed it", "version"))).toBe(
      true,
    );
  });
});

test("what somebody else has changed is told field by field", () => {
  expect(differences({ name: "a", priority: 1, class: "voice" }, { name: "a", priority: 2 })).toEqual([
    { key: "priority", label: "priority", before: "1", after: "2" },
    { key: "class", label: "class", before: '"voice"', after: "–" },
  ]);
  const detail = JSON.stringify({ before: null, after: { name: "a" } });
  expect(changed(detail)).toEqual([{ key: "name", label: "name", before: "–", after: '"a"' }]);
  expect(changed("")).toEqual([]);
  expect(changed("no JSON")).toEqual([]);
});

describe("a policy that is moved", () => {
  const policies = (...priorities: number[]): Ranked[] =>
    priorities.map((priority, place) => ({ id: "abcdefgh".charAt(place), priority }));
  const after = (list: Ranked[], changes: Ranked[]) =>
    inOrder(list.map((one) => changes.find(({ id }) => id === one.id) ?? one)).map(({ id }) => id);

  test("takes a priority between its neighbours, and no other changes", () => {
    const list = policies(10, 20, 30);
    expect(moved(list, 2, 1)).toEqual([{ id: "c", priority: 15 }]);
    expect(moved(list, 0, 2)).toEqual([{ id: "a", priority: 40 }]);
    expect(moved(list, 2, 0)).toEqual([{ id: "c", priority: 5 }]);
    expect(moved(list, 1, 1)).toEqual([]);
  });

  test("comes to where it is to be, however close the others are", () => {
    for (const list of [
      policies(100, 100, 100, 100),
      policies(0, 0, 1, 2),
      policies(1, 2, 3, 4),
      policies(2 ** 32 - 2, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1),
      policies(5, 5, 20, 20),
    ])
      for (let from = 0; from < list.length; from++)
        for (let to = 0; to < list.length; to++) {
          const wanted = inOrder(list).map(({ id }) => id);
          const [one = ""] = wanted.splice(from, 1);
          wanted.splice(to, 0, one);
          const changes = moved(list, from, to);
          expect(after(list, changes)).toEqual(wanted);
          for (const { priority } of changes) expect(priority >= 0 && priority < 2 ** 32).toBe(true);
        }
  });

  test("has those that make way do so from the last on, so that none passes another meanwhile", () => {
    expect(moved(policies(1, 2, 3), 2, 0)).toEqual([{ id: "c", priority: 0 }]);
    expect(moved(policies(0, 1, 40), 2, 0)).toEqual([
      { id: "b", priority: 30 },
      { id: "a", priority: 20 },
      { id: "c", priority: 10 },
    ]);
  });
});
