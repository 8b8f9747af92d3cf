import { createSignal } from "solid-js";

export type Theme = "auto" | "light" | "dark";

const KEY = "outwork-theme";

function remembered(): Theme {
  const set = document.documentElement.dataset.theme;
  return set === "light" || set === "dark" ? set : "auto";
}

const [theme, setSignal] = createSignal<Theme>(remembered());
const [changes, setChanges] = createSignal(0);

export { theme };
/** Changes when the colours on screen do, for what is drawn rather than styled. */
export const themeChanged = changes;

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setChanges((n) => n + 1));

export function setTheme(next: Theme): void {
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage is refused in some private windows: the choice holds until the page is closed.
  }
  setSignal(next);
  setChanges((n) => n + 1);
}
