import { describe, expect, test } from "vitest";
import type { Path } from "../../api/sdwan-types";
import { curve, draw, fitted, WIDTH } from "./graph";
import type { Joined } from "./reading";

const sites = (count: number, paths: number): Joined[] =>
  Array.from({ length: count }, (_, i) => ({
    name: `site-${String(i).padStart(3, "0")}`,
    subnets: [],
    paths: Array.from({ length: paths }, (_, id) => ({ id: i * paths + id, site: `site-${i}` }) as Path),
  }));

describe("a map", () => {
  test("has every site in sight, and none over another", () => {
    for (const count of [1, 2, 3, 8, 9, 16]) {
      const drawn = draw(sites(count, 2));
      if (!drawn) throw new Error(`${count} sites are not drawn`);
      const [width, height] = drawn.box;
      const boxes = [...drawn.sites.map(({ at }) => at), drawn.centre];
      boxes.forEach(([x, y], i) => {
        expect(x - width).toBeGreaterThanOrEqual(0);
        expect(x + width).toBeLessThanOrEqual(WIDTH);
        expect(y - height).toBeGreaterThanOrEqual(0);
        expect(y + height).toBeLessThanOrEqual(drawn.height);
        for (const [ox, oy] of boxes.slice(i + 1))
          expect(Math.abs(x - ox) >= 2 * width || Math.abs(y - oy) >= 2 * height).toBe(true);
      });
    }
  });

  test("has sites where they were, whatever has become of them", () => {
    const some = sites(5, 1);
    expect(draw([...some].reverse())?.sites.map(({ site }) => site.name)).toEqual(
      some.map((site) => site.name),
    );
  });

  test("is not drawn of nothing, nor of more than it can show", () => {
    expect(draw([])).toBe(null);
    expect(draw(sites(17, 1))).toBe(null);
    expect(draw(sites(250, 4))).toBe(null);
    expect(draw(sites(16, 4))).not.toBe(null);
    expect(draw(sites(13, 5))).toBe(null);
  });

  test("has figures beside each edge as long as they do not lie over each other", () => {
    expect(draw(sites(4, 4))?.figures).toBe(true);
    expect(draw(sites(6, 3))?.figures).toBe(false);
  });
});

test("a path by a hub is drawn through it where the hub is on the map", () => {
  const all = sites(3, 1);
  const far = all[2];
  if (!far) throw new Error("there are three");
  far.paths = [
    { id: 9, site: far.name, via: "site-000" } as Path,
    { id: 10, site: far.name, via: "away" } as Path,
  ];
  const drawn = draw(all);
  const hub = drawn?.sites.find(({ site }) => site.name === "site-000")?.at.join(" ");
  const edges = drawn?.sites.find(({ site }) => site.name === far.name)?.edges ?? [];
  expect(edges.map((edge) => edge.hub)).toEqual([true, true]);
  expect(edges[0]?.d.endsWith(`${drawn?.sites[2]?.at.join(" ")}`)).toBe(true);
  expect(edges[0]?.d.split("M")[2]?.startsWith(hub ?? "?")).toBe(true);
  expect(edges[1]?.d.split("M")).toHaveLength(2);
});

test("paths between the same two are bent apart, and a single one is straight", () => {
  expect(curve([0, 0], [100, 0], 0, 1)).toEqual({ d: "M0 0Q50 0 100 0", label: [52, 0] });
  const labels = [0, 1, 2, 3].map((place) => curve([0, 0], [400, 0], place, 4).label);
  const apart = labels.slice(1).map(([, y], i) => y - (labels[i]?.[1] ?? 0));
  for (const distance of apart) expect(distance).toBeGreaterThan(16);
  const upright = [0, 1].map((place) => curve([0, 0], [0, 200], place, 2).label);
  expect(Math.abs((upright[1]?.[1] ?? 0) - (upright[0]?.[1] ?? 0))).toBeGreaterThan(16);
});

test("figures of two paths to a site do not lie over each other, whichever way their edges run", () => {
  for (const count of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const drawn = draw(sites(count, 2));
    expect(drawn?.figures).toBe(true);
    for (const { edges } of drawn?.sites ?? []) {
      const [[ax, ay], [bx, by]] = edges.map(({ label }) => label) as [[number, number], [number, number]];
      // As wide as "20.0 ms · 2.0% lost" with its shape, and as high as a line.
      expect(Math.abs(ax - bx) > 140 || Math.abs(ay - by) > 16, `${count}: ${ax} ${ay}, ${bx} ${by}`).toBe(
        true,
      );
    }
  }
});

test("a name that is too long ends in an ellipsis", () => {
  expect(fitted("north", 13)).toBe("north");
  expect(fitted("a-very-long-name", 13)).toBe("a-very-long-…");
});
