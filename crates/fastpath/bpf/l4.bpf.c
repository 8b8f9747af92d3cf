/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Layer 4 load balancing in the kernel: the same decisions for XDP and for tc, which differ in how a frame is changed.
 *
 * layout.h: what is shared with the process; maps.h: the tables; parse.h: bytes to a packet; guard.h: what tables say of it; socket.h: what sockets have of it; decide.h: whose it is and where it goes;
 * rewrite_xdp.h, rewrite_tc.h: what is done to it.
 *
 * Absent on purpose: fragments, IP options and whatever else is rare, which go to the kernel as they are, or nowhere where it would only do harm; and SYN cookies, for who answers a handshake
 * has to translate sequence numbers for as long as the connection lives: no direct return allows that, and with WAY_NAT it would be a TCP of its own.
 */
#include "rewrite_xdp.h"
#include "rewrite_tc.h"

char l4_license[] SEC("license") = "Dual MIT/GPL";
