/** One of the things that are wrong with what is refused: the document that it is about, and the field. */
export interface ServerFault {
  kind: string | null;
  id: string | null;
  /** Empty where it is the whole document. */
  key: string;
  found: string;
  expected: string | null;
  help: string | null;
}

/** A refusal from the server (RFC 9457), or status 0 when the server was not reached at all. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    /** The setting or field the server blames, where it names one. */
    readonly key: string | null = null,
    /** Everything that is wrong, where the server tells it one by one. */
    readonly faults: ServerFault[] = [],
  ) {
    super(detail === "" ? title : `${title}: ${detail}`);
  }
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new Problem(0, "The dashboard failed", detail);
}

/** Reads a problem document; a body that is none (a proxy's error page) still gives a usable message. */
export function problemFrom(status: number, statusText: string, body: string): Problem {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) {
      const { title, detail, key, faults } = parsed as Record<string, unknown>;
      return new Problem(
        status,
        typeof title === "string" ? title : statusText || `HTTP ${status}`,
        typeof detail === "string" ? detail : "",
        typeof key === "string" ? key : null,
        Array.isArray(faults) ? (faults as ServerFault[]) : [],
      );
    }
  } catch {
    // Not JSON: fall through to the plain message.
  }
  return new Problem(status, statusText || `HTTP ${status}`, body.slice(0, 300));
}

let onUnauthorized: () => void = () => {};

/** Called when any request but signing in is answered 401: the session has ended. */
export function whenUnauthorized(handler: () => void): void {
  onUnauthorized = handler;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

interface Extra {
  signal?: AbortSignal | undefined;
  /** The version that a change is of: refused where it is another by now. */
  version?: number | undefined;
}

async function send(method: Method, path: string, body?: unknown, extra: Extra = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  // A header that no form or foreign page can set: the server requires it of every change (CSRF).
  if (method !== "GET") headers["X-Outwork"] = "1";
  if (extra.version !== undefined) headers["If-Match"] = `"${extra.version}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers,
      credentials: "same-origin",
      body: body === undefined ? null : JSON.stringify(body),
      signal: extra.signal ?? null,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(
      0,
      "Outwork cannot be reached",
      "Check that the server is running and that this machine has a way to it.",
    );
  }
}

async function request<T>(method: Method, path: string, body?: unknown, extra?: Extra): Promise<T> {
  const response = await send(method, path, body, extra);
  const text = await response.text();
  if (!response.ok) {
    if (response.status === 401 && path !== "/session") onUnauthorized();
    throw problemFrom(response.status, response.statusText, text);
  }
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export type Params = Record<string, string | number | null | undefined | (string | number)[]>;

/** A query string, empty values left out, lists repeated. */
export function query(params: Params): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

export const api = {
  get: <T>(path: string, signal?: AbortSignal) => request<T>("GET", path, undefined, { signal }),
  post: <T>(path: string, body?: unknown) => request<T>("POST", path, body),
  put: <T>(path: string, body?: unknown, version?: number) => request<T>("PUT", path, body, { version }),
  patch: <T>(path: string, body?: unknown) => request<T>("PATCH", path, body),
  delete: <T>(path: string, version?: number) => request<T>("DELETE", path, undefined, { version }),
};
