"""What looking at very many paths takes: a site's metrics, as Prometheus asks for them, its API and that of a controller, and the dashboard's page of them in a browser.

The site is one that very many paths lead to, all of them up. And there is one that is a controller as well, of a network whose other sites answer nothing.
"""

import base64
import json
import os
import re
import subprocess
import sys
import time

import tunnels
from crowd import Crowd
from failover import ADMIN, PATIENCE, Sites
from lab import ROOT, output, table
from packets import within
from servers import missing, quantile, verdict
from tunnels import A, B

NAME = "outwork"
METRICS, PAGE, FIRST = "metrics of all paths", "page of all paths", "page of all paths, first load, nothing cached"
# Times that each is asked for, and loaded.
SCRAPES, LOADS = 50, 10
# What an answer of the API is to take at most, in ms.
ANSWER = 100
# What is asked of the site, and of the one that is a controller as well; there paths are those that it has reported to itself, and each answer is read from its database.
API = {
    "API of a site, all paths": "sdwan/paths",
    "API of a site, 100 paths": "sdwan/paths?limit=100",
    "API of a site, health of 100 paths": "sdwan/health?limit=100",
}
CONTROLLER_API = {
    "API of a controller, 100 sites": "controller/sites?limit=100",
    "API of a controller, 100 paths": "controller/paths?limit=100",
    "API of a controller, health of 100 paths": "controller/health?limit=100",
    "API of a controller, health of 100 reports": "sdwan/health?from={an_hour_ago}&limit=100",
}
# What they are to take at most, and had better, in ms.
WITHIN = {METRICS: (100, 10), PAGE: (2000, 500), FIRST: (2000, 500), **{what: (ANSWER, None) for what in API | CONTROLLER_API}}
# Of each site of the controller's network.
UPLINKS = 2
BROWSER = os.environ.get("OUTWORK_CHROMIUM", "/usr/bin/chromium")


def must_be_there():
    """Ends the run where there is nothing to load pages with."""
    missing({BROWSER: "chromium", "node": "nodejs"})
    if not (ROOT / "dashboard/node_modules/playwright-core").exists():
        sys.exit("dashboard/node_modules has no playwright-core, which loads the dashboard: `npm ci` in dashboard")


class Network(Sites):
    """One site, which is a controller as well, and follows itself. All others of the network are known to it by their documents alone: each has two uplinks, and answers nothing."""

    def __init__(self, arguments):
        super().__init__(arguments, uplinks=range(UPLINKS), cables=1)

    def commands(self):
        return [within(A.namespace, *self.command(A))]

    def command(self, end):
        folder = self.folder / end.device
        folder.mkdir()
        self.config = folder / "outwork.toml"
        uplinks = (
            f'\n[[sdwan.uplink]]\nname = "u{uplink}"\ninterface = "u0"\nlisten = ["0.0.0.0:{tunnels.PORT + uplink}"]\nendpoint = "{tunnels.uplink_address(end, 0)}:{tunnels.PORT + uplink}"\n'
            for uplink in self.uplinks
        )
        self.config.write_text(
            f"""[dhcp]
enabled = false

[store]
data_dir = "{folder}/data"

[admin]
listen = ["127.0.0.1:8067"]

[controller]
listen = ["127.0.0.1:8068"]
size = "50-500"

[sdwan]
subnets = ["{end.site}.0/24"]

[sdwan.tunnel]
name = "{end.device}"
addresses = ["{tunnels.tunnel_address(end)}/32"]

[sdwan.controller]
address = ["127.0.0.1:8068"]
report = "1s"
{"".join(uplinks)}"""
        )
        return [self.outwork, "run", "--config", self.config]

    def wait_until_it_answers(self):
        self.wait_for_api()

    def fill(self, sites):
        """Makes the documents of so many sites, one after the other. Keys are such that nobody has the private ones of."""
        self.get(A, "api/v1/controller/sites")
        asked = []
        for number in range(sites):
            name = f"site-{number}"
            asked.append(("sites", {"name": name, "subnets": [f"10.{100 + number // 250}.{number % 250}.0/24"]}))
            for uplink in self.uplinks:
                key, place = base64.b64encode(os.urandom(32)).decode(), f"{tunnels.uplink_address(B, 0)}:{20_000 + len(asked)}"
                asked.append(("uplinks", {"site": name, "name": f"u{uplink}", "public_key": key, "endpoint": place}))
        quoted = json.dumps
        words = lambda kind, body: (
            f'url = "{ADMIN}/api/v1/controller/{kind}"\nheader = "Authorization: Bearer {self.tokens[A]}"\nheader = "Content-Type: application/json"\n'
            f"data = {quoted(quoted({'body': body}))}\noutput = /dev/null\nfail-with-body\nsilent\nshow-error\n"
        )
        done = subprocess.run(within(A.namespace, "curl", "--fail-early", "--config", "-"), input="next\n".join(words(*one) for one in asked), capture_output=True, text=True)
        if done.returncode:
            self.fail(f"does not take the documents of sites: {done.stderr}")

    def enrol(self):
        """The site shows itself a token, and follows itself from then on."""
        answer = self.get(A, "api/v1/controller/enrolments", "-H", "Content-Type: application/json", "-d", json.dumps({"site": A.device}))
        output(*within(A.namespace, self.outwork, "--config", self.config, "sdwan", "enrol", json.loads(answer)["token"]))

    def reported(self, what):
        """How many rows there are, page by page."""
        count, after = 0, ""
        while after is not None:
            page = json.loads(self.get(A, f"api/v1/{what}limit=999{after and f'&after={after}'}"))
            count, after = count + len(page["items"]), page.get("next")
        return count

    def wait_until_reported(self, paths):
        """Until the controller knows so many, and how each was at some time."""
        began = time.monotonic()
        for what in ("controller/paths?", f"sdwan/health?from={an_hour_ago()}&"):
            while (known := self.reported(what)) < paths:
                self.must_run()
                if time.monotonic() > began + PATIENCE:
                    self.fail(f"has {known} rows of {paths} of {what}")
                time.sleep(0.2)


def an_hour_ago():
    return int(time.time()) - 3600


def asked(way, what):
    """How long answers of the first site take, in ms and sorted, and the last of them; each by a connection of its own, one after the other."""
    times, text = [], ""
    for _ in range(SCRAPES):
        text, _, seconds = way.get(A, what, "--write-out", "\n%{time_total}").rpartition("\n")
        times.append(1000 * float(seconds))
    return sorted(times), text


def figures(times):
    return {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99), "rate": 1000 * len(times) / sum(times)}


def answers(runs, way, routes, paths):
    for what, route in routes.items():
        times, text = asked(way, f"api/v1/{route.format(an_hour_ago=an_hour_ago())}")
        runs.record(what, NAME, paths=paths, rows=len(json.loads(text)["items"]), octets=len(text), **figures(times))


def measure(runs):
    """Records what all of it takes, in ms."""
    arguments = runs.arguments
    if not arguments.paths:
        return
    with tunnels.sites(), Crowd(arguments, arguments.paths) as way:
        paths = way.paths
        times, text = asked(way, "metrics")
        runs.record(METRICS, NAME, paths=paths, series=len(re.findall(r"^[a-z]", text, re.MULTILINE)), octets=len(text), **figures(times))
        answers(runs, way, API, paths)
        script = ["node", str(ROOT / "bench/page.mjs"), BROWSER, ADMIN, "#/sdwan/paths", str(paths), str(LOADS)]
        told = json.loads(output(*within(A.namespace, "env", f"OUTWORK_TOKEN={way.tokens[A]}", *script)))
        for what, times in ((PAGE, sorted(told["again"])), (FIRST, sorted(told["first"]))):
            runs.record(what, NAME, paths=paths, p50=quantile(times, 0.5), p99=quantile(times, 0.99), rate=None)
    if arguments.network_sites:
        with tunnels.sites(), Network(arguments) as way:
            way.fill(arguments.network_sites)
            way.enrol()
            paths = arguments.network_sites * UPLINKS**2
            way.wait_until_reported(paths)
            answers(runs, way, CONTROLLER_API, paths)


def section(runs):
    """The table of the page of results."""
    rows = []
    for what in (what for what in WITHIN if what in runs.found):
        of = lambda figure, digits=0: f"{runs.median(what, NAME, figure):,.{digits}f}"
        rows.append([what, of("paths"), of("p50", 1), of("p99", 1), of("rate") if runs.figures(what, NAME, "rate") != [None] else "-"])
    return table(["", "paths", "ms, p50", "ms, p99", "a second, one after the other"], rows) if rows else ["Not measured in this run.", ""]


def targets(runs):
    """Rows of the targets."""
    rows = []
    for what, (most, better) in WITHIN.items():
        if what in runs.found:
            took = runs.median(what, NAME, "p99")
            goal = f"; the goal of {better:,} ms is {'met' if took < better else 'missed'}" if better else ""
            rows.append([f"{what}, {runs.median(what, NAME, 'paths'):,.0f} paths: under {most:,} ms (p99)", f"{took:,.1f} ms{goal}", verdict(took < most)])
    return rows


NOTES = f"""
- What looking at many paths takes is that of a site which has them to other sites, 16 to each, and all of them up; few processes take the part of the others. Metrics, and each
  list of the API, are asked for {SCRAPES} times by curl on the site's own machine, each time by a connection of its own. How many a second there are, one after the other, is what these times come to, without
  what starting curl takes. Metrics are all that the process has.
- The page is loaded {LOADS} times by Chromium, which shares the cores with all of these sites: from the navigation of a browser that has seen it before, and is signed in, until the number of paths and the first of
  them stand on it. "First load, nothing cached" is the same of as many browsers that are signed in, and have nothing of the dashboard yet: each fetches all of it.
- The API of a controller is that of a site which is a controller as well, and follows itself. Its network was made by its API, of sites that have {UPLINKS} uplinks each and answer nothing: so paths to them are
  known, reported each second into its database and not up, and what is asked for comes out of a database that is written meanwhile. Reports are the first hundred of all that are kept of how a path was.
""".strip()
