/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* XDP: frames as the wire brought them, changed in place. Their checksums are complete, but for those that come by a veth, which are completed here. */
#ifndef OUTWORK_REWRITE_XDP_H
#define OUTWORK_REWRITE_XDP_H

#include "rewrite.h"

/* Brings the checksum of TCP or UDP up to date. UDP's may be absent (RFC 768), and is never zero otherwise. */
static __always_inline void amend(__sum16 *check, int is_udp, __u64 growth)
{
	if (is_udp && !*check)
		return;
	*check = replaced(*check, growth);
	if (is_udp && !*check)
		*check = 0xffff;
}

/* Puts the new port at `ports`, the first of the two that TCP and UDP begin with being the source's. */
static __always_inline int xdp_ports(const struct packet *p, const struct order *order, void *l4, void *end, __u64 growth)
{
	int is_udp = p->key.protocol == IPPROTO_UDP;
	__be16 *port = l4 + (order->way == RETURN ? 0 : 2);

	if (l4 + (is_udp ? sizeof(struct udphdr) : sizeof(struct tcphdr)) > end)
		return -1;
	*port = order->port;
	growth += by_word(order->port_before, order->port);
	amend(l4 + (is_udp ? UDP_CHECK : TCP_CHECK), is_udp, growth);
	return 0;
}

static __always_inline int xdp_nat_v4(const struct packet *p, const struct order *order, void *data, void *end)
{
	__u64 growth = by_address(&order->before, &order->address), header = by_outer(p, order);
	struct iphdr *ip = data + p->l3, *inner;
	struct icmp *icmp = (void *)(ip + 1);
	__be16 *ports;
	__u16 *hops;

	if ((void *)(ip + 1) > end)
		return -1;
	if (order->leaves) {
		__u16 before;

		hops = (void *)ip + V4_TTL;
		before = *hops;
		ip->ttl--;
		header += by_word(before, *hops);
	}
	*(order->way == RETURN ? &ip->saddr : &ip->daddr) = order->address.words[3];
	ip->check = replaced(ip->check, header);
	if (!p->is_error)
		return xdp_ports(p, order, ip + 1, end, growth);
	inner = (void *)(icmp + 1);
	ports = (void *)(inner + 1);
	if ((void *)(ports + 4) > end)
		return -1;
	/* The inner header's checksum makes up for its address: only the port changes what ICMP's is of. */
	*(order->way == RETURN ? &inner->daddr : &inner->saddr) = order->address.words[3];
	inner->check = replaced(inner->check, growth);
	icmp->checksum = replaced(icmp->checksum, by_word(order->port_before, order->port));
	ports[order->way == RETURN] = order->port;
	return 0;
}

static __always_inline int xdp_nat_v6(const struct packet *p, const struct order *order, void *data, void *end)
{
	__u64 growth = by_address(&order->before, &order->address);
	struct ipv6hdr *ip = data + p->l3, *inner;
	struct icmp *icmp = (void *)(ip + 1);
	__be16 *ports;

	if ((void *)(ip + 1) > end)
		return -1;
	if (order->leaves)
		ip->hop_limit--;
	__builtin_memcpy(order->way == RETURN ? &ip->saddr : &ip->daddr, &order->address, 16);
	if (!p->is_error)
		return xdp_ports(p, order, ip + 1, end, growth);
	inner = (void *)(icmp + 1);
	ports = (void *)(inner + 1);
	if ((void *)(ports + 4) > end)
		return -1;
	/* The address changes twice: in the pseudo header, and in what the error brought along. */
	__builtin_memcpy(order->way == RETURN ? &inner->daddr : &inner->saddr, &order->address, 16);
	icmp->checksum = replaced(icmp->checksum, by_outer(p, order) + growth + by_word(order->port_before, order->port));
	ports[order->way == RETURN] = order->port;
	return 0;
}

/* Makes room for, or takes away, what the new headers differ by, and writes Ethernet's. Gives where the IP header begins, or null. */
static __always_inline void *xdp_link(struct xdp_md *ctx, const struct packet *p, const struct order *order, __u32 outer, __be16 ethertype)
{
	__u32 header = ETH_HLEN + (order->vlan ? sizeof(struct tag) : 0);
	int grows = header + outer - p->l3;
	struct ethhdr *ethernet;
	void *data, *end;

	if (grows && bpf_xdp_adjust_head(ctx, -grows))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ethernet = data;
	if (data + ETH_HLEN + sizeof(struct tag) + outer > end)
		return 0;
	__builtin_memcpy(ethernet->h_dest, order->to, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, order->from, ETH_ALEN);
	if (order->vlan) {
		struct tag *tag = (void *)(ethernet + 1);

		ethernet->h_proto = bpf_htons(ETH_P_8021Q);
		tag->tci = bpf_htons(order->vlan);
		tag->ethertype = ethertype;
		return tag + 1;
	}
	ethernet->h_proto = ethertype;
	return ethernet + 1;
}

static __always_inline int xdp_carry_out(struct xdp_md *ctx, const struct packet *p, const struct order *order, const struct control *control)
{
	__be16 ethertype = bpf_htons(p->is_v6 ? ETH_P_IPV6 : ETH_P_IP);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip;

	if (order->way == WAY_NAT || order->way == RETURN) {
		if (p->is_v6 ? xdp_nat_v6(p, order, data, end) : xdp_nat_v4(p, order, data, end))
			return -1;
		return order->leaves && !xdp_link(ctx, p, order, 0, ethertype) ? -1 : 0;
	}
	if (order->way == WAY_DIRECT)
		return xdp_link(ctx, p, order, 0, ethertype) ? 0 : -1;
	if (is_mapped(&order->address)) {
		ip = xdp_link(ctx, p, order, sizeof(struct iphdr), bpf_htons(ETH_P_IP));
		end = (void *)(long)ctx->data_end;
		if (!ip || ip + sizeof(struct iphdr) > end)
			return -1;
		outer_v4(ip, p, order, control);
		return 0;
	}
	ip = xdp_link(ctx, p, order, sizeof(struct ipv6hdr), bpf_htons(ETH_P_IPV6));
	end = (void *)(long)ctx->data_end;
	if (!ip || ip + sizeof(struct ipv6hdr) > end)
		return -1;
	outer_v6(ip, p, order, control);
	return 0;
}

/* What is summed at once, and how often at most: the driver of a veth takes no frame of more than a page. */
#define CHUNK 64
#define CHUNKS 60

/* Whether the frame goes on for so long. The compiler is not to see through this: it would reckon with the end, which the kernel does not allow. */
static __always_inline int reaches(void *at, __u32 octets, void *end)
{
	at += octets;
	asm volatile("" : "+r"(at));
	return at <= end;
}

/* The same number, of which the verifier knows no more than that it is less than 4096: what follows is looked at once, and not for each number that it could be. */
static __always_inline __u32 some(__u32 number)
{
	asm volatile("%0 = be16 %0\n%0 = be16 %0" : "+r"(number));
	return number & 0xfff;
}

/*
 * The other end of a veth leaves checksums to a card that is none: they are the sum of the pseudo header alone. Such a one is completed. That another is the same by
 * chance does no harm: it is complete, and comes out as it was.
 */
static __always_inline int xdp_complete(struct xdp_md *ctx, const struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at, *begin;
	__u32 header = p->is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr), left = p->length - header, sum, whole = left;
	int is_udp = p->key.protocol == IPPROTO_UDP, step;
	__u64 total = 0;
	__sum16 *check;

#pragma unroll
	for (step = 0; step < 4; step++)
		total += (__u64)p->key.source.words[step] + p->key.destination.words[step];
	total += bpf_htons(p->key.protocol) + (__u32)bpf_htons(left);
	sum = fold(total);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	begin = at = data + p->l3 + header;
	check = at + (is_udp ? UDP_CHECK : TCP_CHECK);
	if ((void *)(check + 1) > end)
		return -1;
	if (*check != sum || left >= CHUNK * CHUNKS)
		return 0;
	/* The sum of the pseudo header is among what is summed. */
	sum = 0;
	for (step = 0; step < CHUNKS && left >= CHUNK; step++) {
		if (!reaches(at, CHUNK, end))
			return -1;
		sum = bpf_csum_diff(0, 0, at, CHUNK, sum);
		at += CHUNK;
		left -= CHUNK;
	}
	total = sum;
	at = begin + some(whole - left);
	for (step = 0; step < CHUNK / 4 && left >= 4; step++) {
		if (!reaches(at, 4, end))
			return -1;
		total += *(__u32 *)at;
		at += 4;
		left -= 4;
	}
	if (left & 2) {
		if (!reaches(at, 2, end))
			return -1;
		total += *(__u16 *)at;
		at += 2;
	}
	if (left & 1) {
		if (!reaches(at, 1, end))
			return -1;
		total += bpf_htons((__u16)*(__u8 *)at << 8);
	}
	sum = fold(total);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
	*check = is_udp && !sum ? 0xffff : sum;
	return 0;
}

SEC("xdp")
int l4_xdp(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);
	struct packet packet = {};
	struct order order = {};
	int reason;

	if (!control)
		return XDP_PASS;
	packet.ingress = ctx->ingress_ifindex;
	reason = parse_frame(&packet, (void *)(long)ctx->data, (void *)(long)ctx->data_end, control);
	if (reason < 0)
		reason = decide(ctx, &packet, &order, control, now_by(control), 1);
	if (reason == PASS_NEIGHBOUR || reason == PASS_TOO_LONG || reason > LAST_DROP) {
		if (control->flags & HAS_CABLES && !packet.is_error && xdp_complete(ctx, &packet))
			reason = DROP_FAULT;
		else if (xdp_carry_out(ctx, &packet, &order, control))
			reason = DROP_FAULT;
	}
	count(reason, packet.frame);
	if (reason <= LAST_PASS)
		return XDP_PASS;
	if (reason <= LAST_DROP)
		return XDP_DROP;
	return order.ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(order.ifindex, 0);
}

#endif
