import { expect, test } from "vitest";
import { tally, worst } from "./alerts";
import type { Alert, AlertList } from "./api/types";

const alert = (severity: Alert["severity"], id: string): Alert => ({
  id,
  severity,
  since: "2026-11-21T08:12:07.000Z",
  what: "pools are running out of addresses",
  advice: "widen the pools",
  settings: ["dhcp.subnet"],
});

test("the whole is as bad as its worst alert", () => {
  const list: AlertList = { items: [] };
  expect(worst(list.items)).toBeNull();
  expect(worst([alert("warning", "pools_high")])).toBe("warning");
  expect(worst([alert("warning", "pools_high"), alert("critical", "log_failed")])).toBe("critical");
});

test("alerts are counted by severity, and what there is none of is not told", () => {
  expect(tally([])).toBe("");
  expect(tally([alert("warning", "pools_high")])).toBe("1 warning");
  expect(tally([alert("critical", "log_failed"), alert("critical", "disk_behind")])).toBe(
    "2 critical alerts",
  );
  expect(tally([alert("critical", "log_failed"), alert("warning", "a"), alert("warning", "b")])).toBe(
    "1 critical alert, 2 warnings",
  );
});
