#!/usr/bin/env python3
"""Sessions that are to live through failures: run in network namespaces, by failover.py. One end sends, the other receives.

    sessions.py receive
    sessions.py send ADDRESS

Numbered datagrams, one of each stream each millisecond; keystrokes and their echoes over TCP; a transfer over TCP. Each end answers a line on its input with a
line of JSON that tells what has been since the last one, and ends with its input.
"""

import ctypes
import errno
import json
import selectors
import socket
import struct
import sys
import threading
import time

PR_SET_TIMERSLACK = 29
# Streams by their ports: octets of each datagram's content, and the traffic class of its packets, by which the streams are told from each other outside of tunnels.
CALL, LARGE, TWICE = 5001, 5002, 5003
STREAMS = {CALL: (64, 46), LARGE: (1300, 34), TWICE: (64, 26)}
TICK = 0.001
# `linux/in.h`.
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
HEAD = struct.Struct(">Qq")
KEYS, TRANSFER = 7001, 7002
KEY_EVERY, CHUNK_EVERY, CHUNK = 0.02, 0.004, 4096
# What is transferred: so long that no part of it is like the one behind it.
PATTERN = b"".join(struct.pack(">I", number * 2654435761 % 2**32) for number in range(65_536))


class Taken:
    """What has been, until it is taken."""

    def __init__(self):
        self.lock = threading.Lock()
        self.streams = {port: [] for port in STREAMS}
        self.echoes, self.longest, self.octets, self.faults = 0, 0.0, 0, []

    def take(self):
        with self.lock:
            told = {"streams": self.streams, "echoes": self.echoes, "longest_ms": 1000 * self.longest, "octets": self.octets, "faults": self.faults}
            self.streams = {port: [] for port in STREAMS}
            self.echoes, self.longest, self.octets, self.faults = 0, 0.0, 0, []
        return told

    def fault(self, what):
        with self.lock:
            self.faults.append(what)


def in_background(taken, work, *words):
    """Does something that goes on for ever; that it ends is a fault."""

    def run():
        try:
            work(taken, *words)
            taken.fault(f"{work.__name__} has ended")
        except OSError as error:
            taken.fault(f"{work.__name__}: {error}")

    threading.Thread(target=run, daemon=True).start()


def echo(taken, connection):
    while octets := connection.recv(64):
        connection.sendall(octets)


def sink(taken, connection):
    at = 0
    while octets := connection.recv(1 << 16):
        expected = (PATTERN + PATTERN)[at : at + len(octets)]
        at = (at + len(octets)) % len(PATTERN)
        with taken.lock:
            taken.octets += len(octets)
        if octets != expected:
            taken.fault("what was transferred has come as something else")


def serve(taken, port, work):
    listener = socket.create_server(("", port))
    while True:
        connection, _ = listener.accept()
        in_background(taken, work, connection)


def receive():
    taken, selector = Taken(), selectors.DefaultSelector()
    in_background(taken, serve, KEYS, echo)
    in_background(taken, serve, TRANSFER, sink)
    for port in STREAMS:
        stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        stream.bind(("", port))
        stream.setblocking(False)
        selector.register(stream, selectors.EVENT_READ, port)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                if not sys.stdin.readline():
                    return
                print(json.dumps(taken.take()), flush=True)
                continue
            try:
                while octets := key.fileobj.recv(2048):
                    number, sent = HEAD.unpack_from(octets)
                    taken.streams[key.data].append((number, sent, time.monotonic_ns()))
            except BlockingIOError:
                pass


def type_keys(taken, address):
    session = socket.create_connection((address, KEYS))
    session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    number = 0
    while True:
        began, key = time.monotonic(), struct.pack(">Q", number)
        session.sendall(key)
        heard = b""
        while len(heard) < len(key):
            octets = session.recv(len(key) - len(heard))
            if not octets:
                return
            heard += octets
        if heard != key:
            taken.fault("another key came back")
        with taken.lock:
            taken.echoes, taken.longest = taken.echoes + 1, max(taken.longest, time.monotonic() - began)
        number += 1
        time.sleep(max(0.0, began + KEY_EVERY - time.monotonic()))


def transfer(taken, address):
    session, at = socket.create_connection((address, TRANSFER)), 0
    while True:
        session.sendall(PATTERN[at : at + CHUNK])
        at = (at + CHUNK) % len(PATTERN)
        with taken.lock:
            taken.octets += CHUNK
        time.sleep(CHUNK_EVERY)


def answer(taken):
    for _ in sys.stdin:
        print(json.dumps(taken.take()), flush=True)


def say(stream, size, head):
    """Sends a datagram, as long as it may be at most. One that does not leave is lost, and is missed at the other end."""
    for _ in range(2):
        try:
            stream.send(head.ljust(size, b"\0"))
            return
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                return
            # So long a packet may be, with the headers of IP and UDP.
            size = min(size, stream.getsockopt(socket.IPPROTO_IP, IP_MTU) - 28)


def send(address):
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    taken, streams = Taken(), []
    in_background(taken, type_keys, address)
    in_background(taken, transfer, address)
    asked = threading.Thread(target=answer, args=(taken,), daemon=True)
    for port, (size, dscp) in STREAMS.items():
        stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        # They may not be cut on their way (DF): who sends them is told how long they may be, or they are lost.
        stream.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        stream.connect((address, port))
        streams.append((stream, size))
    asked.start()
    print("ready", flush=True)
    began, number = time.monotonic(), 0
    while asked.is_alive():
        for stream, size in streams:
            say(stream, size, HEAD.pack(number, time.monotonic_ns()))
        number += 1
        time.sleep(max(0.0, began + number * TICK - time.monotonic()))


if __name__ == "__main__":
    receive() if sys.argv[1] == "receive" else send(sys.argv[2])
