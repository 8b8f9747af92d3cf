import { expect, test } from "vitest";
import { cells, largest, mean, seriesOf, share, shares, sums, tallied, total } from "./figures";
import type { Columns } from "./samples";
import type { Metric } from "./types";

const COLUMNS: Columns = [
  [10, 20, 30],
  [3, 0, null],
  [1, 0, null],
  [4, null, 2],
];

test("a series of a cell is named as the server names it", () => {
  expect(seriesOf("front_route_time_p99", { route: "GET /a" })).toBe('front_route_time_p99{route="GET /a"}');
  expect(seriesOf("x", { path: 'a"b\\c' })).toBe('x{path="a\\"b\\\\c"}');
  expect(seriesOf("x", {})).toBe("x");
});

test("a sum leaves out what was not measured, and is none where nothing was", () => {
  expect(sums([[0, 1], [2]])(COLUMNS)).toEqual([
    [10, 20, 30],
    [4, 0, null],
    [4, null, 2],
  ]);
});

test("a share of nothing is a gap, not zero", () => {
  expect(shares([{ of: [0], among: [0, 1] }])(COLUMNS)).toEqual([
    [10, 20, 30],
    [0.75, null, null],
  ]);
  expect(share(0, 0)).toBeNull();
  expect(share(null, 4)).toBeNull();
  // Counted at two moments, a part may seem larger than its whole.
  expect(share(5, 4)).toBe(1);
});

test("mean and largest are of what was measured", () => {
  expect(mean([1, null, 3])).toBe(2);
  expect(mean([null])).toBeNull();
  expect(largest([1, null, 3])).toBe(3);
  expect(largest(undefined)).toBeNull();
});

const METRICS: Metric[] = [
  {
    name: "requests_total",
    kind: "counter",
    unit: "",
    help: "",
    samples: [
      { labels: { status: "2xx" }, value: 7 },
      { labels: { status: "5xx" }, value: 2 },
    ],
  },
];

test("cells of a metric are told apart by a label and added up", () => {
  expect(total(METRICS, "requests_total")).toBe(9);
  expect(total(METRICS, "requests_total", ["status", "5xx"])).toBe(2);
  expect(total(METRICS, "absent")).toBeNull();
  expect(cells(METRICS, "requests_total", "status")).toEqual([
    ["2xx", 7],
    ["5xx", 2],
  ]);
});

test("what repeats is counted once, the most frequent first, with its newest", () => {
  const rows = [
    { path: "/a", at: 3 },
    { path: "/b", at: 2 },
    { path: "/b", at: 1 },
  ];
  expect(tallied(rows, (row) => row.path)).toEqual([
    { key: "/b", count: 2, latest: { path: "/b", at: 2 } },
    { key: "/a", count: 1, latest: { path: "/a", at: 3 } },
  ]);
});
