"""Servers on a core of their own, and what loads them from another."""

import json
import math
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

from lab import TICKS, output

SERVER_CORE, LOAD_CORE = "0", "1"
# Of what the slower of two can do, for latency at a rate.
RATE_SHARE = 0.7
# Runs at a rate, in each repetition: whether one of them meets a stall of the machine is chance.
RATE_RUNS = 3
PARTS = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def on_core(core, command):
    return ["taskset", "-c", core, *map(str, command)]


class Running:
    """A server, running while this is open. Whoever is one says by which `commands`, and on which `port` it answers once it is there."""

    core = SERVER_CORE

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def __enter__(self):
        self.log = open(self.folder / "log", "w")
        start = lambda command: subprocess.Popen(on_core(self.core, command), stdout=self.log, stderr=subprocess.STDOUT)
        self.started = [start(command) for command in self.commands()]
        self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self):
        began = time.monotonic()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > began + 30 or any(process.poll() is not None for process in self.started):
                    sys.exit(f"{self.name} does not answer; its log:\n{(self.folder / 'log').read_text()}")
                time.sleep(0.05)

    def __exit__(self, *_):
        for process in self.started:
            process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()

    def processes(self):
        """Its own and its children's."""
        own = [process.pid for process in self.started]
        children = [pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in own]
        return own + [int(child) for of_one in children for child in of_one]

    def cpu_seconds(self):
        ticks = 0
        for process in self.processes():
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def resident(self):
        """Bytes in memory that are its own."""
        rolled = [pathlib.Path(f"/proc/{process}/smaps_rollup").read_text() for process in self.processes()]
        return sum(int(re.search(r"Pss:\s+(\d+)", text)[1]) * 1024 for text in rolled)


class Records:
    """What was measured: of each load and server, of every repetition."""

    def __init__(self, arguments):
        self.arguments, self.found = arguments, {}

    def record(self, what, server, **figures):
        self.found.setdefault(what, {}).setdefault(server, []).append(figures)
        shown = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items() if value is not None)
        print(f"  {server:8} {what:28} {shown}", flush=True)

    def figures(self, what, server, figure):
        return [run[figure] for run in self.found.get(what, {}).get(server, [])]

    def median(self, what, server, figure):
        figures = self.figures(what, server, figure)
        return statistics.median(figures) if figures else None


class Awake:
    """Keeps both cores from halting, as `idle=poll` does: on a virtual machine, when a core that halted goes on is the hypervisor's to say."""

    def __enter__(self):
        self.threads = [multiprocessing.Process(target=self.spin, args=(int(core),), daemon=True) for core in (SERVER_CORE, LOAD_CORE)]
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        for thread in self.threads:
            thread.kill()
            thread.join()

    @staticmethod
    def spin(core):
        os.sched_setaffinity(0, {core})
        # Whatever else wants to run goes first.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while True:
            pass


def quantile(figures, part):
    return figures[min(len(figures) - 1, int(len(figures) * part))]


def as_fast_as_it_goes(who, command, large=None):
    """Requests a second of a load by wrk, h2load or `outwork bench web`; of large files of so many bytes by the bytes that came, so that those under way at the
    end count."""
    text = output(*on_core(LOAD_CORE, command))
    if text.startswith("{"):
        report = json.loads(text)
        if wrong := wrong_answers(report):
            sys.exit(f"{who}: {wrong} requests were not answered as they should be\n{text}")
        return report["requests_per_second"]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", text) or re.search(r"([1-9]\d*) (?:failed|errored)", text)
    if failed:
        sys.exit(f"{who}: {failed[0]}\n{text}")
    found = re.search(r"Requests/sec:\s+([\d.]+)|finished in [\d.]+\w+, ([\d.]+) req/s", text)
    if not found:
        sys.exit(f"{who}: nothing that can be read:\n{text}")
    if large:
        number, unit = re.search(r"Transfer/sec:\s+([\d.]+)([KMGT]?)B", text).groups()
        return float(number) * 1024 ** " KMGT".index(unit or " ") / large
    return float(found[1] or found[2])


def at_a_rate(who, url, connections, rate, seconds, folder):
    """Latencies in ms of answers at a rate, sorted: HTTP/1.1 over connections that each keep to their part of it."""
    log = folder / "latencies"
    log.unlink(missing_ok=True)
    total = math.ceil(rate * seconds)
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-n{total}", f"--rps={rate / connections:.3f}", f"--log-file={log}", url]
    output(*on_core(LOAD_CORE, command))
    rows = [line.split() for line in log.read_text().splitlines()]
    wrong = [row for row in rows if row[1] != "200"]
    if wrong:
        sys.exit(f"{who}: {len(wrong)} answers of {len(rows)} are not 200")
    return sorted(int(row[2]) / 1000 for row in rows)


def wrong_answers(report):
    """How many requests of a report of `outwork bench web` failed, or were told of an error."""
    return sum(report["failures"].values()) + sum(count for status, count in report["statuses"].items() if int(status) >= 400)


def due(report):
    """How many requests of a report at a rate were to be made."""
    return report["answered"] + sum(report["failures"].values()) + report["missed"]


def make_certificate(folder):
    """A certificate of this machine, and its key, in this folder."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    output(*command.split(), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))


def verdict(met):
    return {None: "-", True: "yes", False: "**no**"}[met]


def missing(programs):
    """Ends the run where one of these programs, each with its package, is not there."""
    for program, package in programs.items():
        if not shutil.which(program):
            sys.exit(f"`{program}` is missing: apt-get install {package}")
