"""What memory a server takes that has very many sites, or very many paths that are up: engines, tunnels, tables and everything else of the process."""

import base64
import os
import pathlib
import re
import time

import tunnels
from crowd import Crowd
from failover import Sites
from lab import table
from servers import verdict
from tunnels import ENDS, A, B

MEMORY, NAME = "memory of a server", "outwork"
# Seconds until what a start needs for a moment has been given back.
SETTLE = 5.0


def resident(way):
    """Octets of memory that the first site's process has now and that are its own."""
    process = way.started[ENDS.index(A)]
    text = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return 1024 * sum(int(re.search(rf"^{part}:\s+(\d+) kB", text, re.M)[1]) for part in ("Private_Clean", "Private_Dirty"))


class Many(Sites):
    """Two sites that are joined, of which the first knows very many others as well: each has an uplink and a network, and answers nothing."""

    def __init__(self, arguments, others):
        super().__init__(arguments, uplinks=(0,), cables=1)
        self.others = others

    def command(self, end):
        command = super().command(end)
        if end is A:
            # Of keys that nobody has the private ones of.
            each = (
                f'\n[[sdwan.site]]\nname = "site-{number}"\nsubnets = ["10.{100 + number // 250}.{number % 250}.0/24"]\n'
                f'[[sdwan.site.uplink]]\nname = "u0"\npublic_key = "{base64.b64encode(os.urandom(32)).decode()}"\nendpoint = "{tunnels.uplink_address(B, 0)}:{20_000 + number}"\n'
                for number in range(self.others)
            )
            config = self.folder / end.device / "outwork.toml"
            config.write_text(config.read_text() + "".join(each))
        return command


def of_sites(arguments, others):
    """Octets of a site that knows so many others, and how many paths it has."""
    with tunnels.sites(), Many(arguments, others) as way:
        time.sleep(SETTLE)
        paths = len(way.ask(A, "paths"))
        return resident(way), paths


def of_paths(arguments, wanted):
    """Octets of a site that at least so many paths lead to, all of them up, and how many do."""
    with tunnels.sites(), Crowd(arguments, wanted) as way:
        time.sleep(SETTLE)
        return resident(way), way.paths


def measure(runs):
    """What sites and paths add, by the difference of a process with them and one without."""
    arguments = runs.arguments
    if not arguments.configured_sites:
        return
    sites = arguments.configured_sites
    (without, before), (with_them, paths) = of_sites(arguments, 0), of_sites(arguments, sites)
    (one, least), (all_of, most) = of_paths(arguments, 1), of_paths(arguments, sites)
    added = max(1, most - least)
    runs.record(MEMORY, NAME, sites=sites, paths=paths - before, without=without, all=with_them, site=(with_them - without) / sites, up=added, path=(all_of - one) / added)


def section(runs):
    if MEMORY not in runs.found:
        return ["Not measured in this run.", ""]
    figure = lambda name: f"{runs.median(MEMORY, NAME, name):,.0f}"
    rows = [
        ["octets of the process, joined to one site", figure("without")],
        [f"the same configured with {figure('sites')} more, {figure('paths')} paths more", figure("all")],
        ["each of these sites", figure("site")],
        [f"each of {figure('up')} paths more that are up, with sessions", figure("path")],
    ]
    return table(["", "Outwork"], rows)


def targets(runs, octets):
    """Rows of the targets."""
    if MEMORY not in runs.found:
        return []
    of = lambda name: runs.median(MEMORY, NAME, name)
    # That the path of a configured site is in both figures speaks against us.
    whole = of("site") + of("path") * of("paths") / of("sites")
    return [[f"memory of a server for each site that it is configured with, and a path to it that is up, under {octets:,} octets", f"{whole:,.0f}", verdict(whole < octets)]]


NOTES = """
- Memory of a server is what its process has for itself (`smaps_rollup`: private, clean and dirty), as a difference: with many sites that are configured, each with a path, and none of which answers, so that engines, tunnels, tables and what
  is shown of them are in it, and sessions are not; and with many paths that are up, 16 to each of the sites that they lead to, so that sessions are. The target takes both together.
""".strip()
