/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What tables say of a frame: networks that are denied, services, and interfaces of VLANs. */
#ifndef OUTWORK_GUARD_H
#define OUTWORK_GUARD_H

#include "maps.h"
#include "parse.h"

/* Whether packets of `p->from` to services are dropped. */
static __always_inline int is_denied(const struct packet *p, const struct control *control)
{
	if (p->is_v6) {
		struct prefix_v6 prefix = { .length = 128 };

		if (!(control->flags & DENIES_V6))
			return 0;
		__builtin_memcpy(prefix.octets, p->from.octets, 16);
		return bpf_map_lookup_elem(&denied_v6, &prefix) != 0;
	}
	struct prefix_v4 prefix = { .length = 32 };

	if (!(control->flags & DENIES_V4))
		return 0;
	__builtin_memcpy(prefix.octets, p->from.octets + 12, 4);
	return bpf_map_lookup_elem(&denied_v4, &prefix) != 0;
}

static __always_inline int is_ours(const struct vip *vip)
{
	return bpf_map_lookup_elem(&services, vip) != 0;
}

/* The interface of a tagged frame. A tag without a VLAN (802.1Q section 6.9.1: a priority) changes nothing. */
static __always_inline int enter_vlan(struct packet *p, __u16 tci, const struct control *control)
{
	struct link link = { .parent = p->ingress, .vlan = tci & 0x0fff };
	__u32 *ifindex;

	if (!link.vlan)
		return 1;
	if (!(control->flags & HAS_LINKS))
		return 0;
	ifindex = bpf_map_lookup_elem(&tags, &link);
	if (!ifindex)
		return 0;
	p->ingress = *ifindex;
	return 1;
}

#endif
