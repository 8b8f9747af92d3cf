/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What forwarding in user space asks of the kernel: that frames of services and of their backends come to its sockets, and all others do not; which way a packet
 * goes; and whether a socket has a connection.
 */
#include <linux/bpf.h>

#include "parse.h"
#include "socket.h"

/* Services, and backends that answer through here: whose frames are for the sockets. The value is OURS, or LEAVING. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip);
	__type(value, __u32);
} ours SEC(".maps");

/* By the queue of the interface. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Not zero while sockets make way for others: the kernel's stack would reset what it knows nothing of, and who is not heard says it again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} closed SEC(".maps");

#define OURS 1
/* A service that gets no new flows: what opens a connection, and what is of one that a socket has, is the kernel's. */
#define LEAVING 2

/* What frames for or from there are; 0 where they are nothing of ours. */
static __always_inline __u32 kind_of(const struct vip *vip)
{
	__u32 *kind = bpf_map_lookup_elem(&ours, vip);

	return kind ? *kind : 0;
}

static __always_inline int is_ours(const struct vip *vip)
{
	return kind_of(vip) != 0;
}

/* This is the engine's to say. */
static __always_inline int enter_vlan(struct packet *p, __u16 tci, const struct control *control)
{
	(void)p;
	(void)tci;
	(void)control;
	return 1;
}

/*
 * Whether the kernel would pass this on. What a backend says to this very machine (checks of its health, connections that sockets have made) is for sockets,
 * though it comes from where answers to clients do.
 */
static __always_inline int leaves_again(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_fib_lookup fib = {};
	long found;

	fib.ifindex = p->ingress ? p->ingress : ctx->ingress_ifindex;
	if (p->is_v6) {
		fib.family = 10;
		__builtin_memcpy(fib.ipv6_src, &p->key.source, 16);
		__builtin_memcpy(fib.ipv6_dst, &p->key.destination, 16);
	} else {
		fib.family = 2;
		fib.ipv4_src = p->key.source.words[3];
		fib.ipv4_dst = p->key.destination.words[3];
	}
	found = bpf_fib_lookup(ctx, &fib, sizeof fib, 0);
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/* What becomes of a frame. Where it cannot be given back, whose connection it is is asked before it is taken, and not by the engine. */
static __always_inline int steer(struct xdp_md *ctx, int can_be_given_back)
{
	struct packet packet = {};
	struct vip vip = {};
	__u32 zero = 0, *is_closed, kind;
	int reason = parse_frame(&packet, (void *)(long)ctx->data, (void *)(long)ctx->data_end, 0);

	/* The engine drops the unusual of services, and counts it. */
	if (reason >= 0 && reason != DROP_UNUSUAL)
		return XDP_PASS;
	vip.address = packet.key.destination;
	vip.port = packet.key.destination_port;
	vip.protocol = packet.key.protocol;
	kind = kind_of(&vip);
	if (reason < 0 && !kind) {
		vip.address = packet.key.source;
		vip.port = packet.key.source_port;
		if (!is_ours(&vip) || !leaves_again(ctx, &packet))
			return XDP_PASS;
	} else if (reason < 0 && packet.key.protocol == IPPROTO_TCP && (kind == LEAVING || !can_be_given_back)) {
		int opens = (packet.tcp & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;

		if (kind == LEAVING ? opens || has_socket(ctx, &packet.key) : !opens && has_live_socket(ctx, &packet.key))
			return XDP_PASS;
	}
	/* Where nobody reads the queue, the kernel goes on. */
	is_closed = bpf_map_lookup_elem(&closed, &zero);
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, is_closed && *is_closed ? XDP_DROP : XDP_PASS);
}

SEC("xdp")
int port_xdp(struct xdp_md *ctx)
{
	return steer(ctx, 1);
}

/* The same behind the driver, where a frame that goes back would be seen again. */
SEC("xdp")
int port_xdp_skb(struct xdp_md *ctx)
{
	return steer(ctx, 0);
}

/* A question for the way, and its answer: src/port/ways.rs. */
struct question {
	__u32 ingress;
	__u32 length;
	struct address source;
	struct address destination;
	__s32 result;
	__u32 ifindex;
	struct address next;
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
	__u32 zero;
};

/* Run by hand on a question in the place of a frame. */
SEC("xdp")
int port_way(struct xdp_md *ctx)
{
	struct question *question = (void *)(long)ctx->data;
	struct bpf_fib_lookup fib = {};
	int is_v4;

	if ((void *)(question + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	is_v4 = !question->destination.words[0] && !question->destination.words[1] &&
		question->destination.words[2] == bpf_htonl(0xffff);
	fib.ifindex = question->ingress;
	fib.tot_len = question->length;
	fib.family = is_v4 ? 2 : 10;
	if (is_v4) {
		fib.ipv4_src = question->source.words[3];
		fib.ipv4_dst = question->destination.words[3];
	} else {
		__builtin_memcpy(fib.ipv6_src, &question->source, 16);
		__builtin_memcpy(fib.ipv6_dst, &question->destination, 16);
	}
	question->result = bpf_fib_lookup(ctx, &fib, sizeof fib, 0);
	question->ifindex = fib.ifindex;
	if (is_v4)
		map_v4(&question->next, fib.ipv4_dst);
	else
		__builtin_memcpy(&question->next, fib.ipv6_dst, 16);
	__builtin_memcpy(question->to, fib.dmac, ETH_ALEN);
	__builtin_memcpy(question->from, fib.smac, ETH_ALEN);
	return XDP_PASS;
}

/* A question for a socket, and its answer: src/port/ways.rs. */
struct connection {
	struct flow_key key;
	__u32 is_known;
	__u32 zero;
};

/* Run by hand on a question in the place of a frame. */
SEC("xdp")
int port_socket(struct xdp_md *ctx)
{
	struct connection *connection = (void *)(long)ctx->data;
	struct flow_key key;
	__u32 is_known;

	if ((void *)(connection + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	key = connection->key;
	is_known = has_socket(ctx, &key);
	connection->is_known = is_known;
	return XDP_PASS;
}

/* Run by hand on a frame that is the kernel's after all: it goes on as if it had come in by its interface. */
SEC("xdp")
int port_stack(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char port_license[] SEC("license") = "Dual MIT/GPL";
