import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Reservation } from "../src/api/types";
import { ask, go, lab, launch, signIn, visit } from "./browser";

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

describe("a visitor", () => {
  test("fetches under 60 KB before the first page is there", async () => {
    const { page } = await visit(browser);
    await page.goto(`${lab.url}/`);
    await page.getByLabel("Access token").waitFor();
    const load = await page.evaluate(() => {
      const entries = [
        ...performance.getEntriesByType("navigation"),
        ...performance.getEntriesByType("resource"),
      ] as PerformanceResourceTiming[];
      const painted = performance.getEntriesByName("first-contentful-paint")[0];
      return {
        bytes: entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0),
        milliseconds: Math.round(painted?.startTime ?? 0),
      };
    });
    process.stdout.write(`first load: ${load.bytes} bytes, first paint after ${load.milliseconds} ms\n`);
    expect(load.bytes).toBeGreaterThan(0);
    expect(load.bytes).toBeLessThan(60_000);
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

  test("sees the services, the store and five live charts", async () => {
    await go(page, "/overview");
    await page.locator(".uplot canvas").nth(4).waitFor();
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
    await page.locator(".uplot canvas").nth(4).waitFor();
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

  test("pauses and resumes the event feed", async () => {
    await go(page, "/dhcp/events");
    const feed = page.getByRole("region", { name: "Events, newest first" });
    await feed.getByText(/Listening|^Time$/).waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText(/\d waiting/).waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByRole("button", { name: "Pause" }).waitFor();
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
    await page.getByRole("button", { name: "Revoke", exact: true }).click();
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
  "/settings",
  "/settings/logs",
  "/settings/tokens",
  "/settings/audit",
];

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
