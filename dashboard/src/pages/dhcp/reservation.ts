import type { IdentifierKind, Lease, Reservation, ReservationDraft } from "../../api/types";
import { tomlValue } from "../../format";

/** What the form edits, as its fields hold it. */
export interface ReservationFields {
  subnet_id: number;
  kind: IdentifierKind;
  value: string;
  address: string;
  hostname: string;
}

/** Named in the order of how surely they name the device: its hardware address, else what it calls itself. */
export function reservationFrom(lease: Lease): ReservationDraft {
  const identifier =
    lease.mac === null
      ? { kind: "client_id" as const, value: lease.client_id ?? "" }
      : { kind: "mac" as const, value: lease.mac };
  return { subnet_id: lease.subnet_id, identifier, address: lease.address, hostname: lease.hostname };
}

/**
 * The body to send. A change replaces the whole reservation, so what the form does not edit goes back as it came,
 * fields that this dashboard does not know included; only what the server says about a reservation stays behind.
 */
export function bodyOf(fields: ReservationFields, existing?: Reservation): ReservationDraft {
  const { id: _, source: __, warning: ___, ...kept } = existing ?? {};
  return {
    ...kept,
    subnet_id: fields.subnet_id,
    identifier: { kind: fields.kind, value: fields.value.trim() },
    address: fields.address.trim() || null,
    hostname: fields.hostname.trim() || null,
  };
}

function plainly(value: unknown): string {
  const values = Array.isArray(value) ? value : [value];
  return values.map((one) => (typeof one === "string" ? one : tomlValue(one))).join(", ");
}

/** What a reservation says beyond client, address and name, for the reader: what it is, and its value. */
export function furtherSettings(reservation: ReservationDraft): [string, string][] {
  const { options = {}, classes = [], next_server, server_hostname, boot_file } = reservation;
  const rows: [string, string | null | undefined][] = [
    ...Object.entries(options).map(([name, value]): [string, string] => [`Option ${name}`, plainly(value)]),
    ["Classes", classes.join(", ")],
    ["Boot server (siaddr)", next_server],
    ["Boot server name (sname)", server_hostname],
    ["Boot file", boot_file],
  ];
  return rows.filter((row): row is [string, string] => Boolean(row[1]));
}

/** How a reservation is called where it may have no address. */
export function nameOf(reservation: ReservationDraft): string {
  return reservation.address ?? reservation.identifier.value;
}

function ipv4(text: string): number | null {
  const octets = text.split(".");
  if (octets.length !== 4 || !octets.every((octet) => /^\d{1,3}$/.test(octet) && Number(octet) < 256))
    return null;
  return octets.reduce((value, octet) => value * 256 + Number(octet), 0);
}

/** The subnet an address lies in; null while it is not a whole address, or in none. */
export function subnetOf<S extends { prefix: string }>(subnets: S[], address: string): S | null {
  const wanted = ipv4(address.trim());
  if (wanted === null) return null;
  const holds = ({ prefix }: S) => {
    const [network = "", length = ""] = prefix.split("/");
    const first = ipv4(network);
    return first !== null && wanted >= first && wanted < first + 2 ** (32 - Number(length));
  };
  return subnets.find(holds) ?? null;
}
