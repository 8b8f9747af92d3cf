/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * DPDK as plain functions: what its headers have as inline code and macros, for src/sys/dpdk.rs. Nothing is decided here.
 *
 * Functions that can fail give a negative number; ow_dpdk_error says why in words.
 */
#include <stdio.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* Frames that each thread keeps at hand. */
#define CACHE 64

static int last_error;

static int failed(int error)
{
	last_error = error < 0 ? -error : rte_errno;
	return -1;
}

const char *ow_dpdk_error(void)
{
	return rte_strerror(last_error);
}

int ow_dpdk_init(int count, char **arguments)
{
	return rte_eal_init(count, arguments) < 0 ? failed(0) : 0;
}

int ow_dpdk_find(const char *name)
{
	uint16_t port;
	int error = rte_eth_dev_get_port_by_name(name, &port);

	return error ? failed(error) : port;
}

/* The first port with this number or a higher one, and its name. */
int ow_dpdk_next(uint16_t from, char *name)
{
	uint16_t port = rte_eth_find_next(from);

	if (port >= RTE_MAX_ETHPORTS || rte_eth_dev_get_name_by_port(port, name))
		return -1;
	return port;
}

/* Makes a TAP that has the hardware address of a port, and says which port it is itself. */
int ow_dpdk_tap(uint16_t port, const char *interface)
{
	struct rte_ether_addr own;
	char name[32], arguments[128];
	const uint8_t *mac = own.addr_bytes;
	int error = rte_eth_macaddr_get(port, &own);

	if (error)
		return failed(error);
	snprintf(name, sizeof name, "net_tap_ow%u", port);
	snprintf(arguments, sizeof arguments, "iface=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x", interface, mac[0], mac[1],
		 mac[2], mac[3], mac[4], mac[5]);
	error = rte_eal_hotplug_add("vdev", name, arguments);
	return error ? failed(error) : ow_dpdk_find(name);
}

/*
 * Sets a port up with one queue each way, so many descriptors for each, and memory for so many frames of 2048 octets, headroom aside. Frames to groups come as
 * well: neighbours of IPv6 are asked for so.
 */
int ow_dpdk_open(uint16_t port, const char *name, uint32_t frames, uint16_t descriptors, void **pool)
{
	struct rte_eth_conf settings = { 0 };
	struct rte_mempool *memory;
	uint16_t received = descriptors, sent = descriptors;
	int error, socket = rte_eth_dev_socket_id(port);

	memory = rte_pktmbuf_pool_create(name, frames, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, socket);
	if (!memory)
		return failed(0);
	*pool = memory;
	error = rte_eth_dev_configure(port, 1, 1, &settings);
	if (!error)
		error = rte_eth_dev_adjust_nb_rx_tx_desc(port, &received, &sent);
	if (!error)
		error = rte_eth_rx_queue_setup(port, 0, received, socket, NULL, memory);
	if (!error)
		error = rte_eth_tx_queue_setup(port, 0, sent, socket, NULL);
	if (!error)
		error = rte_eth_dev_start(port);
	if (error)
		return failed(error);
	rte_eth_allmulticast_enable(port);
	return 0;
}

/* The device goes with its port: another process can have it then. */
void ow_dpdk_close(uint16_t port)
{
	struct rte_eth_dev_info info;
	int known = !rte_eth_dev_info_get(port, &info);

	rte_eth_dev_stop(port);
	rte_eth_dev_close(port);
	if (known && info.device)
		rte_dev_remove(info.device);
}

void ow_dpdk_forget(void *pool)
{
	rte_mempool_free(pool);
}

uint16_t ow_dpdk_receive(uint16_t port, void **frames, uint16_t most)
{
	return rte_eth_rx_burst(port, 0, (struct rte_mbuf **)frames, most);
}

uint16_t ow_dpdk_send(uint16_t port, void **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, 0, (struct rte_mbuf **)frames, count);
}

void *ow_dpdk_take(void *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void ow_dpdk_release(void *frame)
{
	rte_pktmbuf_free(frame);
}

/* Where a frame has room, and how much. */
uint8_t *ow_dpdk_room(void *frame, uint32_t *size)
{
	struct rte_mbuf *mbuf = frame;

	*size = mbuf->buf_len;
	return mbuf->buf_addr;
}

/* Where it begins in its room, and how long it is; 0 octets where it is in several pieces. */
void ow_dpdk_span(const void *frame, uint32_t *start, uint32_t *length)
{
	const struct rte_mbuf *mbuf = frame;

	*start = mbuf->data_off;
	*length = mbuf->nb_segs == 1 ? mbuf->data_len : 0;
}

void ow_dpdk_set_span(void *frame, uint32_t start, uint32_t length)
{
	struct rte_mbuf *mbuf = frame;

	mbuf->data_off = start;
	mbuf->data_len = length;
	mbuf->pkt_len = length;
}
