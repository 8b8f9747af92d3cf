import { expect, test } from "vitest";
import { area, largestOf, line, meanOf, runs, steps } from "./spark";

test("points are folded into the part of the time that they are of, and what is before it is left out", () => {
  const columns: [number[], (number | null)[]] = [
    [90, 100, 104, 105, 110, 119, 120],
    [9, 1, 3, null, 5, 7, 8],
  ];
  expect(steps(columns, 0, [100, 120], 4, meanOf)).toEqual([2, null, 5, 7.5]);
  expect(steps(columns, 0, [100, 120], 4, largestOf)).toEqual([3, null, 5, 8]);
  expect(steps([[]], 0, [0, 10], 2, meanOf)).toEqual([null, null]);
});

test("a line bridges what was not measured for a moment, and ends where nothing was for long", () => {
  expect(runs([1, null, null, 2, null, null, null, 3, null])).toEqual([
    [
      [0, 1],
      [3, 2],
    ],
    [[7, 3]],
  ]);
});

test("a line fills its box from the bottom up, and a single point is a speck", () => {
  const size = [40, 10] as const;
  expect(
    line(
      [
        [0, 0],
        [3, 2],
      ],
      4,
      2,
      size,
    ),
  ).toBe("M5.0 10.0L35.0 0.0");
  expect(line([[1, 1]], 4, 2, size)).toBe("M15.0 5.0h0.01");
  expect(line([[1, 1]], 4, 0, size)).toBe("M15.0 10.0h0.01");
  expect(
    area(
      [
        [0, 1],
        [1, 1],
      ],
      2,
      1,
      size,
    ),
  ).toBe("M10.0 0.0L30.0 0.0L30.0 10L10.0 10Z");
});
