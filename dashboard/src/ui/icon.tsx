import { For } from "solid-js";

// Drawn on a 16 by 16 grid, one stroke width, so that they sit together.
const PATHS = {
  overview: ["M2.5 13.5h11", "M4 11V8", "M8 11V3", "M12 11V6"],
  dhcp: ["M2.5 3h11v4h-11z", "M2.5 9h11v4h-11z", "M5 5h.01", "M5 11h.01"],
  web: [
    "M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12z",
    "M2 8h12",
    "M8 2c-2 1.6-3 3.6-3 6s1 4.4 3 6c2-1.6 3-3.6 3-6s-1-4.4-3-6z",
  ],
  proxy: ["M2 8h4", "M6 8c2.5 0 2-4.5 4.5-4.5H14", "M6 8h8", "M6 8c2.5 0 2 4.5 4.5 4.5H14"],
  sdwan: [
    "M8 6.3a1.7 1.7 0 1 0 0 3.4a1.7 1.7 0 0 0 0-3.4z",
    "M6.7 6.9 3.7 4.4",
    "M9.3 6.9l3-2.5",
    "M8 9.7v2.6",
    "M2.8 3.6h.01",
    "M13.2 3.6h.01",
    "M8 13.6h.01",
  ],
  cache: ["M8.5 1.5 3.5 9H8l-.5 5.5 5-7.5H8z"],
  files: ["M2 4.5v8h12v-6.5H7.5L6 4.5z"],
  database: [
    "M8 2.5c-3 0-5 .8-5 1.8s2 1.8 5 1.8 5-.8 5-1.8-2-1.8-5-1.8z",
    "M3 4.3v7.4c0 1 2 1.8 5 1.8s5-.8 5-1.8V4.3",
    "M3 8c0 1 2 1.8 5 1.8s5-.8 5-1.8",
  ],
  settings: ["M2 4.5h7", "M13 4.5h1", "M2 11.5h1", "M7 11.5h7", "M11 3v3", "M5 10v3"],
  search: ["M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9z", "M10.5 10.5 14 14"],
  close: ["M4 4l8 8", "M12 4l-8 8"],
  check: ["M3 8.5 6.5 12 13 4.5"],
  alert: ["M8 2 14.5 13.5h-13z", "M8 6.5v3", "M8 11.5v.01"],
  critical: ["M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5z", "M8 5v3.5", "M8 11v.01"],
  info: ["M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12z", "M8 7.5V11", "M8 5v.01"],
  more: ["M3 7.6a.4.4 0 1 0 .01 0z", "M8 7.6a.4.4 0 1 0 .01 0z", "M13 7.6a.4.4 0 1 0 .01 0z"],
  left: ["M10 3.5 5.5 8l4.5 4.5"],
  right: ["M6 3.5 10.5 8 6 12.5"],
  down: ["M3.5 6 8 10.5 12.5 6"],
  refresh: ["M13 8a5 5 0 1 1-1.5-3.6", "M13.5 2v3h-3"],
  pause: ["M5.5 3.5v9", "M10.5 3.5v9"],
  play: ["M5 3l8 5-8 5z"],
  drain: ["M8 2v8.5", "M4.5 7 8 10.5 11.5 7", "M3 13.5h10"],
  eject: ["M8 3 13 9H3z", "M3 12.5h10"],
  rising: ["M2.5 12.5c4 0 5-8 11-8", "M10.5 2.5l3 2-2 3"],
  minus: ["M3.5 8h9"],
  plus: ["M8 3v10", "M3 8h10"],
  pin: ["M5.5 2h5", "M6.5 2v4.5L4 9.5h8L9.5 6.5V2", "M8 9.5V14"],
  edit: ["M3 13l.7-3L11 2.7 13.3 5 6 12.3z"],
  trash: ["M3 4.5h10", "M6 4.5v-2h4v2", "M4.5 4.5l.5 9h6l.5-9"],
  release: ["M9 3h4v10H9", "M2.5 8H9", "M5 5.5 2.5 8 5 10.5"],
  sun: [
    "M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 0 0 0-5.6z",
    "M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  ],
  moon: ["M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z"],
  auto: ["M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12z", "M8 2v12", "M8 5.5h4.5M8 8.5h6M8 11.5h4.5"],
  exit: ["M6.5 2.5h-4v11h4", "M6.5 8h7.5", "M11 5l3 3-3 3"],
  copy: ["M5.5 5.5h8v8h-8z", "M3.5 10.5h-1v-8h8v1"],
  key: ["M5 6.5a3 3 0 1 0 2 5.2L14 5", "M11.5 7.5 13.5 9.5"],
  offline: ["M2 2l12 12", "M3 8.5a7 7 0 0 1 3-1.8M9.5 6.5A7 7 0 0 1 13 8.5", "M8 12.5h.01"],
} as const;

export type IconName = keyof typeof PATHS;

/** Decorative: the words beside it, or the button's label, say what it means. */
export function Icon(props: { name: IconName; size?: number }) {
  return (
    <svg
      width={props.size ?? 16}
      height={props.size ?? 16}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <For each={PATHS[props.name]}>{(d) => <path d={d} />}</For>
    </svg>
  );
}
