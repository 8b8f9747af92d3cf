import { createEffect, createSignal, on } from "solid-js";
import { LiveSamples } from "./samples";
import { askSession } from "./session";
import type { DhcpEvent, MetricsEvent, SystemEvent } from "./types";

/** How long to wait before each further try to connect, in seconds. */
const BACKOFF = [1, 2, 4, 8, 15];
/** A hidden page gives its connection back after this long: browsers allow six a host. */
const HIDDEN_LIMIT_MS = 60_000;

export type Connection = { phase: "connecting" } | { phase: "open" } | { phase: "lost"; retryAt: number };

interface Handlers {
  [event: string]: (data: unknown) => void;
}

/** One server-sent event stream that reconnects until it is closed. */
export class EventStream {
  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private wanted = false;

  constructor(
    private readonly topics: string,
    private readonly handlers: Handlers,
    private readonly report: (connection: Connection) => void,
  ) {}

  open(): void {
    this.close();
    this.wanted = true;
    const source = new EventSource(`/api/v1/events?topics=${this.topics}`);
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      this.report({ phase: "open" });
    };
    source.onerror = () => this.retry();
    for (const [name, handle] of Object.entries(this.handlers))
      source.addEventListener(name, (event: MessageEvent<string>) => handle(JSON.parse(event.data)));
  }

  close(): void {
    this.wanted = false;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  // EventSource hides why it failed; asking for the session tells an ended session from a server that is away.
  private retry(): void {
    this.close();
    this.wanted = true;
    const wait = (BACKOFF[Math.min(this.failures, BACKOFF.length - 1)] ?? 15) * 1000;
    this.failures += 1;
    this.report({ phase: "lost", retryAt: Date.now() + wait });
    this.timer = setTimeout(async () => {
      const signedIn = await askSession();
      if (!this.wanted) return;
      if (signedIn) this.open();
      else this.retry();
    }, wait);
  }
}

const [connection, setConnection] = createSignal<Connection>({ phase: "connecting" });
const [restored, setRestored] = createSignal(0);
const [tick, setTick] = createSignal(0);
const [systemEvent, setSystemEvent] = createSignal<SystemEvent | null>(null, { equals: false });
const [latest, setLatest] = createSignal<Record<string, number>>({});

export { connection, latest, systemEvent };
/** Changes when a lost connection is back: what is on screen may be old. */
export const connectionRestored = restored;
/** Changes with every metrics event, once a second. */
export const liveTick = tick;
/** The last quarter of an hour, a sample a second, kept while the user moves between pages. */
export const samples = new LiveSamples(900);

/** Differences of the clocks below this are the network's and the browser's own delays. */
const SKEW_LIMIT_MS = 2_000;
const [skew, setSkew] = createSignal(0);

/** How far the server's clock is ahead of the browser's, in milliseconds; 0 while they agree. */
export const clockSkew = skew;

/** The server's present, in milliseconds since the epoch: a browser's clock may be minutes off. */
export function serverNow(): number {
  return Date.now() + skew();
}

function learnSkew(serverTime: number): void {
  const found = serverTime - Date.now();
  if (Number.isFinite(found) && Math.abs(found - skew()) > SKEW_LIMIT_MS)
    setSkew(Math.abs(found) > SKEW_LIMIT_MS ? found : 0);
}

let wasLost = false;

const core = new EventStream(
  "metrics,system",
  {
    metrics: (data) => {
      const { time, values } = data as MetricsEvent;
      learnSkew(Date.parse(time));
      samples.push(Date.parse(time) / 1000, values);
      setLatest(values);
      setTick((n) => n + 1);
    },
    system: (data) => setSystemEvent(data as SystemEvent),
  },
  (now) => {
    setConnection(now);
    if (now.phase === "lost") wasLost = true;
    if (now.phase === "open" && wasLost) {
      wasLost = false;
      setRestored((n) => n + 1);
    }
  },
);

/** Keeps the live stream open while the page is visible; returns what ends it. */
export function startLive(): () => void {
  let hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  let paused = false;
  const onVisibility = () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) {
      hiddenTimer = setTimeout(() => {
        paused = true;
        core.close();
      }, HIDDEN_LIMIT_MS);
    } else if (paused) {
      paused = false;
      wasLost = true;
      core.open();
    }
  };
  document.addEventListener("visibilitychange", onVisibility);
  core.open();
  return () => {
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", onVisibility);
    core.close();
    setConnection({ phase: "connecting" });
  };
}

export function reconnectNow(): void {
  void askSession();
  core.open();
}

export interface DhcpStreamHandlers {
  event: (event: DhcpEvent) => void;
  lagged: (missed: number) => void;
  connection: (connection: Connection) => void;
}

/** The DHCP event stream is its own connection: it can be busy, so only the page that shows it opens it. */
export function openDhcpStream(handlers: DhcpStreamHandlers): () => void {
  const stream = new EventStream(
    "dhcp",
    {
      dhcp: (data) => handlers.event(data as DhcpEvent),
      lagged: (data) => handlers.lagged((data as { missed: number }).missed),
    },
    handlers.connection,
  );
  stream.open();
  // The core stream knows first that the server is back: no need to sit out this one's wait.
  createEffect(on(connectionRestored, () => stream.open(), { defer: true }));
  return () => stream.close();
}
