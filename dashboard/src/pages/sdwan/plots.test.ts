import { expect, test } from "vitest";
import type { Path } from "../../api/sdwan-types";
import { plotsOfPath, sampleOfPath, seriesOfPath, spread } from "./plots";

const PATH = {
  site: 'no"rth',
  uplink: "fibre",
  remote_uplink: "dsl",
  latency_ms: 20,
  jitter_ms: 3,
  loss: 0.25,
} as Path;

test("the series of a path are named as the server names them", () => {
  expect(seriesOfPath(PATH)).toEqual([
    'sdwan_path_latency{site="no\\"rth",uplink="fibre",remote="dsl"}',
    'sdwan_path_jitter{site="no\\"rth",uplink="fibre",remote="dsl"}',
    'sdwan_path_loss_ratio{site="no\\"rth",uplink="fibre",remote="dsl"}',
  ]);
});

test("a path that a hub passes on has series of its own", () => {
  expect(seriesOfPath({ ...PATH, via: "hub" })[0]).toBe(
    'sdwan_path_latency{site="no\\"rth",uplink="fibre",remote="dsl",via="hub"}',
  );
});

test("a path that is polled gives what its charts are drawn from, in seconds", () => {
  const sample = sampleOfPath(PATH);
  expect(plotsOfPath(PATH).map((plot) => plot.names.map((name) => sample[name]))).toEqual([
    [0.02],
    [0.003],
    [0.25],
  ]);
});

test("what is late comes later by the jitter, where that is known", () => {
  expect(
    spread([
      [1, 2, 3],
      [10, 20, null],
      [1, null, 5],
    ]),
  ).toEqual([
    [1, 2, 3],
    [10, 20, null],
    [11, 20, null],
  ]);
});
