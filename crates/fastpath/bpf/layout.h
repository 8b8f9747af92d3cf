/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the program and the process share. src/layout.rs says the same in Rust, and a test compares sizes with what the object says of its maps.
 * Whoever changes anything here counts LAYOUT in layout.rs up: maps outlive processes, and a start reads only maps of its own layout.
 *
 * Addresses are IPv6; an IPv4 one is mapped (::ffff:192.0.2.1). Ports and addresses are in network byte order, all other numbers in the machine's.
 */
#ifndef OUTWORK_LAYOUT_H
#define OUTWORK_LAYOUT_H

#include <linux/types.h>

struct address {
	union {
		__u8 octets[16];
		__be32 words[4];
		__be64 halves[2];
	};
};

/* A service's key. */
struct vip {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 zero[5];
};

/* service.flags */
#define BY_SOURCE 1 /* the hash is of the client's address alone */

struct service {
	/* Where its part of `places` begins, in the upper half, and how long it is: read at once, so that both are of one table. */
	__u64 table;
	/* Nanoseconds that a new TCP connection costs, 0 for no limit; and how many of them may be owed. */
	__u64 syn_interval;
	__u64 syn_tolerance;
	/* Its place in `vips`, `gates` and `service_tallies`. */
	__u32 number;
	__u32 flags;
};

/* backend.way */
#define WAY_NAT 0    /* addresses and ports are rewritten, both ways */
#define WAY_DIRECT 1 /* only hardware addresses are */
#define WAY_TUNNEL 2 /* the packet goes as it is inside another */

/* backend.flags */
#define TAKES_NEW 1
#define KEEPS_KNOWN 2

struct backend {
	struct address address;
	__be16 port;
	__u8 way;
	__u8 flags;
	/* What a flow has to bear to be of this backend and not of who had the place before; 0 where there is none. */
	__u32 epoch;
	__u32 service;
	__u32 zero;
};

/* Two places of Maglev tables, for an array's elements take eight octets at least. */
struct places {
	__u32 numbers[2];
};

struct flow_key {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 zero[3];
};

/* flow.state, an index into control.timeouts */
#define DATAGRAMS 0
#define OPENING 1
#define ESTABLISHED 2
#define CLOSING 3
#define STATES 4

/* flow.ended */
#define SAID_CLIENT 1
#define SAID_BACKEND 2

struct flow {
	/* When a packet of it came by, to within a second. */
	__u64 seen;
	__u32 backend;
	__u32 epoch;
	__u8 state;
	/* Whether its key is that of the backend's answers. */
	__u8 reply;
	/* Whether the backend has answered; of ways whose answers nobody sees here, 1 from the beginning. */
	__u8 answered;
	/* Who has said the last word: SAID_* */
	__u8 ended;
	__u8 zero[4];
};

/* control.flags */
#define DENIES_V4 1
#define DENIES_V6 2
#define HAS_RETURNS 4
#define HAS_LINKS 8
#define HAS_CABLES 16
#define HAS_OUTLETS 32

struct control {
	/* The time, where the process and not the kernel says what it is (`clock_is_given`). */
	__u64 clock;
	/* Nanoseconds that a packet of one source costs, 0 for no limit; and how many of them may be owed. */
	__u64 source_interval;
	__u64 source_tolerance;
	/* Nanoseconds of silence, by state. */
	__u64 timeouts[STATES];
	struct address tunnel_v4;
	struct address tunnel_v6;
	__u32 flags;
	__u32 zero;
};

struct prefix_v4 {
	__u32 length;
	__u8 octets[4];
};

struct prefix_v6 {
	__u32 length;
	__u8 octets[16];
};

/* A VLAN interface: whose frames it takes and sends, and with which tag. */
struct link {
	__u32 parent;
	__u16 vlan;
	__u16 zero;
};

/* A next hop whose hardware address is not known. */
struct neighbour {
	struct address address;
	__u32 ifindex;
	__u32 zero;
};

struct tally {
	__u64 packets;
	__u64 bytes;
};

struct backend_tally {
	struct tally to;
	struct tally from;
	__u64 flows;
};

struct service_tally {
	struct tally in;
	__u64 flows;
	__u64 no_backend;
	__u64 syn_refused;
	__u64 source_refused;
};

/* What became of a packet. Up to LAST_PASS it was left to the kernel, up to LAST_DROP nobody got it; the rest was sent on. */
enum reason {
	PASS_OTHER = 0,
	PASS_MALFORMED,
	PASS_OPTIONS,
	PASS_FRAGMENT,
	PASS_VLAN,
	PASS_NO_SERVICE,
	PASS_NO_FLOW,
	PASS_SOCKET,
	PASS_NO_BACKEND,
	PASS_EXPIRING,
	PASS_ICMP,
	PASS_NO_FORWARDING,
	PASS_LOCAL,
	PASS_NEIGHBOUR,
	PASS_TOO_LONG,
	DROP_DENIED,
	DROP_SOURCE_RATE,
	DROP_SYN_RATE,
	DROP_UNASKED,
	DROP_UNUSUAL,
	DROP_UNROUTABLE,
	DROP_NEIGHBOUR,
	DROP_TOO_LONG,
	DROP_FAULT,
	SENT_FORWARD,
	SENT_RETURN,
	SENT_ICMP,
	REASONS,
};
#define LAST_PASS PASS_TOO_LONG
#define LAST_DROP DROP_FAULT

#endif
