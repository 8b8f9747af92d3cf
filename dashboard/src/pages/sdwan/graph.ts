import type { Path } from "../../api/sdwan-types";
import type { Joined } from "./reading";

// Where sites and paths are drawn. Pure.

/** More than that, and edges say less than a table does. */
const MOST_SITES = 16;
const MOST_PATHS = 64;
/** More than that, and figures lie over each other: each is told when it is pointed at. */
const MOST_FIGURES = 16;

export const WIDTH = 960;

export type Point = [x: number, y: number];

export interface Drawn {
  height: number;
  /** Where we are. */
  centre: Point;
  /** Whether figures stand beside each edge. */
  figures: boolean;
  /** Half of the width and height of a site's box. */
  box: Point;
  /** Letters that fit into it. */
  letters: number;
  sites: { site: Joined; at: Point; edges: Edge[] }[];
}

export interface Edge {
  path: Path;
  d: string;
  /** Whether it goes through the box of a hub. */
  hub: boolean;
  /** Where its figures stand. */
  label: Point;
}

/** Sites in a stable order around ours, with an edge for each path; null where they are too many for that. */
export function draw(sites: Joined[]): Drawn | null {
  const paths = sites.reduce((sum, site) => sum + site.paths.length, 0);
  if (sites.length === 0 || sites.length > MOST_SITES || paths > MOST_PATHS) return null;
  const widest = Math.max(...sites.map((site) => site.paths.length));
  const crowded = sites.length > 8;
  const height = sites.length <= 2 ? Math.max(200, 90 + widest * 44) : crowded ? 560 : 460;
  const centre: Point = [WIDTH / 2, height / 2];
  const box: Point = crowded ? [56, 19] : [74, 23];
  const radius: Point = [WIDTH / 2 - box[0] - 8, height / 2 - box[1] - 8];
  // What is pressing comes first in lists; in a picture everything stays where it is.
  const order = [...sites].sort((a, b) => a.name.localeCompare(b.name));
  const place = (i: number): Point => {
    const angle = (2 * Math.PI * i) / order.length;
    return [
      Math.round(centre[0] + radius[0] * Math.cos(angle)),
      Math.round(centre[1] + radius[1] * Math.sin(angle)),
    ];
  };
  const places = new Map(order.map((site, i) => [site.name, place(i)]));
  return {
    height,
    centre,
    figures: paths <= MOST_FIGURES,
    box,
    letters: crowded ? 10 : 15,
    sites: order.map((site, i) => {
      const at = place(i);
      const edges = site.paths.map((path, number) => ({
        path,
        ...drawnBy(path, centre, at, places, number, site.paths.length),
      }));
      return { site, at, edges };
    }),
  };
}

/** A path as an edge: straight, or through its hub where that is on the map. */
function drawnBy(
  path: Path,
  centre: Point,
  at: Point,
  places: Map<string, Point>,
  number: number,
  count: number,
): Pick<Edge, "d" | "label" | "hub"> {
  const hub = path.via ? places.get(path.via) : undefined;
  if (!hub) return { ...curve(centre, at, number, count), hub: Boolean(path.via) };
  const [there, on] = [curve(centre, hub, number, count), curve(hub, at, number, count)];
  return { d: `${there.d}${on.d}`, label: on.label, hub: true };
}

/** The edge of one of `count` paths between the same two, bent apart from the others. */
export function curve(from: Point, to: Point, place: number, count: number): { d: string; label: Point } {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const side = place - (count - 1) / 2;
  const apart = side * Math.min(44, 150 / count);
  // A curve comes half as far as the point that draws it.
  const [bx, by] = [(-dy / length) * apart * 2, (dx / length) * apart * 2];
  const control: Point = [(from[0] + to[0]) / 2 + bx, (from[1] + to[1]) / 2 + by];
  // Beside each other they would touch where edges run up or down: one comes earlier than the next, the one that its bend has brought that way already.
  const way = dx * dy < 0 ? -1 : 1;
  const t = 0.52 + (way * side * 0.34 * Math.abs(dy)) / length / Math.max(1, count - 1);
  const on = (axis: 0 | 1) =>
    Math.round((1 - t) ** 2 * from[axis] + 2 * t * (1 - t) * control[axis] + t ** 2 * to[axis]);
  const [cx, cy] = control.map(Math.round);
  return { d: `M${from[0]} ${from[1]}Q${cx} ${cy} ${to[0]} ${to[1]}`, label: [on(0), on(1)] };
}

/** A name that fits. */
export function fitted(name: string, letters: number): string {
  return name.length <= letters ? name : `${name.slice(0, letters - 1)}…`;
}
