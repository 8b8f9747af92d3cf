"""A site that very many paths lead to, all of them up.

No more than 16 lead from one site to another, so there are as many others as it takes. Few processes take the part of them all: the site has each uplink of theirs for a
site of its own, and they each of its.
"""

import math
import time

import tunnels
from failover import PATIENCE, Sites
from lab import output
from packets import within
from servers import Running
from tunnels import A, B

# Paths from one site to another at most, of all that their uplinks would give (`PATHS_A_SITE` in crates/sdwan/src/engine/site.rs).
MOST = 16


class Crowd(Sites):
    """The site at the first end, and who takes the part of the others at the second; their uplinks are all on one cable. `paths` is how many there are: at least as many as were wanted."""

    def __init__(self, arguments, wanted):
        Running.__init__(self, "outwork-sites", arguments.folder)
        self.outwork, self.tokens = arguments.outwork, {}
        self.uplinks = range(min(MOST, math.isqrt(wanted - 1) + 1))
        each = len(self.uplinks) ** 2
        # Of processes at the second end.
        self.others = range(-(-wanted // each))
        self.paths = each * len(self.others)
        # None is the site at the first end.
        self.private = {(who, uplink): output("wg", "genkey") for who in (None, *self.others) for uplink in self.uplinks}
        self.public = {of: output("sh", "-c", 'echo "$0" | wg pubkey', key) for of, key in self.private.items()}

    def commands(self):
        return [within(end.namespace, *self.command_of(who)) for end, who in ((A, None), *((B, other) for other in self.others))]

    def command_of(self, who):
        name = "site" if who is None else f"others-{who}"
        end, number = (A, 0) if who is None else (B, 1 + who)
        folder = self.folder / name
        folder.mkdir()
        config = folder / "outwork.toml"
        text = f"""[dhcp]
enabled = false

[store]
data_dir = "{folder}/data"

[admin]
listen = ["127.0.0.1:{8067 + number}"]

[sdwan.tunnel]
name = "{end.device}-{number}"
addresses = ["10.99.0.{1 + number}/32"]

[sdwan.health]
trial = "500ms"
"""
        port = lambda of, uplink: tunnels.PORT + (0 if of is None else 1 + of) * MOST + uplink
        for uplink in self.uplinks:
            text += f'\n[[sdwan.uplink]]\nname = "u{uplink}"\ninterface = "u0"\nlisten = ["0.0.0.0:{port(who, uplink)}"]\nprivate_key = "{self.private[who, uplink]}"\n'
        far = B if who is None else A
        for of in self.others if who is None else (None,):
            for uplink in self.uplinks:
                text += f'\n[[sdwan.site]]\nname = "site-{0 if of is None else of}-{uplink}"\n'
                # Who takes the part of several sites serves no networks.
                text += f'subnets = ["10.{100 + of}.{uplink}.0/24"]\n' if who is None else ""
                text += f'[[sdwan.site.uplink]]\nname = "u0"\npublic_key = "{self.public[of, uplink]}"\nendpoint = "{tunnels.uplink_address(far, 0)}:{port(of, uplink)}"\n'
        config.write_text(text)
        return [self.outwork, "run", "--config", config]

    def wait_until_it_answers(self):
        """Until all paths are up at the first end: it is heard at the second by each that is."""
        self.wait_for_api()
        began, up = time.monotonic(), 0
        while (up := sum(path["state"] == "up" for path in self.ask(A, "paths"))) < self.paths:
            self.must_run()
            if time.monotonic() > began + PATIENCE:
                self.fail(f"has {up} paths up of {self.paths}")
            time.sleep(0.2)
