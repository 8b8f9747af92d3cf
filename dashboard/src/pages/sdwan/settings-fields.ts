import type { FieldGroup, FieldSpec } from "./documents";

// The fields of what holds at all sites: health, the default class, and how classes share an uplink. Pure.

/** Where the document does not say it. */
const UNSET = "each site’s own";

/** A field, and `beside` it another. */
function field(key: string, label: string, hint: string, rest: Partial<FieldSpec> = {}): FieldSpec {
  return { key, label, hint, as: "text", unset: UNSET, ...rest };
}

const NUMBER = { as: "number" } as const;
const BESIDE = { beside: true } as const;

const HEALTH: FieldGroup[] = [
  {
    title: "How paths are watched",
    fields: [
      field("health.fast", "Between hellos", "On paths that carry traffic, such as 50ms"),
      field("health.misses", "Missed hellos", "So many in a row, and a path is down", {
        ...NUMBER,
        ...BESIDE,
      }),
      field("health.interval", "Between looks", "At paths that carry nothing, such as 10s"),
      field("health.probes", "Hellos of such a look", "1 to 20", { ...NUMBER, ...BESIDE }),
      field("health.timeout", "Time to answer", "Then the path is suspect"),
      field("health.jitter_factor", "Jitter that is borne", "Silence may be longer by so many times", {
        ...NUMBER,
        ...BESIDE,
      }),
      field("health.trial", "Trial", "A path that is back is watched so long first"),
      field("health.quiet", "Quiet after", "Without traffic for so long", BESIDE),
    ],
  },
  {
    title: "When traffic takes another path",
    fields: [
      field("health.cooldown", "Stays at least", "Before it goes where it would be but better"),
      field("health.look", "Between looks for better", "For sites that have traffic", BESIDE),
      field("health.gain", "Better by", "Latency, jitter, costs and loss together"),
      field("health.gain_part", "And by a part of", "0.2 is a fifth", { ...NUMBER, ...BESIDE }),
      field("health.bad_after", "Leaves after", "So long beyond the limits of its class"),
      field("health.proven_after", "At once after", "Where loss is no chance", BESIDE),
      field("health.good_after", "Good again after", "So long within them"),
      field("health.margin", "Part of each limit for that", "0.1 to 1", { ...NUMBER, ...BESIDE }),
    ],
  },
  {
    title: "Paths that go up and down",
    fields: [
      field("health.flap_suppress", "Failures until it is one", "It is taken after all others", NUMBER),
      field("health.flap_reuse", "Failures until it is none", "Less than that", { ...NUMBER, ...BESIDE }),
      field("health.flap_half_life", "Half of them are forgotten after", "Such as 2m"),
    ],
  },
  {
    title: "How long packets may be",
    fields: [
      field("health.mtu_base", "Trusted with", "Octets, until a path shows otherwise", NUMBER),
      field("health.mtu_tries", "Lost so often in a row", "Is too long", { ...NUMBER, ...BESIDE }),
      field("health.mtu_confirm", "Between looks", "Whether the longest get through"),
      field("health.mtu_raise", "Tried anew after", "On a path that did not take them", BESIDE),
    ],
  },
];

/** Classes that every uplink that is shaped has. */
const ALWAYS = ["control", "voice", "video", "transactional", "bulk"];

/** How a class shares an uplink. */
function shares(name: string): FieldGroup {
  const key = (last: string) => `qos.class.${name}.${last}`;
  return {
    title: `Shaping: ${name}`,
    fields: [
      field(key("share"), "Always has", "A part of the uplink: 0.2 is a fifth", NUMBER),
      field(key("rate"), "Or bits a second", "In the place of that", { ...NUMBER, ...BESIDE }),
      field(key("ceiling"), "Has at most", "A part of the uplink", NUMBER),
      field(key("priority"), "Priority", "0 to 7: the lowest is asked first", { ...NUMBER, ...BESIDE }),
      field(key("dscp"), "Traffic classes of it", "EF, AF41 or 46", { as: "list", mono: true }),
    ],
  };
}

/** All groups, with one for each of these classes besides those that are always there. */
export function settingsGroups(classes: string[]): FieldGroup[] {
  return [
    {
      title: "",
      hint: "What a site’s own file says counts there; what is empty here is left to it.",
      fields: [
        {
          key: "default_class",
          label: "Class of flows under no policy",
          as: "choice",
          known: "classes",
          unset: UNSET,
        },
      ],
    },
    ...HEALTH,
    ...[...new Set([...ALWAYS, ...classes])].map(shares),
  ];
}
