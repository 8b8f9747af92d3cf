// How long a page of the dashboard takes from its navigation until it shows what it is about: times in ms, as JSON.
//
// node page.mjs BROWSER URL PAGE NUMBER LOADS, with a token in OUTWORK_TOKEN: it is there once NUMBER stands on it, and a row of a table that has cells.
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../dashboard/package.json", import.meta.url))("playwright-core");

const [executablePath, url, path, number, loads] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"] });
try {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  await page.goto(`${url}/`);
  await page.getByLabel("Access token").fill(process.env.OUTWORK_TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  // However it is written: 1024, 1,024 or 1 024.
  const digits = number.replace(/\B(?=(\d{3})+$)/g, "\\D?");
  const ms = [];
  for (let load = 0; load <= Number(loads); load++) {
    await page.goto("about:blank");
    const began = performance.now();
    await page.goto(`${url}/${path}`, { waitUntil: "commit" });
    await page.waitForFunction(
      (digits) =>
        document.querySelector("tbody tr td") !== null && new RegExp(`\\b${digits}\\b`).test(document.body.innerText),
      digits,
      { timeout: 60_000, polling: "raf" },
    );
    // The first fills the browser's cache.
    if (load > 0) ms.push(performance.now() - began);
  }
  process.stdout.write(JSON.stringify({ ms }));
} finally {
  await browser.close();
}
