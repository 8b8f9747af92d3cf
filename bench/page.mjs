// How long a page of the dashboard takes from its navigation until it shows what it is about: times in ms, as JSON, of a browser that has seen it before, and of one
// that is signed in and has nothing of it yet.
//
// node page.mjs BROWSER URL PAGE NUMBER LOADS, with a token in OUTWORK_TOKEN: it is there once NUMBER stands on it, and a row of a table that has cells.
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../dashboard/package.json", import.meta.url))("playwright-core");

const [executablePath, url, path, number, loads] = process.argv.slice(2);
// However it is written: 1024, 1,024 or 1 024.
const digits = number.replace(/\B(?=(\d{3})+$)/g, "\\D?");
const viewport = { width: 1280, height: 800 };

async function load(page) {
  await page.goto("about:blank");
  const began = performance.now();
  await page.goto(`${url}/${path}`, { waitUntil: "commit" });
  await page.waitForFunction(
    (digits) =>
      document.querySelector("tbody tr td") !== null && new RegExp(`\\b${digits}\\b`).test(document.body.innerText),
    digits,
    { timeout: 60_000, polling: "raf" },
  );
  return performance.now() - began;
}

const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"] });
try {
  const known = await browser.newContext({ viewport });
  const page = await known.newPage();
  await page.goto(`${url}/`);
  await page.getByLabel("Access token").fill(process.env.OUTWORK_TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  // This one fills the browser's cache.
  await load(page);
  const again = [];
  for (let count = 0; count < Number(loads); count++) again.push(await load(page));
  const storageState = await known.storageState();
  // Its page asks for what is new for as long as it is there.
  await known.close();
  const first = [];
  for (let count = 0; count < Number(loads); count++) {
    // Each has a cache of its own, which is empty; only who is signed in is known to it.
    const fresh = await browser.newContext({ viewport, storageState });
    first.push(await load(await fresh.newPage()));
    await fresh.close();
  }
  process.stdout.write(JSON.stringify({ again, first }));
} finally {
  await browser.close();
}
