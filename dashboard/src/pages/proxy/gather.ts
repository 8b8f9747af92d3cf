import type { Listener } from "../../api/proxy-types";

// Listeners of layer 4, as they are shown.

/** A listener with all of its addresses, which share its figures. */
export interface Gathered extends Listener {
  key: string;
  addresses: string[];
}

export function gather(all: Listener[]): Gathered[] {
  const found = new Map<string, Gathered>();
  for (const one of all) {
    const known = found.get(one.name);
    if (known) known.addresses.push(one.address);
    else found.set(one.name, { ...one, key: one.name, addresses: [one.address] });
  }
  return [...found.values()];
}

/** Every pool that a listener may give its clients to, once. */
export function pools(listener: Listener): string[] {
  const named = listener.sni.map((route) => route.pool);
  return [...new Set(listener.pool === null ? named : [listener.pool, ...named])];
}
