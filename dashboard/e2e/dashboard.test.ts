import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Alert, AlertList, Lease, Reservation } from "../src/api/types";
import { ask, exchange, go, lab, launch, signIn, visit } from "./browser";

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

/** What a page has fetched so far, in bytes as they came over the line, and when it was there. */
function loaded(page: Page) {
  return page.evaluate(() => {
    const entries = [
      ...performance.getEntriesByType("navigation"),
      ...performance.getEntriesByType("resource"),
    ] as PerformanceResourceTiming[];
    const bytes = (of: PerformanceResourceTiming[]) => of.reduce((sum, one) => sum + one.encodedBodySize, 0);
    return {
      all: bytes(entries),
      code: bytes(entries.filter((one) => /\.(js|css)$/.test(new URL(one.name).pathname))),
      paint: Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0),
      ready: Math.round(performance.now()),
    };
  });
}

function told(load: Awaited<ReturnType<typeof loaded>>): string {
  return `${load.code} bytes of JS and CSS, ${load.all} in all; first paint after ${load.paint} ms, there after ${load.ready} ms`;
}

describe("a visitor", () => {
  test("fetches under 60 KB before the first page is there", async () => {
    const { page } = await visit(browser);
    await page.goto(`${lab.url}/`);
    await page.getByLabel("Access token").waitFor();
    const load = await loaded(page);
    process.stdout.write(`sign-in page: ${told(load)}\n`);
    expect(load.code).toBeGreaterThan(0);
    expect(load.all).toBeLessThan(60_000);
  });

  test("who is signed in fetches under 70 KB of code and styles for an Overview with every chart drawn", async () => {
    const { page: first } = await visit(browser);
    await signIn(first);
    // Another browser with the session and nothing in its cache.
    const { page } = await visit(browser, { storageState: await first.context().storageState() });
    await page.goto(`${lab.url}/`);
    await page.locator(".uplot canvas").nth(12).waitFor();
    const load = await loaded(page);
    process.stdout.write(`Overview: ${told(load)}\n`);
    expect(load.code).toBeGreaterThan(0);
    expect(load.code).toBeLessThan(70_000);
  });

  test("with a wrong token is told so, and where a good one comes from", async () => {
    const { page } = await visit(browser);
    await page.goto(`${lab.url}/`);
    await page.getByLabel("Access token").fill("not-a-token");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("That token is not accepted").waitFor();
    expect(await page.getByText("outwork token create").isVisible()).toBe(true);
  });

  test("who signs in gets a cookie that scripts cannot read, and no token in storage", async () => {
    const { page } = await visit(browser);
    await signIn(page);
    const cookies = await page.context().cookies();
    expect(cookies.map((cookie) => cookie.httpOnly)).toEqual([true]);
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(lab.token);
    await page.reload();
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Access token").waitFor();
    await page.reload();
    await page.getByLabel("Access token").waitFor();
  });
});

describe("an admin", () => {
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    ({ page, complaints } = await visit(browser));
    await signIn(page);
  });

  test("sees the services, the store and live charts of each", async () => {
    await go(page, "/overview");
    await page.locator(".uplot canvas").nth(12).waitFor();
    const memory = page.locator("figure", { hasText: "Memory" });
    await memory
      .getByText(/\d (MiB|GiB)/)
      .first()
      .waitFor();
    await page.getByRole("region", { name: "Services" }).locator("strong", { hasText: "dhcp" }).waitFor();
    await page.getByRole("region", { name: "Store" }).getByText("healthy").waitFor();
  });

  test("changes the time shown", async () => {
    await page.getByRole("button", { name: "6 h" }).click();
    expect(await page.getByRole("button", { name: "6 h" }).getAttribute("aria-pressed")).toBe("true");
    await page.locator(".uplot canvas").nth(12).waitFor();
  });

  test("sees how full each pool is", async () => {
    await go(page, "/dhcp");
    const meter = page.getByRole("meter").first();
    await meter.waitFor();
    expect(await meter.getAttribute("aria-valuetext")).toMatch(/%$/);
  });

  test.each([
    ["address", lab.address],
    ["hardware address", lab.mac],
  ])("finds a lease by its %s and opens it", async (_, needle) => {
    await go(page, "/dhcp/leases");
    await page.keyboard.press("/");
    await page.keyboard.type(needle);
    await page.waitForURL(/q=/);
    const row = page.getByRole("row").filter({ hasText: lab.address });
    await row.getByRole("button", { name: lab.address, exact: true }).click();
    const drawer = page.getByRole("dialog");
    await drawer.getByText(lab.mac).first().waitFor();
    await page.keyboard.press("Escape");
    await drawer.waitFor({ state: "detached" });
    // The keyboard goes on from where it was.
    await page.waitForFunction((address) => document.activeElement?.textContent === address, lab.address);
  });

  test("is told when nothing matches, and gets back to everything", async () => {
    await go(page, "/dhcp/leases?q=no-such-host-anywhere");
    await page.getByText("No lease matches").waitFor();
    await page.getByRole("button", { name: "Clear search and filters" }).click();
    await page.getByRole("row").nth(1).waitFor();
  });

  test("reads when a lease ends although the browser's clock is an hour ahead", async () => {
    const late = await visit(browser);
    await late.page.clock.install({ time: Date.now() + 3_600_000 });
    await signIn(late.page);
    await go(late.page, `/dhcp/leases?lease=${lab.address}`);
    await late.page
      .getByRole("dialog")
      .getByText(/\(in \d+ [mh]\)/)
      .waitFor();
    expect(late.complaints).toEqual([]);
  });

  test("gives a lease a hostname", async () => {
    await go(page, `/dhcp/leases?lease=${lab.address}`);
    await page.getByRole("button", { name: "Hostname…" }).click();
    await page.getByRole("textbox", { name: "Hostname" }).fill("lab-renamed");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("dialog").getByText("lab-renamed").waitFor();
  });

  test("turns a lease into a reservation", async () => {
    await go(page, `/dhcp/leases?lease=${lab.address}`);
    await page.getByRole("button", { name: "Reserve…" }).click();
    await page.getByLabel("Hostname (optional)").fill("lab-reserved");
    await page.getByRole("button", { name: "Reserve", exact: true }).click();
    await page.getByRole("dialog").getByText("yes, by a reservation").waitFor();
  });

  test("changes the reservation's hostname", async () => {
    await go(page, "/dhcp/reservations");
    await page.getByRole("button", { name: `More for ${lab.address}` }).click();
    await page.getByRole("menuitem", { name: "Edit…" }).click();
    await page.getByLabel("Hostname (optional)").fill("lab-changed");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("row").filter({ hasText: lab.address }).getByText("lab-changed").waitFor();
  });

  test("is shown why a reservation is refused, beside the form", async () => {
    await page.getByRole("button", { name: "Add reservation" }).click();
    await page.getByRole("textbox", { name: "MAC address" }).fill("02:00:5e:00:53:01");
    await page.getByRole("textbox", { name: "Address", exact: true }).fill(lab.address);
    await page.getByRole("button", { name: "Reserve", exact: true }).click();
    await page.getByRole("dialog").getByRole("alert").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
  });

  test("removes the reservation", async () => {
    await page.getByRole("button", { name: `More for ${lab.address}` }).click();
    await page.getByRole("menuitem", { name: "Remove…" }).click();
    await page.getByRole("button", { name: "Remove", exact: true }).click();
    await page.getByRole("row").filter({ hasText: lab.address }).waitFor({ state: "detached" });
  });

  test("changes a reservation's name and keeps the options and the boot file that came through the API", async () => {
    const made = await ask<Reservation>("POST", "/dhcp/reservations", {
      subnet_id: (await ask<{ subnet_id: number }>("GET", `/dhcp/leases/${lab.address}`)).subnet_id,
      identifier: { kind: "mac", value: "02:00:5e:00:53:02" },
      address: null,
      hostname: "lab-boots",
      options: { "ntp-servers": ["192.0.2.9"] },
      boot_file: "pxe/lab.efi",
    });
    await go(page, "/dhcp/reservations");
    await page.reload();
    await page.getByRole("button", { name: "More for 02:00:5e:00:53:02" }).click();
    await page.getByRole("menuitem", { name: "Edit…" }).click();
    const kept = page.getByRole("region", { name: "Kept as they are" });
    await kept.getByText("pxe/lab.efi").waitFor();
    await kept.getByText("192.0.2.9").waitFor();
    await page.getByLabel("Hostname (optional)").fill("lab-boots-again");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Changed the reservation of 02:00:5e:00:53:02").waitFor();
    const path = `/dhcp/reservations/${made.id}`;
    expect(await ask<Reservation>("GET", path)).toEqual({ ...made, hostname: "lab-boots-again" });
    await ask("DELETE", path);
  });

  test("is warned when the address that was reserved is another client's now", async () => {
    await page.getByRole("button", { name: "Add reservation" }).click();
    await page.getByRole("textbox", { name: "MAC address" }).fill("02:00:5e:00:53:03");
    await page.getByRole("textbox", { name: "Address", exact: true }).fill(lab.address);
    await page.getByRole("button", { name: "Reserve", exact: true }).click();
    await page.getByText(`${lab.address} is active to ${lab.mac}`).waitFor();
    await page.getByRole("button", { name: "Dismiss" }).last().click();
    const { items } = await ask<{ items: Reservation[] }>("GET", "/dhcp/reservations");
    const mine = items.find((one) => one.address === lab.address);
    await ask("DELETE", `/dhcp/reservations/${mine?.id}`);
  });

  test("cannot wipe a subnet without typing its prefix", async () => {
    await go(page, "/dhcp");
    await page
      .getByRole("button", { name: /^More for / })
      .first()
      .click();
    await page.getByRole("menuitem", { name: "Wipe leases…" }).click();
    const wipe = page.getByRole("button", { name: "Wipe leases" });
    expect(await wipe.isDisabled()).toBe(true);
    const prompt = page.getByLabel(/^Type .* to confirm$/);
    await prompt.fill("wrong");
    expect(await wipe.isDisabled()).toBe(true);
    const label = await page.getByText(/^Type .* to confirm$/).textContent();
    await prompt.fill(label?.split(" ")[1] ?? "");
    expect(await wipe.isEnabled()).toBe(true);
    await page.getByRole("button", { name: "Cancel" }).click();
  });

  test("sees a client get its address as it happens, and holds the feed while reading", async () => {
    await go(page, "/dhcp/events");
    const events = page.getByRole("region", { name: "Live events" });
    await events.getByText(/^live/).waitFor();
    const acknowledged = (mac: string) =>
      events
        .getByRole("row")
        .filter({ hasText: mac })
        .filter({ has: page.getByText("ack", { exact: true }) });
    await acknowledged(await exchange(0x51)).waitFor();

    await page.getByRole("button", { name: "Pause" }).click();
    const held = await exchange(0x52);
    await events.getByText(/^[1-9]\d* waiting$/).waitFor();
    expect(await acknowledged(held).count()).toBe(0);
    await page.getByRole("button", { name: "Resume" }).click();
    await acknowledged(held).waitFor();
  });

  test("sees a new lease without asking again", async () => {
    await go(page, "/dhcp/leases?q=02:53:00:00:00:00");
    await page.getByText("No lease matches").waitFor();
    const mac = await exchange(0x53);
    await page.getByRole("row").filter({ hasText: mac }).getByText("active", { exact: true }).waitFor();
  });

  test("sees load in the charts as it comes", async () => {
    await go(page, "/overview");
    const leases = page.getByRole("img", { name: /^Active leases: \d/ });
    const before = Number((await leases.getAttribute("aria-label"))?.match(/\d+$/)?.[0]);
    expect(before).toBeGreaterThan(0);
    const load = exchange(0x54, "--clients 60 --rate 10 --duration 30s");
    // All of it at once: it lasts no longer than the load, which is over when each client has its address.
    const shown = [
      /^DHCP requests a second: requests [1-9]\d*(\.\d)?, replies [1-9]/,
      /^DHCP latency: p99 \d[^,]*, p95 \d[^,]*, p50 \d/,
      /^DHCP traffic: in [1-9][^,]*, out [1-9]/,
    ];
    await Promise.all(shown.map((name) => page.getByRole("img", { name }).waitFor()));
    await load;
    await page.getByRole("img", { name: `Active leases: ${before + 60}` }).waitFor();
    await page.getByRole("img", { name: /^CPU: cores \d/ }).waitFor();
    await page.getByRole("img", { name: /^Memory: \d/ }).waitFor();
  });

  test("sees where each setting comes from", async () => {
    await go(page, "/settings");
    await page.getByLabel("Search the configuration").fill("default");
    await page.locator(".setting .badge", { hasText: "default" }).first().waitFor();
  });

  test("reloads, and is told what came of it", async () => {
    await page.getByRole("button", { name: "Reload configuration" }).click();
    await page.getByText(/^Reloaded\./).waitFor();
  });

  test("changes a log level at once, and back", async () => {
    await go(page, "/settings/logs");
    const level = page.locator(".level select").first();
    await level.waitFor();
    const before = await level.inputValue();
    const after = before === "debug" ? "info" : "debug";
    const saved = () => page.waitForResponse((one) => one.request().method() === "PUT");
    await Promise.all([saved(), level.selectOption(after)]);
    await page.reload();
    await level.waitFor();
    expect(await level.inputValue()).toBe(after);
    await Promise.all([saved(), level.selectOption(before)]);
  });

  test("creates a viewer's token, which sees everything and changes nothing until it is revoked", async () => {
    await go(page, "/settings/tokens");
    await page.getByRole("button", { name: "Create token" }).click();
    await page.getByLabel("Name", { exact: true }).fill("e2e viewer");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    const token = await page.locator(".token").textContent();
    await page.getByRole("button", { name: "Done" }).click();

    const viewer = await visit(browser);
    await signIn(viewer.page, token ?? "");
    await go(viewer.page, "/dhcp");
    await viewer.page.getByRole("meter").first().waitFor();
    expect(await viewer.page.getByRole("button", { name: /^More for / }).count()).toBe(0);
    await go(viewer.page, `/dhcp/leases?lease=${lab.address}`);
    await viewer.page.getByRole("dialog").getByText(lab.mac).first().waitFor();
    expect(await viewer.page.getByRole("button", { name: "Release…" }).count()).toBe(0);
    await go(viewer.page, "/settings/logs");
    await viewer.page.locator(".level").first().waitFor();
    expect(await viewer.page.locator(".level select").count()).toBe(0);
    await go(viewer.page, "/settings");
    await viewer.page.locator(".setting").first().waitFor();
    expect(await viewer.page.getByRole("button", { name: "Reload configuration" }).count()).toBe(0);

    await page.getByRole("button", { name: "Revoke e2e viewer" }).click();
    // The open dialog hides what is behind it: that the button is not to be found says nothing yet.
    const revoked = page.waitForResponse((response) => response.request().method() === "DELETE");
    await page.getByRole("button", { name: "Revoke", exact: true }).click();
    expect((await revoked).ok()).toBe(true);
    await page.getByRole("button", { name: "Revoke e2e viewer" }).waitFor({ state: "detached" });
    await viewer.page.reload();
    await viewer.page.getByLabel("Access token").waitFor();
    expect(viewer.complaints).toEqual([]);
  });

  test("finds the changes in the audit log", async () => {
    await go(page, "/settings/audit");
    await page.getByRole("row").nth(3).waitFor();
  });

  test("releases a lease once it is confirmed", async () => {
    await go(page, `/dhcp/leases?lease=${lab.address}`);
    await page.getByRole("button", { name: "Release…" }).click();
    await page.getByRole("button", { name: "Release", exact: true }).click();
    await page.getByText(`Released ${lab.address}`).waitFor();
    const answered = page.waitForResponse(/leases\?.*state=active/);
    await go(page, `/dhcp/leases?q=${lab.address}&state=active`);
    await answered;
    await page.getByRole("button", { name: lab.address, exact: true }).waitFor({ state: "detached" });
  });

  test("met no script error and no refusal of the content security policy on the way", () => {
    expect(complaints).toEqual([]);
  });
});

test("alerts have the fields that the server documents", async () => {
  const fields: Record<keyof Alert, true> = {
    id: true,
    severity: true,
    since: true,
    what: true,
    advice: true,
    settings: true,
  };
  const document = await ask<{ components: { schemas: Record<string, { required: string[] }> } }>(
    "GET",
    "/openapi.json",
  );
  expect(document.components.schemas.AlertRow?.required.toSorted()).toEqual(Object.keys(fields).toSorted());
  const { items } = await ask<AlertList>("GET", "/alerts");
  for (const item of items) expect(Object.keys(item).toSorted()).toEqual(Object.keys(fields).toSorted());
});

test("an alert is shown as soon as the stream tells of a change, on every page, until it ends", async () => {
  const { page, complaints } = await visit(browser);
  const list: AlertList = { items: [] };
  await page.route("**/api/v1/alerts", (route) => route.fulfill({ json: list }));
  await page.clock.install();
  await signIn(page);
  await page.getByText("no alerts").waitFor();
  await page.locator(".uplot canvas").first().waitFor();
  // No timer fires from here on: what changes, changes because the stream said so.
  await page.clock.pauseAt(Date.now() + 5_000);
  list.items = [
    {
      id: "malformed",
      severity: "critical",
      since: new Date(Date.now() - 600_000).toISOString(),
      what: "34 packets a second are no DHCP requests",
      advice: "`outwork stats malformed` shows which rule they break",
      settings: ["alerts.malformed"],
    },
  ];
  // Nothing makes the server ill at will; a reload is told on the same topic.
  await ask("POST", "/reload");
  const alerts = page.getByRole("region", { name: "Alerts" });
  await alerts.getByText("34 packets a second").waitFor();
  await alerts.getByText("Critical", { exact: true }).waitFor();
  await alerts.getByText("10 m ago").waitFor();
  await alerts.locator("code", { hasText: "outwork stats malformed" }).waitFor();
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByRole("link", { name: /^Overview ?, 1 critical alert$/ }).click();
  list.items = [];
  await ask("POST", "/reload");
  await alerts.waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Overview", exact: true }).waitFor();
  expect(complaints).toEqual([]);
});

test("a device's MUD URL is shown with its lease, and leads nowhere", async () => {
  const { page } = await visit(browser);
  const lease = await ask<Lease>("GET", `/dhcp/leases/${lab.address}`);
  const shown: Lease = { ...lease, mud_url: "https://lamp.example/mud.json" };
  await page.route(`**/api/v1/dhcp/leases/${lab.address}`, (route) => route.fulfill({ json: shown }));
  await signIn(page);
  await go(page, `/dhcp/leases?lease=${lab.address}`);
  await page.getByRole("dialog").getByText("https://lamp.example/mud.json").waitFor();
  expect(await page.getByRole("dialog").getByRole("link").count()).toBe(0);
});

test("a lost connection is told, and mended on request", async () => {
  const { page } = await visit(browser);
  await page.route("**/api/v1/events*", (route) => route.abort());
  await signIn(page);
  const banner = page.getByText("Connection to Outwork lost");
  await banner.waitFor();
  await page.unroute("**/api/v1/events*");
  await page.getByRole("button", { name: "Retry now" }).click();
  await banner.waitFor({ state: "detached" });
});

test("a session that ends under an open page is told, and signing in leads back to the page", async () => {
  const { page } = await visit(browser);
  await page.route("**/api/v1/events*", (route) => route.abort());
  await signIn(page);
  await go(page, "/dhcp/events");
  await page.getByText("reconnecting").waitFor();
  await page.context().clearCookies();
  await page.getByText("Your session has ended").waitFor();
  await page.unroute("**/api/v1/events*");
  await page.getByLabel("Access token").fill(lab.token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("region", { name: "Live events" }).getByText(/^live/).waitFor();
});

test("a page whose code the server no longer has is told, and a reload brings it", async () => {
  const { page } = await visit(browser);
  await signIn(page);
  await page.route(/assets\/settings-/, (route) => route.fulfill({ status: 404 }));
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByText("This page could not be fetched").waitFor();
  await page.unroute(/assets\/settings-/);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.getByRole("heading", { name: "Settings", level: 1 }).waitFor();
});

test("the theme that was chosen is remembered", async () => {
  const { page } = await visit(browser, { colorScheme: "light" });
  await signIn(page);
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await background();
  await page.getByRole("button", { name: "Theme: as the system" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  const dark = await background();
  expect(dark).not.toBe(light);
  await page.reload();
  expect(await background()).toBe(dark);
});

const PAGES = [
  "/overview",
  "/dhcp",
  "/dhcp/leases",
  "/dhcp/reservations",
  "/dhcp/events",
  "/web",
  "/web/cache",
  "/web/files",
  "/web/queries",
  "/web/certificates",
  "/proxy",
  "/proxy/rules",
  "/proxy/acceleration",
  "/settings",
  "/settings/logs",
  "/settings/tokens",
  "/settings/audit",
];

test("tabs that do not fit on a phone show that there are more", async () => {
  const { page } = await visit(browser, { viewport: { width: 360, height: 780 } });
  await signIn(page);
  await go(page, "/proxy");
  const tabs = page.locator("nav.tabs");
  await tabs.waitFor();
  const seen = await tabs.evaluate((row) => ({
    more: row.scrollWidth > row.clientWidth,
    attached: getComputedStyle(row).backgroundAttachment,
  }));
  expect(seen).toEqual({ more: true, attached: "local, local, scroll, scroll" });
});

test.each([360, 390, 768])("no page scrolls sideways on a screen %i px wide", async (width) => {
  const { page, complaints } = await visit(browser, { viewport: { width, height: 780 } });
  await signIn(page);
  for (const path of PAGES) {
    await go(page, path);
    await page.locator("main .card").first().waitFor();
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(beyond, path).toBeLessThanOrEqual(0);
  }
  expect(complaints).toEqual([]);
});
