import type { Problem } from "../../api/client";
import type { Body, DocumentChange, DocumentKind } from "../../api/controller-types";
import { tomlValue } from "../../format";
import { settingsGroups } from "./settings-fields";

// Documents of a network as forms: which fields each kind has, and what is wrong with which. Pure.

/** Names that documents may refer to. */
export interface Known {
  sites: string[];
  uplinks: string[];
  classes: string[];
  applications: string[];
}

export interface FieldSpec {
  key: string;
  label: string;
  hint?: string;
  as: "text" | "number" | "list" | "flag" | "choice" | "picks";
  /** Of a choice: what may be chosen; of names, where they come from. */
  options?: [value: string, text: string][];
  known?: keyof Known;
  /** What it is where nothing is said. */
  unset?: string;
  required?: boolean;
  /** What a document is known by stays. */
  fixed?: boolean;
  mono?: boolean;
  /** Beside the one before. */
  beside?: boolean;
  when?: (draft: Draft) => boolean;
}

export interface FieldGroup {
  title: string;
  hint?: string;
  fields: FieldSpec[];
}

/** What a form holds: lists as they are typed, picks in their order. */
export type Draft = Record<string, string | boolean | string[]>;

interface KindSpec {
  /** What one is called, by people and by the server. */
  word: string;
  many: string;
  /** Where there is one of it alone: what people call that. */
  sole?: string;
  groups: FieldGroup[];
}

const NAME: FieldSpec = { key: "name", label: "Name", as: "text", required: true, fixed: true };

export const STRATEGIES: [value: string, text: string][] = [
  ["best", "Best: the path that suits the class most"],
  ["ordered", "Ordered: the first of these uplinks that will do"],
  ["weighted", "Weighted: spread, more flows on wider paths"],
  ["duplicate", "Duplicate: every packet by two paths"],
  ["fec", "Mended: what is lost is made good by a second path"],
];

export const KINDS: Record<DocumentKind, KindSpec> = {
  sites: {
    word: "site",
    many: "sites",
    groups: [
      {
        title: "",
        fields: [
          { ...NAME, hint: "A site is known by it everywhere" },
          {
            key: "subnets",
            label: "Networks behind it",
            as: "list",
            mono: true,
            hint: "Such as 10.1.0.0/16, 2001:db8::/48",
          },
          {
            key: "hub",
            label: "Passes on what other sites cannot send each other",
            as: "flag",
            hint: "It cannot read that",
          },
        ],
      },
    ],
  },
  uplinks: {
    word: "uplink",
    many: "uplinks",
    groups: [
      {
        title: "",
        fields: [
          { key: "site", label: "Site", as: "choice", known: "sites", required: true, fixed: true },
          { ...NAME, beside: true },
          {
            key: "public_key",
            label: "Public key",
            as: "text",
            mono: true,
            required: true,
            hint: "In base64: it stands under Tunnels there",
          },
          {
            key: "endpoint",
            label: "Where it can be dialled",
            as: "text",
            mono: true,
            hint: "Address and port, such as 192.0.2.1:51820; empty, it dials",
          },
          {
            key: "cost",
            label: "Worth to avoid it",
            as: "number",
            unset: "0",
            hint: "Milliseconds of delay",
          },
          {
            key: "bandwidth",
            label: "Bandwidth",
            as: "number",
            unset: "0",
            beside: true,
            hint: "Bits a second; 0, nobody has said",
          },
          { key: "metered", label: "Each byte is paid for: others come first", as: "flag" },
          { key: "backup", label: "Taken only when no other will do", as: "flag" },
        ],
      },
    ],
  },
  classes: {
    word: "class",
    many: "classes",
    groups: [
      {
        title: "",
        hint: "Of voice, video, transactional and bulk, what is not said stays as it is; of others it is no limit.",
        fields: [
          NAME,
          { key: "latency", label: "Longest way", as: "text", hint: "One direction, such as 150ms" },
          { key: "jitter", label: "Jitter", as: "text", beside: true, hint: "Such as 30ms" },
          { key: "loss", label: "Part that may be lost", as: "number", hint: "0.01 is one of a hundred" },
        ],
      },
    ],
  },
  applications: {
    word: "application",
    many: "applications",
    groups: [
      {
        title: "",
        fields: [
          NAME,
          {
            key: "names",
            label: "Names of its servers",
            as: "list",
            mono: true,
            hint: "example.com is that name and all below it",
          },
          {
            key: "ports",
            label: "Ports at its servers",
            as: "list",
            mono: true,
            hint: "Such as udp/3478-3481",
          },
        ],
      },
    ],
  },
  policies: {
    word: "policy",
    many: "policies",
    groups: [
      {
        title: "",
        fields: [
          NAME,
          {
            key: "priority",
            label: "Priority",
            as: "number",
            unset: "100",
            beside: true,
            hint: "The lowest is asked first",
          },
        ],
      },
      {
        title: "Which flows",
        hint: "All that is said has to be so; of a list, one has to be. What is empty does not matter.",
        fields: [
          { key: "applications", label: "Applications", as: "picks", known: "applications" },
          { key: "sources", label: "From networks", as: "list", mono: true, hint: "Such as 10.1.0.0/16" },
          { key: "destinations", label: "To networks", as: "list", mono: true, beside: true },
          {
            key: "protocols",
            label: "Protocols",
            as: "list",
            mono: true,
            hint: "tcp, udp, icmp, or numbers",
          },
          {
            key: "ports",
            label: "To ports",
            as: "list",
            mono: true,
            beside: true,
            hint: "443, 10000-20000",
          },
          { key: "source_ports", label: "From ports", as: "list", mono: true },
          {
            key: "dscp",
            label: "Traffic classes",
            as: "list",
            mono: true,
            beside: true,
            hint: "EF, AF41 or 46",
          },
        ],
      },
      {
        title: "What becomes of them",
        fields: [
          { key: "class", label: "Class", as: "choice", known: "classes", unset: "the default class" },
          { key: "strategy", label: "Path", as: "choice", options: STRATEGIES, unset: "best" },
          {
            key: "uplinks",
            label: "Uplinks, the preferred first",
            as: "picks",
            known: "uplinks",
            when: (draft) => draft.strategy === "ordered",
          },
          {
            key: "data",
            label: "Packets of a group",
            as: "number",
            unset: "8",
            when: (draft) => draft.strategy === "fec",
          },
          {
            key: "parity",
            label: "Packets that mend it",
            as: "number",
            unset: "1",
            beside: true,
            when: (draft) => draft.strategy === "fec",
          },
          {
            key: "mark",
            label: "Marked from then on",
            as: "text",
            mono: true,
            hint: "A traffic class such as EF; empty, packets keep theirs",
          },
        ],
      },
    ],
  },
  settings: { word: "settings", many: "settings", sole: "the settings of all sites", groups: [] },
};

/** The fields of a document in groups; settings have some for each class of traffic. */
export function groupsOf(kind: DocumentKind, classes: string[] = []): FieldGroup[] {
  return kind === "settings" ? settingsGroups(classes) : KINDS[kind].groups;
}

export function fieldsOf(kind: DocumentKind, classes: string[] = []): FieldSpec[] {
  return groupsOf(kind, classes).flatMap((group) => group.fields);
}

/** The kind that the server calls so. */
export function kindOf(word: string): DocumentKind | undefined {
  return (Object.keys(KINDS) as DocumentKind[]).find((kind) => KINDS[kind].word === word);
}

/** What people call a document. */
export function calledOf(kind: DocumentKind, id: string): string {
  return KINDS[kind].sole ?? `${KINDS[kind].word} ${id}`;
}

const isTable = (value: unknown): value is Body =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The tables that a key with dots leads through, and the key in the last. A class may have dots in its name. */
function placeOf(key: string): string[] {
  const [, name, last] = /^qos\.class\.(.+)\.([^.]+)$/.exec(key) ?? [];
  return name !== undefined && last !== undefined ? ["qos", "class", name, last] : key.split(".");
}

/** What a key with dots leads to. */
function valueAt(body: Body, key: string): unknown {
  return placeOf(key).reduce<unknown>((table, part) => (isTable(table) ? table[part] : undefined), body);
}

/** Puts a value where a key with dots leads to. */
function putAt(body: Body, place: string[], value: unknown): void {
  const [first = "", ...rest] = place;
  if (rest.length === 0) {
    body[first] = value;
    return;
  }
  const below = body[first];
  const table: Body = isTable(below) ? below : {};
  body[first] = table;
  putAt(table, rest, value);
}

const isNone = (value: unknown) => Array.isArray(value) && value.length === 0;

/** The classes that are to share uplinks, by the settings of all sites. */
export function shapedIn(body: Body): string[] {
  const shaped = valueAt(body, "qos.class");
  return isTable(shaped) ? Object.keys(shaped) : [];
}

/** Values by their keys, those in tables by keys with dots. */
export function leaves(body: Body, above = ""): [string, unknown][] {
  return Object.entries(body).flatMap(([key, value]): [string, unknown][] =>
    isTable(value) ? leaves(value, `${above}${key}.`) : [[`${above}${key}`, value]],
  );
}

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(String) : value === undefined || value === null ? [] : [String(value)];

/** A list as it is typed: by commas, spaces or lines. */
export function listed(text: string): string[] {
  return text.split(/[\s,;]+/).filter((part) => part !== "");
}

/** What a form begins with. */
export function draftOf(kind: DocumentKind, body: Body, classes: string[] = []): Draft {
  const value = ({ key, as, options }: FieldSpec) => {
    const said = valueAt(body, key);
    if (as === "flag") return said === true;
    if (as === "picks") return texts(said);
    if (as === "list") return texts(said).join(", ");
    return texts(said)[0] ?? options?.[0]?.[0] ?? "";
  };
  return Object.fromEntries(fieldsOf(kind, classes).map((spec) => [spec.key, value(spec)]));
}

/** A number as such; what is none is left to the server to refuse, which says at which field. */
function numbered(text: string): number | string {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

/** What a form says, over what the document has besides. */
export function bodyOf(kind: DocumentKind, draft: Draft, before: Body = {}, classes: string[] = []): Body {
  const body: Body = {};
  for (const [key, value] of keptOf(kind, before, classes)) putAt(body, placeOf(key), value);
  for (const { key, as, when, options } of fieldsOf(kind, classes)) {
    const value = draft[key];
    const say = (said: unknown) => putAt(body, placeOf(key), said);
    if (when && !when(draft)) continue;
    if (as === "flag") {
      if (value === true) say(true);
    } else if (as === "picks") {
      if (Array.isArray(value) && value.length > 0) say(value);
    } else if (as === "list" && value === "" && isNone(valueAt(before, key))) {
      // That there is none of them is another thing than that nobody says it.
      say([]);
    } else if (typeof value === "string" && value.trim() !== "") {
      const text = value.trim();
      // What is so anyway need not be said.
      if (as === "choice" && options?.[0]?.[0] === text && before[key] === undefined) continue;
      say(as === "list" ? listed(text) : as === "number" ? numbered(text) : text);
    }
  }
  return body;
}

/** What a document says that no field of the form stands for: it stays. */
export function keptOf(kind: DocumentKind, body: Body, classes: string[] = []): [string, unknown][] {
  const own = fieldsOf(kind, classes).map(({ key }) => key);
  const kept = (key: string, value: unknown): [string, unknown][] => {
    if (own.includes(key)) return [];
    // Of a table, what the form has fields for does not stay by itself.
    if (isTable(value) && own.some((field) => field.startsWith(`${key}.`)))
      return Object.entries(value).flatMap(([below, inner]) => kept(`${key}.${below}`, inner));
    return [[key, value]];
  };
  return Object.entries(body).flatMap(([key, value]) => kept(key, value));
}

/** What the settings of all sites are known by: there is one document of them. */
export const SHARED = "network";

/** A value that a document says, with what the form calls it; empty where it has no field for it. */
export interface Said {
  key: string;
  value: unknown;
  label: string;
  group: string;
}

/** What a document says, in the order of its form; what the form does not know comes last. */
export function saidOf(kind: DocumentKind, body: Body, classes: string[] = []): Said[] {
  const shown = groupsOf(kind, classes).flatMap(({ title, fields }) =>
    fields.map(({ key, label }) => ({ key, label, group: title, value: valueAt(body, key) })),
  );
  const kept = keptOf(kind, body, classes).map(([key, value]) => ({ key, value, label: "", group: "" }));
  return [...shown.filter(({ value }) => value !== undefined), ...kept];
}

/** What a document is known by. */
export function idOf(kind: DocumentKind, body: Body): string {
  if (kind === "settings") return SHARED;
  const name = String(body.name ?? "");
  return kind === "uplinks" ? `${String(body.site ?? "")}/${name}` : name;
}

/** Where a document is in the API. */
export function addressOf(kind: DocumentKind, id: string): string {
  return `/controller/${kind}/${id.split("/").map(encodeURIComponent).join("/")}`;
}

/** Whether somebody else has changed it meanwhile. */
export function isStale(problem: Problem | null): boolean {
  return (problem?.status === 412 || problem?.status === 409) && problem.key === "version";
}

/** Whether a key such as `ports[0]` is of a field. */
const isOf = (key: string, field: string) =>
  key === field || key.startsWith(`${field}[`) || key.startsWith(`${field}.`);

/** A sentence's parts, the first with a capital. */
function sentenceOf(found: string, expected: string | null, help: string | null): string {
  const text = `${found}${expected ? `: expected ${expected}` : ""}`;
  const whole = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return help ? `${whole}. ${help.charAt(0).toUpperCase()}${help.slice(1)}` : whole;
}

/** What is wrong with a field of the document that was refused; null where nothing is. */
export function faultAt(problem: Problem | null, kind: DocumentKind, id: string, key: string): string | null {
  if (!problem) return null;
  if (problem.status === 409 && problem.key === "body.name")
    return key === "name" ? `There is one that is called ${id} already` : null;
  const own = problem.faults.filter(
    (fault) => fault.kind === KINDS[kind].word && fault.id === id && isOf(fault.key, key),
  );
  if (own.length > 0)
    return own.map((fault) => sentenceOf(fault.found, fault.expected, fault.help)).join(". ");
  const blamed = problem.key?.startsWith("body.") ? problem.key.slice("body.".length) : null;
  return problem.faults.length === 0 && blamed !== null && isOf(blamed, key)
    ? problem.detail || problem.title
    : null;
}

/** What is wrong beyond the fields that a form shows: with other documents, or with the whole. */
export function faultsElsewhere(
  problem: Problem | null,
  kind: DocumentKind,
  id: string,
  classes: string[] = [],
): string[] {
  const fields = fieldsOf(kind, classes).map(({ key }) => key);
  const isShown = (key: string) => fields.some((field) => isOf(key, field));
  return (problem?.faults ?? [])
    .filter((fault) => !(fault.kind === KINDS[kind].word && fault.id === id && isShown(fault.key)))
    .map((fault) => {
      const whose = fault.kind && !(fault.kind === KINDS[kind].word && fault.id === id);
      const at = [whose ? `${fault.kind} ${fault.id}` : "", fault.key].filter((part) => part !== "");
      return `${at.length > 0 ? `${at.join(", ")}: ` : ""}${sentenceOf(fault.found, fault.expected, fault.help)}`;
    });
}

export interface Difference {
  key: string;
  label: string;
  before: string;
  after: string;
}

/** What two bodies say differently, in the words of the configuration. */
export function differences(before: Body, after: Body): Difference[] {
  const [one, other] = [new Map(leaves(before)), new Map(leaves(after))];
  const said = (value: unknown) => (value === undefined ? "–" : tomlValue(value));
  return [...new Set([...one.keys(), ...other.keys()])]
    .map((key) => ({ key, label: key, before: said(one.get(key)), after: said(other.get(key)) }))
    .filter(({ before: one, after: other }) => one !== other);
}

/** Sites that come back by what is taken back: their certificates do not. */
export function enrolledAnew(changes: DocumentChange[]): string[] {
  return changes
    .filter(({ kind, before, after }) => kind === KINDS.sites.word && before === null && after !== null)
    .map(({ id }) => id);
}

/** What a change in the history has made different: of a document that came or went, all that it says. */
export function changed(detail: string): Difference[] {
  try {
    const { before, after } = JSON.parse(detail) as { before?: Body | null; after?: Body | null };
    return differences(before ?? {}, after ?? {});
  } catch {
    // Other changes are told in a word or not at all.
    return [];
  }
}

/** The order in which policies are asked. */
export interface Ranked {
  id: string;
  priority: number;
}

export function inOrder<T extends Ranked>(policies: T[]): T[] {
  // Sites have documents by what they are known by, and of equal priorities the first counts.
  return [...policies].sort((a, b) => a.priority - b.priority || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/** Between priorities that are given anew, so that another fits in. */
const GAP = 10;
const LARGEST = 2 ** 32 - 1;

/** Which policies need which priority for the one at `from` to stand at `to`: as few as possible, to be changed in this order. */
export function moved(policies: Ranked[], from: number, to: number): Ranked[] {
  const order = inOrder(policies);
  const [one] = order.splice(from, 1);
  if (!one) return [];
  order.splice(to, 0, one);
  const before = (a: Ranked, b: Ranked) =>
    a.priority < b.priority || (a.priority === b.priority && a.id < b.id);
  const [previous, next] = [order[to - 1], order[to + 1]];
  const between = (): number => {
    if (!previous && next) return next.priority > GAP ? next.priority - GAP : Math.floor(next.priority / 2);
    if (previous && !next) return previous.priority + GAP;
    return Math.floor(((previous?.priority ?? 0) + (next?.priority ?? 0)) / 2);
  };
  const placed = { id: one.id, priority: between() };
  if (
    placed.priority <= LARGEST &&
    (!previous || before(previous, placed)) &&
    (!next || before(placed, next))
  )
    return placed.priority === one.priority ? [] : [placed];
  // No room: those that follow make way, as far as they have to.
  const changes: Ranked[] = [];
  let last = previous;
  for (const policy of order.slice(to)) {
    const stays = policy.id !== one.id && (!last || before(last, policy));
    if (stays) break;
    last = { id: policy.id, priority: last ? last.priority + GAP : GAP };
    changes.push(last);
  }
  if (changes.every(({ priority }) => priority <= LARGEST))
    // The last first: nobody comes before whom they follow meanwhile.
    return changes.reverse();
  return order.map(({ id }, place) => ({ id, priority: (place + 1) * GAP })).reverse();
}
