/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which connections sockets of this machine have. */
#ifndef OUTWORK_SOCKET_H
#define OUTWORK_SOCKET_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

/*
 * The state of the socket that has the connection of TCP which a client's packet is of: it was accepted while nobody here passed packets of its service on. 0 where there is
 * none, and one that only listens is none; one that is about to be accepted, or waits for its last packets, is.
 */
static __always_inline __u32 socket_state(void *ctx, const struct flow_key *key)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *socket;
	__u32 length, state;

	if (!key->source.halves[0] && key->source.words[2] == bpf_htonl(0xffff)) {
		tuple.ipv4.saddr = key->source.words[3];
		tuple.ipv4.daddr = key->destination.words[3];
		tuple.ipv4.sport = key->source_port;
		tuple.ipv4.dport = key->destination_port;
		length = sizeof tuple.ipv4;
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &key->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &key->destination, 16);
		tuple.ipv6.sport = key->source_port;
		tuple.ipv6.dport = key->destination_port;
		length = sizeof tuple.ipv6;
	}
	socket = bpf_skc_lookup_tcp(ctx, &tuple, length, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return 0;
	state = socket->state;
	bpf_sk_release(socket);
	return state == BPF_TCP_LISTEN ? 0 : state;
}

static __always_inline int has_socket(void *ctx, const struct flow_key *key)
{
	return socket_state(ctx, key) != 0;
}

/* Where a flow may be younger than what waits for its last packets: whether a socket has it for certain. */
static __always_inline int has_live_socket(void *ctx, const struct flow_key *key)
{
	__u32 state = socket_state(ctx, key);

	return state && state != BPF_TCP_TIME_WAIT;
}

#endif
