// How numbers and times read on screen. Pure: the present is an argument.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 1,000,000 */
export function count(n: number): string {
  return WHOLE.format(n);
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

function significant(n: number, digits = 3): string {
  if (n === 0) return "0";
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(n))));
  return n.toFixed(Math.min(decimals, digits - 1));
}

/** Three significant digits with a letter for the size: 0, 0.25, 12.3, 980, 1.24k, 25.4k, 1.20M. */
export function compact(n: number): string {
  const size = Math.abs(n);
  if (size >= 999_500_000) return `${significant(n / 1e9)}G`;
  if (size >= 999_500) return `${significant(n / 1e6)}M`;
  if (size >= 999.5) return `${significant(n / 1e3)}k`;
  return Number.isInteger(n) ? String(n) : significant(n);
}

/** Something a second: whole from ten on, where a decimal would only flicker. */
export function rate(n: number): string {
  return n < 0.05 ? "0" : compact(n >= 10 ? Math.round(n) : n);
}

/** As an axis shows it, where every label is round: 40.0 ms reads 40 ms, 0.50 reads 0.5. */
export function trimmed(text: string): string {
  return text.replace(/\.0+(?!\d)|(\.\d*[1-9])0+(?!\d)/, "$1");
}

/** A short span in seconds, as latency is read: 85 µs, 1.24 ms, 2.10 s. */
export function latency(seconds: number): string {
  if (seconds === 0) return "0 ms";
  if (seconds < 0.9995e-3) return `${significant(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${significant(seconds * 1e3)} ms`;
  return `${significant(seconds)} s`;
}

/** 512 B, 38.2 MiB */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = n;
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(value)) : significant(value)} ${units[unit]}`;
}

/** 512 B/s, 38.2 KiB/s */
export function throughput(bytesPerSecond: number): string {
  return `${bytes(bytesPerSecond)}/s`;
}

/** Bits a second, in steps of a thousand as networks have them: 940 Mbit/s, 1.20 Gbit/s. */
export function bits(bitsPerSecond: number): string {
  const text = compact(Math.round(bitsPerSecond)).replace(/\D$/, (size) => ` ${size}`);
  return `${text}${/\d$/.test(text) ? " " : ""}bit/s`;
}

/** 0 to 1 as a percentage; what is not quite full never reads 100%, and what is not quite empty never reads 0%. */
export function percent(ratio: number): string {
  if (ratio > 0 && ratio < 0.001) return "<0.1%";
  if (ratio < 1 && ratio > 0.999) return ">99.9%";
  const value = ratio * 100;
  return `${value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)}%`;
}

const SPANS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
];

/** The two largest parts of a span: 3 d 4 h, 12 m 5 s, 45 s. */
export function span(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, unit] of SPANS) {
    const n = Math.floor(rest / size);
    if (n > 0) parts.push(`${n} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
    rest -= n * size;
  }
  return parts.length === 0 ? "0 s" : parts.join(" ");
}

/** With each number on the line of its unit, wherever the text is broken. */
export function kept(text: string): string {
  return text.replace(/(\d) (?=[dhms]\b)/g, "$1\u00a0");
}

/** The largest part only: 4 h ago, in 52 m. `now` and `at` are milliseconds since the epoch. */
export function relative(at: number, now: number): string {
  if (!Number.isFinite(at)) return "–";
  const seconds = Math.round((at - now) / 1000);
  if (Math.abs(seconds) < 1) return "now";
  const size = Math.abs(seconds);
  const [step, unit] = SPANS.find(([length]) => size >= length) ?? [1, "s"];
  const amount = `${Math.floor(size / step)} ${unit}`;
  return seconds > 0 ? `in ${amount}` : `${amount} ago`;
}

/** A lease without an end has the end of the year 9999. */
export function isForever(at: string): boolean {
  return at.startsWith("9999-");
}

/** When a lease ends, or ended: in 4 h, 5 m ago, never. */
export function expiry(at: string, now: number): string {
  return isForever(at) ? "never" : relative(Date.parse(at), now);
}

const pad = (n: number, length = 2) => String(n).padStart(length, "0");

/** 2026-11-21 04:15:07, in the reader's time zone. */
export function timestamp(at: string | number): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(at)}`;
}

/** The server's sentences tell moments in UTC: here they read as every other on the page. */
export function inLocalTime(text: string): string {
  return text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (moment) => timestamp(moment));
}

/** The server's sentences set what is typed between backticks: the parts in order, every second one to be typed. */
export function typedParts(text: string): string[] {
  const parts = text.split("`");
  // A backtick without its other half is only a character.
  return parts.length % 2 === 1 ? parts : [...parts.slice(0, -2), parts.slice(-2).join("`")];
}

/** As a sentence that stands by itself: a word begins with a capital, a setting's name or a command does not. */
export function sentence(text: string): string {
  return text.replace(/^[a-z](?=[a-z]*[ ,])/, (letter) => letter.toUpperCase());
}

/** 04:15:07 */
export function clock(at: string | number): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** 04:15:07.042, for what happens many times a second. */
export function preciseClock(at: string | number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "–" : `${clock(at)}.${pad(date.getMilliseconds(), 3)}`;
}

/** A time axis label no longer than the distance between ticks needs. Both in unix seconds. */
export function tick(at: number, increment: number): string {
  const date = new Date(at * 1000);
  if (increment >= 86_400) return `${date.getMonth() + 1}/${date.getDate()}`;
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return increment < 60 ? `${time}:${pad(date.getSeconds())}` : time;
}

/** A configuration value as TOML would write it. */
export function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value === "object" && value !== null)
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${key} = ${tomlValue(inner)}`)
      .join(", ")} }`;
  return value === null || value === undefined ? "unset" : JSON.stringify(value);
}
