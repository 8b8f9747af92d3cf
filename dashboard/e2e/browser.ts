import { exec } from "node:child_process";
import { promisify } from "node:util";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests drive a running server (see CONTRIBUTING.md)`);
  return value;
}

/** Where the server under test is, and what the lab has put into it. */
export const lab = {
  url: required("OUTWORK_URL").replace(/\/$/, ""),
  /** An admin token. */
  token: required("OUTWORK_TOKEN"),
  /** Of one active lease. */
  address: required("OUTWORK_LAB_ADDRESS"),
  mac: required("OUTWORK_LAB_MAC").toLowerCase(),
  /** The command line of `outwork bench dhcp` that reaches the server. */
  bench: required("OUTWORK_LAB_BENCH"),
  /** Where web requests are answered, in clear text and encrypted. */
  web: required("OUTWORK_LAB_WEB"),
  webTls: required("OUTWORK_LAB_WEB_TLS"),
  /** Where connections are passed on to it. */
  layer4: required("OUTWORK_LAB_LAYER4"),
};

/** New clients that get an address, with their hardware addresses: `02:`, the seed, and their number. */
export async function exchange(seed: number, options = "--clients 1 --duration 5s"): Promise<string> {
  const { stdout } = await promisify(exec)(`${lab.bench} --json --scenario dora --seed ${seed} ${options}`);
  const { answered, lost } = JSON.parse(stdout) as { answered: number; lost: number };
  if (answered === 0 || lost > 0)
    throw new Error(`the server answered ${answered} exchanges, and ${lost} it did not`);
  return `02:${seed.toString(16).padStart(2, "0")}:00:00:00:00`;
}

/** A request to the web server, as curl makes it; gives its status and its header fields. */
export async function fetched(url: string): Promise<{ status: number; head: string }> {
  const { stdout } = await promisify(exec)(`curl -sk --max-time 20 -o /dev/null -D - ${url}`);
  return { status: Number(stdout.split(" ")[1]), head: stdout.toLowerCase() };
}

const ARGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.OUTWORK_CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
}

/** A fresh visitor. What the page complains of is collected: a test that ends with complaints has failed. */
export async function visit(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A refused request is the server's answer, not a fault of the page.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      complaints.push(message.text());
  });
  return { page, complaints };
}

export async function signIn(page: Page, token: string = lab.token): Promise<void> {
  await page.goto(`${lab.url}/`);
  await page.getByLabel("Access token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
}

export async function go(page: Page, path: string): Promise<void> {
  await page.goto(`${lab.url}/#${path}`);
}

/** What another program of the operator's does meanwhile: a request to the API. */
export async function ask<T = void>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`${lab.url}/api/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${lab.token}`, "Content-Type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}
