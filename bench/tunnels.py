"""Two sites and what lies between them, and the tunnels that are compared: each is a process at either gateway.

Four namespaces: a machine, the gateway of its site, the gateway of the other site, a machine there. Between the gateways there is no way but the tunnel.
"""

import collections
import contextlib
import pathlib
import subprocess
import sys
import time

from lab import output
from packets import cpu_seconds, within
from servers import LOAD_CORE, SERVER_CORE, Running

# Both ends of a tunnel, and who sends and receives through it, share these.
CORES = f"{SERVER_CORE},{LOAD_CORE}"
CLIENT, SERVER = "sdwan-client", "sdwan-server"
# What both machines and every tunnel take at most: what fits ways of 1500 with IPv6 and WireGuard around it.
MTU = 1420
PORT = 51820
# Where programs that speak WireGuard have the sockets by which `wg` settles them.
SOCKETS = pathlib.Path("/var/run/wireguard")

# Of one site: its gateway's namespace, the tunnel's interface there (sockets go by its name, for all namespaces), the networks of the site and the part of an address that
# is the gateway's own.
End = collections.namedtuple("End", "namespace device site own")
ENDS = A, B = End("sdwan-a", "sdwan-a", "10.1.0", 1), End("sdwan-b", "sdwan-b", "10.2.0", 2)
SENDER, RECEIVER = f"{A.site}.2", f"{B.site}.2"


def other(end):
    return B if end is A else A


def uplink_address(end, uplink):
    return f"10.8.{uplink}.{end.own}"


def tunnel_address(end):
    return f"10.99.0.{end.own}"


def ip(namespace, *words):
    output("ip", "-n", namespace, *map(str, words))


@contextlib.contextmanager
def sites(uplinks=1):
    """The namespaces, the network of either site, and so many uplinks between the gateways: `u0`, `u1` and so on at both ends."""
    names = (CLIENT, A.namespace, B.namespace, SERVER)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    try:
        for name in names:
            output("ip", "netns", "add", name)
            ip(name, "link", "set", "lo", "up")
            output(*within(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"))
        for machine, interface, end in ((CLIENT, "c0", A), (SERVER, "s0", B)):
            cable((machine, interface, f"{end.site}.2"), (end.namespace, "l0", f"{end.site}.1"), MTU)
            ip(machine, "route", "add", "default", "via", f"{end.site}.1")
        for uplink in range(uplinks):
            cable(*((end.namespace, f"u{uplink}", uplink_address(end, uplink)) for end in ENDS), 1500)
        # Small packets leave the machine one by one, although it makes them many at a time: to a gateway they are as they would come from a card.
        output(*within(CLIENT, "ethtool", "-K", "c0", "tx-udp-segmentation", "off"))
        # And they leave the other gateway one by one, whether its tunnel had joined them into runs or not: what counts them there counts a run as one.
        output(*within(B.namespace, "ethtool", "-K", "l0", "tx-udp-segmentation", "off", "tx-gso-list", "off"))
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def cable(one, another, mtu):
    """A veth between two namespaces; of each its name there, and its address in a network of 256."""
    output("ip", "link", "add", one[1], "netns", one[0], "type", "veth", "peer", "name", another[1], "netns", another[0])
    for namespace, interface, address in (one, another):
        ip(namespace, "addr", "add", f"{address}/24", "dev", interface)
        ip(namespace, "link", "set", interface, "mtu", mtu, "up")


class Way:
    """How packets get from one site to the other while this is open. By itself there is no tunnel: gateways pass them on in the clear."""

    name = "no tunnel"

    def __init__(self, arguments):
        pass

    def __enter__(self):
        self.route("replace")
        self.must_answer()
        return self

    def __exit__(self, *_):
        self.route("del")

    def must_answer(self):
        wait_for_ping(self.name)

    def route(self, what):
        for end in ENDS:
            ip(end.namespace, "route", what, f"{other(end).site}.0/24", "via", uplink_address(other(end), 0))

    def cpu_seconds(self):
        """Of the process at the end that sends, and of that at the one that receives."""
        return 0.0, 0.0


class Tunnel(Running):
    """A product's two processes. Whoever is one says with what `command` it is started at an end, and how it is settled."""

    core = CORES

    def __init__(self, arguments):
        super().__init__(self.name, arguments.folder)
        self.outwork = arguments.outwork
        self.private = {end: output("wg", "genkey") for end in ENDS}
        self.public = {end: subprocess.run(["wg", "pubkey"], input=key, check=True, capture_output=True, text=True).stdout.strip() for end, key in self.private.items()}

    def __enter__(self):
        try:
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def commands(self):
        return [within(end.namespace, *self.command(end)) for end in ENDS]

    def wait_until_it_answers(self):
        for end in ENDS:
            self.settle(end)
        self.must_answer()

    def must_answer(self):
        wait_for_ping(self.name, self.must_run)

    def must_run(self):
        if any(process.poll() is not None for process in self.started):
            self.fail("has ended")

    def fail(self, what):
        sys.exit(f"{self.name} {what}; its log:\n{(self.folder / 'log').read_text()}")

    def settle(self, end):
        """Done at an end once its process has been started."""

    def cpu_seconds(self):
        """Of the process at the end that sends, and of that at the one that receives."""
        return tuple(cpu_seconds(str(process.pid)) for process in self.started)


class WireGuard(Tunnel):
    """A program that speaks WireGuard and is settled by `wg`."""

    def command(self, end):
        # What is left of one that was killed.
        (SOCKETS / f"{end.device}.sock").unlink(missing_ok=True)
        return [*self.program, end.device]

    def settle(self, end):
        began = time.monotonic()
        while not (SOCKETS / f"{end.device}.sock").exists():
            self.must_run()
            if time.monotonic() > began + 10:
                self.fail(f"makes no {end.device}.sock in {SOCKETS}")
            time.sleep(0.02)
        far = other(end)
        config = self.folder / f"{end.device}.conf"
        config.write_text(
            f"""[Interface]
PrivateKey = {self.private[end]}
ListenPort = {PORT}

[Peer]
PublicKey = {self.public[far]}
Endpoint = {uplink_address(far, 0)}:{PORT}
AllowedIPs = {tunnel_address(far)}/32, {far.site}.0/24
"""
        )
        output(*within(end.namespace, "wg", "setconf", end.device, config))
        ip(end.namespace, "addr", "add", f"{tunnel_address(end)}/24", "dev", end.device)
        ip(end.namespace, "link", "set", end.device, "mtu", MTU, "up")
        ip(end.namespace, "route", "add", f"{far.site}.0/24", "dev", end.device)

    def __exit__(self, *ending):
        super().__exit__(*ending)
        for end in ENDS:
            (SOCKETS / f"{end.device}.sock").unlink(missing_ok=True)


class WireGuardGo(WireGuard):
    name = "wireguard-go"
    program = ["wireguard-go", "-f"]

    @staticmethod
    def version():
        return f"wireguard-go {output('dpkg-query', '-W', '-f', '${Version}', 'wireguard-go')}"


class BoringTun(WireGuard):
    name = "boringtun-cli"
    program = ["boringtun-cli", "--foreground", "--disable-drop-privileges"]

    @staticmethod
    def version():
        return output("boringtun-cli", "--version").replace("boringtun ", "boringtun-cli ")


class GotaTun(WireGuard):
    name = "gotatun-cli"
    program = ["gotatun", "--foreground", "--disable-drop-privileges"]

    @staticmethod
    def version():
        return output("gotatun", "--version").replace("gotatun ", "gotatun-cli ")


class Outwork(Tunnel):
    """As it comes, but for what is another service's."""

    name = "outwork"

    def command(self, end):
        far, folder = other(end), self.folder / end.device
        folder.mkdir()
        key = folder / "key"
        key.write_text(self.private[end])
        key.chmod(0o600)
        config = folder / "outwork.toml"
        config.write_text(
            f"""[dhcp]
enabled = false

[store]
data_dir = "{folder}/data"

[admin]
listen = ["127.0.0.1:8067"]

[sdwan.tunnel]
name = "{end.device}"
addresses = ["{tunnel_address(end)}/24"]
mtu = {MTU}

[[sdwan.uplink]]
name = "one"
interface = "u0"
listen = ["0.0.0.0:{PORT}"]
private_key_file = "{key}"

[[sdwan.peer]]
name = "{far.device}"
public_key = "{self.public[far]}"
endpoint = "{uplink_address(far, 0)}:{PORT}"
allowed_ips = ["{tunnel_address(far)}/32", "{far.site}.0/24"]
"""
        )
        return [self.outwork, "run", "--config", config]


WAYS = {way.name: way for way in (Outwork, WireGuardGo, BoringTun, GotaTun, Way)}


def wait_for_ping(name, must_run=lambda: None):
    """Until a packet has come back from the other site, which takes a handshake."""
    began = time.monotonic()
    while subprocess.run(within(CLIENT, "ping", "-n", "-c1", "-W1", RECEIVER), capture_output=True).returncode:
        must_run()
        if time.monotonic() > began + 30:
            sys.exit(f"{name}: nothing comes back from the other site within 30 s")
