import type { Browser, Page, Route } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Enrolment, NetworkDocument, Presence } from "../src/api/controller-types";
import type { Path, PathEvent, Site, Tunnel, Uplink } from "../src/api/sdwan-types";
import { ask, go, lab, launch, signIn, visit } from "./browser";

// The lab: a site of two uplinks at the loopback interface, which is a controller as well, of a network without sites. Another site is where nobody listens; a peer
// is nowhere yet.
const PATIENCE = 45_000;

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

const region = (page: Page, name: string) => page.getByRole("region", { name, exact: true });

describe("who looks at what joins sites", () => {
  let page: Page;
  let complaints: string[];
  let paths: Path[];

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    paths = (await ask<{ items: Path[] }>("GET", "/sdwan/paths")).items;
    await signIn(page);
  });

  afterAll(() => {
    expect(complaints).toEqual([]);
  });

  test("finds the site on the map and in the list, with each of its paths", {
    timeout: 2 * PATIENCE,
  }, async () => {
    expect(paths.length).toBeGreaterThan(0);
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "SD-WAN" }).click();
    const map = region(page, "Map of sites");
    await map.getByText("this site").waitFor();
    await map.getByRole("link", { name: /^north: cut off/ }).waitFor();
    expect(await map.getByRole("link", { name: /^north, / }).count()).toBe(paths.length);
    const row = region(page, "Sites").getByRole("row").filter({ hasText: "10.103.0.0/16" });
    await row.getByText("cut off").waitFor();
    expect(await row.getByRole("link", { name: /(down|new)$/ }).count()).toBe(paths.length);
    expect(await page.getByRole("status", { name: "State of sites" }).textContent()).toContain("1 cut off");
  });

  test("chooses a site on the map by the keyboard, and finds its paths listed below", async () => {
    const map = region(page, "Map of sites");
    await map.getByRole("link", { name: /^north: cut off/ }).focus();
    const panel = map.getByRole("region", { name: "Paths of the site" });
    await panel.getByRole("heading", { name: /^north/ }).waitFor();
    await page.keyboard.press("Enter");
    await page.waitForURL(/site=north/);
    expect(await panel.getByRole("listitem").count()).toBe(paths.length);
    await panel.getByRole("link", { name: "All of it under Paths" }).waitFor();
    await page.goBack();
  });

  test("opens a path from the map by the keyboard, and reads why it does not carry", {
    timeout: 2 * PATIENCE,
  }, async () => {
    const edge = region(page, "Map of sites").getByRole("link", { name: /^north, / });
    await edge.first().focus();
    await page.keyboard.press("Enter");
    const drawer = page.getByRole("dialog");
    await drawer.getByText("The other end does not answer.").waitFor();
    await drawer.getByText("127.0.0.1:9", { exact: true }).waitFor();
    await drawer.getByRole("heading", { name: "Latency, one way" }).waitFor();
    await page.keyboard.press("Escape");
    await drawer.waitFor({ state: "detached" });
  });

  test("filters and sorts paths, and gets back to all of them", async () => {
    await go(page, "/sdwan/paths");
    const table = region(page, "Paths");
    await table.getByRole("row").nth(paths.length).waitFor();
    await table.getByRole("button", { name: "Path", exact: true }).click();
    expect(await table.getByRole("columnheader", { name: "Path" }).getAttribute("aria-sort")).toBe(
      "ascending",
    );
    await table.getByRole("button", { name: "Taken", exact: true }).click();
    await table.getByText("No path is like that").waitFor();
    await table.getByRole("button", { name: "Clear search and filters" }).click();
    await table.getByRole("row").nth(paths.length).waitFor();
  });

  test("is told that nothing has happened where nobody has answered yet", async () => {
    const { items } = await ask<{ items: PathEvent[] }>(
      "GET",
      "/sdwan/events?site=north&kind=path&limit=100",
    );
    expect(items).toEqual([]);
    await go(page, "/sdwan/events");
    const events = region(page, "Events");
    await events.getByText("Nothing has happened yet").waitFor();
    await events.getByRole("combobox", { name: "Site" }).selectOption("north");
    await page.waitForURL(/site=north/);
    await events.getByText("No event is like that").waitFor();
    await events.getByRole("button", { name: "Show all" }).click();
    await events.getByText("Nothing has happened yet").waitFor();
  });

  test("sees whom others know this site by, and who is joined to it", async () => {
    await go(page, "/sdwan/tunnels");
    const { items: uplinks } = await ask<{ items: Uplink[] }>("GET", "/sdwan/uplinks");
    expect(uplinks.map(({ name }) => name)).toEqual(["fibre", "lte"]);
    for (const uplink of uplinks) {
      const row = region(page, "Uplinks").getByRole("row").filter({ hasText: uplink.name });
      await row.getByText(uplink.public_key, { exact: true }).waitFor();
      await row.getByRole("button", { name: "Copy key" }).waitFor();
    }
    const { items: tunnels } = await ask<{ items: Tunnel[] }>("GET", "/sdwan/tunnels");
    const peer = region(page, "Peers").getByRole("row").filter({ hasText: "phone" });
    await peer.getByText("no keys").waitFor();
    await peer.getByText("not known yet").waitFor();
    await peer.getByText(tunnels[0]?.public_key ?? "none", { exact: true }).waitFor();
  });

  test("reads how uplinks are shaped where none is", async () => {
    await go(page, "/sdwan/shaping");
    const shaping = region(page, "Shaping");
    await shaping.getByText("No uplink is shaped").waitFor();
    await shaping.getByText("[sdwan.qos]").waitFor();
  });
});

describe("who says what the network is to be", () => {
  let page: Page;
  let complaints: string[];

  const all = async (kind: string) =>
    (await ask<{ items: NetworkDocument[] }>("GET", `/controller/${kind}`)).items;

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    // What a run before has left.
    for (const kind of ["policies", "settings"])
      for (const { id } of await all(kind)) await ask("DELETE", `/controller/${kind}/${id}`);
    await signIn(page);
  });

  afterAll(() => {
    expect(complaints).toEqual([]);
  });

  const policies = () => region(page, "Policies");
  const order = async () =>
    (await policies().getByRole("row").allTextContents()).slice(1).map((row) => /late|calls/.exec(row)?.[0]);

  test("makes policies, and is told at the field what is wrong", { timeout: 2 * PATIENCE }, async () => {
    await go(page, "/sdwan/policies");
    await policies().getByText("No policy yet").waitFor();
    await policies().getByRole("button", { name: "Add policy" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("calls");
    await dialog.getByLabel("To ports").fill("5060, 0");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await dialog.getByRole("alert").filter({ hasText: "0" }).waitFor();
    expect(await dialog.getByLabel("To ports").getAttribute("aria-invalid")).toBe("true");
    await dialog.getByLabel("To ports").fill("5060, 10000-20000");
    await dialog.getByLabel("Class", { exact: true }).selectOption("voice");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    await policies().getByRole("row").filter({ hasText: "5060, 10000-20000" }).getByText("voice").waitFor();
    const [calls] = await all("policies");
    expect(calls?.body).toMatchObject({ name: "calls", ports: ["5060", "10000-20000"], class: "voice" });
  });

  test("has them asked in another order", { timeout: 2 * PATIENCE }, async () => {
    await ask("POST", "/controller/policies", { body: { name: "late", priority: 900, dscp: ["AF41"] } });
    await page.reload();
    await policies().getByRole("row").nth(2).waitFor();
    expect(await order()).toEqual(["calls", "late"]);
    await policies().getByRole("button", { name: "Ask late earlier" }).click();
    await expect.poll(order, { timeout: PATIENCE }).toEqual(["late", "calls"]);
    const ranks = (await all("policies")).map(({ id, body }) => [id, Number(body.priority)] as const);
    const of = (wanted: string) => ranks.find(([id]) => id === wanted)?.[1] ?? Number.NaN;
    expect(of("late")).toBeLessThan(of("calls"));
  });

  test("sees what somebody else has said meanwhile, and loads it", { timeout: 2 * PATIENCE }, async () => {
    await policies().getByRole("button", { name: "calls", exact: true }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Marked from then on").fill("EF");
    const theirs = (await all("policies")).find(({ id }) => id === "calls");
    await ask("PUT", "/controller/policies/calls", {
      body: { ...theirs?.body, class: "video" },
      version: theirs?.version,
    });
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByText(/has changed it meanwhile/).waitFor();
    await dialog.getByRole("row").filter({ hasText: "class" }).getByText('"video"').waitFor();
    await dialog.getByRole("button", { name: "Load theirs" }).click();
    expect(await dialog.getByLabel("Class", { exact: true }).inputValue()).toBe("video");
    expect(await dialog.getByLabel("Marked from then on").inputValue()).toBe("");
    await dialog.getByLabel("Marked from then on").fill("EF");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
    const mended = (await all("policies")).find(({ id }) => id === "calls");
    expect(mended?.body).toMatchObject({ class: "video", mark: "EF" });
  });

  test("removes one, once that is confirmed, and finds all of it in the history", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await policies().getByRole("button", { name: "More for late" }).click();
    await page.getByRole("menuitem", { name: "Remove…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Remove", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    await expect.poll(order, { timeout: PATIENCE }).toEqual(["calls"]);
    await go(page, "/sdwan/controller?show=history");
    const history = region(page, "History");
    await history
      .getByRole("row")
      .filter({ hasText: "policy.remove" })
      .filter({ hasText: "late" })
      .first()
      .waitFor();
    await history.getByText('"video"').first().waitFor();
  });

  test("tries what is to hold at all sites before it is said, and is told at the field what is wrong", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/controller?show=settings");
    const settings = region(page, "Settings of all sites");
    await settings.getByText("Nothing is said for all sites").waitFor();
    await settings.getByRole("button", { name: "Change settings" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Missed hellos").fill("99");
    await dialog.getByRole("button", { name: "Try it" }).click();
    await dialog.getByRole("alert").filter({ hasText: "from 2 to 20" }).waitFor();
    await dialog.getByLabel("Missed hellos").fill("5");
    await dialog.getByRole("button", { name: "Try it" }).click();
    await region(page, "What would change").getByText("health.misses").waitFor();
    expect(await all("settings")).toEqual([]);
    // What is changed after that is tried again.
    await dialog.getByLabel("Trial").fill("20s");
    await dialog.getByRole("button", { name: "Try it" }).click();
    await region(page, "What would change").getByText("health.trial").waitFor();
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
    await settings.getByRole("row").filter({ hasText: "sdwan.health.misses" }).getByText("5").waitFor();
    const [said] = await all("settings");
    expect(said?.body).toEqual({ health: { misses: 5, trial: "20s" } });
  });

  test("takes that back from the history, once it is seen what that comes to", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/controller?show=history");
    const history = region(page, "History");
    await history.getByRole("button", { name: "Take back settings.add network" }).first().click();
    const dialog = page.getByRole("dialog");
    const would = dialog.getByRole("region", { name: "What would change" });
    await would.getByText("the settings of all sites").waitFor();
    await would.getByText("goes", { exact: true }).waitFor();
    await would.getByText("health.misses").waitFor();
    expect(await all("settings")).toHaveLength(1);
    await dialog.getByRole("button", { name: "Take back" }).click();
    await dialog.waitFor({ state: "detached" });
    expect(await all("settings")).toEqual([]);
    await history.getByRole("row").filter({ hasText: "settings.remove" }).first().waitFor();
    // What was taken back already is not there to be taken back again.
    await history.getByRole("button", { name: "Take back settings.add network" }).first().click();
    await dialog.getByRole("alert").filter({ hasText: "not there any more" }).waitFor();
    expect(await dialog.getByRole("button", { name: "Take back" }).isDisabled()).toBe(true);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
  });

  test("is told why a site stays as it was, and what was sent under each policy", {
    timeout: 2 * PATIENCE,
  }, async () => {
    const { page: other, complaints: theirs } = await visit(browser);
    other.setDefaultTimeout(PATIENCE);
    const json = (body: unknown) => (route: Route) => route.fulfill({ json: body });
    const at = "2026-11-23T10:00:00Z";
    const document = { version: 1, created: at, created_by: "ann", updated: at, updated_by: "ann" };
    const north = { ...document, id: "north", body: { name: "north", subnets: ["10.1.0.0/16"] } };
    const of = (path: string) => new RegExp(`/api/v1/controller/${path}(\\?|$)`);
    await other.route(of("sites"), json({ items: [north], next: null }));
    const presence: Presence = {
      site: "north",
      status: "connected",
      last_seen: at,
      version: 6,
      current: false,
      refused: "sdwan.qos.class.gold: no class is called gold",
      release: "9.9.9",
    };
    await other.route(of("presence"), json({ items: [presence], next: null }));
    await other.route(
      of("traffic"),
      json({
        items: [
          { policy: "calls", packets: 3_000, octets: 3 * 2 ** 20 },
          { policy: null, packets: 10, octets: 2 ** 20 },
        ],
      }),
    );
    await other.route(
      of("policies/calls/traffic"),
      json({
        policy: "calls",
        packets: 3_000,
        octets: 3 * 2 ** 20,
        step_seconds: 300,
        items: [{ at, packets: 3_000, octets: 3 * 2 ** 20 }],
        sites: [{ site: "north", packets: 3_000, octets: 3 * 2 ** 20 }],
      }),
    );
    await signIn(other);
    await go(other, "/sdwan/controller");
    const row = region(other, "Sites of the network").getByRole("row").filter({ hasText: "north" });
    await row.getByText("refuses", { exact: true }).waitFor();
    await row.getByText("no class is called gold").waitFor();
    await row.getByText(/^release 9\.9\.9, this controller \d/).waitFor();
    await go(other, "/sdwan/policies");
    const traffic = region(other, "Traffic by policy");
    const none = traffic.getByRole("row").filter({ hasText: "under no policy" });
    await none.getByText("25.0%").waitFor();
    await traffic.getByRole("button", { name: "calls" }).click();
    const drawer = other.getByRole("dialog");
    await drawer.getByRole("region", { name: "By site" }).getByText("north").waitFor();
    await drawer.getByRole("heading", { name: "Sent", exact: true }).waitFor();
    expect(theirs).toEqual([]);
    await other.context().close();
  });

  test("lets a site in by a token that is shown once, and withdraws it", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/controller?show=tokens");
    const tokens = region(page, "Tokens");
    await tokens.getByRole("button", { name: "Make a token" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Site").fill("east");
    await dialog.getByLabel("Networks it may come with").fill("10.7.0.0/16, everywhere");
    await dialog.getByRole("button", { name: "Make a token" }).click();
    await dialog.getByRole("alert").filter({ hasText: "everywhere" }).waitFor();
    await dialog.getByLabel("Networks it may come with").fill("10.7.0.0/16, 10.8.0.0/16");
    await dialog.getByRole("button", { name: "Make a token" }).click();
    await dialog.getByText(/^outwork sdwan enrol ./).waitFor();
    await dialog.getByRole("button", { name: "Done" }).click();
    const row = tokens.getByRole("row").filter({ hasText: "east" }).filter({ hasText: "good" });
    await row.getByText("10.7.0.0/16, 10.8.0.0/16").first().waitFor();
    await row.getByRole("button", { name: "Withdraw the token for east" }).first().click();
    await dialog.getByRole("button", { name: "Withdraw", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    const { items } = await ask<{ items: Enrolment[] }>("GET", "/controller/enrolments");
    expect(items.filter(({ site, used }) => site === "east" && used === null)).toEqual([]);
  });

  test("asks where a flow would go, and is told why", async () => {
    await go(page, "/sdwan/policies");
    const form = region(page, "Where would it go");
    await form.getByLabel("From address").fill("10.102.0.5");
    await form.getByLabel("To address").fill("10.103.0.9");
    await form.getByLabel("Protocol").fill("carrier-pigeon");
    await form.getByRole("button", { name: "Ask", exact: true }).click();
    await form.getByRole("alert").first().waitFor();
    await form.getByLabel("Protocol").fill("udp");
    await form.getByRole("button", { name: "Ask", exact: true }).click();
    const answer = form.getByRole("status", { name: "Where it would go" });
    await answer.getByText("north", { exact: true }).waitFor();
    expect(await answer.getByRole("list", { name: "Why" }).getByRole("listitem").count()).toBeGreaterThan(0);
  });
});

describe("a network whose paths are up, in doubt and down", () => {
  let page: Page;
  let complaints: string[];
  /** One way, of the path that the drawer is of: what the next poll says. */
  let latency = 12.3;

  const path = (id: number, site: string, changes: Partial<Path> = {}): Path => ({
    id,
    site,
    uplink: id % 2 === 0 ? "fibre" : "lte",
    remote_uplink: "dsl",
    via: null,
    mtu: 1420,
    state: "up",
    chosen: false,
    keys: true,
    endpoint: `198.18.1.${id}:51821`,
    latency_ms: 20,
    jitter_ms: 1,
    loss: 0,
    mos: 4.3,
    sent: 1,
    received: 1,
    ...changes,
  });
  const paths = (): Path[] => [
    path(0, "north", { chosen: true, latency_ms: latency }),
    path(1, "north", { state: "suspect", loss: 0.02 }),
    path(2, "south", { state: "down", latency_ms: 0 }),
    path(3, "south", { state: "down", latency_ms: 0, keys: false, endpoint: null }),
    path(4, "east", { chosen: true }),
  ];
  const sites: Site[] = ["north", "south", "east"].map((name, i) => ({
    name,
    subnets: [`10.2${i}.0.0/16`],
    uplinks: ["dsl"],
  }));
  const NOW = Date.now();
  const events: PathEvent[] = [
    {
      number: 3,
      at_ms: NOW - 1_000,
      kind: "path",
      site: "south",
      of: "south fibre-dsl",
      from: "suspect",
      to: "down",
      why: "3 hellos in a row were missed",
    },
    {
      number: 2,
      at_ms: NOW - 2_000,
      kind: "switch",
      site: "north",
      of: "north",
      class: "voice",
      strategy: "best",
      from: "north lte-dsl",
      to: "north fibre-dsl",
      why: "north lte-dsl loses 2.0%, and voice bears 1.0%",
    },
  ];
  const KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
  const tunnel = (of: Path, keys: number | null): Tunnel => ({
    peer: of.site,
    path: { id: of.id, remote_uplink: of.remote_uplink, via: of.via },
    uplink: of.uplink,
    carrier: "process",
    public_key: KEY,
    endpoint: of.endpoint,
    networks: [],
    keys_age_seconds: keys,
    mtu: 1420,
    sent_bytes: 4_096,
    received_bytes: 8_192,
    refused: 0,
    foreign: 0,
  });
  /** The parts of lists that are asked for, as the server gives them. */
  const asked = (url: string) => new URL(url).searchParams;

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    const at = (list: string) => new RegExp(`/api/v1/sdwan/${list}(\\?|$)`);
    await page.route(at("sites"), (route) => route.fulfill({ json: { items: sites, next: null } }));
    await page.route(at("paths"), (route) => {
      const site = asked(route.request().url()).get("site");
      const items = paths().filter((one) => site === null || one.site === site);
      return route.fulfill({ json: { items, next: null } });
    });
    await page.route(at("events"), (route) => {
      const [site, kind] = ["site", "kind"].map((name) => asked(route.request().url()).get(name));
      const items = events.filter((one) => (!site || one.site === site) && (!kind || one.kind === kind));
      return route.fulfill({ json: { items, next: null } });
    });
    await page.route(at("tunnels"), (route) => {
      const ofSites = asked(route.request().url()).get("to") === "sites";
      const items = ofSites ? paths().map((one) => tunnel(one, one.keys ? 42 : null)) : [];
      return route.fulfill({ json: { items, next: null } });
    });
    await signIn(page);
  });

  afterAll(() => {
    expect(complaints).toEqual([]);
  });

  test("has a word and a shape for how each site and each path is", { timeout: 2 * PATIENCE }, async () => {
    await go(page, "/sdwan");
    const map = region(page, "Map of sites");
    const shapeOf = async (name: RegExp) =>
      (await map.getByRole("link", { name }).locator("path.shape").getAttribute("class"))?.split(" ")[1];
    await map.getByRole("link", { name: /^north: impaired/ }).waitFor();
    for (const [name, tone] of [
      [/^east: joined, 1 path up/, "good"],
      [/^north: impaired, 2 paths up, 1 of them troubled/, "warn"],
      [/^south: cut off, None of 2 paths carries/, "bad"],
      [/^north, fibre → dsl: up, taken, 12\.3 ms, no loss$/, "good"],
      [/^north, lte → dsl: suspect, 20\.0 ms, 2\.0% lost$/, "warn"],
      [/^south, fibre → dsl: down$/, "bad"],
    ] as const)
      expect(await shapeOf(name), String(name)).toBe(tone);
    // No two states share a shape: colours need not be told apart.
    const drawn = await map
      .getByRole("link", { name: /^(east|north|south): / })
      .locator("path.shape")
      .evaluateAll((shapes) => shapes.map((one) => one.getAttribute("d")?.replace(/[\d.\s-]/g, "")));
    expect(new Set(drawn).size).toBe(3);
    const row = region(page, "Sites").getByRole("row").filter({ hasText: "north" });
    await row.getByText("impaired", { exact: true }).waitFor();
    expect(await page.getByRole("status", { name: "State of sites" }).textContent()).toBe(
      "1 joined, 1 impaired, 1 cut off",
    );
  });

  test("has the figures of now in the drawer of a path, and after the next poll those of then", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await region(page, "Map of sites")
      .getByRole("link", { name: /^north, fibre → dsl/ })
      .focus();
    await page.keyboard.press("Enter");
    const drawer = page.getByRole("dialog");
    const figure = (name: string) => drawer.locator(`dt:text-is("${name}") + dd`);
    await figure("Latency, one way").getByText("12.3 ms").waitFor();
    latency = 41.5;
    await figure("Latency, one way").getByText("41.5 ms").waitFor();
    await page.keyboard.press("Escape");
    await drawer.waitFor({ state: "detached" });
    const row = region(page, "Paths").getByRole("row").filter({ hasText: "north fibre" });
    await row.getByText("41.5 ms").waitFor();
    await row.getByText("taken", { exact: true }).waitFor();
  });

  test("says of each event why it has happened, of a site or a kind alone where that is chosen", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/events");
    const list = region(page, "Events");
    const change = list.getByRole("row").filter({ hasText: "switch" });
    await change.getByText("New flows of class voice take fibre-dsl instead of lte-dsl").waitFor();
    await change.getByText("north lte-dsl loses 2.0%, and voice bears 1.0%").waitFor();
    const down = list.getByRole("row").filter({ hasText: "south" });
    await down.getByText("down", { exact: true }).waitFor();
    await down.getByText("3 hellos in a row were missed").waitFor();
    await list.getByRole("combobox", { name: "Site" }).selectOption("south");
    await change.waitFor({ state: "detached" });
    await down.waitFor();
    await list.getByRole("button", { name: "Switches" }).click();
    await list.getByText("No event is like that").waitFor();
    await list.getByRole("button", { name: "Show all" }).click();
    await change.waitFor();
  });

  test("has the tunnel of each path in a table, with endpoints that are not broken", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/tunnels");
    const table = region(page, "Tunnels to sites");
    await table.getByText("4 of 5 tunnels with keys").waitFor();
    const row = table.getByRole("row").filter({ hasText: "north/dsl" }).filter({ hasText: "by fibre" });
    await row.getByText("42 s old").waitFor();
    const endpoint = row.getByText("198.18.1.0:51821", { exact: true });
    const lines = (range: Element) => {
      const text = document.createRange();
      text.selectNodeContents(range);
      return text.getClientRects().length;
    };
    expect(await endpoint.evaluate(lines)).toBe(1);
    // Cut off where it is seen, and whole for who points at it or copies it.
    expect(await row.getByTitle(KEY).textContent()).toBe(KEY);
    await row.getByRole("button", { name: "Copy" }).waitFor();
    const dialled = table.getByRole("row").filter({ hasText: "south/dsl" }).filter({ hasText: "by lte" });
    await dialled.getByText("no keys").waitFor();
    await dialled.getByText("not known yet").waitFor();
    // Nobody but sites: that is a line below them, and how a peer is joined is told who asks.
    const peers = region(page, "Peers");
    expect((await peers.boundingBox())?.y).toBeGreaterThan((await table.boundingBox())?.y ?? 0);
    expect(await peers.getByText("[[sdwan.peer]]").isVisible()).toBe(false);
    await peers.getByText("No peer beside sites").click();
    await peers.getByText("[[sdwan.peer]]").waitFor();
  });
});

describe("a network of five hundred sites and a thousand paths", () => {
  const [SITES, PATHS] = [500, 2];
  const sites: Site[] = Array.from({ length: SITES }, (_, i) => ({
    name: `site-${String(i).padStart(3, "0")}`,
    subnets: [`10.${i % 250}.0.0/16`],
    uplinks: ["a", "b"],
  }));
  const paths: Path[] = sites.flatMap(({ name: site }, i) =>
    Array.from(
      { length: PATHS },
      (_, n): Path => ({
        id: i * PATHS + n,
        site,
        uplink: n < 2 ? "fibre" : "lte",
        remote_uplink: n % 2 === 0 ? "a" : "b",
        via: null,
        mtu: 1420,
        state: (i + n) % 9 === 0 ? "down" : "up",
        chosen: n === 0,
        keys: true,
        endpoint: `192.0.2.${i % 250}:51820`,
        latency_ms: 10 + n,
        jitter_ms: 1,
        loss: 0,
        mos: 4.3,
        sent: 1,
        received: 1,
      }),
    ),
  );

  test("draws no more rows than are read, whatever there is, and finds one of them", {
    timeout: 2 * PATIENCE,
  }, async () => {
    const { page, complaints } = await visit(browser);
    const polled: string[] = [];
    await page.route(/\/api\/v1\/sdwan\/paths(\?|$)/, (route) => {
      const site = new URL(route.request().url()).searchParams.get("site");
      if (site !== null) polled.push(site);
      const items = paths.filter((path) => site === null || path.site === site);
      return route.fulfill({ json: { items, next: null } });
    });
    await page.route("**/api/v1/sdwan/sites", (route) => route.fulfill({ json: { items: sites } }));
    await signIn(page);
    await go(page, "/sdwan/paths");
    const table = region(page, "Paths");
    await table.getByText("1,000 paths", { exact: true }).waitFor();
    expect(await table.getByRole("row").count()).toBe(51);
    await table.getByRole("searchbox", { name: "Search paths" }).fill("site-249");
    await table.getByText("2 of 1,000 paths").waitFor();
    expect(await table.getByRole("row").count()).toBe(3);
    // Of so many, the one that is looked at is asked for with those to its site alone.
    await table.getByRole("button", { name: /^site-249 fibre → a/ }).click();
    await page.getByRole("dialog").getByText("Their uplink").waitFor();
    await expect.poll(() => polled, { timeout: PATIENCE }).toContain("site-249");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await go(page, "/sdwan");
    // More than a picture holds: a shape for each, in rows by how they are.
    await region(page, "Map of sites").getByRole("link", { name: "site-249: " }).waitFor();
    const shapes = region(page, "Map of sites").getByRole("link", { name: /^site-\d+: / });
    expect(await shapes.count()).toBe(SITES);
    expect(await region(page, "Sites").getByRole("row").count()).toBe(51);
    expect(complaints).toEqual([]);
  });
});

test("on a phone the map has a shape for each site, and nothing is wider than the screen", async () => {
  const { page, complaints } = await visit(browser, { viewport: { width: 390, height: 844 } });
  await signIn(page);
  const pages = ["", "paths", "policies", "events", "tunnels", "shaping", "network", "controller"];
  const views = ["tokens", "classes", "applications", "settings", "history"].map(
    (view) => `controller?show=${view}`,
  );
  for (const path of [...pages, ...views].map((page) => `/sdwan/${page}`)) {
    await go(page, path);
    await page.getByRole("navigation", { name: "SD-WAN" }).waitFor();
    await page.waitForFunction(() => !document.querySelector(".skeleton"));
    const wider = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(await wider()).toBeLessThanOrEqual(0);
  }
  await go(page, "/sdwan");
  await region(page, "Sites").getByText("north").waitFor();
  await region(page, "Map of sites")
    .getByRole("link", { name: /^north: cut off/ })
    .click();
  await page.getByRole("region", { name: "Paths of the site" }).getByRole("listitem").first().waitFor();
  expect(complaints).toEqual([]);
});

test("all of it is there with no more than 60 KB of code and styles, charts aside", async () => {
  const { page: first } = await visit(browser);
  await signIn(first);
  const { page } = await visit(browser, { storageState: await first.context().storageState() });
  await page.goto(`${lab.url}/#/sdwan/paths`);
  await region(page, "Paths").getByRole("row").nth(1).waitFor();
  const code = await page.evaluate(() => {
    const entries = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
    const fetched = entries.filter((one) => /\.(js|css)$/.test(new URL(one.name).pathname));
    return fetched.reduce((sum, one) => sum + one.encodedBodySize, 0);
  });
  expect(code).toBeGreaterThan(0);
  expect(code).toBeLessThan(60_000);
});
