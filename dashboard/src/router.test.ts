import { expect, test } from "vitest";
import { href, pageOf, parseHash } from "./router";

test("an address parses to its segments and parameters, and back", () => {
  const { segments, params } = parseHash("#/dhcp/leases?q=52%3A54&state=active");
  expect(segments).toEqual(["dhcp", "leases"]);
  expect(params.get("q")).toBe("52:54");
  expect(href(`/${segments.join("/")}`, Object.fromEntries(params))).toBe(
    "#/dhcp/leases?q=52%3A54&state=active",
  );
});

test("the bare address is the first page", () => {
  expect(parseHash("").segments).toEqual([]);
  expect(parseHash("#/").segments).toEqual([]);
});

test("empty parameters leave the address", () => {
  expect(href("/dhcp/leases", { q: "", subnet: null, state: "active" })).toBe("#/dhcp/leases?state=active");
});

test("an address that names no page of its section is not taken for another", () => {
  const pages = [{ path: "/proxy" }, { path: "/proxy/rules" }];
  const of = (hash: string) => pageOf(pages, parseHash(hash).segments);
  expect(["#/proxy", "#/proxy/", "#/proxy/rules?q=1"].map(of)).toEqual(["/proxy", "/proxy", "/proxy/rules"]);
  const aliased = [{ path: "/proxy", alias: "/proxy/backends" }, ...pages.slice(1)];
  expect(pageOf(aliased, parseHash("#/proxy/backends?q=1").segments)).toBe("/proxy");
  expect(pageOf(aliased, parseHash("#/proxy/nosuch").segments)).toBe(null);
  expect(["#/proxy/nosuch", "#/proxy/rules/1", "#/web"].map(of)).toEqual([null, null, null]);
});
