import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Enrolment, NetworkDocument } from "../src/api/controller-types";
import type { Path, Site, Tunnel, Uplink } from "../src/api/sdwan-types";
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

  test("reads what has happened, of a site that is chosen", async () => {
    await go(page, "/sdwan/events?site=north");
    const events = region(page, "Events");
    await events.getByRole("combobox", { name: "Site" }).waitFor();
    expect(await events.getByRole("combobox", { name: "Site" }).inputValue()).toBe("north");
    // Where nobody has answered yet, nothing has happened: both are said.
    await events
      .getByText(/No event is like that|Nothing has happened yet/)
      .or(events.getByRole("cell", { name: "north" }))
      .first()
      .waitFor();
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
    for (const { id } of await all("policies")) await ask("DELETE", `/controller/policies/${id}`);
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

  test("lets a site in by a token that is shown once, and withdraws it", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/sdwan/controller?show=tokens");
    const tokens = region(page, "Tokens");
    await tokens.getByRole("button", { name: "Make a token" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Site").fill("east");
    await dialog.getByRole("button", { name: "Make a token" }).click();
    await dialog.getByText(/^outwork sdwan enrol ./).waitFor();
    await dialog.getByRole("button", { name: "Done" }).click();
    const row = tokens.getByRole("row").filter({ hasText: "east" }).filter({ hasText: "good" });
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
    await page.route("**/api/v1/sdwan/paths", (route) => route.fulfill({ json: { items: paths } }));
    await page.route("**/api/v1/sdwan/sites", (route) => route.fulfill({ json: { items: sites } }));
    await signIn(page);
    await go(page, "/sdwan/paths");
    const table = region(page, "Paths");
    await table.getByText("1,000 paths", { exact: true }).waitFor();
    expect(await table.getByRole("row").count()).toBe(51);
    await table.getByRole("searchbox", { name: "Search paths" }).fill("site-249");
    await table.getByText("2 of 1,000 paths").waitFor();
    expect(await table.getByRole("row").count()).toBe(3);
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
  const views = ["tokens", "classes", "applications", "history"].map((view) => `controller?show=${view}`);
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
