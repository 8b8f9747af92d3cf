"""What looking at a site with very many paths takes: its metrics, as Prometheus asks for them, and the dashboard's page of them in a browser.

Two sites of so many uplinks each, all on one cable, so that each can reach each of the other: their square is how many paths there are, and all of them are up.
"""

import json
import math
import os
import re
import shutil

import tunnels
from failover import ADMIN, Sites
from lab import ROOT, output, table
from packets import within
from servers import quantile, verdict
from tunnels import A

NAME = "outwork"
METRICS, PAGE = "metrics of all paths", "page of all paths"
# Times that each is asked for.
SCRAPES, LOADS = 50, 10
# What they are to take at most, and had better, in ms.
WITHIN = {METRICS: (100, 10), PAGE: (2000, 500)}
BROWSER = os.environ.get("OUTWORK_CHROMIUM", "/usr/bin/chromium")


def measure(runs):
    """Records what both take, in ms."""
    wanted = runs.arguments.paths
    if not wanted:
        return
    uplinks = range(math.isqrt(wanted - 1) + 1)
    with tunnels.sites(), Sites(runs.arguments, uplinks, cables=1) as way:
        way.wait_until_all_are_up()
        paths = len(uplinks) ** 2
        times, text = [], ""
        for _ in range(SCRAPES):
            text = way.get(A, "metrics", "--write-out", "\n%{time_total}")
            times.append(1000 * float(text.rpartition("\n")[2]))
        times.sort()
        runs.record(METRICS, NAME, paths=paths, series=len(re.findall(r"^[a-z]", text, re.MULTILINE)), octets=len(text), p50=quantile(times, 0.5), p99=quantile(times, 0.99))
        if shutil.which(BROWSER) and shutil.which("node"):
            script = ["node", str(ROOT / "bench/page.mjs"), BROWSER, ADMIN, "#/sdwan/paths", str(paths), str(LOADS)]
            told = json.loads(output(*within(A.namespace, "env", f"OUTWORK_TOKEN={way.tokens[A]}", *script)))
            times = sorted(told["ms"])
            runs.record(PAGE, NAME, paths=paths, p50=quantile(times, 0.5), p99=quantile(times, 0.99))


def section(runs):
    """The table of the page of results."""
    rows = []
    for what in (what for what in WITHIN if what in runs.found):
        of = lambda figure, digits=0: f"{runs.median(what, NAME, figure):,.{digits}f}"
        rows.append([what, of("paths"), of("p50", 1), of("p99", 1)])
    return table(["", "paths, all of them up", "ms, p50", "ms, p99"], rows) if rows else ["Not measured in this run.", ""]


def targets(runs):
    """Rows of the targets."""
    rows = []
    for what, (most, better) in WITHIN.items():
        if what in runs.found:
            took = runs.median(what, NAME, "p99")
            goal = f"; the goal of {better:,} ms is {'met' if took < better else 'missed'}"
            rows.append([f"{what}, {runs.median(what, NAME, 'paths'):,.0f} of them: under {most:,} ms (p99)", f"{took:,.1f} ms{goal}", verdict(took < most)])
    return rows


NOTES = f"""
- What looking at many paths takes is that of two sites whose uplinks all reach each other. Metrics are asked for {SCRAPES} times by curl, and are all that the process has. The page is loaded {LOADS} times
  by Chromium, which shares the cores with both sites: from the navigation of a browser that has seen it before, and is signed in, until the number of paths and the first of them stand on it.
""".strip()
