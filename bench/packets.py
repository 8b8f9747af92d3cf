"""Balancing of datagrams by the kernel: Outwork's programs beside nftables' DNAT, each by the processor time that a packet takes.

Three namespaces: who sends, who balances, who receives. What comes in to the balancer is handled by a kernel thread of its own (threaded NAPI) on the server's core, so
that its time is what balancing takes, sending on included; who sends, and who drops what arrives, have the other core.
"""

import contextlib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

from lab import ROOT, TICKS, output
from servers import LOAD_CORE, SERVER_CORE, on_core

CLIENT, BALANCER, BACKEND = "packets-client", "packets-balancer", "packets-backend"
VIP, PORT = "198.51.100.1", 80
# Ports that clients send from: as many flows.
FLOWS = 1024
FRAMES = ROOT / "bench/frames.py"


def within(namespace, *command):
    return ["ip", "netns", "exec", namespace, *map(str, command)]


@contextlib.contextmanager
def rooms():
    """The namespaces, and what connects them."""
    names = (CLIENT, BALANCER, BACKEND)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    try:
        for name in names:
            output("ip", "netns", "add", name)
            output(*within(name, "ip", "link", "set", "lo", "up"))
        for (one, own), (other, far) in (((CLIENT, "c0"), (BALANCER, "l0")), ((BALANCER, "l1"), (BACKEND, "b0"))):
            output("ip", "link", "add", own, "netns", one, "type", "veth", "peer", "name", far, "netns", other)
            ends = ((one, own), (other, far))
            for name, interface in ends:
                output(*within(name, "ip", "link", "set", interface, "up"))
            # A veth takes frames of XDP once its other end receives by NAPI, which GRO has it do.
            for name, interface in ends:
                output(*within(name, "ethtool", "-K", interface, "tx", "off", "gro", "on"))
        addresses = ((CLIENT, "10.9.0.2/24", "c0"), (BALANCER, "10.9.0.1/24", "l0"), (BALANCER, "10.2.0.1/24", "l1"), (BACKEND, "10.2.0.2/24", "b0"))
        for name, address, interface in addresses:
            output(*within(name, "ip", "addr", "add", address, "dev", interface))
        output(*within(BALANCER, "ip", "addr", "add", f"{VIP}/32", "dev", "lo"))
        # Whoever receives drops all that comes, questions for addresses, too.
        output(*within(BALANCER, "ip", "neigh", "replace", "10.2.0.2", "lladdr", address_of(BACKEND, "b0"), "dev", "l1", "nud", "permanent"))
        output(*within(BALANCER, "ip", "neigh", "replace", "10.9.0.2", "lladdr", address_of(CLIENT, "c0"), "dev", "l0", "nud", "permanent"))
        output(*within(BALANCER, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.l0.rp_filter=0"))
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def address_of(namespace, interface):
    return output(*within(namespace, "cat", f"/sys/class/net/{interface}/address"))


@contextlib.contextmanager
def receiver():
    """Drops what arrives, on the core of the load."""
    process = subprocess.Popen(within(BACKEND, sys.executable, FRAMES, "sink", "b0"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            sys.exit("nothing drops what arrives at the backend")
        thread_of(BACKEND, "b0", LOAD_CORE)
        yield
    finally:
        process.stdin.close()
        process.wait()


def thread_of(namespace, interface, core):
    """The kernel thread that handles what comes in by an interface, which is on this core from now on."""
    output(*within(namespace, "sh", "-c", f"echo 1 > /sys/class/net/{interface}/threaded"))
    found = [path.parent for path in pathlib.Path("/proc").glob("[0-9]*/comm") if path.read_text().startswith(f"napi/{interface}-")]
    if len(found) != 1:
        sys.exit(f"{len(found)} kernel threads handle what comes in by {interface}")
    output("taskset", "-p", "-c", core, found[0].name)
    return found[0]


def cpu_seconds(process):
    fields = (pathlib.Path("/proc") / process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def received():
    """Packets that have arrived at the backend."""
    text = output(*within(BACKEND, "ethtool", "-S", "b0"))
    return sum(map(int, re.findall(r"rx_queue_\d+_xdp_packets: (\d+)", text)))


@contextlib.contextmanager
def nothing(_):
    """Packets go by their addresses: what forwarding takes by itself. They are for the backend from the start."""
    yield []


@contextlib.contextmanager
def nftables(_):
    rules = f"table ip nat {{ chain in {{ type nat hook prerouting priority dstnat; ip daddr {VIP} udp dport {PORT} dnat to 10.2.0.2:{PORT}; }}; }}"
    output(*within(BALANCER, "nft", rules))
    try:
        yield []
    finally:
        output(*within(BALANCER, "nft", "flush", "ruleset"))


@contextlib.contextmanager
def by_ports_of_dpdk():
    """Addresses are those of the interfaces that stand for DPDK's ports, and the kernel has none of what comes in by the others."""
    of = {"p0": ("l0", "10.9.0.1/24", "10.9.0.2", address_of(CLIENT, "c0")), "p1": ("l1", "10.2.0.1/24", "10.2.0.2", address_of(BACKEND, "b0"))}
    settle = lambda *command: output(*within(BALANCER, *command))
    move = lambda to, address, neighbour, link: (settle("ip", "addr", "add", address, "dev", to), settle("ip", "neigh", "replace", neighbour, "lladdr", link, "dev", to, "nud", "permanent"))
    for new, (old, address, neighbour, link) in of.items():
        settle("ip", "addr", "flush", "dev", old)
        settle("sysctl", "-qw", f"net.ipv4.conf.{old}.rp_filter=1")
        move(new, address, neighbour, link)
    try:
        yield
    finally:
        for new, (old, address, neighbour, link) in of.items():
            settle("ip", "addr", "flush", "dev", new)
            settle("sysctl", "-qw", f"net.ipv4.conf.{old}.rp_filter=0")
            move(old, address, neighbour, link)


DPDK = """dpdk = { vdevs = ["net_af_packet0,iface=l0", "net_af_packet1,iface=l1"], interfaces = ["p0", "p1"], hugepages = false, memory = 256, eal = ["--log-level=error"] }"""


def outwork(tier, more=""):
    """Outwork, by this tier, or by its sockets, with more lines of configuration."""
    wanted = DPDK if tier == "dpdk" else 'interfaces = ["l0", "l1"]'

    @contextlib.contextmanager
    def running(arguments):
        folder = arguments.folder / f"packets-{tier}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "outwork.toml"
        kernel = "" if tier == "sockets" else f'[proxy.acceleration]\ntiers = ["{tier}"]\n{wanted}\n'
        config.write_text(
            f"""[dhcp]
enabled = false

[store]
data_dir = "{folder}/data"

[admin]
listen = ["127.0.0.1:8067"]

[proxy]
workers = 1

[[proxy.listener]]
name = "packets"
protocol = "udp"
address = ["{VIP}:{PORT}"]
pool = "app"
forwarding = "{'sockets' if tier == 'sockets' else 'nat'}"

[proxy.pool.app]
policy = "maglev"
backend = [{{ url = "udp://10.2.0.2:{PORT}" }}]

{more}
{kernel}"""
        )
        log = open(folder / "log", "w")
        process = subprocess.Popen(on_core(SERVER_CORE, within(BALANCER, arguments.outwork, "run", "--config", config)), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait = lambda: wait_until_it_serves(arguments, config, tier, process, folder / "log")
            if tier != "dpdk":
                wait()
                yield [process.pid]
                return
            wait_for_ports(process, folder / "log")
            # Backends are not reached by ports before addresses are theirs.
            with by_ports_of_dpdk():
                wait()
                yield [process.pid]
        finally:
            process.terminate()
            process.wait()
            log.close()

    return running


def wait_for_ports(process, log):
    began = time.monotonic()
    while subprocess.run(within(BALANCER, "ip", "link", "show", "p1"), capture_output=True).returncode != 0:
        if time.monotonic() > began + 30 or process.poll() is not None:
            sys.exit(f"Outwork makes no ports of DPDK:\n{log.read_text()}")
        time.sleep(0.1)


def wait_until_it_serves(arguments, config, tier, process, log):
    began = time.monotonic()
    word = {"sockets": "application", "af_xdp": "af_xdp-native"}.get(tier, tier)
    while True:
        told = subprocess.run(within(BALANCER, arguments.outwork, "rules", "--config", config), capture_output=True, text=True)
        if told.returncode == 0 and re.search(rf"^packets\s.*\b{word}\b", told.stdout, re.M):
            return
        if time.monotonic() > began + 30 or process.poll() is not None:
            sys.exit(f"Outwork does not pass packets on by {tier}:\n{told.stdout}{told.stderr}{log.read_text()}")
        time.sleep(0.1)


WAYS = {
    "forwarding alone": nothing,
    "nftables DNAT": nftables,
    "Outwork, XDP": outwork("xdp"),
    "Outwork, tc": outwork("tc"),
    "Outwork, AF_XDP": outwork("af_xdp"),
    "Outwork, DPDK": outwork("dpdk"),
    "Outwork, sockets": outwork("sockets"),
}
# What a way has to be beside nftables' DNAT, in packets of a CPU-second.
TIMES = {"Outwork, XDP": 3.0, "Outwork, tc": 1.5}
A_CORE = 1.5e6


def measure(arguments, repeat, seconds):
    """Of each way, of each repetition: packets a second that have arrived, and those of a CPU-second."""
    told = json.loads(output(arguments.outwork, "tiers", "--json"))
    has_dpdk = any(tier["tier"] == "dpdk" and tier["available"] for tier in told["tiers"])
    found = {name: [] for name in WAYS if has_dpdk or name != "Outwork, DPDK"}
    with rooms(), receiver():
        for repetition in range(repeat):
            for name in found if repetition % 2 == 0 else reversed(found):
                with WAYS[name](arguments) as processes:
                    found[name].append(one(name, processes, seconds))
    return found


def one(name, processes, seconds):
    destination = "10.2.0.2" if name == "forwarding alone" else VIP
    thread = thread_of(BALANCER, "l0", SERVER_CORE).name
    generate = lambda count: output(*on_core(LOAD_CORE, within(CLIENT, sys.executable, FRAMES, "generate", "c0", address_of(BALANCER, "l0"), "10.9.0.2", destination, PORT, FLOWS, count)))
    # What is new is met before it is measured, and how many make that many seconds is found out.
    began = time.monotonic()
    generate(500_000)
    count = int(500_000 * seconds / (time.monotonic() - began))
    before, cpu, began = received(), sum(map(cpu_seconds, [thread, *map(str, processes)])), time.monotonic()
    generate(count)
    took = time.monotonic() - began
    time.sleep(0.2)
    arrived, cpu = received() - before, sum(map(cpu_seconds, [thread, *map(str, processes)])) - cpu
    figures = {"sent": count / took, "arrived": arrived / took, "per_cpu_second": arrived / cpu if cpu else 0, "cpu_share": 100 * cpu / took}
    print(f"  {name:18} " + ", ".join(f"{key} {value:,.0f}" for key, value in figures.items()), flush=True)
    return figures


def median(found, name, figure="per_cpu_second"):
    return statistics.median(run[figure] for run in found[name])


# How often a backend is drained and admitted, to see how long tables take to follow.
CHANGES = 100


# A pool of several, of which one fails its checks now and then.
CHECKED = f"""
[[proxy.listener]]
name = "checked"
protocol = "udp"
address = ["{VIP}:81"]
pool = "checked"
forwarding = "nat"

[proxy.pool.checked]
policy = "maglev"
backend = [{{ url = "udp://10.2.0.2:81" }}, {{ url = "udp://10.2.0.3:81" }}, {{ url = "udp://10.2.0.4:81" }}]
panic_threshold = 0
health_check = {{ port = 8080, interval = "20ms", fast_interval = "10ms", timeout = "1s", unhealthy_threshold = 1, healthy_threshold = 1 }}
"""

# Takes connections of checks at an address; with each line it stops, or begins again.
GATE = """
import socket, sys, threading

def take(gate):
    try:
        while True:
            gate.accept()[0].close()
    except OSError:
        pass

def begin():
    gate = socket.create_server((sys.argv[1], 8080))
    threading.Thread(target=take, args=(gate,), daemon=True).start()
    return gate

gate = begin()
print("done", flush=True)
for _ in sys.stdin:
    if gate:
        gate.shutdown(socket.SHUT_RDWR)
        gate.close()
        gate = None
    else:
        gate = begin()
    print("done", flush=True)
"""


@contextlib.contextmanager
def gate(address):
    """Something that checks can connect to; what is given stops it, or has it begin again."""
    process = subprocess.Popen(within(BACKEND, sys.executable, "-c", GATE, address), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn():
        process.stdin.write("\n")
        process.stdin.flush()
        if process.stdout.readline() != "done\n":
            sys.exit(f"what checks connect to at {address} has ended")

    try:
        if process.stdout.readline() != "done\n":
            sys.exit(f"nothing listens at {address} for checks")
        yield turn
    finally:
        process.stdin.close()
        process.wait()


def followed(arguments):
    """Seconds from when a pool of one has changed by hand until the kernel's tables say so."""
    with rooms(), outwork("xdp")(arguments):
        config = arguments.folder / "packets-xdp/outwork.toml"
        command = lambda *words: output(*within(BALANCER, arguments.outwork, *words, "--config", config))
        for _ in range(CHANGES // 2):
            command("backends", "drain", "app", f"udp://10.2.0.2:{PORT}")
            command("backends", "admit", "app", f"udp://10.2.0.2:{PORT}")
        return updates()


def followed_checks(arguments):
    """The same of a pool of three, of which one fails its check, or passes it again."""
    addresses = ["10.2.0.2", "10.2.0.3", "10.2.0.4"]
    with rooms(), contextlib.ExitStack() as stack:
        for address in addresses[1:]:
            output(*within(BACKEND, "ip", "addr", "add", f"{address}/24", "dev", "b0"))
        turns = [stack.enter_context(gate(address)) for address in addresses]
        stack.enter_context(outwork("xdp", CHECKED)(arguments))
        config = arguments.folder / "packets-xdp/outwork.toml"
        healths = lambda: [one["health"] for one in json.loads(output(*within(BALANCER, arguments.outwork, "backends", "list", "checked", "--json", "--config", config)))[0]["backends"]]

        def wait_for(wanted):
            began = time.monotonic()
            while healths() != wanted:
                if time.monotonic() > began + 30:
                    sys.exit(f"checks do not find {wanted}: {healths()}")
                time.sleep(0.02)

        wait_for(["healthy"] * 3)
        for change in range(CHANGES):
            turns[-1]()
            wait_for(["healthy", "healthy", "healthy" if change % 2 else "unhealthy"])
        return updates()


def updates():
    """How long the tables took, by Outwork's own histogram."""
    text = output(*within(BALANCER, "curl", "-s", "http://127.0.0.1:8067/metrics"))
    name = "outwork_proxy_fastpath_update_time_seconds"
    of = lambda part: re.search(rf"^{name}{re.escape(part)} ([0-9.e-]+)$", text, re.M)
    found = [of(part) for part in ("_count", '{quantile="0.5"}', '{quantile="0.99"}')]
    if not all(found):
        sys.exit("nothing is told of how long the kernel's tables take to follow")
    changes, p50, p99 = (float(match.group(1)) for match in found)
    return {"changes": int(changes), "p50": p50, "p99": p99}
