import type { Tone } from "./reading";

// Where many sites are drawn, each as a shape: around one of them, or all in a ring. Pure.

export type Point = [x: number, y: number];

/** How far sites are apart, from what leaves room for names to what barely tells them apart, and rings from each other. */
const SPACINGS: [along: number, between: number][] = [
  [96, 52],
  [60, 46],
  [44, 42],
  [30, 38],
];

/** The closest to the middle: what is there needs room. */
const INNERMOST = 64;
/** From the outermost to the edge. */
const MARGIN = 30;

export interface Rings {
  points: Point[];
  /** Whether there is room for a name at each. */
  names: boolean;
  /** Half of the size of a shape. */
  radius: number;
}

/** Points at equal distances along an ellipse, the first at the top. */
function along([cx, cy]: Point, [rx, ry]: Point, count: number, turned: number): Point[] {
  const steps = 720;
  const at = (step: number): Point => {
    const angle = (2 * Math.PI * step) / steps - Math.PI / 2;
    return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)];
  };
  const lengths = [0];
  for (let step = 1; step <= steps; step++) {
    const [[ax, ay], [bx, by]] = [at(step - 1), at(step)];
    lengths.push((lengths[step - 1] ?? 0) + Math.hypot(bx - ax, by - ay));
  }
  const whole = lengths[steps] ?? 0;
  return Array.from({ length: count }, (_, i): Point => {
    const wanted = ((i + turned) * whole) / count;
    const step = lengths.findIndex((length) => length >= wanted);
    const [x, y] = at(Math.max(0, step));
    return [Math.round(x), Math.round(y)];
  });
}

function circumference([rx, ry]: Point): number {
  return 2 * Math.PI * Math.sqrt((rx * rx + ry * ry) / 2);
}

/** So many sites in rings around the middle of a box; null where they are too many for it. */
export function rings(count: number, [width, height]: Point): Rings | null {
  const centre: Point = [width / 2, height / 2];
  const outer: Point = [width / 2 - MARGIN - 16, height / 2 - MARGIN];
  for (const [spacing, between] of SPACINGS) {
    const sizes: Point[] = [];
    for (let ry = outer[1]; ry >= INNERMOST; ry -= between) sizes.push([(outer[0] * ry) / outer[1], ry]);
    const room = sizes.map((size) => Math.floor(circumference(size) / spacing));
    // As few rings as will do, from the outermost on.
    let used = 1;
    const within = () => room.slice(0, used).reduce((sum, one) => sum + one, 0);
    while (used < sizes.length && within() < count) used += 1;
    if (within() < count) continue;
    const whole = within();
    let left = count;
    const points = sizes.slice(0, used).flatMap((size, ring) => {
      const share =
        ring === used - 1
          ? left
          : Math.min(left, room[ring] ?? 0, Math.round((count * (room[ring] ?? 0)) / whole));
      left -= share;
      return along(centre, size, share, ring % 2 === 0 ? 0 : 0.5);
    });
    return { points, names: spacing >= 96, radius: spacing >= 60 ? 9 : spacing >= 44 ? 8 : 7 };
  }
  return null;
}

/** So many sites in one ring, for lines between each two; two stand beside each other. */
export function ring(count: number, [width, height]: Point): Point[] {
  return along([width / 2, height / 2], [width / 2 - 80, height / 2 - 40], count, count === 2 ? 0.5 : 0);
}

/** A box no higher than so many sites need. */
export function boxFor(count: number, [width, height]: Point): Point {
  return [width, count <= 2 ? Math.min(height, 200) : count <= 5 ? Math.min(height, 380) : height];
}

/** A shape of its own for each state, so that colours need not be told apart: a disc where all is well, a triangle, a square on its corner, a square, a ring. */
export function shape(tone: Tone, [x, y]: Point, r: number): string {
  switch (tone) {
    case "warn":
      return `M${x} ${y - r}L${x + r} ${y + r * 0.8}L${x - r} ${y + r * 0.8}Z`;
    case "bad":
      return `M${x} ${y - r * 1.15}L${x + r * 1.15} ${y}L${x} ${y + r * 1.15}L${x - r * 1.15} ${y}Z`;
    case "accent":
      return `M${x - r * 0.85} ${y - r * 0.85}h${r * 1.7}v${r * 1.7}h${-r * 1.7}Z`;
    default:
      return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  }
}
