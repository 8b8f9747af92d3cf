import { expect, test } from "vitest";
import { problemFrom, query } from "./client";

test("a problem document keeps its title, detail and the setting it blames", () => {
  const body = JSON.stringify({
    title: "Refused",
    detail: "file:9: restart",
    status: 422,
    key: "dhcp.workers",
  });
  expect(problemFrom(422, "Unprocessable", body)).toMatchObject({
    status: 422,
    title: "Refused",
    detail: "file:9: restart",
    key: "dhcp.workers",
  });
});

test("an error page that is no problem document still gives a message", () => {
  expect(problemFrom(502, "Bad Gateway", "<html>")).toMatchObject({ title: "Bad Gateway", detail: "<html>" });
  expect(problemFrom(500, "", "null")).toMatchObject({ title: "HTTP 500" });
});

test("a query leaves out what is empty, repeats lists and escapes", () => {
  expect(query({ q: "a&b", subnet: "", after: null, name: ["x", "y"], limit: 50 })).toBe(
    "?q=a%26b&name=x&name=y&limit=50",
  );
  expect(query({})).toBe("");
});
