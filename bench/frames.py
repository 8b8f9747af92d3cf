#!/usr/bin/env python3
"""Frames of UDP as fast as a core makes them, and an end to them: run in a network namespace, by packets.py.

The kernel makes the frames itself (BPF_PROG_TEST_RUN with live frames), so that nothing of a stack is in the way: a program writes the head of each, and
sends it out. At the other end, a program drops whatever comes.
"""

import ctypes
import os
import socket
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_LOAD, PROG_TEST_RUN, LINK_CREATE = 5, 10, 28
TYPE_XDP, ATTACH_XDP, LIVE_FRAMES = 6, 37, 2
# Frames of one pass through the kernel.
BATCH = 64

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    found = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return found


def instruction(code, destination=0, source=0, offset=0, immediate=0):
    return struct.pack("<BBhi", code, destination | source << 4, offset, immediate)


def load(instructions):
    text = b"".join(instructions)
    code, license, log = ctypes.create_string_buffer(text, len(text)), ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(1 << 16)
    head = struct.pack("<IIQQIIQII", TYPE_XDP, len(instructions), ctypes.addressof(code), ctypes.addressof(license), 1, len(log), ctypes.addressof(log), 0, 0)
    try:
        return bpf(PROG_LOAD, head + bytes(16 + 4 + 4))
    except OSError as error:
        sys.exit(f"{error}\n{log.value.decode()}")


def generator(head, ports):
    """Writes the head of a frame anew, for the kernel gives the pages of frames that have arrived again, as whoever had them has left them; with one of so many
    ports, a power of two, where it says which it comes from. Sends it out by the way it came."""
    words = [struct.unpack("=i", head[at : at + 4])[0] for at in range(0, 40, 4)]
    body = [
        *(instruction(0x62, 2, offset=4 * at, immediate=word) for at, word in enumerate(words)),
        instruction(0x6A, 2, offset=40, immediate=struct.unpack("=H", head[40:42])[0]),
        instruction(0x57, 0, immediate=ports - 1),
        instruction(0x07, 0, immediate=1024),
        instruction(0xDC, 0, immediate=16),  # in the network's order
        instruction(0x6B, 2, 0, 34),
        instruction(0xB7, 0, immediate=3),  # XDP_TX
        instruction(0x95),
    ]
    return load([
        instruction(0xBF, 6, 1),  # r6 = context
        instruction(0x85, immediate=7),  # r0 = a random number
        instruction(0x61, 2, 6, 0),  # r2 = the frame
        instruction(0x61, 3, 6, 4),  # r3 = its end
        instruction(0xBF, 4, 2),
        instruction(0x07, 4, immediate=42),
        instruction(0x2D, 4, 3, len(body)),  # too short: drop it
        *body,
        instruction(0xB7, 0, immediate=1),  # XDP_DROP
        instruction(0x95),
    ])


def sink(interface):
    """Drops all that comes in, until nobody reads what this says any more."""
    program = load([instruction(0xB7, 0, immediate=1), instruction(0x95)])
    bpf(LINK_CREATE, struct.pack("<IIII", program, socket.if_nametoindex(interface), ATTACH_XDP, 0) + bytes(16))
    print("ready", flush=True)
    sys.stdin.read()


def frame(to, source, destination, port):
    """64 octets on the wire, of which the last four are the card's. Without a checksum of UDP, which IPv4 allows."""
    content = bytes(18)
    udp = struct.pack(">HHHH", 1024, port, 8 + len(content), 0) + content
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination))
    total = sum(struct.unpack(">10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    return bytes.fromhex(to.replace(":", "")) + bytes.fromhex("020000000001") + b"\x08\x00" + head + udp


def generate(interface, to, source, destination, port, ports, count):
    """Sends so many frames out by an interface."""
    data = frame(to, source, destination, port)
    program = generator(data, ports)
    content = ctypes.create_string_buffer(data, len(data))
    context = struct.pack("<IIIIII", 0, len(data), 0, socket.if_nametoindex(interface), 0, 0)
    around = ctypes.create_string_buffer(context, len(context))
    attributes = struct.pack("<IIIIQQIIIIQQIIII", program, 0, len(data), 0, ctypes.addressof(content), 0, count, 0, len(context), 0, ctypes.addressof(around), 0, LIVE_FRAMES, 0, BATCH, 0)
    bpf(PROG_TEST_RUN, attributes)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "sink":
        sink(*words)
    else:
        interface, to, source, destination, port, ports, count = words
        generate(interface, to, source, destination, int(port), int(ports), int(count))
