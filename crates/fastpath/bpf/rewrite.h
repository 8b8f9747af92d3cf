/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What both ways of rewriting need: sums of the internet checksum, and the headers of tunnels. */
#ifndef OUTWORK_REWRITE_H
#define OUTWORK_REWRITE_H

#include "decide.h"

/* Where things are in headers. */
#define V4_CHECK 10
#define V4_TTL 8
#define V4_SOURCE 12
#define V4_DESTINATION 16
#define V6_HOPS 7
#define V6_SOURCE 8
#define V6_DESTINATION 24
#define TCP_CHECK 16
#define UDP_CHECK 6
#define ICMP_CHECK 2
#define ICMP_HEADER 8

/* By how much a sum grows when one word takes the place of another (RFC 1624): words as they lie in memory. */
static __always_inline __u64 by_word(__u16 before, __u16 after)
{
	return (__u64)(__u16)~before + after;
}

static __always_inline __u64 by_address(const struct address *before, const struct address *after)
{
	__u64 sum = 0;
	int word;

#pragma unroll
	for (word = 0; word < 4; word++)
		sum += (__u64)(__u32)~before->words[word] + after->words[word];
	return sum;
}

/* The same of the packet's own header. Of an ICMP error it may be somebody's on the way who sent it. */
static __always_inline __u64 by_outer(const struct packet *p, const struct order *order)
{
	return by_address(order->way == RETURN ? &p->from : &order->before, &order->address);
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

/* The checksum after its data's sum has grown. Of the two forms that zero has it is what the kernel's own arithmetic gives, so that bytes are the same everywhere. */
static __always_inline __sum16 replaced(__sum16 check, __u64 growth)
{
	__u32 sum = fold(growth + 0xffff0000 + (__u16)~check);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The header that carries a packet to `order->address` (RFC 2003, RFC 2473). ECN and class are those of the packet (RFC 6040 section 4.1). */
static __always_inline void outer_v4(struct iphdr *outer, const struct packet *p, const struct order *order, const struct control *control)
{
	__u64 sum = 0;
	__u16 *words = (void *)outer;
	int word;

	__builtin_memset(outer, 0, sizeof *outer);
	outer->version = 4;
	outer->ihl = 5;
	outer->tos = p->class;
	outer->tot_len = bpf_htons(p->length + sizeof *outer);
	outer->frag_off = bpf_htons(0x4000); /* don't */
	outer->ttl = 64;
	outer->protocol = p->is_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	outer->saddr = control->tunnel_v4.words[3];
	outer->daddr = order->address.words[3];
#pragma unroll
	for (word = 0; word < 10; word++)
		sum += words[word];
	outer->check = replaced(0xffff, sum);
}

static __always_inline void outer_v6(struct ipv6hdr *outer, const struct packet *p, const struct order *order, const struct control *control)
{
	__builtin_memset(outer, 0, sizeof *outer);
	outer->version = 6;
	outer->priority = p->class >> 4;
	outer->flow_lbl[0] = p->class << 4;
	outer->payload_len = bpf_htons(p->length);
	outer->nexthdr = p->is_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	outer->hop_limit = 64;
	__builtin_memcpy(&outer->saddr, &control->tunnel_v6, 16);
	__builtin_memcpy(&outer->daddr, &order->address, 16);
}

static __always_inline int is_mapped(const struct address *address)
{
	return !address->halves[0] && address->words[2] == bpf_htonl(0xffff);
}

#endif
