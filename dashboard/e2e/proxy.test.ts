import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Pool } from "../src/api/proxy-types";
import { ask, fetched, go, lab, launch, signIn, visit } from "./browser";

// What is measured comes with the next second; a check of the lab's fails within a few.
const PATIENCE = 45_000;

// The lab's pool: two backends that are well, and one where nobody listens.
const [FIRST, SECOND, GONE] = ["http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:9"];

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

const row = (page: Page, backend: string) =>
  page
    .getByRole("region", { name: "Pool lab", exact: true })
    .getByRole("row")
    .filter({ has: page.getByText(backend, { exact: true }) });

/** What the server itself says of a backend. */
async function state(backend: string): Promise<string | undefined> {
  const pools = await ask<Pool[]>("GET", "/proxy/pools");
  return pools.find((pool) => pool.name === "lab")?.backends.find((one) => one.key === backend)?.state;
}

describe("an operator", () => {
  let page: Page;
  let complaints: string[];
  let traffic: ReturnType<typeof setInterval>;

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    traffic = setInterval(() => void fetched(`${lab.web}/pool/`), 250);
    await signIn(page);
  });

  afterAll(() => {
    clearInterval(traffic);
    expect(complaints).toEqual([]);
  });

  test("finds the Proxy in the navigation, and a pool with what it gets", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Proxy" }).click();
    const pool = page.getByRole("region", { name: "Pool lab", exact: true });
    await pool.getByText("in turn, by weight").waitFor();
    await row(page, FIRST)
      .getByText(/[1-9].*\/s$/)
      .first()
      .waitFor();
    await row(page, FIRST)
      .getByRole("img", { name: /Time to answer .* half within [\d.]+ (µs|ms)/ })
      .waitFor();
    await row(page, FIRST)
      .getByText(/weight 3 · zone here/)
      .waitFor();
  });

  test("sees a backend that fails, and what its check found", { timeout: 2 * PATIENCE }, async () => {
    await row(page, GONE).getByText("unhealthy", { exact: true }).waitFor();
    await row(page, GONE)
      .getByText(/refused/)
      .waitFor();
    await page
      .getByRole("region", { name: "Pool lab", exact: true })
      .getByText("2 of 3 usable, 1 unhealthy")
      .waitFor();
    await row(page, FIRST).getByText("healthy", { exact: true }).waitFor();
  });

  test("drains a backend by the keyboard, and lets it in again", { timeout: 3 * PATIENCE }, async () => {
    await row(page, SECOND).getByRole("button", { name: "Drain…" }).focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog", { name: "Drain a backend of lab" });
    await dialog.getByText("It gets no new requests.").waitFor();
    await dialog.getByLabel("Time for what it has").selectOption({ label: "at once" });
    await dialog.getByLabel("Time for what it has").selectOption({ label: "1 h" });
    await page.keyboard.press("Tab");
    await dialog.getByRole("button", { name: "Drain", exact: true }).press("Enter");
    await row(page, SECOND).getByText("draining", { exact: true }).waitFor();
    await row(page, SECOND)
      .getByText(/(1\sh|59\sm\s\d+\ss) left for what it has/)
      .waitFor();
    expect(await state(SECOND)).toBe("draining");
    await row(page, SECOND).getByRole("button", { name: "Admit" }).press("Enter");
    await row(page, SECOND).getByText("healthy", { exact: true }).waitFor();
    expect(await state(SECOND)).toBe("usable");
  });

  test("is told what it leads to that a backend is ejected, and may leave it at that", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await row(page, FIRST).getByRole("button", { name: "Eject…" }).click();
    const dialog = page.getByRole("dialog", { name: "Eject a backend of lab" });
    await dialog.getByText("less than 50% of the pool is healthy").waitFor();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    expect(await state(FIRST)).toBe("usable");
  });

  test("hears of changes: how many backends are usable is said where a screen reader listens", async () => {
    const heard = page.getByRole("status", { name: "State of pools" });
    expect(await heard.textContent()).toContain("lab: 2 of 3 usable, 1 unhealthy");
  });
});

test("a viewer sees backends, and buttons that do nothing", async () => {
  const { token } = await ask<{ token: string }>("POST", "/tokens", { name: "proxy-viewer", role: "viewer" });
  const { page } = await visit(browser);
  await signIn(page, token);
  await go(page, "/proxy");
  await row(page, FIRST).waitFor();
  const buttons = page
    .getByRole("region", { name: "Pool lab" })
    .getByRole("button", { name: /Drain|Eject|Admit/ });
  expect(await buttons.count()).toBeGreaterThan(0);
  for (const button of await buttons.all()) expect(await button.isDisabled()).toBe(true);
  await page.getByText("an operator may drain, eject and admit them").waitFor();
});

describe("who looks at what carries the traffic", () => {
  let page: Page;

  beforeAll(async () => {
    ({ page } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    await signIn(page);
  });

  test("sees what listeners of layer 4 have open and have moved", async () => {
    expect((await fetched(`${lab.layer4}/`)).status).toBe(200);
    await go(page, "/proxy/listeners");
    const listener = page
      .getByRole("region", { name: "Listeners" })
      .getByRole("row")
      .filter({ hasText: "echo" });
    await listener.getByText(/TCP · 127\.0\.0\.1:8083/).waitFor();
    await listener
      .getByText(/[1-9]\d* B|KiB/)
      .first()
      .waitFor();
    await listener.getByRole("link", { name: "direct" }).waitFor();
  });

  test("sees of each rule whether it fits the fast path, and what keeps it from that", async () => {
    await go(page, "/proxy/rules");
    const rule = page.getByRole("region", { name: "Rules" }).getByRole("row").filter({ hasText: "/pool/*" });
    await rule.getByText("ordinary path").waitFor();
    await rule.getByText("HTTP", { exact: false }).first().waitFor();
    await rule.getByRole("link", { name: "lab" }).waitFor();
  });

  test("begins a benchmark, is told of a target that may not be loaded, and sees what came of the other", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/proxy/benchmarks");
    await page.getByRole("button", { name: "Begin…" }).click();
    const dialog = page.getByRole("dialog", { name: "Begin a benchmark" });
    await dialog.getByLabel("Target").fill("10.255.255.1:80");
    await dialog.getByLabel("What to measure").selectOption("connections");
    await dialog.getByLabel("For, each").selectOption("1m");
    await dialog.getByRole("button", { name: "Begin", exact: true }).click();
    await dialog.getByText("is not to be loaded").waitFor();
    // Nobody listens there: what is loaded here is no other test's.
    await dialog.getByLabel("Target").fill("127.0.0.1:9");
    await dialog.getByRole("button", { name: "Begin", exact: true }).click();
    const run = page
      .getByRole("region", { name: "Benchmarks" })
      .getByRole("row")
      .filter({ hasText: "127.0.0.1:9" });
    await run.getByText(/opened a second/).waitFor();
    await run.getByRole("button", { name: /^End benchmark/ }).click();
    await run.getByText("ended early").waitFor();
  });

  test("is told that there is no such page where an address names none", async () => {
    await go(page, "/proxy/nosuch");
    const nothing = page.getByRole("region", { name: "No such page" });
    await nothing.getByText("/proxy/nosuch").waitFor();
    await nothing.getByRole("link", { name: "Go to Backends" }).click();
    await page.getByRole("region", { name: "Pool lab", exact: true }).waitFor();
  });

  test("sees seven tiers, and of each that is not there what is in the way", async () => {
    await go(page, "/proxy/acceleration");
    const tiers = page.getByRole("region", { name: "Tiers" }).getByRole("row");
    await tiers.filter({ hasText: "Sockets" }).getByText("in use").waitFor();
    // The head is a row, too.
    expect(await tiers.count()).toBe(8);
    for (const tier of await tiers.filter({ hasText: "unavailable" }).all())
      expect((await tier.getByRole("cell").last().textContent())?.length).toBeGreaterThan(20);
    await page
      .getByRole("region", { name: "Interfaces" })
      .getByRole("row")
      .filter({ hasText: "queue" })
      .first()
      .waitFor();
  });
});
