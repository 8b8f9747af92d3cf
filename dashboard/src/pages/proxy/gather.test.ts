import { describe, expect, test } from "vitest";
import type { Listener } from "../../api/proxy-types";
import { gather, pools } from "./gather";

const listener: Listener = {
  name: "db",
  address: "[::]:5432",
  protocol: "tcp",
  pool: "db",
  sni: [],
  tls: false,
  forwarding: "sockets",
  active: 3,
  total: 10,
  refused: 0,
  received: 1,
  sent: 2,
  passed: null,
};

describe("a listener of layer 4", () => {
  test("with several addresses is shown once, for its figures are of all of them", () => {
    const shown = gather([listener, { ...listener, name: "mail" }, { ...listener, address: "[::1]:1" }]);
    expect(shown.map((one) => [one.name, one.addresses, one.total])).toEqual([
      ["db", ["[::]:5432", "[::1]:1"], 10],
      ["mail", ["[::]:5432"], 10],
    ]);
  });

  test("names each pool once that its clients may be given to", () => {
    const sni = [
      { names: ["a.example.org"], pool: "a" },
      { names: ["b.example.org"], pool: "db" },
    ];
    expect(pools({ ...listener, sni })).toEqual(["db", "a"]);
    expect(pools({ ...listener, pool: null, sni })).toEqual(["a", "db"]);
  });
});
