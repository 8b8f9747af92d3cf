#!/usr/bin/env python3
"""Small packets of UDP at a rate: run in a network namespace, by traffic.py. Tells in JSON how many it has sent, and what it took.

    datagrams.py ADDRESS PORT RATE SECONDS

They pass the stack a run at a time, and the interface takes the run apart, so that what makes them takes little of the cores that it shares with what carries
them. It sends a little each tick, and never makes up for more than a few: after a stall of the machine, a burst would be lost for no fault of the tunnel.
"""

import ctypes
import json
import os
import socket
import sys
import time

UDP_SEGMENT = 103
PR_SET_TIMERSLACK = 29
# With the headers of UDP, IPv4 and Ethernet and the checksum of the card, 64 octets on the wire.
CONTENT = 18
# Datagrams of a run, flows that the runs are spread over.
RUN, FLOWS = 16, 64
TICK, CATCH_UP = 0.0005, 4


def flow(address, port):
    """Connected, from a port of its own."""
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, CONTENT)
    found.connect((address, port))
    return found


def send(address, port, rate, seconds):
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    flows, run = [flow(address, port) for _ in range(FLOWS)], bytes(CONTENT * RUN)
    began = last = time.monotonic()
    due, runs = 0.0, 0
    while (now := time.monotonic()) < began + seconds:
        due = min(due + (now - last) * rate, max(RUN, rate * TICK * CATCH_UP))
        last = now
        while due >= RUN:
            flows[runs % FLOWS].send(run)
            runs += 1
            due -= RUN
        time.sleep(max(0.0, now + TICK - time.monotonic()))
    times = os.times()
    return {"sent": runs * RUN, "seconds": time.monotonic() - began, "cpu": times.user + times.system}


if __name__ == "__main__":
    address, port, rate, seconds = sys.argv[1:]
    print(json.dumps(send(address, int(port), float(rate), float(seconds))))
