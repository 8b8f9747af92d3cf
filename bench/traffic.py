"""What is sent from one site to the other, and what of it arrives: streams of TCP, small packets, echoes; and streams beside a flood of hostile datagrams."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time

from hostile import SOURCES
from lab import ROOT, TICKS, output
from packets import within
from servers import Awake, on_core, quantile
from tunnels import CLIENT, CORES, PORT, RECEIVER, SERVER, A, B, ip, uplink_address

DATAGRAMS, HOSTILE = ROOT / "bench/datagrams.py", ROOT / "bench/hostile.py"
# Whoever receives small packets counts those for this port, and drops them where they come in.
SMALL_PORT = 9
# Small packets a second that are offered, one after the other, until most of them are lost.
LADDER = [25_000 * 2 ** (step / 2) for step in range(12)]
# What may be lost of them, in percent, at a rate that counts as carried.
LOSS = 1.0
ECHO_GAP = 0.005
# Seconds that iperf3 may take more than it was told, before it is taken for stuck.
GIVE_UP = 30


def busy():
    """Processor seconds that these cores have spent on anything, as far as the kernel knows."""
    seconds = 0
    for core in CORES.split(","):
        fields = re.search(rf"^cpu{core} (.*)$", pathlib.Path("/proc/stat").read_text(), re.M)[1].split()
        user, nice, system, _, _, hard, soft = map(int, fields[:7])
        seconds += user + nice + system + hard + soft
    return seconds / TICKS


class Spent:
    """Processor seconds since this was made: of the end that sends, of the one that receives, and of everything on these cores."""

    def __init__(self, way):
        self.way = way
        self.began = self.now()

    def now(self):
        return *self.way.cpu_seconds(), busy()

    def so_far(self):
        return [now - began for now, began in zip(self.now(), self.began)]


@contextlib.contextmanager
def listening():
    """iperf3 at the other site."""
    process = subprocess.Popen(on_core(CORES, within(SERVER, "iperf3", "--server", "--forceflush")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while (line := process.stdout.readline()) and "listening" not in line:
            pass
        if not line:
            sys.exit("iperf3 does not listen")
        yield
    finally:
        process.terminate()
        process.communicate()


def stream(way, streams, seconds):
    """So many streams of TCP, one way: what arrives in a second, and the processor time of both ends of a tunnel for a gigabyte of it."""
    way.must_answer()
    spent = Spent(way)
    command = on_core(CORES, within(CLIENT, "iperf3", "--client", RECEIVER, "--json", "--time", seconds, "--parallel", streams))
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GIVE_UP)
    sends, receives, everything = spent.so_far()
    if done.returncode:
        sys.exit(f"{way.name}: iperf3 failed:\n{done.stdout}{done.stderr}")
    end = json.loads(done.stdout)["end"]
    gigabytes = end["sum_received"]["bytes"] / 1e9
    return {
        "mbit": end["sum_received"]["bits_per_second"] / 1e6,
        # Nothing where no process is in the way.
        "cpu": (sends + receives) / gigabytes or None,
        "sends": sends / gigabytes or None,
        "receives": receives / gigabytes or None,
        "everything": everything / gigabytes,
        "again": end["sum_sent"]["retransmits"],
    }


@contextlib.contextmanager
def counting():
    """Small packets end where they come in at the other site; gives how many have."""
    output(*within(SERVER, "nft", f"table netdev small {{ chain in {{ type filter hook ingress device s0 priority 0; udp dport {SMALL_PORT} counter drop; }}; }}"))
    try:
        yield lambda: int(re.search(r"counter packets (\d+)", output(*within(SERVER, "nft", "list", "table", "netdev", "small")))[1])
    finally:
        output(*within(SERVER, "nft", "delete", "table", "netdev", "small"))


def small(way, seconds):
    """Packets of 64 octets, ever more of them: of each rate that was offered what arrived."""
    steps = {}
    with counting() as count:
        for rate in LADDER:
            way.must_answer()
            before, spent = count(), Spent(way)
            told = json.loads(output(*on_core(CORES, within(CLIENT, sys.executable, DATAGRAMS, RECEIVER, SMALL_PORT, rate, seconds))))
            # What is under way when the last is sent arrives, too.
            time.sleep(0.2)
            arrived, (sends, receives, _) = count() - before, spent.so_far()
            cpu = sends + receives
            steps[rate] = {
                "sent": told["sent"] / told["seconds"],
                "arrived": arrived / told["seconds"],
                "lost": 100 * (1 - arrived / told["sent"]),
                "per_cpu_second": arrived / cpu if cpu else None,
                "generator": 100 * told["cpu"] / told["seconds"],
            }
            if steps[rate]["lost"] > 50 or steps[rate]["sent"] < rate / 2:
                break
    return steps


def summary(steps):
    """Of all rates: the most that arrived in a second, the most of those at which next to nothing was lost, and how many a CPU-second carried where most arrived."""
    most = max(steps.values(), key=lambda step: step["arrived"])
    carried = [step["arrived"] for step in steps.values() if step["lost"] <= LOSS]
    return {"arrived": most["arrived"], "carried": max(carried, default=0.0), "per_cpu_second": most["per_cpu_second"]}


def echoes(way, seconds):
    """Microseconds until echoes come back, one after the other."""
    way.must_answer()
    with Awake():
        text = output(*on_core(CORES, within(CLIENT, "ping", "-n", "-i", ECHO_GAP, "-c", int(seconds / ECHO_GAP), RECEIVER)))
    found = sorted(map(float, re.findall(r"time=([\d.]+) ms", text)))
    if not found:
        sys.exit(f"no echo came back:\n{text}")
    lost = 100 * (1 - len(found) * ECHO_GAP / seconds)
    return {"p50": 1000 * quantile(found, 0.5), "p99": 1000 * quantile(found, 0.99), "lost": max(0.0, lost)}


@contextlib.contextmanager
def flooded(way, rate):
    """Hostile datagrams to the end that receives, from beside the other; what is given is told, when this is over, how many were sent and what that took."""
    # Who answers a flood sends that, and it ends where the flood began.
    ip(B.namespace, "route", "replace", SOURCES, "via", uplink_address(A, 0))
    ip(A.namespace, "route", "replace", "blackhole", SOURCES)
    command = within(A.namespace, sys.executable, HOSTILE, "u0", uplink_address(A, 0), uplink_address(B, 0), PORT, way.public[B], rate)
    process = subprocess.Popen(on_core(CORES, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    told = {}
    try:
        # It listens for packets, so there have to be some.
        pings = subprocess.Popen(within(CLIENT, "ping", "-n", "-q", "-i", "0.05", RECEIVER), stdout=subprocess.DEVNULL)
        ready = process.stdout.readline()
        pings.terminate()
        pings.wait()
        if ready != "ready\n":
            sys.exit(f"{way.name}: nothing of the tunnel was heard, or who floods has ended")
        yield told
    finally:
        process.stdin.close()
        told.update(json.loads(process.stdout.readline() or "{}"))
        process.wait()


@contextlib.contextmanager
def dropped():
    """What floods is dropped where it comes in, before anybody reads it."""
    output(*within(B.namespace, "nft", f"table netdev hostile {{ chain in {{ type filter hook ingress device u0 priority 0; ip saddr {SOURCES} drop; }}; }}"))
    try:
        yield
    finally:
        output(*within(B.namespace, "nft", "delete", "table", "netdev", "hostile"))


def hostile(way, seconds, rate):
    """A stream of TCP without a flood, with one that the kernel drops, and with one that the end reads; and what the end takes for a hostile datagram while there is nothing else."""
    with listening():
        without = stream(way, 1, seconds)["mbit"]
        with dropped(), flooded(way, rate):
            beside = stream(way, 1, seconds)["mbit"]
        with flooded(way, rate) as told:
            under = stream(way, 1, seconds)["mbit"]
    way.must_answer()
    with flooded(way, rate) as alone:
        before, began = way.cpu_seconds()[1], time.monotonic()
        time.sleep(seconds)
        cpu, took = way.cpu_seconds()[1] - before, time.monotonic() - began
    sent = alone["sent"] / alone["seconds"]
    return {
        "without": without,
        "beside": beside,
        "under": under,
        "kept": 100 * under / beside,
        "kept_of_all": 100 * under / without,
        "sent": told["sent"] / told["seconds"],
        "alone": sent,
        "share": 100 * cpu / took,
        "micros": 1e6 * cpu / took / sent,
    }
