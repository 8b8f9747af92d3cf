import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, fetched, go, lab, launch, signIn, visit } from "./browser";

// The history has a point every ten seconds, and a rate takes two.
const PATIENCE = 45_000;

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

/** The cells of the row that begins with this text, by the heads of their columns. */
function row(page: Page, region: string, first: string) {
  return page
    .getByRole("region", { name: region, exact: true })
    .getByRole("row")
    .filter({ hasText: first })
    .first();
}

/** Waits until a chart tells a figure of each of its lines: one above nothing, unless another is good enough. */
async function charted(page: Page, title: string, labels: string[], figure = "[\\d.,]*[1-9]") {
  const values = page.locator("figure", { hasText: title }).locator(".chart-value");
  for (const label of labels)
    await values
      .filter({ hasText: new RegExp(`^${figure}.*${label}$`) })
      .first()
      .waitFor();
}

describe("under traffic", () => {
  let page: Page;
  let complaints: string[];
  let traffic: ReturnType<typeof setInterval>;

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    page.setDefaultTimeout(PATIENCE);
    let turn = 0;
    const some = async () => {
      turn += 1;
      await Promise.all([
        fetched(`${lab.web}/`),
        fetched(`${lab.webTls}/`),
        fetched(`${lab.web}/cached/`),
        fetched(`${lab.web}/api/square/${turn % 3}`),
        fetched(`${lab.web}/api/gone`),
        fetched(`${lab.web}/nowhere?token=secret`),
        fetched(`${lab.web}/limited`),
      ]);
    };
    await some();
    traffic = setInterval(() => void some(), 500);
    await signIn(page);
  });

  afterAll(() => {
    clearInterval(traffic);
    expect(complaints).toEqual([]);
  });

  test("the Overview shows the web server beside DHCP", { timeout: 2 * PATIENCE }, async () => {
    await go(page, "/overview");
    const web = page.getByRole("region", { name: "Activity: Web" });
    await web.waitFor();
    await charted(page, "Requests a second", ["2xx"]);
    await page.getByRole("region", { name: "Activity: DHCP" }).waitFor();
    await page.getByRole("region", { name: "Web server" }).getByText("Requests since the start").waitFor();
  });

  test("Traffic shows rates by status, protocols and what each route gets", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/web");
    await charted(page, "Requests a second", ["2xx", "4xx", "5xx"]);
    await charted(page, "Time to answer", ["p50", "p95", "p99"]);
    await charted(page, "Throughput", ["out", "in"]);
    await charted(page, "Connections open", [""], "\\d");
    await charted(page, "Errors, of all requests", ["4xx", "5xx"]);
    await charted(page, "TLS handshakes a second", ["full", "resumed"], "\\d");
    await charted(page, "Requests by protocol", ["HTTP/1.1", "HTTP/2"]);
    await row(page, "Routes", "/cached/*")
      .getByText(/[1-9].*\/s$/)
      .first()
      .waitFor();
    await row(page, "Routes", "/api/gone").getByText("100%").waitFor();
    await page.getByText("Beyond a rate limit (429)").waitFor();
  });

  test("routes are put into another order by the heads of their columns", async () => {
    const table = page.getByRole("region", { name: "Routes" });
    await table.getByRole("button", { name: "Route", exact: true }).click();
    expect(await table.getByRole("columnheader", { name: "Route" }).getAttribute("aria-sort")).toBe(
      "ascending",
    );
    expect(await table.getByRole("row").nth(1).textContent()).toContain("/*");
  });

  test("what failed is shown with its request, and without its query", async () => {
    const errors = page.getByRole("region", { name: "Recent errors" });
    await errors.getByRole("row").filter({ hasText: "/api/gone" }).getByText("503").first().waitFor();
    await errors.getByRole("button", { name: "Clients’ (4xx)" }).click();
    await errors.getByRole("row").filter({ hasText: "/nowhere" }).getByText("404").first().waitFor();
    expect(await page.content()).not.toContain("secret");
  });

  test("Cache shows how often each tier had it, and what it holds and lets go", {
    timeout: 2 * PATIENCE,
  }, async () => {
    await go(page, "/web/cache");
    await charted(page, "Requests a second", ["hit"]);
    await charted(page, "Found, of what each tier was asked for", [""]);
    await charted(page, "Size", [""]);
    await charted(page, "Evictions a second", [""], "\\d");
  });

  test("a purge on the Cache page makes the next request a miss", { timeout: 2 * PATIENCE }, async () => {
    clearInterval(traffic);
    const url = `${lab.web}/cached/`;
    await fetched(url);
    expect((await fetched(url)).head).toContain("hit");
    await go(page, "/web/cache");
    await row(page, "Tiers", "Memory").getByText("in use").waitFor();
    await row(page, "Asked for most", "/cached/")
      .getByRole("button", { name: `Purge ${url}` })
      .click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Memory here, at once.").waitFor();
    expect(await dialog.getByLabel("URL", { exact: true }).inputValue()).toBe(url);
    await dialog.getByRole("button", { name: "Purge", exact: true }).click();
    await page.getByText(/Purged: \d+ entr(y|ies) left memory/).waitFor();
    expect((await fetched(url)).head).toMatch(/cache-status: .*fwd=/);
    expect((await fetched(url)).head).toContain("hit");
  });

  test("everything is purged only by who types it", async () => {
    await page
      .getByRole("region", { name: "Asked for most" })
      .getByRole("button", { name: "Purge…", exact: true })
      .first()
      .click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("What", { exact: true }).selectOption("all");
    const purge = dialog.getByRole("button", { name: "Purge", exact: true });
    expect(await purge.isDisabled()).toBe(true);
    await dialog.getByLabel("Type everything to confirm").fill("everything");
    expect(await purge.isEnabled()).toBe(true);
    await dialog.getByRole("button", { name: "Cancel" }).click();
  });

  test("what is warmed is there before anybody asks", async () => {
    const url = `${lab.web}/cached/index.html`;
    await page.getByRole("button", { name: "Warm…" }).click();
    await page.getByRole("textbox", { name: "URLs" }).fill(`${url}\n`);
    await page.getByRole("button", { name: "Fetch 1 URL" }).click();
    await page.getByText("1 of 1 URL fetched into the cache").waitFor();
    await row(page, "Asked for most", "/cached/index.html").waitFor();
    expect((await fetched(url)).head).toContain("hit");
  });

  test("Files shows what is kept of each folder, and what was not found", async () => {
    await go(page, "/web/files");
    const folder = row(page, "Folders", "/cached/*");
    await folder.getByText(/watch/).waitFor();
    await folder.getByText(/memory \d/).waitFor();
    await row(page, "Not found lately", "/nowhere").waitFor();
  });

  test("Queries shows pools and statements, and forgets results", { timeout: 2 * PATIENCE }, async () => {
    await go(page, "/web/queries");
    await row(page, "Databases", "sqlite:").getByRole("meter").waitFor();
    await row(page, "Statements", "SELECT :n * :n")
      .getByText(/[1-9].*\/s$/)
      .first()
      .waitFor();
    const before = await ask<{ kept_results: number }>("GET", "/web/queries");
    expect(before.kept_results).toBeGreaterThan(0);
    await page.getByRole("button", { name: "Forget results of lab" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Forget", exact: true }).click();
    await page.getByText(/Forgot \d results? of lab/).waitFor();
    expect((await ask<{ kept_results: number }>("GET", "/web/queries")).kept_results).toBe(0);
  });

  test("Certificates shows how many days are left", async () => {
    await go(page, "/web/certificates");
    await row(page, "Certificates", "127.0.0.1").getByText("days left").waitFor();
  });
});

test("a viewer sees the cache and is offered neither purge nor warming", async () => {
  const { token } = await ask<{ token: string }>("POST", "/tokens", { name: "web-viewer", role: "viewer" });
  const { page } = await visit(browser);
  await signIn(page, token);
  await go(page, "/web/cache");
  await page.getByRole("region", { name: "Asked for most" }).getByRole("row").nth(1).waitFor();
  expect(await page.getByRole("button", { name: /Purge|Warm/ }).count()).toBe(0);
  await go(page, "/web/queries");
  await page.getByRole("region", { name: "Databases" }).getByRole("row").nth(1).waitFor();
  expect(await page.getByRole("button", { name: /Forget/ }).count()).toBe(0);
});
