/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whose packet it is and where it goes. src/forward does the same in Rust, and a test holds the two to each other, counter by counter. */
#ifndef OUTWORK_DECIDE_H
#define OUTWORK_DECIDE_H

#include "guard.h"
#include "socket.h"

/* How much later a flow has to be seen before that is written down: a second, so that CPUs do not fight for the line at every packet. */
#define REFRESH 1000000000ULL
/* Backends asked for a new flow before there is none. Tables hold only who can be used, so that a second one is rare. */
#define TRIES 8

/* What is to be done with a packet that is sent on. */
struct order {
	/* Where to, on the wire. */
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
	__u32 ifindex;
	/* The tag to carry; 0 is none. */
	__u16 vlan;
	/* WAY_*, or RETURN. */
	__u8 way;
	/* Whether the hardware addresses are known and a hop is taken; else the kernel gets what was rewritten. */
	__u8 leaves;
	/* What takes the place of the packet's destination, or in an answer of its source. */
	struct address address;
	/* Where the packet was to go, or came from. */
	struct address before;
	__be16 port;
	__be16 port_before;
};
#define RETURN 8

static __always_inline __u64 mix(__u64 z)
{
	z = (z ^ (z >> 33)) * 0x62a9d9ed799705f5ULL;
	z = (z ^ (z >> 28)) * 0xcb24d0a5c88c35b3ULL;
	return z ^ (z >> 32);
}

static __always_inline __u32 below(__u64 hash, __u32 bound)
{
	return ((hash >> 32) * bound) >> 32;
}

static __always_inline __u64 hash_of(const struct packet *p, __u32 flags)
{
	const struct flow_key *key = &p->key;
	__u64 high = bpf_be64_to_cpu(key->source.halves[0]), low = bpf_be64_to_cpu(key->source.halves[1]);
	__u64 ports = (__u64)bpf_ntohs(key->source_port) << 32 | bpf_ntohs(key->destination_port) << 8 | key->protocol;
	__u64 source = p->is_v6 ? mix(high ^ 6) : mix((__u32)low | 4ULL << 32);

	if (flags & BY_SOURCE)
		return source;
	/* Within a network, clients are told apart here. */
	return mix(mix(source ^ low) ^ ports);
}

/* Whether one more is within a rate: `paid` is when all before it are paid off (the generic cell rate algorithm, ITU-T I.371). */
static __always_inline int admit(__u64 *paid, __u64 now, __u64 interval, __u64 tolerance)
{
	__u64 before = *paid, from = before > now ? before : now;

	if (from - now > tolerance)
		return 0;
	/* Who loses a race between CPUs goes free: a few packets, and never a wait. */
	__sync_val_compare_and_swap(paid, before, from + interval);
	return 1;
}

static __always_inline int source_is_admitted(const struct packet *p, const struct control *control, __u64 now)
{
	struct address source = p->key.source;
	__u64 *paid, first = now + control->source_interval;

	if (!control->source_interval)
		return 1;
	/* A client changes addresses within its /64 as it likes (RFC 8981). */
	if (p->is_v6)
		source.halves[1] = 0;
	paid = bpf_map_lookup_elem(&sources, &source);
	if (paid)
		return admit(paid, now, control->source_interval, control->source_tolerance);
	bpf_map_update_elem(&sources, &source, &first, BPF_ANY);
	return 1;
}

/* The backend of a flow, if it still is in its place and keeps what it has. */
static __always_inline struct backend *backend_of(const struct flow *flow)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &flow->backend);

	if (!backend || backend->epoch != flow->epoch || !(backend->flags & KEEPS_KNOWN))
		return 0;
	return backend;
}

static __always_inline int is_idle(const struct flow *flow, const struct control *control, __u64 now)
{
	return now > flow->seen && now - flow->seen > control->timeouts[flow->state & 3];
}

/*
 * A connection is one when the client has said something after the backend has: whoever floods with forged addresses hears no answers. Where nobody sees answers here, it is
 * one when the client has said something again.
 */
static __always_inline __u8 next_state(const struct flow *flow, const struct packet *p)
{
	if (p->key.protocol != IPPROTO_TCP)
		return DATAGRAMS;
	if (p->tcp & (TCP_FIN | TCP_RST))
		return CLOSING;
	if (flow->state == OPENING && !flow->reply && flow->answered && (p->tcp & TCP_ACK))
		return ESTABLISHED;
	return flow->state;
}

/* Who has said the last word by now. */
static __always_inline __u8 last_words(const struct flow *flow, const struct packet *p)
{
	if (p->key.protocol != IPPROTO_TCP)
		return 0;
	if (p->tcp & TCP_RST)
		return SAID_CLIENT | SAID_BACKEND;
	if (p->tcp & TCP_FIN)
		return flow->ended | (flow->reply ? SAID_BACKEND : SAID_CLIENT);
	return flow->ended;
}

/* The key of the answers that a backend gives to this flow. */
static __always_inline void answers(struct flow_key *to, const struct flow_key *key, const struct backend *backend)
{
	__builtin_memset(to, 0, sizeof *to);
	to->source = backend->address;
	to->destination = key->source;
	to->source_port = backend->port;
	to->destination_port = key->source_port;
	to->protocol = key->protocol;
}

/*
 * Writes down that a packet of the flow came by. What its other direction is known by follows once a second, so that neither outlives the other in a table
 * that forgets what was not looked at; and at once where the connection's state changes, or its backend answers for the first time.
 */
static __always_inline void see(struct flow *flow, const struct packet *p, const struct flow_key *other, __u64 now)
{
	__u8 state = next_state(flow, p), ended = last_words(flow, p);
	int due = now > flow->seen + REFRESH, answers_first = flow->reply && !flow->answered && p->key.protocol == IPPROTO_TCP;
	struct flow *twin;

	if (state == flow->state && ended == flow->ended && !due && !answers_first)
		return;
	flow->state = state;
	flow->ended = ended;
	flow->answered |= answers_first;
	if (due)
		flow->seen = now;
	if (!other)
		return;
	twin = bpf_map_lookup_elem(&flows, other);
	if (twin && twin->backend == flow->backend && twin->epoch == flow->epoch) {
		twin->state = state;
		twin->ended = ended;
		twin->answered |= answers_first;
		if (due)
			twin->seen = now;
	}
}

/* Whether the answers of `backend` to this flow would be taken for those to another, which the client has with another service by the same port. */
static __always_inline int collides(const struct flow_key *reply, __u32 number, const struct control *control, __u64 now)
{
	struct flow *other = bpf_map_lookup_elem(&flows, reply);

	return other && other->backend != number && backend_of(other) && !is_idle(other, control, now);
}

/* Whose place of the tables this is. */
static __always_inline __u32 *owner(__u32 place)
{
	__u32 index = place >> 1;
	struct places *pair = bpf_map_lookup_elem(&places, &index);

	return pair ? &pair->numbers[place & 1] : 0;
}

/* Chooses a backend for a new flow. */
static __always_inline struct backend *choose(const struct packet *p, const struct service *service, const struct control *control,
					      struct flow *flow, __u64 now)
{
	__u64 table = *(volatile const __u64 *)&service->table;
	__u32 size = (__u32)table, place, after;
	struct flow_key reply;

	if (!size)
		return 0;
	place = below(hash_of(p, service->flags), size);
	for (after = 0; after < TRIES; after++) {
		__u32 at = after ? below(mix((__u64)after << 32 | place), size) : place;
		__u32 *number = owner((__u32)(table >> 32) + at);
		struct backend *backend = number ? bpf_map_lookup_elem(&backends, number) : 0;

		if (!backend || !backend->epoch || !(backend->flags & TAKES_NEW) || backend->service != service->number)
			continue;
		if (backend->way == WAY_NAT) {
			answers(&reply, &p->key, backend);
			if (collides(&reply, *number, control, now))
				continue;
		}
		flow->seen = now;
		flow->backend = *number;
		flow->epoch = backend->epoch;
		/* Whatever it begins with: of a connection that goes on, both sides will have spoken soon. */
		flow->state = p->key.protocol != IPPROTO_TCP ? DATAGRAMS : p->tcp & TCP_FIN ? CLOSING : OPENING;
		flow->answered = backend->way != WAY_NAT;
		flow->ended = last_words(flow, p);
		return backend;
	}
	return 0;
}

/* Writes down a new flow, and what its answers will be known by. */
static __always_inline void remember(const struct packet *p, const struct backend *backend, struct flow *flow)
{
	struct flow_key reply;

	bpf_map_update_elem(&flows, &p->key, flow, BPF_ANY);
	if (backend->way == WAY_NAT) {
		answers(&reply, &p->key, backend);
		flow->reply = 1;
		bpf_map_update_elem(&flows, &reply, flow, BPF_ANY);
	}
}

/* Takes down by which interface a frame leaves, and with which tag. */
static __always_inline void leave_by(struct order *order, const struct control *control, __u32 ifindex)
{
	struct link *link;

	order->ifindex = ifindex;
	order->vlan = 0;
	if (control->flags & HAS_LINKS) {
		link = bpf_map_lookup_elem(&links, &order->ifindex);
		if (link) {
			order->ifindex = link->parent;
			order->vlan = link->vlan;
		}
	}
}

/* Whether what is answered from behind the interface of an order comes to a program: else the client would hear from somebody it does not know. */
static __always_inline int returns(const struct order *order, const struct control *control)
{
	return !(control->flags & HAS_OUTLETS) || !order->ifindex || bpf_map_lookup_elem(&outlets, &order->ifindex) != 0;
}

/* Asks the kernel for the way. Gives 0, or the reason why there is none. */
static __always_inline int find_hop(void *ctx, const struct packet *p, struct order *order, const struct control *control,
				    const struct address *from, const struct address *to, __u32 length)
{
	struct bpf_fib_lookup fib = {};
	struct neighbour hop = {};
	__u64 one = 1;
	long result;

	fib.ifindex = p->ingress;
	fib.l4_protocol = p->key.protocol;
	fib.tot_len = length;
	/* Of both kinds of addresses the mapped ones are IPv4's. */
	if (!to->words[0] && !to->words[1] && to->words[2] == bpf_htonl(0xffff)) {
		fib.family = 2 /* AF_INET */;
		fib.ipv4_src = from->words[3];
		fib.ipv4_dst = to->words[3];
	} else {
		fib.family = 10 /* AF_INET6 */;
		__builtin_memcpy(fib.ipv6_src, from, 16);
		__builtin_memcpy(fib.ipv6_dst, to, 16);
	}
	result = bpf_fib_lookup(ctx, &fib, sizeof fib, 0);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return DROP_UNROUTABLE;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return PASS_NO_FORWARDING;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return PASS_TOO_LONG;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		/* The lookup has put the next hop in the place of the destination. */
		if (fib.family == 2)
			map_v4(&hop.address, fib.ipv4_dst);
		else
			__builtin_memcpy(&hop.address, fib.ipv6_dst, 16);
		hop.ifindex = fib.ifindex;
		leave_by(order, control, fib.ifindex);
		bpf_map_update_elem(&wanted, &hop, &one, BPF_ANY);
		return PASS_NEIGHBOUR;
	default:
		return PASS_LOCAL;
	}
	__builtin_memcpy(order->to, fib.dmac, ETH_ALEN);
	__builtin_memcpy(order->from, fib.smac, ETH_ALEN);
	order->leaves = 1;
	leave_by(order, control, fib.ifindex);
	return 0;
}

/* Whether sockets take the packet as it came: nobody here has passed anything on. */
static __always_inline int is_left(int reason)
{
	return reason < PASS_NEIGHBOUR;
}

/* Fills in how a packet gets to `backend`. */
static __always_inline int head_for(void *ctx, const struct packet *p, struct order *order, const struct backend *backend,
				    const struct control *control, int checks_length)
{
	int is_v4 = backend->address.words[2] == bpf_htonl(0xffff) && !backend->address.halves[0], reason;
	__u32 length = p->length;

	order->way = backend->way;
	order->address = backend->address;
	order->port = backend->port;
	order->before = p->key.destination;
	order->port_before = p->key.destination_port;
	order->leaves = 0;
	order->ifindex = 0;
	if (backend->way == WAY_NAT) {
		if (p->hops <= 1)
			return PASS_EXPIRING;
		reason = find_hop(ctx, p, order, control, &p->from, &backend->address, checks_length ? length : 0);
		/* The kernel goes on from here: it asks for the neighbour, or takes the packet apart. */
		if (reason == PASS_NEIGHBOUR || reason == PASS_TOO_LONG)
			return reason;
		return reason ? reason : p->is_error ? SENT_ICMP : SENT_FORWARD;
	}
	if (backend->way == WAY_TUNNEL) {
		length += is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
		if (length > 0xffff)
			return DROP_TOO_LONG;
		reason = find_hop(ctx, p, order, control, is_v4 ? &control->tunnel_v4 : &control->tunnel_v6, &backend->address,
				  checks_length ? length : 0);
	} else {
		reason = find_hop(ctx, p, order, control, &p->from, &backend->address, checks_length ? length : 0);
	}
	/* What the kernel would make of these is of no use to anybody: their destination is an address of its own. */
	if (reason == PASS_NEIGHBOUR)
		return DROP_NEIGHBOUR;
	if (reason == PASS_TOO_LONG)
		return DROP_TOO_LONG;
	return reason ? reason : p->is_error ? SENT_ICMP : SENT_FORWARD;
}

static __always_inline void add(struct tally *tally, __u32 bytes)
{
	tally->packets++;
	tally->bytes += bytes;
}

static __always_inline void count_backend(__u32 number, __u32 bytes, int from, int is_new)
{
	struct backend_tally *tally = bpf_map_lookup_elem(&backend_tallies, &number);

	if (!tally)
		return;
	add(from ? &tally->from : &tally->to, bytes);
	tally->flows += is_new;
}

/* Fills in how a packet gets back to a client of the service. */
static __always_inline int head_back(void *ctx, const struct packet *p, struct order *order, const struct vip *vip,
				     const struct control *control, int checks_length)
{
	int reason;

	order->way = RETURN;
	order->address = vip->address;
	order->port = vip->port;
	order->before = p->key.source;
	order->port_before = p->key.source_port;
	order->leaves = 0;
	reason = find_hop(ctx, p, order, control, &vip->address, &p->key.destination, checks_length ? p->length : 0);
	/* The kernel would not take it: its source is an address of its own (a martian). */
	if (reason == PASS_NEIGHBOUR)
		return DROP_NEIGHBOUR;
	if (reason == PASS_TOO_LONG)
		return DROP_TOO_LONG;
	return reason ? reason : p->is_error ? SENT_ICMP : SENT_RETURN;
}

/* A backend's answer, or nothing of ours. */
static __always_inline int give_back(void *ctx, struct packet *p, struct order *order, const struct control *control, __u64 now,
				     int checks_length)
{
	struct flow_key client = {};
	struct backend *backend;
	struct flow *flow;
	struct vip *vip;
	__u32 number;
	int reason;

	if (!(control->flags & HAS_RETURNS))
		return PASS_NO_SERVICE;
	flow = bpf_map_lookup_elem(&flows, &p->key);
	if (!flow || !flow->reply || is_idle(flow, control, now))
		return PASS_NO_SERVICE;
	backend = backend_of(flow);
	if (!backend)
		return PASS_NO_SERVICE;
	vip = bpf_map_lookup_elem(&vips, &backend->service);
	if (!vip)
		return PASS_NO_SERVICE;
	if (p->hops <= 1)
		return PASS_EXPIRING;
	client.source = p->key.destination;
	client.destination = vip->address;
	client.source_port = p->key.destination_port;
	client.destination_port = vip->port;
	client.protocol = p->key.protocol;
	see(flow, p, &client, now);
	number = flow->backend;
	reason = head_back(ctx, p, order, vip, control, checks_length);
	if (!is_left(reason))
		count_backend(number, p->frame, 1, 0);
	return reason;
}

/*
 * An ICMP error: whose flow it was decides who is told. Of what a backend has sent that is the backend; of what was sent to it, the client, who knows the service and not the
 * backend, and whom the service tells, whoever found it out.
 */
static __always_inline int give_error(void *ctx, struct packet *p, struct order *order, const struct control *control, __u64 now,
				      int checks_length)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	struct backend *backend;
	struct vip *vip;

	if (!flow || is_idle(flow, control, now))
		return PASS_ICMP;
	backend = backend_of(flow);
	if (!backend)
		return PASS_ICMP;
	if (flow->reply) {
		vip = bpf_map_lookup_elem(&vips, &backend->service);
		if (!vip)
			return PASS_ICMP;
		return p->hops <= 1 ? PASS_EXPIRING : head_back(ctx, p, order, vip, control, checks_length);
	}
	if (is_denied(p, control))
		return DROP_DENIED;
	return head_for(ctx, p, order, backend, control, checks_length);
}

/* Has a flow that has ended be nobody's, and what its answers were known by: its client has a connection by the same port with a socket now. */
static __always_inline void forget(const struct packet *p, struct flow *flow)
{
	struct backend *backend = backend_of(flow);
	struct flow_key reply;
	struct flow *twin;

	if (backend && backend->way == WAY_NAT) {
		answers(&reply, &p->key, backend);
		twin = bpf_map_lookup_elem(&flows, &reply);
		if (twin && twin->backend == flow->backend && twin->epoch == flow->epoch)
			twin->epoch = 0;
	}
	flow->epoch = 0;
}

/* A packet of a client to a service. A flow that sockets take is not written down: it is theirs to its end, whatever way opens meanwhile. */
static __always_inline int give(void *ctx, struct packet *p, struct order *order, const struct control *control, const struct service *service,
				struct service_tally *tally, __u64 now, int checks_length)
{
	struct backend *backend = 0;
	struct flow *known, flow = {};
	int opens = p->key.protocol == IPPROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN, is_reborn, reason;
	__u32 number = service->number;
	__u64 *gate;

	if (!source_is_admitted(p, control, now)) {
		tally->source_refused++;
		return DROP_SOURCE_RATE;
	}
	known = bpf_map_lookup_elem(&flows, &p->key);
	/* A client that opens a connection by a port of one that ends has a new one. */
	is_reborn = known && !known->reply && opens && known->state == CLOSING;
	if (known && !known->reply && !is_idle(known, control, now) && !is_reborn) {
		backend = backend_of(known);
		if (backend) {
			struct flow_key reply, *other = 0;

			if (backend->way == WAY_NAT) {
				answers(&reply, &p->key, backend);
				other = &reply;
			}
			see(known, p, other, now);
			number = known->backend;
			reason = head_for(ctx, p, order, backend, control, checks_length);
			if (!is_left(reason))
				count_backend(number, p->frame, 0, 0);
			return reason;
		}
	}
	if (p->key.protocol == IPPROTO_TCP && (p->tcp & TCP_RST))
		return PASS_NO_FLOW;
	/* Nobody here has asked a client for a connection. The kernel would say so to whose address it bears. */
	if (p->key.protocol == IPPROTO_TCP && (p->tcp & TCP_SYN) && (p->tcp & TCP_ACK))
		return DROP_UNASKED;
	if (p->key.protocol == IPPROTO_TCP && !(p->tcp & TCP_SYN) && has_socket(ctx, &p->key))
		return PASS_SOCKET;
	/* Whatever makes a flow of TCP is counted: who floods without SYN gets as many as with it. */
	if (p->key.protocol == IPPROTO_TCP && service->syn_interval) {
		gate = bpf_map_lookup_elem(&gates, &number);
		if (gate && !admit(gate, now, service->syn_interval, service->syn_tolerance)) {
			tally->syn_refused++;
			return DROP_SYN_RATE;
		}
	}
	backend = choose(p, service, control, &flow, now);
	if (!backend) {
		if (is_reborn)
			forget(p, known);
		tally->no_backend++;
		return PASS_NO_BACKEND;
	}
	reason = head_for(ctx, p, order, backend, control, checks_length);
	if (backend->way == WAY_NAT && !returns(order, control))
		reason = PASS_LOCAL;
	if (is_left(reason)) {
		if (is_reborn)
			forget(p, known);
	} else {
		remember(p, backend, &flow);
		tally->flows++;
		count_backend(flow.backend, p->frame, 0, 1);
	}
	return reason;
}

static __always_inline int decide(void *ctx, struct packet *p, struct order *order, const struct control *control, __u64 now,
				  int checks_length)
{
	struct vip vip = { .address = p->key.destination, .port = p->key.destination_port, .protocol = p->key.protocol };
	struct service_tally *tally;
	struct service *service;
	__u32 number;
	int reason;

	if (p->is_error)
		return give_error(ctx, p, order, control, now, checks_length);
	service = bpf_map_lookup_elem(&services, &vip);
	if (!service)
		return give_back(ctx, p, order, control, now, checks_length);
	if (is_denied(p, control))
		return DROP_DENIED;
	number = service->number;
	tally = bpf_map_lookup_elem(&service_tallies, &number);
	if (!tally)
		return PASS_NO_SERVICE;
	reason = give(ctx, p, order, control, service, tally, now, checks_length);
	if (!is_left(reason))
		add(&tally->in, p->frame);
	return reason;
}

static __always_inline void count(int reason, __u32 bytes)
{
	__u32 key = reason;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &key);

	if (tally)
		add(tally, bytes);
}

static __always_inline __u64 now_by(const struct control *control)
{
	return clock_is_given ? control->clock : bpf_ktime_get_coarse_ns();
}

#endif
