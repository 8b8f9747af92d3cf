"""What every comparison needs: the machine it runs on, figures with their spread, tables."""

import gc
import multiprocessing
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results"
TICKS = os.sysconf("SC_CLK_TCK")
STALL_SECONDS, STALL_MS = 3, 0.3


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def gaps_of(core):
    """What a program that does nothing but look at the clock misses on a core: gaps above STALL_MS, in ms."""
    os.sched_setaffinity(0, {core})
    gc.disable()
    gaps, last = [], time.perf_counter_ns()
    end = last + STALL_SECONDS * 10**9
    while last < end:
        now = time.perf_counter_ns()
        if now - last > STALL_MS * 1e6:
            gaps.append((now - last) / 1e6)
        last = now
    return gaps


def stalls():
    """What the machine itself takes away while nothing else of ours runs: latencies above include it."""
    cores = sorted(os.sched_getaffinity(0))
    pool = multiprocessing.Pool(len(cores), maxtasksperchild=1)
    gaps = sum(pool.map(gaps_of, cores, chunksize=1), [])
    pool.close()
    pool.join()
    each = f"{len(cores)} threads that only watch the clock, one a core, for {STALL_SECONDS} s"
    if not gaps:
        return f"none above {STALL_MS:g} ms ({each})"
    return f"{len(gaps)} above {STALL_MS:g} ms, {sum(gaps) / STALL_SECONDS:.1f} ms in each second, the longest {max(gaps):.1f} ms ({each})"


def spread(figures, digits=0):
    figures = [figure for figure in figures if figure is not None]
    if not figures:
        return "-"
    text = f"{statistics.median(figures):,.{digits}f}"
    if len(figures) > 1:
        text += f" ({min(figures):,.{digits}f} to {max(figures):,.{digits}f})"
    return text


def fsync_microseconds(folder):
    """What one small write costs until it is on this disk: the median of two hundred."""
    path, costs = folder / "fsync", []
    with open(path, "wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            costs.append((time.perf_counter() - began) * 1e6)
    path.unlink()
    return statistics.median(costs)


def changes():
    """What lies in this folder, and is not what its commit has: as far as it is measured, or measures."""
    what = ["crates", "dashboard", "bench", "Cargo.toml", "Cargo.lock", ":(exclude)bench/results"]
    return output("git", "-C", str(ROOT), "diff", "--name-only", "HEAD", "--", *what)


def commit():
    """The commit that was measured, and whether that is all."""
    return f"commit {output('git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD')}{' with changes' if changes() else ''}"


def add_result(parser, name):
    """The options that say where the result goes."""
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS / name, help="where the result goes")
    parser.add_argument("--with-changes", action="store_true", help="write it to bench/results although there are changes that are in no commit; it says so")


def check_result(arguments):
    """Refuses, before anything is measured, a result that nobody could get again from the commit it names."""
    is_kept = arguments.output.resolve().is_relative_to(RESULTS)
    if is_kept and not arguments.with_changes and (found := changes()):
        sys.exit(
            f"{arguments.output} would name a commit that is not what was measured; commit this first, give --output another place, or say --with-changes:\n{found}"
        )


def machine(arguments, peers):
    """What a figure depends on: the machine, the versions, and what `peers` adds."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) / 2**20
    filesystem = output("stat", "-f", "-c", "%T", str(arguments.folder))
    version = output(str(arguments.outwork), "--version") if arguments.outwork.exists() else "none, for only peers were measured"
    return [
        ("Date", time.strftime("%Y-%m-%d %H:%M %Z")),
        ("Processor", f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB memory"),
        ("Busy with other work", f"load average {os.getloadavg()[0]:.1f} at the start; above 0.5, the figures are those of a machine that had other things to do"),
        ("Stalls of this machine while idle", stalls()),
        ("Kernel", platform.release()),
        ("Disk", f"{filesystem}; 4 KiB written and `fdatasync`ed in {fsync_microseconds(arguments.folder):.0f} µs (median)"),
        ("Outwork", f"{version}, {commit()}"),
        *peers,
    ]


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def parameters(arguments):
    """What a run was told, defaults included. Paths and switches are left out: the disk and the version say what they stand for."""
    given = {name: value for name, value in vars(arguments).items() if not isinstance(value, (pathlib.Path, bool))}
    words = lambda value: shlex.join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(f"--{name.replace('_', '-')} {words(value)}" for name, value in given.items())
