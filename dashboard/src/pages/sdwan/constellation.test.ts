import { describe, expect, test } from "vitest";
import { boxFor, type Point, ring, rings, shape } from "./constellation";

const BOX: Point = [960, 560];

function closest(points: Point[]): number {
  let least = Number.POSITIVE_INFINITY;
  points.forEach(([x, y], i) => {
    for (const [ox, oy] of points.slice(i + 1)) least = Math.min(least, Math.hypot(x - ox, y - oy));
  });
  return least;
}

describe("many sites around one", () => {
  test("are all in sight, none over another and none over the middle, up to two hundred", () => {
    for (const count of [1, 2, 17, 24, 40, 64, 100, 150, 200]) {
      const drawn = rings(count, BOX);
      if (!drawn) throw new Error(`${count} sites are not drawn`);
      expect(drawn.points).toHaveLength(count);
      for (const [x, y] of drawn.points) {
        expect(x).toBeGreaterThan(drawn.radius);
        expect(x).toBeLessThan(BOX[0] - drawn.radius);
        expect(y).toBeGreaterThan(drawn.radius);
        expect(y).toBeLessThan(BOX[1] - drawn.radius);
        expect(Math.hypot(x - BOX[0] / 2, y - BOX[1] / 2)).toBeGreaterThan(50);
      }
      expect(closest(drawn.points)).toBeGreaterThan(2.4 * drawn.radius);
    }
  });

  test("have their names beside them as long as there is room", () => {
    expect(rings(24, BOX)?.names).toBe(true);
    expect(rings(200, BOX)?.names).toBe(false);
  });

  test("are not drawn where they would be one heap: a phone has room for fewer", () => {
    expect(rings(1000, BOX)).toBe(null);
    expect(rings(200, [358, 358])).toBe(null);
    expect(rings(16, [358, 358])?.points).toHaveLength(16);
  });
});

test("a ring has each site at a place of its own", () => {
  for (const count of [2, 3, 5, 24]) {
    const box = boxFor(count, BOX);
    const points = ring(count, box);
    expect(closest(points)).toBeGreaterThan(50);
    for (const [x, y] of points) expect(x > 20 && x < box[0] - 20 && y > 20 && y < box[1] - 20).toBe(true);
  }
  const [one, other] = ring(2, boxFor(2, BOX));
  expect(Math.abs((one?.[1] ?? 0) - (other?.[1] ?? 99))).toBeLessThan(3);
});

test("each state has a shape of its own", () => {
  const shapes = (["good", "warn", "bad", "accent"] as const).map((tone) => shape(tone, [0, 0], 8));
  expect(new Set(shapes).size).toBe(4);
});
