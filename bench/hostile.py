#!/usr/bin/env python3
"""Packets that mean harm, to one end of a tunnel: run in the network namespace of the other end, by traffic.py.

    hostile.py INTERFACE OWN_ADDRESS ADDRESS PORT PUBLIC_KEY RATE

By turns a forged initiation that is written with the right public key, one that is not, a packet of the tunnel that was sent before (those of the interface are listened to
for that), the same altered, a packet of a session that does not exist, noise, and ICMP that says of a datagram which was never sent that it did not arrive. Each comes from an address of its own.
When some packets were heard it says so on a line, floods until its input ends, and tells in JSON how many it has sent, and for how many the kernel had no room.
"""

import base64
import ctypes
import hashlib
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time

# Where the flood comes from: addresses that are nobody's (RFC 2544).
SOURCES = "198.18.0.0/15"
# Who floods by UDP does so from this port.
SOURCE = 40_404
PR_SET_TIMERSLACK = 29
ETH_P_ALL, PACKET_OUTGOING = 3, 4
INITIATION, RESPONSE, TRANSPORT = 1, 2, 4
ICMP, UDP = 1, 17
# Of ICMP's "unreachable": host, port, too long, source route failed.
UNREACHABLE, CODES = 3, (1, 3, 4, 5)
# Of those that are too long, what would fit.
FITS = 1280
# As many initiations come from addresses of their own as a gate keeps the rates of (4096), and more.
KINDS, EACH, HEARD = 7, 4800, 16
POOL = KINDS * EACH
TICK, CATCH_UP = 0.001, 4


def hear(interface, port):
    """Some of the tunnel's packets that leave by this interface now, as datagrams."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    listener.bind((interface, 0))
    heard = []
    while len(heard) < HEARD:
        frame, (_, _, direction, *_) = listener.recvfrom(65_536)
        if direction != PACKET_OUTGOING:
            continue
        # IPv4 without options, UDP, to that port, and no run of several.
        if frame[12:15] == b"\x08\x00\x45" and frame[23] == UDP and struct.unpack(">H", frame[36:38])[0] == port and len(frame) <= 1514:
            datagram = frame[42 : 34 + struct.unpack(">H", frame[38:40])[0]]
            if datagram[:4] == bytes([TRANSPORT, 0, 0, 0]):
                heard.append(datagram)
    return heard


def message(kind, length):
    return bytes([kind, 0, 0, 0]) + os.urandom(length - 4)


def checksum(octets):
    """Of an even number of octets (RFC 1071)."""
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(protocol, source, destination, payload):
    """A packet that may not be cut."""
    header = lambda check: struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, check, source, destination)
    return header(checksum(header(0))) + payload


def udp(source, destination, payload):
    """Without a checksum, which IPv4 allows."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def unreachable(code, quoted):
    text = lambda check: struct.pack(">BBHHH", UNREACHABLE, code, check, 0, FITS if code == 4 else 0) + quoted
    return text(checksum(text(0)))


def pool(heard, key, own, address, port):
    """As many packets as are sent before the first comes again."""
    mac1 = hashlib.blake2s(b"mac1----" + key).digest()
    here, there = socket.inet_aton(own), socket.inet_aton(address)
    sources = ipaddress.ip_network(SOURCES)

    def forged():
        text = message(INITIATION, 148)[:-32]
        return text + hashlib.blake2s(text, key=mac1, digest_size=16).digest() + bytes(16)

    def altered(datagram):
        # A number that was not used yet, so that it is opened before it is refused.
        return datagram[:8] + struct.pack("<Q", 1 << 40 | int.from_bytes(os.urandom(3), "big")) + datagram[16:]

    def lie(code):
        # What the other end has sent to here, as anybody can write it who knows both addresses.
        return unreachable(code, ipv4(UDP, there, here, udp(port, port, message(TRANSPORT, 96))))

    made = []
    for number in range(EACH):
        packet = heard[number % len(heard)]
        datagrams = (forged(), message(INITIATION, 148), packet, altered(packet), message(TRANSPORT, 1000), os.urandom(100))
        parts = [(UDP, udp(SOURCE, port, datagram)) for datagram in datagrams] + [(ICMP, lie(CODES[number % len(CODES)]))]
        made += [ipv4(protocol, sources[1 + len(made) + place].packed, there, part) for place, (protocol, part) in enumerate(parts)]
    return made


def flood(address, rate, made):
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    # Packets with their headers.
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sender.connect((address, 0))
    sender.setblocking(False)
    began = last = time.monotonic()
    tried, refused, due = 0, 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        now = time.monotonic()
        due = min(due + (now - last) * rate, rate * TICK * CATCH_UP)
        last = now
        while due >= 1:
            try:
                sender.send(made[tried % POOL])
            except OSError:
                refused += 1
            tried += 1
            due -= 1
        time.sleep(max(0.0, now + TICK - time.monotonic()))
    times = os.times()
    return {"sent": tried - refused, "refused": refused, "seconds": time.monotonic() - began, "cpu": times.user + times.system}


if __name__ == "__main__":
    interface, own, address, port, key, rate = sys.argv[1:]
    made = pool(hear(interface, int(port)), base64.b64decode(key), own, address, int(port))
    print("ready", flush=True)
    print(json.dumps(flood(address, float(rate), made)))
