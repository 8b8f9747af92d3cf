"""Failures of an uplink between two sites that have two, and what sessions through their tunnels see of them.

Both sites are Outwork's. The uplink that a stream of numbered datagrams goes by fails, in one of several ways, and comes back when all is said of that.
"""

import contextlib
import json
import random
import re
import subprocess
import sys
import time

import tunnels
from lab import ROOT, output, table
from packets import within
from servers import Running, on_core, quantile, verdict
from sessions import CALL, LARGE, TWICE, STREAMS
from tunnels import CLIENT, CORES, ENDS, RECEIVER, SERVER, A, B, Tunnel, ip, other, tunnel_address, uplink_address

SESSIONS = ROOT / "bench/sessions.py"
UPLINKS = (0, 1)
# How long is waited for what a failure does, in seconds, and for all paths to be up.
WATCH, PATIENCE = 4.0, 60.0
# How long there is traffic before.
SETTLE = 2.0
# Milliseconds that the time of an event may be before what it tells of: it is told in whole ones.
CLOCKS = 2
# The longest packet that a black hole lets through.
NARROW = 1300
NAME = "outwork"
# Of each site, in its own namespace.
ADMIN = "http://127.0.0.1:8067"


def drop(condition, ends):
    """What drops datagrams that come in by an uplink, at these ends."""

    def fail(uplink):
        rule = f"table netdev broken {{ chain in {{ type filter hook ingress device u{uplink} priority 0; {condition} drop; }}; }}"
        both = [subprocess.Popen(within(end.namespace, "nft", rule)) for end in ends]
        if any(process.wait() for process in both):
            sys.exit("nft takes no rules")

    def mend(uplink):
        for end in ends:
            output(*within(end.namespace, "nft", "delete", "table", "netdev", "broken"))

    return fail, mend


def cable(state):
    """Of the other end, so that the one that sends sees no more than that its carrier is gone."""
    return lambda uplink: ip(B.namespace, "link", "set", f"u{uplink}", state)


# Of each failure how it is made and mended, and the stream that is looked at.
FAILURES = {
    "cable pulled": (cable("down"), cable("up"), CALL),
    "one-way loss": (*drop("", [B]), CALL),
    "total loss": (*drop("", ENDS), CALL),
    "30 % brown-out": (*drop("numgen random mod 100 < 30", ENDS), CALL),
    "black-holed MTU": (*drop(f"ip length > {NARROW}", ENDS), LARGE),
}
# Those that have to be over soon, in ms.
HARD, SOON = ("cable pulled", "one-way loss", "total loss"), 100
# The others go on being noticed as little as this, in ms: that something is lost has to be proven first, and so has that nothing but what is long is.
SOFT = 1000
# For how many seconds a machine believes that its packets are to be shorter: longer than a failure is watched, and over before the next one.
BELIEVED = WATCH + 1


class Sites(Tunnel):
    """Two sites with two uplinks each, which are as they come but for how soon a path is trusted: a run is not to wait for that."""

    name = NAME

    def __init__(self, arguments, uplinks=UPLINKS, cables=len(UPLINKS)):
        Running.__init__(self, "outwork-sites", arguments.folder)
        self.outwork, self.tokens, self.uplinks, self.cables = arguments.outwork, {}, uplinks, cables
        self.private = {(end, uplink): output("wg", "genkey") for end in ENDS for uplink in uplinks}
        pub = lambda key: subprocess.run(["wg", "pubkey"], input=key, check=True, capture_output=True, text=True).stdout.strip()
        self.public = {of: pub(key) for of, key in self.private.items()}

    def command(self, end):
        far, folder = other(end), self.folder / end.device
        folder.mkdir()
        config = folder / "outwork.toml"
        text = f"""[dhcp]
enabled = false

[store]
data_dir = "{folder}/data"

[admin]
listen = ["127.0.0.1:8067"]

[sdwan]
subnets = ["{end.site}.0/24", "{tunnel_address(end)}/32"]

[sdwan.tunnel]
name = "{end.device}"
addresses = ["{tunnel_address(end)}/32"]

[sdwan.health]
trial = "500ms"

[[sdwan.policy]]
name = "twice"
priority = 1
protocols = ["udp"]
ports = [{TWICE}]
class = "voice"
strategy = "duplicate"

[[sdwan.policy]]
name = "rest"
class = "voice"
"""
        uplinks = lambda of, section, key: "".join(
            f'\n[[{section}]]\nname = "u{uplink}"\nendpoint = "{uplink_address(of, uplink % self.cables)}:{tunnels.PORT + uplink}"\n{key(uplink)}\n' for uplink in self.uplinks
        )
        text += uplinks(end, "sdwan.uplink", lambda uplink: f'interface = "u{uplink % self.cables}"\nlisten = ["0.0.0.0:{tunnels.PORT + uplink}"]\nprivate_key = "{self.private[end, uplink]}"')
        text += f'\n[[sdwan.site]]\nname = "{far.device}"\nsubnets = ["{far.site}.0/24", "{tunnel_address(far)}/32"]\n'
        text += uplinks(far, "sdwan.site.uplink", lambda uplink: f'public_key = "{self.public[far, uplink]}"')
        config.write_text(text)
        return [self.outwork, "run", "--config", config]

    def get(self, end, what, *options):
        """What a site answers."""
        found = re.findall(r"\boutwork_[0-9a-f]{64}\b", (self.folder / "log").read_text())
        for token in [self.tokens[end]] if end in self.tokens else found:
            done = subprocess.run(within(end.namespace, "curl", "-sf", *options, "-H", f"Authorization: Bearer {token}", f"{ADMIN}/{what}"), capture_output=True, text=True)
            if done.returncode == 0:
                self.tokens[end] = token
                return done.stdout
        self.fail(f"does not tell {what}")

    def wait_for_api(self):
        """Until the first site has said who may ask it, and answers."""
        began = time.monotonic()
        while "outwork_" not in (self.folder / "log").read_text() or subprocess.run(within(A.namespace, "curl", "-s", "-o", "/dev/null", ADMIN)).returncode:
            self.must_run()
            if time.monotonic() > began + PATIENCE:
                self.fail("does not answer")
            time.sleep(0.05)

    def ask(self, end, what):
        """What a site tells of this."""
        return json.loads(self.get(end, f"api/v1/sdwan/{what}"))["items"]

    def wait_until_all_are_up(self):
        """Until all paths that have a cable are up at both ends."""
        began = time.monotonic()
        there = sum(one % self.cables == another % self.cables for one in self.uplinks for another in self.uplinks)
        while any(sum(path["state"] == "up" for path in self.ask(end, "paths")) < there for end in ENDS):
            self.must_run()
            if time.monotonic() > began + PATIENCE:
                self.fail(f"does not come back; {[self.ask(end, 'paths') for end in ENDS]}")
            time.sleep(0.1)

    def carrying(self, stream):
        """The uplink that datagrams of a stream leave the first site by."""
        counts = [self.left(uplink, stream) for uplink in UPLINKS]
        time.sleep(0.1)
        return max(UPLINKS, key=lambda uplink: self.left(uplink, stream) - counts[uplink])

    def left(self, uplink, stream):
        text = output(*within(A.namespace, "nft", "list", "counter", "inet", "watch", f"u{uplink}_{stream}"))
        return int(re.search(r"packets (\d+)", text)[1])


@contextlib.contextmanager
def watched():
    """Counts what leaves the first site, by its class; and each datagram goes by itself, so that each is lost by itself."""
    names = [(uplink, port, dscp) for uplink in UPLINKS for port, (_, dscp) in STREAMS.items()]
    counters = "".join(f"counter u{uplink}_{port} {{ packets 0 bytes 0; }}; " for uplink, port, _ in names)
    rules = "".join(f'oifname "u{uplink}" ip dscp {dscp} counter name u{uplink}_{port}; ' for uplink, port, dscp in names)
    with tunnels.sites(uplinks=len(UPLINKS)):
        output(*within(A.namespace, "nft", f"table inet watch {{ {counters}chain out {{ type filter hook output priority 0; {rules}}}; }}"))
        # What a machine has learnt from one failure is not to spare it the next one.
        output(*within(CLIENT, "sysctl", "-qw", f"net.ipv4.route.mtu_expires={BELIEVED:.0f}"))
        for end in ENDS:
            for uplink in UPLINKS:
                output(*within(end.namespace, "ethtool", "-K", f"u{uplink}", "tx-udp-segmentation", "off"))
        yield


class Sessions:
    """Both ends of the sessions, from one machine to the other."""

    def __enter__(self):
        self.ends = []
        for namespace, words in ((SERVER, ["receive"]), (CLIENT, ["send", RECEIVER])):
            command = on_core(CORES, within(namespace, sys.executable, SESSIONS, *words))
            self.ends.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            if self.ends[-1].stdout.readline() != "ready\n":
                sys.exit(f"sessions do not begin: {words[0]}")
        return self

    def __exit__(self, *_):
        for process in reversed(self.ends):
            process.stdin.close()
            process.wait()

    def take(self):
        """What has been since this was last asked: as who receives tells it, and as who sends."""
        told = []
        for process in self.ends:
            process.stdin.write("take\n")
            process.stdin.flush()
            told.append(json.loads(process.stdout.readline()))
        return told


def lost(datagrams):
    """When the datagrams were sent that did not arrive, in seconds: as far as their neighbours tell. Those that came twice are counted beside."""
    arrived = sorted((number, sent) for number, sent, _ in datagrams)
    times, again = [], 0
    for (before, sent), (number, later) in zip(arrived, arrived[1:]):
        again += number == before
        missing = number - before - 1
        times += [(sent + (later - sent) * (step + 1) / (missing + 1)) / 1e9 for step in range(missing)]
    return times, again


def one(way, sessions, name):
    """Has the uplink fail that a stream goes by, and tells what came of that, times in ms."""
    fail, mend, stream = FAILURES[name]
    time.sleep(SETTLE)
    uplink = way.carrying(stream)
    known = {end: max([event["number"] for event in way.ask(end, "events")], default=-1) for end in ENDS}
    time.sleep(random.uniform(0.3, 0.6))
    sessions.take()
    time.sleep(0.1)
    offset = time.time() - time.monotonic()
    before = time.monotonic()
    fail(uplink)
    after = time.monotonic()
    time.sleep(WATCH)
    received, sent = sessions.take()
    events = {end: [event for event in way.ask(end, "events") if event["number"] > known[end]] for end in ENDS}
    mend(uplink)
    times, again = lost(received["streams"][str(stream)])
    # It has failed by then; the first that was lost says more precisely when.
    failed = min([at for at in times if before <= at <= after], default=after)
    since = lambda event: event["at_ms"] - 1000 * (failed + offset)
    all_of = sorted((since(event), end.device, event["kind"], event["of"], event["from"], event["to"], event["why"]) for end in ENDS for event in events[end])
    # Neither that a path is better than it was, nor how another one is, is news of the failure; and what was before is not, but for what clocks differ by.
    is_news = lambda kind, of, to: kind == "switch" or of.endswith(f" u{uplink}-u{uplink}") and (kind == "mtu" or to in ("suspect", "down"))
    noticed = [at for at, _, kind, of, _, to, _ in all_of if at > -CLOCKS and is_news(kind, of, to)]
    switched = [at for at, site, kind, *_ in all_of if at > -CLOCKS and site == A.device and kind == "switch"]
    twice, doubled = lost(received["streams"][str(TWICE)])
    if faults := received["faults"] + sent["faults"]:
        sys.exit(f"{name}: a session has not lived through it: {faults}")
    return {
        "outage": 1000 * max((at - failed for at in times), default=0.0),
        "lost": len(times),
        "detection": max(0.0, min(noticed)) if noticed else None,
        "switch": max(0.0, min(switched)) if switched else None,
        "twice": len(twice),
        "again": again + doubled,
        "keys": sent["echoes"],
        "longest": sent["longest_ms"],
        "octets": received["octets"],
    }, all_of


def measure(runs):
    """So many runs of each failure."""
    arguments = runs.arguments
    for name in FAILURES if arguments.failover_runs else ():
        with watched():
            for _ in range(arguments.failover_runs):
                # What has failed a moment ago is trusted less for minutes: each run is of sites that begin.
                with Sites(arguments) as way:
                    way.wait_until_all_are_up()
                    with Sessions() as sessions:
                        figures, events = one(way, sessions, name)
                runs.record(name, NAME, **figures)
                if arguments.show_events:
                    print("\n".join(f"    {at:8.1f} ms {' '.join(map(str, rest))}" for at, *rest in events), flush=True)


def found(runs, name, figure):
    return sorted(value for value in runs.figures(name, NAME, figure) if value is not None)


def section(runs):
    """The table of the page."""
    if not any(name in runs.found for name in FAILURES):
        return ["Not measured in this run.", ""]
    rows = []
    for name in (name for name in FAILURES if name in runs.found):
        def both(figure, digits=0):
            values = found(runs, name, figure)
            return f"{quantile(values, 0.5):,.{digits}f} / {quantile(values, 0.99):,.{digits}f}" if values else "-"

        rows.append([name, len(runs.figures(name, NAME, "outage")), *map(both, ("outage", "lost", "detection", "switch", "longest")), sum(found(runs, name, "twice"))])
    heads = ["failure", "runs", "outage, ms", "datagrams lost", "first noticed after, ms", "traffic moved after, ms", "longest wait for a keystroke's echo, ms", "lost of the duplicated stream, in all runs"]
    return ["Median / p99 of the runs; in none a session over TCP ended, or had other octets than were sent.", "", *table(heads, rows)]


def targets(runs):
    """Rows of the targets."""
    rows = []
    for name in (name for name in FAILURES if name in runs.found):
        outage = quantile(found(runs, name, "outage"), 0.5)
        bound = SOON if name in HARD else SOFT
        rows.append([f"{name}: median outage under {bound:,} ms", f"{outage:,.0f} ms", verdict(outage < bound)])
        twice = sum(found(runs, name, "twice"))
        rows.append([f"{name}: the duplicated stream loses no packet", f"{twice:,} lost", verdict(twice == 0)])
        lived = all(keys and octets for keys, octets in zip(found(runs, name, "keys"), found(runs, name, "octets")))
        rows.append([f"{name}: a transfer and an SSH-like session live through it", "they did" if lived else "they stood still", verdict(lived)])
    return rows


NOTES = f"""
- Failures are made on the uplink that the stream goes by: its interface is set down at the end that receives, by which the
  other end's loses its carrier ("cable pulled"), or nftables drops what comes in by it: all of it at the
  end that receives ("one-way loss") or at both ("total loss"), three of ten at both, or what is longer than {NARROW} octets at both ("black-holed MTU"; the stream's datagrams are
  of {STREAMS[LARGE][0]} octets there, and may not be cut: who sends them sends shorter ones when it is told to).
  What it was told it believes for {BELIEVED:.0f} s, so that each failure finds it as the first one did. Datagrams of tunnels go one by one, so that each is lost by itself.
- The outage is the time from the failure until the last datagram was sent that was lost, of one each ms, in the {WATCH:g} s that are watched; so it takes in what a brown-out loses
  until traffic has moved. "First noticed" is the first event at either site, "traffic moved" the first event of a switch at the site that sends; both by the
  product's own events, which are to the millisecond. Where longer packets are lost, traffic
  moves when that breaks the limits of its class, and the path takes shorter ones from then on: whichever is first.
- Meanwhile a byte is typed each 20 ms and waited for over TCP, a MByte a second is transferred, and a stream that the policy duplicates goes by both paths.
- Each run is of sites that begin anew, {SETTLE:g} s after the sessions have. Timers are as they come, but that a path is trusted after half a second.
""".strip()
