import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

type Palette = Map<string, string>;

/** The custom properties of each block, in file order: light, dark by preference, dark by choice. */
function palettes(): [Palette, Palette, Palette] {
  const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");
  const blocks = [...css.matchAll(/:root[^{]*\{([^}]*)\}/g)].map(
    (block) =>
      new Map([...(block[1] ?? "").matchAll(/(--[\w-]+):\s*([^;]+);/g)].map((m) => [m[1] ?? "", m[2] ?? ""])),
  );
  const [light, preferred, chosen] = blocks;
  if (!light || !preferred || !chosen) throw new Error("tokens.css has three :root blocks");
  return [light, preferred, chosen];
}

/** Relative luminance (WCAG 2.2). */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const channel = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const SURFACES = ["--canvas", "--surface", "--sunken"];
const TEXT_PAIRS: [string, string][] = [
  ...["--text", "--muted", "--accent", "--good", "--warn", "--bad"].flatMap((text) =>
    SURFACES.map((surface): [string, string] => [text, surface]),
  ),
  ["--good", "--good-soft"],
  ["--warn", "--warn-soft"],
  ["--bad", "--bad-soft"],
  ["--accent", "--accent-soft"],
  ...["--good-soft", "--warn-soft", "--bad-soft"].flatMap((soft): [string, string][] => [
    ["--text", soft],
    ["--muted", soft],
  ]),
  ["--text", "--raised"],
  ["--on-fill", "--accent-fill"],
  ["--on-fill", "--bad-fill"],
];
const GRAPHIC_PAIRS: [string, string][] = [
  ...["--series-1", "--series-2", "--series-3", "--series-4"].map((line): [string, string] => [
    line,
    "--surface",
  ]),
  ["--line-strong", "--surface"],
  ["--series-1", "--sunken"],
  ["--warn-fill", "--surface"],
];

const [light, preferred, chosen] = palettes();

test("dark by preference and dark by choice are the same theme", () => {
  expect([...preferred]).toEqual([...chosen]);
});

describe.each([
  ["light", light],
  ["dark", chosen],
])("%s", (_, palette) => {
  const color = (name: string) => palette.get(name) ?? "";
  test.each(TEXT_PAIRS)("%s reads on %s at WCAG AA", (text, surface) => {
    expect(contrast(color(text), color(surface))).toBeGreaterThanOrEqual(4.5);
  });
  test.each(GRAPHIC_PAIRS)("%s stands out on %s", (mark, surface) => {
    expect(contrast(color(mark), color(surface))).toBeGreaterThanOrEqual(3);
  });
});
