import type { DhcpEvent } from "../../api/types";

export type Group = "requests" | "answers" | "ends" | "problems";

const GROUPS: Record<string, Group> = {
  discover: "requests",
  request: "requests",
  inform: "requests",
  offer: "answers",
  ack: "answers",
  release: "ends",
  expire: "ends",
  reclaim: "ends",
};

/** What is neither asked, answered nor ended is a problem: a NAK, a decline, a conflict, a drop and its kin. */
export function groupOf(kind: string): Group {
  return GROUPS[kind] ?? "problems";
}

export type FeedRow = { id: number } & ({ event: DhcpEvent } | { missed: number });

/**
 * The newest events, newest first, at most `limit`. Arrivals wait until `flush`, so that a flood costs one redraw;
 * of what waits, too, only the newest `limit` are kept.
 */
export class Feed {
  private rows: FeedRow[] = [];
  private waiting: FeedRow[] = [];
  private nextId = 0;
  /** Events that arrived since the last flush, kept or not. */
  arrived = 0;

  constructor(private readonly limit: number) {}

  event(event: DhcpEvent): void {
    this.arrived += 1;
    this.add({ id: this.nextId++, event });
  }

  missed(missed: number): void {
    this.arrived += missed;
    this.add({ id: this.nextId++, missed });
  }

  private add(row: FeedRow): void {
    this.waiting.push(row);
    if (this.waiting.length > 2 * this.limit) this.waiting = this.waiting.slice(-this.limit);
  }

  flush(): FeedRow[] {
    if (this.waiting.length > 0) {
      this.rows = [...this.waiting.reverse(), ...this.rows].slice(0, this.limit);
      this.waiting = [];
    }
    this.arrived = 0;
    return this.rows;
  }

  clear(): void {
    this.rows = [];
    this.waiting = [];
    this.arrived = 0;
  }
}

export function matches(row: FeedRow, groups: ReadonlySet<Group>, needle: string): boolean {
  if ("missed" in row) return needle === "" && groups.size === 0;
  const { event } = row;
  if (groups.size > 0 && !groups.has(groupOf(event.kind))) return false;
  return (
    needle === "" ||
    [event.kind, event.address, event.mac, event.client_id, event.hostname, event.reason]
      .join(" ")
      .toLowerCase()
      .includes(needle)
  );
}
