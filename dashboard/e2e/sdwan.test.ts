import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Path, Tunnel, Uplink } from "../src/api/sdwan-types";
import { ask, go, lab, launch, signIn, visit } from "./browser";

// The lab: a site of two uplinks at the loopback interface. Another site is where nobody listens; a peer is nowhere yet.
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

test("on a phone the list stands for the map, and nothing is wider than the screen", async () => {
  const { page, complaints } = await visit(browser, { viewport: { width: 390, height: 844 } });
  await signIn(page);
  for (const path of ["/sdwan", "/sdwan/paths", "/sdwan/events", "/sdwan/tunnels", "/sdwan/shaping"]) {
    await go(page, path);
    await page.getByRole("navigation", { name: "SD-WAN" }).waitFor();
    await page.waitForFunction(() => !document.querySelector(".skeleton"));
    const wider = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(await wider()).toBeLessThanOrEqual(0);
  }
  await go(page, "/sdwan");
  await region(page, "Sites").getByText("north").waitFor();
  expect(await region(page, "Map of sites").isVisible()).toBe(false);
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
