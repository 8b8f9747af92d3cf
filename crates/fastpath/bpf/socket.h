/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which connections sockets of this machine have. */
#ifndef OUTWORK_SOCKET_H
#define OUTWORK_SOCKET_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

/*
 * Whether a socket has the connection of TCP that a client's packet is of: it was accepted while nobody here passed packets of its service on. One that only listens
 * has none; one that is about to be accepted, or waits for its last packets, has.
 */
static __always_inline int has_socket(void *ctx, const struct flow_key *key)
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
	return state != BPF_TCP_LISTEN;
}

#endif
