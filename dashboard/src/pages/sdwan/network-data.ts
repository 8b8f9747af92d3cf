import { createMemo } from "solid-js";
import { api, query } from "../../api/client";
import type { DocumentKind, NetworkDocument } from "../../api/controller-types";
import { createQuery, type Query } from "../../api/query";
import type { Page } from "../../api/types";
import { useStatus } from "../../status";
import type { Known } from "./documents";

/** Rows of a page, and pages that are asked for: beyond, the rest is left to the command line. */
const [PAGE, MOST_PAGES] = [999, 20];

/** Classes that are always there. */
const PRESETS = ["voice", "video", "transactional", "bulk"];

/** A list of the controller's, page after page. */
export async function everything<T>(path: string, signal?: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let after: string | null = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const found: Page<T> = await api.get<Page<T>>(`${path}${query({ limit: PAGE, after })}`, signal);
    items.push(...found.items);
    after = found.next;
    if (after === null) break;
  }
  return items;
}

export interface Documents {
  items: NetworkDocument[];
}

export function createDocuments(kind: DocumentKind): Query<Documents> {
  return createQuery<null, Documents>(
    () => null,
    async (_, signal) => ({ items: await everything<NetworkDocument>(`/controller/${kind}`, signal) }),
    { every: 15_000 },
  );
}

/** Whether this process is the controller of a network, and whether it is a site. */
export function useRoles(): { controls: () => boolean; joins: () => boolean } {
  const status = useStatus();
  const runs = (name: string) => status.data()?.services.some((service) => service.name === name) ?? false;
  return { controls: createMemo(() => runs("controller")), joins: createMemo(() => runs("sdwan")) };
}

/** Names that a form offers, as they are when it is opened. */
export async function fetchKnown(signal: AbortSignal): Promise<Known> {
  const ids = async (kind: DocumentKind) =>
    (await everything<NetworkDocument>(`/controller/${kind}`, signal)).map(({ id }) => id);
  const [sites, uplinks, classes, applications] = await Promise.all([
    ids("sites"),
    ids("uplinks"),
    ids("classes"),
    ids("applications"),
  ]);
  const names = uplinks.map((id) => id.slice(id.indexOf("/") + 1));
  return {
    sites,
    uplinks: [...new Set(names)].sort(),
    classes: [...PRESETS, ...classes.filter((name) => !PRESETS.includes(name))],
    applications,
  };
}
