import { createSignal } from "solid-js";

/** Where the user is. Routes live in the address's fragment, so the server needs no rule for them. */
export interface Route {
  segments: string[];
  params: URLSearchParams;
}

export function parseHash(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#/, "").split("?", 2);
  return {
    segments: path.split("/").filter((segment) => segment !== ""),
    params: new URLSearchParams(search),
  };
}

/** Which of a section's pages an address names, by its path or by another name for it; null where there is none such. */
export function pageOf(pages: { path: string; alias?: string }[], segments: string[]): string | null {
  const path = `/${segments.join("/")}`;
  return pages.find((page) => page.path === path || page.alias === path)?.path ?? null;
}

export function href(path: string, params: Record<string, string | number | null | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params))
    if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
  const text = search.toString();
  return `#${path}${text === "" ? "" : `?${text}`}`;
}

const [current, setCurrent] = createSignal(parseHash(globalThis.location?.hash ?? ""));
export const route = current;

globalThis.addEventListener?.("hashchange", () => setCurrent(parseHash(location.hash)));

/**
 * Changes parameters of the current page; null removes one. `replace` is for what the user would not expect the
 * back button to undo, such as each letter of a search.
 */
export function setParams(
  changes: Record<string, string | number | null>,
  how: "push" | "replace" = "replace",
): void {
  const { segments, params } = current();
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const target = href(`/${segments.join("/")}`, Object.fromEntries(next));
  if (target === (location.hash || "#/")) return;
  if (how === "push") location.hash = target;
  else {
    history.replaceState(history.state, "", target);
    setCurrent(parseHash(target));
  }
}
