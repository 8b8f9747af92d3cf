/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * tc: the kernel's packets, changed through its helpers, which know what is left to the card: checksums that are not complete yet (a veth's, a local
 * socket's), runs of segments that leave as one (GSO), and tags that lie beside the frame.
 */
#ifndef OUTWORK_REWRITE_TC_H
#define OUTWORK_REWRITE_TC_H

#include <linux/pkt_cls.h>

#include "rewrite.h"

/* As many octets as the longest headers that anything is read of: Ethernet, IPv6, ICMPv6 and the IPv6 and ports in it. */
#define HEADERS 110

static __always_inline int tc_ports(struct __sk_buff *skb, const struct packet *p, const struct order *order, __u32 l4, __u64 growth)
{
	int is_udp = p->key.protocol == IPPROTO_UDP;
	__u32 check = l4 + (is_udp ? UDP_CHECK : TCP_CHECK);
	__u64 flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;

	/* The sum of a packet that is completed later is that of the addresses alone. */
	if (bpf_l4_csum_replace(skb, check, 0, fold(growth), flags | BPF_F_PSEUDO_HDR))
		return -1;
	if (bpf_l4_csum_replace(skb, check, 0, fold(by_word(order->port_before, order->port)), flags))
		return -1;
	return bpf_skb_store_bytes(skb, l4 + (order->way == RETURN ? 0 : 2), &order->port, sizeof order->port, 0);
}

static __always_inline int tc_nat_v4(struct __sk_buff *skb, const struct packet *p, const struct order *order)
{
	__u64 growth = by_address(&order->before, &order->address), header = by_outer(p, order);
	__u32 ip = ETH_HLEN, l4 = ip + sizeof(struct iphdr), inner = l4 + ICMP_HEADER, ports = inner + sizeof(struct iphdr);
	__be32 address = order->address.words[3];
	__u8 hops = p->hops - 1;

	if (order->leaves) {
		/* Of the word that time to live shares with the protocol only the first octet changes. */
		header += by_word(bpf_htons(p->hops << 8), bpf_htons(hops << 8));
		if (bpf_skb_store_bytes(skb, ip + V4_TTL, &hops, 1, 0))
			return -1;
	}
	if (bpf_l3_csum_replace(skb, ip + V4_CHECK, 0, fold(header), 0))
		return -1;
	if (bpf_skb_store_bytes(skb, ip + (order->way == RETURN ? V4_SOURCE : V4_DESTINATION), &address, sizeof address, 0))
		return -1;
	if (!p->is_error)
		return tc_ports(skb, p, order, l4, growth);
	if (bpf_l3_csum_replace(skb, inner + V4_CHECK, 0, fold(growth), 0))
		return -1;
	if (bpf_skb_store_bytes(skb, inner + (order->way == RETURN ? V4_DESTINATION : V4_SOURCE), &address, sizeof address, 0))
		return -1;
	if (bpf_l4_csum_replace(skb, l4 + ICMP_CHECK, 0, fold(by_word(order->port_before, order->port)), 0))
		return -1;
	return bpf_skb_store_bytes(skb, ports + (order->way == RETURN ? 2 : 0), &order->port, sizeof order->port, 0);
}

static __always_inline int tc_nat_v6(struct __sk_buff *skb, const struct packet *p, const struct order *order)
{
	__u64 growth = by_address(&order->before, &order->address);
	__u32 ip = ETH_HLEN, l4 = ip + sizeof(struct ipv6hdr), inner = l4 + ICMP_HEADER, ports = inner + sizeof(struct ipv6hdr);
	__u8 hops = p->hops - 1;

	if (order->leaves && bpf_skb_store_bytes(skb, ip + V6_HOPS, &hops, 1, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, ip + (order->way == RETURN ? V6_SOURCE : V6_DESTINATION), &order->address, 16, 0))
		return -1;
	if (!p->is_error)
		return tc_ports(skb, p, order, l4, growth);
	if (bpf_skb_store_bytes(skb, inner + (order->way == RETURN ? V6_DESTINATION : V6_SOURCE), &order->address, 16, 0))
		return -1;
	if (bpf_l4_csum_replace(skb, l4 + ICMP_CHECK, 0, fold(by_outer(p, order)), BPF_F_PSEUDO_HDR))
		return -1;
	if (bpf_l4_csum_replace(skb, l4 + ICMP_CHECK, 0, fold(growth + by_word(order->port_before, order->port)), 0))
		return -1;
	return bpf_skb_store_bytes(skb, ports + (order->way == RETURN ? 2 : 0), &order->port, sizeof order->port, 0);
}

static __always_inline int tc_link(struct __sk_buff *skb, const struct order *order)
{
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return -1;
	if (order->vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), order->vlan))
		return -1;
	return bpf_skb_store_bytes(skb, 0, order->to, 2 * ETH_ALEN, 0);
}

static __always_inline int tc_carry_out(struct __sk_buff *skb, const struct packet *p, const struct order *order, const struct control *control)
{
	__be16 ethertype;

	if (order->way == WAY_NAT || order->way == RETURN) {
		if (p->is_v6 ? tc_nat_v6(skb, p, order) : tc_nat_v4(skb, p, order))
			return -1;
		return order->leaves ? tc_link(skb, order) : 0;
	}
	if (order->way == WAY_DIRECT)
		return tc_link(skb, order);
	if (is_mapped(&order->address)) {
		struct iphdr outer;

		if (bpf_skb_adjust_room(skb, sizeof outer, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
			return -1;
		outer_v4(&outer, p, order, control);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof outer, 0))
			return -1;
		ethertype = bpf_htons(ETH_P_IP);
	} else {
		struct ipv6hdr outer;

		if (bpf_skb_adjust_room(skb, sizeof outer, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
			return -1;
		outer_v6(&outer, p, order, control);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof outer, 0))
			return -1;
		ethertype = bpf_htons(ETH_P_IPV6);
	}
	if (bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &ethertype, sizeof ethertype, 0))
		return -1;
	return tc_link(skb, order);
}

static __always_inline int tc_parse(struct __sk_buff *skb, struct packet *p, const struct control *control)
{
	void *data, *end;
	struct ethhdr *ethernet;

	p->frame = skb->len;
	p->ingress = skb->ifindex;
	/* What cannot be pulled is too short to be anything, and is found to be. */
	bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ethernet = data;
	if ((void *)(ethernet + 1) > end)
		return PASS_MALFORMED;
	p->l3 = sizeof *ethernet;
	if (skb->vlan_present) {
		if (skb->vlan_proto != bpf_htons(ETH_P_8021Q) || !enter_vlan(p, skb->vlan_tci, control))
			return PASS_VLAN;
	}
	return parse_packet(p, data, end, ethernet->h_proto);
}

SEC("classifier")
int l4_tc(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&controls, &zero);
	struct packet packet = {};
	struct order order = {};
	int reason;

	/* What is not ours is the next program's. */
	if (!control)
		return TC_ACT_UNSPEC;
	reason = tc_parse(skb, &packet, control);
	if (reason < 0)
		/* The length of a run of segments is nobody's: without one, the lookup looks at the segments. */
		reason = decide(skb, &packet, &order, control, now_by(control), 0);
	if (reason == PASS_NEIGHBOUR || reason == PASS_TOO_LONG || reason > LAST_DROP) {
		if (tc_carry_out(skb, &packet, &order, control))
			reason = DROP_FAULT;
	}
	count(reason, packet.frame);
	if (reason <= LAST_PASS)
		return TC_ACT_UNSPEC;
	if (reason <= LAST_DROP)
		return TC_ACT_SHOT;
	return bpf_redirect(order.ifindex, 0);
}

#endif
