/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From bytes to what is decided by. Whatever is out of the ordinary is left to the kernel: it knows all of it. */
#ifndef OUTWORK_PARSE_H
#define OUTWORK_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

#define FRAGMENT 0x3fff /* more fragments, or an offset (RFC 791 section 3.1) */
#define OFFSET 0x1fff
#define OFFSET_V6 0xfff8 /* RFC 8200 section 4.5 */

/* The longest extension header that is looked behind, in units of eight octets beside the first: tc has as much at hand. */
#define LONGEST_EXTENSION 5

/* Bits of the octet of TCP's header that holds its flags. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* ICMP and ICMPv6 alike. */
struct icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

/* Errors of ICMP (RFC 792); those of ICMPv6 are 1 to 4 (RFC 4443). */
#define UNREACHABLE 3
#define TIME_EXCEEDED 11
#define PARAMETER_PROBLEM 12

struct packet {
	/* Whose packet it is: of an ICMP error, the flow that it speaks of, as the client's packets have it. */
	struct flow_key key;
	/* Who sent this very packet. */
	struct address from;
	/* Octets of the frame, and of the IP packet in it. */
	__u32 frame;
	__u32 length;
	/* The interface that the kernel would say it came in by: of a tagged frame, the VLAN's. */
	__u32 ingress;
	/* Where the IP header is. */
	__u8 l3;
	__u8 is_v6;
	__u8 hops;
	/* Type of service, or traffic class. */
	__u8 class;
	__u8 tcp;
	__u8 is_error;
};

/* What extension headers of IPv6 begin with (RFC 8200 section 4). */
struct extension {
	__u8 next;
	__u8 length;
	__be16 offset;
};

struct tag {
	__be16 tci;
	__be16 ethertype;
};

static __always_inline void map_v4(struct address *to, __be32 v4)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = v4;
}

static __always_inline void copy_v6(struct address *to, const struct in6_addr *from)
{
	__builtin_memcpy(to, from, sizeof *to);
}

static __always_inline int same(const struct address *a, const struct address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

/* Whether there is a service, and the interface of a tagged frame, which goes to `p->ingress`: who includes this says. */
static __always_inline int is_ours(const struct vip *vip);
static __always_inline int enter_vlan(struct packet *p, __u16 tci, const struct control *control);

/* The ports of what an ICMP error complains of, whose first octets it has brought along (RFC 792, RFC 4443 section 3). */
static __always_inline int parse_error_v4(struct packet *p, void *icmp, void *end, __u32 room)
{
	struct icmp *error = icmp;
	struct iphdr *inner = icmp + sizeof *error;
	__be16 *ports = (void *)(inner + 1);

	if (icmp + sizeof *error > end)
		return PASS_ICMP;
	if (error->type != UNREACHABLE && error->type != TIME_EXCEEDED && error->type != PARAMETER_PROBLEM)
		return PASS_ICMP;
	if (room < sizeof *error + sizeof *inner + 8 || (void *)(ports + 4) > end)
		return PASS_ICMP;
	if (inner->version != 4 || inner->ihl != 5 || (inner->frag_off & bpf_htons(FRAGMENT)))
		return PASS_ICMP;
	if (inner->saddr != p->key.destination.words[3])
		return PASS_ICMP;
	map_v4(&p->key.source, inner->daddr);
	p->key.protocol = inner->protocol;
	p->key.source_port = ports[1];
	p->key.destination_port = ports[0];
	p->is_error = 1;
	return -1;
}

static __always_inline int parse_error_v6(struct packet *p, void *icmp, void *end, __u32 room)
{
	struct icmp *error = icmp;
	struct ipv6hdr *inner = icmp + sizeof *error;
	__be16 *ports = (void *)(inner + 1);
	struct address from;

	if (icmp + sizeof *error > end)
		return PASS_ICMP;
	if (error->type < 1 || error->type > 4)
		return PASS_ICMP;
	if (room < sizeof *error + sizeof *inner + 8 || (void *)(ports + 4) > end)
		return PASS_ICMP;
	copy_v6(&from, &inner->saddr);
	if (inner->version != 6 || !same(&from, &p->key.destination))
		return PASS_ICMP;
	copy_v6(&p->key.source, &inner->daddr);
	p->key.protocol = inner->nexthdr;
	p->key.source_port = ports[1];
	p->key.destination_port = ports[0];
	p->is_error = 1;
	return -1;
}

/* What TCP and UDP have to be before anybody acts on their ports. `room` is what the IP header leaves them. */
static __always_inline int parse_ports(struct packet *p, void *l4, void *end, __u32 room)
{
	if (p->key.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if (room < sizeof *tcp || (void *)(tcp + 1) > end || tcp->doff < 5 || tcp->doff * 4 > room)
			return PASS_MALFORMED;
		p->key.source_port = tcp->source;
		p->key.destination_port = tcp->dest;
		p->tcp = ((__u8 *)tcp)[13];
		return -1;
	}
	if (p->key.protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if (room < sizeof *udp || (void *)(udp + 1) > end)
			return PASS_MALFORMED;
		if (bpf_ntohs(udp->len) < sizeof *udp || bpf_ntohs(udp->len) > room)
			return PASS_MALFORMED;
		p->key.source_port = udp->source;
		p->key.destination_port = udp->dest;
		return -1;
	}
	return PASS_OTHER;
}

/*
 * What becomes of a packet that is the kernel's because it is a part of one, or has options. What of TCP is for a service is nobody's: the kernel listens there as well,
 * knows nothing of the connection, and would end it by a reset. Of the parts of a packet the first one says for whom it is; without it, the kernel makes nothing of the others.
 */
static __always_inline int unusual(const struct packet *p, void *l4, void *end, __u32 room, int reason)
{
	struct vip vip = { .address = p->key.destination, .protocol = IPPROTO_TCP };
	__be16 *ports = l4;

	if (room < 2 * sizeof *ports || (void *)(ports + 2) > end)
		return reason;
	vip.port = ports[1];
	return is_ours(&vip) ? DROP_UNUSUAL : reason;
}

/* The same behind an extension header. */
static __always_inline int unusual_v6(const struct packet *p, const struct ipv6hdr *ip, void *end, __u32 room, int reason)
{
	struct extension *extension = (void *)(ip + 1);
	__u32 length = 8;

	if ((void *)(extension + 1) > end || extension->next != IPPROTO_TCP)
		return reason;
	if (reason == PASS_FRAGMENT) {
		if (extension->offset & bpf_htons(OFFSET_V6))
			return reason;
	} else {
		if (extension->length > LONGEST_EXTENSION)
			return reason;
		length += extension->length * 8;
	}
	if (room < length)
		return reason;
	return unusual(p, (void *)extension + length, end, room - length, reason);
}

static __always_inline int parse_v4(struct packet *p, void *data, void *end)
{
	struct iphdr *ip = data + p->l3;
	void *l4 = ip + 1;
	int reason;

	if (l4 > end)
		return PASS_MALFORMED;
	p->length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5 || p->length < ip->ihl * 4 || p->l3 + p->length > p->frame)
		return PASS_MALFORMED;
	map_v4(&p->from, ip->saddr);
	map_v4(&p->key.destination, ip->daddr);
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(FRAGMENT)) {
		reason = ip->ihl != 5 ? PASS_OPTIONS : PASS_FRAGMENT;
		if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(OFFSET))
			return reason;
		return unusual(p, (void *)ip + ip->ihl * 4, end, p->length - ip->ihl * 4, reason);
	}
	p->key.source = p->from;
	p->key.protocol = ip->protocol;
	p->hops = ip->ttl;
	p->class = ip->tos;
	if (ip->protocol == IPPROTO_ICMP)
		reason = parse_error_v4(p, l4, end, p->length - sizeof *ip);
	else
		reason = parse_ports(p, l4, end, p->length - sizeof *ip);
	return reason;
}

static __always_inline int parse_v6(struct packet *p, void *data, void *end)
{
	struct ipv6hdr *ip = data + p->l3;
	void *l4 = ip + 1;

	if (l4 > end)
		return PASS_MALFORMED;
	p->length = bpf_ntohs(ip->payload_len) + sizeof *ip;
	if (ip->version != 6 || p->l3 + p->length > p->frame)
		return PASS_MALFORMED;
	p->is_v6 = 1;
	copy_v6(&p->from, &ip->saddr);
	copy_v6(&p->key.destination, &ip->daddr);
	switch (ip->nexthdr) {
	case IPPROTO_FRAGMENT:
		return unusual_v6(p, ip, end, p->length - sizeof *ip, PASS_FRAGMENT);
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return unusual_v6(p, ip, end, p->length - sizeof *ip, PASS_OPTIONS);
	}
	p->key.source = p->from;
	p->key.protocol = ip->nexthdr;
	p->hops = ip->hop_limit;
	p->class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return parse_error_v6(p, l4, end, p->length - sizeof *ip);
	return parse_ports(p, l4, end, p->length - sizeof *ip);
}

/* Reads a frame of which `frame`, `ingress` and nothing else is set. `ethertype` is that of what lies at `l3`. Gives what becomes of it, or -1 where that is to be decided. */
static __always_inline int parse_packet(struct packet *p, void *data, void *end, __be16 ethertype)
{
	if (ethertype == bpf_htons(ETH_P_IP))
		return parse_v4(p, data, end);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return parse_v6(p, data, end);
	return PASS_OTHER;
}

/* The same of a frame as the wire has it, with its tag in it. */
static __always_inline int parse_frame(struct packet *p, void *data, void *end, const struct control *control)
{
	struct ethhdr *ethernet = data;
	struct tag *tag = (void *)(ethernet + 1);
	__be16 ethertype;

	p->frame = end - data;
	if ((void *)(ethernet + 1) > end)
		return PASS_MALFORMED;
	ethertype = ethernet->h_proto;
	p->l3 = sizeof *ethernet;
	if (ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD)) {
		if ((void *)(tag + 1) > end)
			return PASS_MALFORMED;
		if (ethertype == bpf_htons(ETH_P_8021AD) || !enter_vlan(p, bpf_ntohs(tag->tci), control))
			return PASS_VLAN;
		ethertype = tag->ethertype;
		p->l3 += sizeof *tag;
	}
	return parse_packet(p, data, end, ethertype);
}

#endif
