import { seriesOf } from "../../api/figures";
import type { Columns } from "../../api/samples";
import type { Path } from "../../api/sdwan-types";
import { latency, percent } from "../../format";
import type { Plot } from "../../ui/plots";

// What the charts of paths are drawn from.

/** The history has series of each path up to so many; beyond, there is what is measured while somebody looks. */
export const MOST_WITH_SERIES = 64;

/** The series of a path: latency, jitter, loss. */
export function seriesOfPath(path: Path): [latency: string, jitter: string, loss: string] {
  // The server's own order of labels.
  const labels = {
    site: path.site,
    uplink: path.uplink,
    remote: path.remote_uplink,
    ...(path.via ? { via: path.via } : {}),
  };
  return [
    seriesOf("sdwan_path_latency", labels),
    seriesOf("sdwan_path_jitter", labels),
    seriesOf("sdwan_path_loss_ratio", labels),
  ];
}

/** The same as it was told just now. */
export function sampleOfPath(path: Path): Record<string, number> {
  const [ms, jitter, loss] = seriesOfPath(path);
  return { [ms]: path.latency_ms / 1000, [jitter]: path.jitter_ms / 1000, [loss]: path.loss };
}

/** What is usual, and how late what is late comes: latency, and jitter on top of it. */
export function spread([times, ms = [], jitter = []]: Columns): Columns {
  const late = ms.map((value, i) => {
    const more = jitter[i] ?? null;
    return value === null || more === null ? value : value + more;
  });
  return [times, ms, late];
}

export function plotsOfPath(path: Path): Plot[] {
  const [ms, jitter, loss] = seriesOfPath(path);
  const one = (title: string, name: string, format: (value: number) => string): Plot => ({
    title,
    names: [name],
    series: [{ label: "", color: 1 }],
    format,
  });
  return [
    one("Latency, one way", ms, latency),
    one("Jitter", jitter, latency),
    { ...one("Lost", loss, percent), series: [{ label: "", color: 3 }] },
  ];
}
