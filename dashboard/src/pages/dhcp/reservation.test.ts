import { describe, expect, test } from "vitest";
import type { Lease, Reservation } from "../../api/types";
import { bodyOf, furtherSettings, nameOf, reservationFrom, subnetOf } from "./reservation";

const plotter: Reservation = {
  id: "17",
  source: "api",
  warning: "192.0.2.7 is active",
  subnet_id: 1,
  identifier: { kind: "mac", value: "02:00:5e:00:53:77" },
  address: "192.0.2.7",
  hostname: "plotter",
  options: { "domain-name": "lab.example", "ntp-servers": ["192.0.2.9"] },
  classes: ["printers"],
  next_server: "192.0.2.4",
  server_hostname: "boot.example",
  boot_file: "pxe/plotter.efi",
};
const fields = {
  subnet_id: 1,
  kind: "mac" as const,
  value: " 02:00:5e:00:53:77 ",
  address: " 192.0.2.8 ",
  hostname: " plotter-2 ",
};

describe("a change", () => {
  test("sends back everything that the form does not edit", () => {
    expect(bodyOf(fields, plotter)).toEqual({
      subnet_id: 1,
      identifier: { kind: "mac", value: "02:00:5e:00:53:77" },
      address: "192.0.2.8",
      hostname: "plotter-2",
      options: { "domain-name": "lab.example", "ntp-servers": ["192.0.2.9"] },
      classes: ["printers"],
      next_server: "192.0.2.4",
      server_hostname: "boot.example",
      boot_file: "pxe/plotter.efi",
    });
  });

  test("sends back a field that this dashboard does not know", () => {
    const newer = { ...plotter, valid_lifetime: 600 };
    expect(bodyOf(fields, newer)).toMatchObject({ valid_lifetime: 600 });
  });

  test("leaves out what only the server says: the id, the origin and its warning", () => {
    const sent = Object.keys(bodyOf(fields, plotter));
    expect(sent).not.toContain("id");
    expect(sent).not.toContain("source");
    expect(sent).not.toContain("warning");
  });

  test("with the address emptied asks for one from a pool", () => {
    expect(bodyOf({ ...fields, address: " ", hostname: "" }, plotter)).toMatchObject({
      address: null,
      hostname: null,
    });
  });
});

test("what the form does not edit is named for the reader, and nothing that is not set", () => {
  expect(furtherSettings(plotter)).toEqual([
    ["Option domain-name", "lab.example"],
    ["Option ntp-servers", "192.0.2.9"],
    ["Classes", "printers"],
    ["Boot server (siaddr)", "192.0.2.4"],
    ["Boot server name (sname)", "boot.example"],
    ["Boot file", "pxe/plotter.efi"],
  ]);
  expect(furtherSettings({ subnet_id: 1, identifier: plotter.identifier, address: null })).toEqual([]);
});

test("a reservation without an address goes by its client", () => {
  expect(nameOf(plotter)).toBe("192.0.2.7");
  expect(nameOf({ ...plotter, address: null })).toBe("02:00:5e:00:53:77");
});

test("a lease is reserved by its hardware address, or by its client id where it has none", () => {
  const lease = { subnet_id: 1, address: "192.0.2.20", hostname: null, mac: "02:00:5e:00:53:01" } as Lease;
  expect(reservationFrom(lease).identifier).toEqual({ kind: "mac", value: "02:00:5e:00:53:01" });
  expect(reservationFrom({ ...lease, mac: null, client_id: "ff:01" }).identifier).toEqual({
    kind: "client_id",
    value: "ff:01",
  });
});

test("an address finds its subnet once it is whole", () => {
  const subnets = [{ prefix: "10.32.0.0/13" }, { prefix: "192.0.2.0/25" }, { prefix: "192.0.2.128/25" }];
  expect(subnetOf(subnets, " 192.0.2.130 ")).toBe(subnets[2]);
  expect(subnetOf(subnets, "192.0.2.127")).toBe(subnets[1]);
  expect(subnetOf(subnets, "10.39.255.255")).toBe(subnets[0]);
  expect(subnetOf(subnets, "10.40.0.0")).toBeNull();
  expect(subnetOf(subnets, "192.0.2.")).toBeNull();
  expect(subnetOf(subnets, "192.0.2.300")).toBeNull();
});
