import { expect, test } from "vitest";
import {
  type Columns,
  freshFor,
  historyColumns,
  joinColumns,
  LiveSamples,
  lastMeasured,
  markedPoints,
} from "./samples";

test("live samples keep the newest and drop the oldest at the limit", () => {
  const samples = new LiveSamples(3);
  for (const time of [1, 2, 3, 4]) samples.push(time, { a: time * 10 });
  expect(samples.columns(["a"], 0)).toEqual([
    [2, 3, 4],
    [20, 30, 40],
  ]);
});

test("a sample from the past or of no time is not drawn", () => {
  const samples = new LiveSamples(9);
  samples.push(5, { a: 1 });
  samples.push(4, { a: 2 });
  samples.push(Number.NaN, { a: 3 });
  expect(samples.columns(["a"], 0)).toEqual([[5], [1]]);
});

test("a metric that a sample lacks is a gap", () => {
  const samples = new LiveSamples(9);
  samples.push(1, { a: 1 });
  expect(samples.columns(["a", "b"], 0)).toEqual([[1], [1], [null]]);
});

test("history gives each name its column, gaps kept, unknown names empty", () => {
  const history = { step: 10, start: 100, series: [{ name: "a", unit: "", values: [1, null, 3] }] };
  expect(historyColumns(history, ["a", "b"])).toEqual([
    [100, 110, 120],
    [1, null, 3],
    [null, null, null],
  ]);
});

test("live samples take over from history where they begin", () => {
  const history: Columns = [
    [100, 110, 120],
    [1, 2, 3],
  ];
  const live: Columns = [
    [115, 116],
    [7, 8],
  ];
  expect(joinColumns(history, live, 10)).toEqual([
    [100, 110, 115, 116],
    [1, 2, 7, 8],
  ]);
});

test("time that nobody measured is drawn as a gap, not as a line", () => {
  const joined = joinColumns([[100], [1]], [[200], [9]], 10);
  expect(joined).toEqual([
    [100, 199, 200],
    [1, null, 9],
  ]);
});

test("without live samples history stands alone", () => {
  expect(joinColumns([[100], [1]], [[], []], 10)).toEqual([[100], [1]]);
});

test("what was measured last is told with its time, behind which gaps may come", () => {
  const columns: Columns = [
    [100, 101, 102],
    [1, 2, null],
    [null, null, null],
  ];
  expect(lastMeasured(columns, 0)).toEqual({ at: 101, value: 2 });
  expect(lastMeasured(columns, 1)).toBeNull();
  expect(lastMeasured([[]], 0)).toBeNull();
});

test("a reading holds for two steps of its history, which is fetched each minute, and a live one for less", () => {
  expect(freshFor(true, 10)).toBe(20);
  expect(freshFor(false, 10)).toBe(80);
  expect(freshFor(false, 300)).toBe(660);
});

test("steps of the history that are not written yet leave no gap before the live samples", () => {
  const history: Columns = [
    [100, 110, 120, 130],
    [1, 2, null, null],
  ];
  expect(
    joinColumns(
      history,
      [
        [135, 136],
        [5, 6],
      ],
      10,
    ),
  ).toEqual([
    [100, 110, 135, 136],
    [1, 2, 5, 6],
  ]);
});

test("a first live sample without rates leaves no gap after the history", () => {
  expect(
    joinColumns(
      [[100], [1]],
      [
        [111, 112, 113],
        [null, 6, 7],
      ],
      10,
    ),
  ).toEqual([
    [100, 112, 113],
    [1, 6, 7],
  ]);
});

test("a short line has its points drawn, a long one only those that stand alone", () => {
  expect(markedPoints([null, 1, 2, undefined, 3])).toEqual([1, 2, 4]);
  const long = [5, null, ...Array.from({ length: 20 }, (_, i) => i), null, 7];
  expect(markedPoints(long)).toEqual([0, 23]);
});
