#!/usr/bin/env python3
"""Datagrams that mean harm, to one end of a tunnel: run in the network namespace of the other end, by traffic.py.

    hostile.py INTERFACE ADDRESS PORT PUBLIC_KEY RATE

By turns a forged initiation that is written with the right public key, one that is not, a packet of the tunnel that was sent before (those of the interface are listened to
for that), the same altered, a packet of a session that does not exist, and noise. When some packets were heard it says so on a line, floods until its input ends, and tells in JSON how
many it has sent.
"""

import base64
import ctypes
import hashlib
import json
import os
import select
import socket
import struct
import sys
import time

# Who floods does so from this port.
SOURCE = 40_404
PR_SET_TIMERSLACK = 29
ETH_P_ALL, PACKET_OUTGOING = 3, 4
INITIATION, RESPONSE, TRANSPORT = 1, 2, 4
KINDS, POOL, HEARD = 6, 3000, 16
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
        if frame[12:15] == b"\x08\x00\x45" and frame[23] == 17 and struct.unpack(">H", frame[36:38])[0] == port and len(frame) <= 1514:
            datagram = frame[42 : 34 + struct.unpack(">H", frame[38:40])[0]]
            if datagram[:4] == bytes([TRANSPORT, 0, 0, 0]):
                heard.append(datagram)
    return heard


def message(kind, length):
    return bytes([kind, 0, 0, 0]) + os.urandom(length - 4)


def pool(heard, key):
    """As many datagrams as are sent before the first comes again."""
    mac1 = hashlib.blake2s(b"mac1----" + key).digest()

    def forged():
        text = message(INITIATION, 148)[:-32]
        return text + hashlib.blake2s(text, key=mac1, digest_size=16).digest() + bytes(16)

    def altered(datagram):
        # A number that was not used yet, so that it is opened before it is refused.
        return datagram[:8] + struct.pack("<Q", 1 << 40 | int.from_bytes(os.urandom(3), "big")) + datagram[16:]

    made = []
    for number in range(POOL // KINDS):
        packet = heard[number % len(heard)]
        made += [forged(), message(INITIATION, 148), packet, altered(packet), message(TRANSPORT, 1000), os.urandom(100)]
    return made


def flood(address, port, rate, made):
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", SOURCE))
    sender.connect((address, port))
    sender.setblocking(False)
    began = last = time.monotonic()
    sent, due = 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        now = time.monotonic()
        due = min(due + (now - last) * rate, rate * TICK * CATCH_UP)
        last = now
        while due >= 1:
            try:
                sender.send(made[sent % POOL])
            except OSError:
                # What comes back as an error, or finds no room.
                pass
            sent += 1
            due -= 1
        time.sleep(max(0.0, now + TICK - time.monotonic()))
    times = os.times()
    return {"sent": sent, "seconds": time.monotonic() - began, "cpu": times.user + times.system}


if __name__ == "__main__":
    interface, address, port, key, rate = sys.argv[1:]
    made = pool(hear(interface, int(port)), base64.b64decode(key))
    print("ready", flush=True)
    print(json.dumps(flood(address, int(port), float(rate), made)))
