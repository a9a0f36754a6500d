/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_net - a network card.
 *
 * Follows section 5.1 of the Virtual I/O Device specification 1.2. The network behind it is a port
 * (netport.h), whose offloads it passes on. There is a control queue, for receive modes, addresses,
 * offloads and the number of queues in use; it filters what it receives by what the driver set.
 *
 * Threads. Queues run on their workers. A worker sends and receives by itself, in one system call a
 * frame between guest memory and the port, and has its ring wait only when the port has nothing, or
 * no room. A receive queue without buffers does not look at its port: it goes on when the driver
 * has added some. Commands run on the control queue's worker; what they set that receive queues
 * look at is atomic, or under .lock. The link's state changes on the control thread.
 *
 * Receiving. A queue has a hand: chains it has taken in advance, room for the largest frame if the
 * driver gave that much. A frame is received into the hand; what would not fit goes to a spill
 * buffer, and from there into the chains that come next. If those do not come soon the frame is
 * dropped, as a card does that the driver gives no buffers.
 *
 * Sending. The chain of the frame that went out last is given back with the next one, or when none
 * has come for a moment; of small frames a few are. A driver that sends frame by frame, as in a
 * dialogue, is so seldom interrupted for having sent. Large frames are not held together, for a
 * sender counts what is under way and may wait for it.
 *
 * Invariant: of the hand only the chains in front are ever used, so the rest can be untaken in
 * reverse when the queue stops.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/log.h"
#include "skep/netport.h"
#include "skep/virtio.h"

#define SEGMENTS   128U /* of a chain */
#define DEPTH      256U /* chains taken of a queue at most */
#define HAND_MAX   192U /* of a receive queue */
#define HAND_IOVS  1023U
#define TURN_MAX   64U /* frames that a queue handles before others have their turn */
#define SPILL_WAIT (20 * NS_PER_MS)
#define HOLD       (300 * NS_PER_US)
#define HELD_MAX   8U
#define HELD_SMALL 1024U /* bytes of a frame that is held with others */

#define MACS_MAX     64U
#define MAC_LEN      6U
#define LINK_MOST    18U   /* an Ethernet header with a VLAN tag */
#define FRAME_SMALL  1526U /* 5.1.6.3.1, without segmentation offload */
#define MAC_BROAD    UINT64_C(0xffffffffffff)
#define MAC_GROUP    UINT64_C(0x01) /* of the first byte: it is a group's */
#define FEATURE(bit) VIRTIO_FEATURE(VIRTIO_NET_F_##bit)

/* Receive modes, in net_data.modes. The first six are commands of 5.1.6.5.1, by their number. */
#define MODE(command)   (1U << (command))
#define MODE_PROMISC    MODE(VIRTIO_NET_CTRL_RX_PROMISC)
#define MODE_ALLMULTI   MODE(VIRTIO_NET_CTRL_RX_ALLMULTI)
#define MODE_ALLUNI     MODE(VIRTIO_NET_CTRL_RX_ALLUNI)
#define MODE_NOMULTI    MODE(VIRTIO_NET_CTRL_RX_NOMULTI)
#define MODE_NOUNI      MODE(VIRTIO_NET_CTRL_RX_NOUNI)
#define MODE_NOBCAST    MODE(VIRTIO_NET_CTRL_RX_NOBCAST)
#define MODE_UNI_FULL   MODE(6) /* more addresses than the table holds: all pass */
#define MODE_MULTI_FULL MODE(7)

struct net_options {
	const char *mac;
	struct netport_options port;
};

/* Guest-visible; described by net_state. */
struct net_data {
	uint64_t uni[MACS_MAX]; /* addresses, the first byte lowest */
	uint64_t multi[MACS_MAX];
	uint64_t mac;      /* that frames are received by */
	uint64_t offloads; /* of the negotiated features towards the guest */
	uint32_t modes;
	uint16_t uni_count, multi_count;
	uint16_t pairs; /* in use */
	uint16_t pad[3];
};

struct net_rx {
	struct net *net;
	unsigned int pair;
	struct virtio_queue *queue;
	struct worker *worker; /* NULL: no file has been added to it */
	bool stopped;
	int slot;
	struct io poll;  /* for a frame */
	struct io timer; /* for chains, or for what ails the port to pass */
	struct post again;

	struct virtio_request *hand[HAND_MAX];
	unsigned int count;           /* chains in hand */
	unsigned int iov_at, iov_end; /* their iovecs within .iov */
	size_t room;                  /* their bytes */
	size_t pending;               /* bytes of the frame that waits for chains; 0: none */
	size_t spilled;               /* of these, in the spill buffer */
	bool late;                    /* it has waited long enough */
	struct iovec iov[HAND_IOVS + 1];
	uint8_t spill[NETPORT_FRAME_MAX];
};

struct net_tx {
	struct net *net;
	unsigned int pair;
	struct virtio_queue *queue;
	struct worker *worker; /* NULL: no file has been added to it */
	bool stopped;
	int slot;
	struct io poll;                        /* for room */
	struct virtio_request *held[HELD_MAX]; /* frames that went out, not yet given back */
	unsigned int held_count;
	struct io timer;
	uint64_t sent, sent_before; /* frames so far, and when the timer was started */
};

struct net {
	struct device dev;
	struct virtio virtio;
	struct net_options options;
	struct net_data data; /* .modes, .mac, .pairs atomically */
	struct lock lock;     /* LOCK_LEAF: the tables of addresses */
	struct netport *port;
	unsigned int pairs; /* that there are */
	uint64_t mac;       /* by the options */
	bool lost;          /* the port has gone; device's lock */
	bool has_lock;
	struct net_rx *rx; /* @pairs of each */
	struct net_tx *tx;
	struct post link_down;
	atomic_ulong rx_frames, rx_dropped, rx_filtered, tx_frames, tx_dropped;
};

static struct net *to_net(struct device *dev)
{
	return container_of(dev, struct net, dev);
}

static struct net *net_of(const struct virtio_queue *q)
{
	return container_of(q->virtio, struct net, virtio);
}

static void count(atomic_ulong *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint64_t load_mac(const uint8_t *p)
{
	return load_le32(p) | (uint64_t)load_le16(p + 4) << 32;
}

/* Filtering (5.1.6.5.1, 5.1.6.5.2) */

static bool listed(struct net *n, const uint64_t *table, const uint16_t *used, uint64_t mac)
{
	bool found = false;

	lock_take(&n->lock);
	for (unsigned int i = 0; i < *used && !found; i++)
		found = table[i] == mac;
	lock_drop(&n->lock);
	return found;
}

static bool passes(struct net *n, uint64_t to)
{
	const uint32_t modes = __atomic_load_n(&n->data.modes, __ATOMIC_RELAXED);

	if (modes & MODE_PROMISC)
		return true;
	if (to == MAC_BROAD)
		return !(modes & MODE_NOBCAST);
	if (to & MAC_GROUP)
		return !(modes & MODE_NOMULTI) &&
		       (modes & (MODE_ALLMULTI | MODE_MULTI_FULL) ||
			listed(n, n->data.multi, &n->data.multi_count, to));
	return !(modes & MODE_NOUNI) && (modes & (MODE_ALLUNI | MODE_UNI_FULL) ||
					 to == __atomic_load_n(&n->data.mac, __ATOMIC_RELAXED) ||
					 listed(n, n->data.uni, &n->data.uni_count, to));
}

/* The link */

static void set_status(struct net *n)
{
	struct virtio_net_config *c = virtio_config(&n->virtio);

	c->status = htole16(n->lost ? 0 : VIRTIO_NET_S_LINK_UP);
}

/* The port has gone. Control thread. */
static void on_lost(struct post *post)
{
	struct net *n = container_of(post, struct net, link_down);

	device_lock(&n->dev);
	n->lost = true;
	set_status(n);
	virtio_config_changed(&n->virtio);
	device_unlock(&n->dev);
}

/* Receiving */

static bool merges(const struct net *n)
{
	return virtio_has(&n->virtio, VIRTIO_NET_F_MRG_RXBUF);
}

/* The largest frame that comes with what was negotiated. */
static size_t frame_most(const struct net *n)
{
	if (n->virtio.features & (FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) | FEATURE(GUEST_UFO)))
		return NETPORT_FRAME_MAX;
	return MAX((size_t)FRAME_SMALL, NETPORT_HEADER + 18U + (size_t)netport_info(n->port)->mtu);
}

/* Takes chains until the hand has room for @want bytes. */
static void take_hand(struct net_rx *rx, size_t want)
{
	const unsigned int most = merges(rx->net) ? HAND_MAX : 1;

	if (rx->iov_at > HAND_IOVS / 2) {
		memmove(rx->iov, rx->iov + rx->iov_at,
			(rx->iov_end - rx->iov_at) * sizeof(*rx->iov));
		rx->iov_end -= rx->iov_at;
		rx->iov_at = 0;
	}
	for (unsigned int i = 0; i < HAND_MAX && rx->room < want && rx->count < most &&
				 rx->iov_end + SEGMENTS <= HAND_IOVS;
	     i++) {
		struct virtio_request *r = virtio_take(rx->queue);

		if (!r)
			break;
		if (r->chain.in_len <= NETPORT_HEADER) {
			/* No frame begins there: 5.1.6.3.1. What is in hand may have to be taken
			 * back, which works from the last on only, so that it waits behind that. */
			if (rx->count) {
				virtio_untake(r);
				break;
			}
			count(&rx->net->rx_dropped);
			virtio_done(r, 0);
			continue;
		}
		memcpy(rx->iov + rx->iov_end, r->chain.iov + r->chain.out,
		       r->chain.in * sizeof(*rx->iov));
		rx->iov_end += r->chain.in;
		rx->room += r->chain.in_len;
		rx->hand[rx->count++] = r;
	}
}

/* Hands the chains in front, in which a frame of @len bytes lies, to the driver. */
static void deliver(struct net_rx *rx, size_t len)
{
	unsigned int n = 0;
	uint8_t buffers[2];

	for (size_t have = 0; have < len; n++)
		have += rx->hand[n]->chain.in_len;
	store_le16(buffers, (uint16_t)n);
	iov_put(rx->iov + rx->iov_at, offsetof(struct virtio_net_hdr_v1, num_buffers), buffers,
		sizeof(buffers));
	for (unsigned int i = 0; i < n; i++) {
		struct virtio_request *r = rx->hand[i];
		const uint32_t part = (uint32_t)MIN(len, (size_t)r->chain.in_len);

		len -= part;
		rx->iov_at += r->chain.in;
		rx->room -= r->chain.in_len;
		virtio_done(r, part);
	}
	rx->count -= n;
	for (unsigned int i = 0; i < rx->count; i++)
		rx->hand[i] = rx->hand[n + i];
	count(&rx->net->rx_frames);
}

/* Whether the frame under way, if there is one, has got into chains, or was dropped. */
static bool finish(struct net_rx *rx)
{
	if (!rx->pending)
		return true;
	take_hand(rx, rx->pending);
	if (rx->room >= rx->pending) {
		iov_put(rx->iov + rx->iov_at, rx->pending - rx->spilled, rx->spill, rx->spilled);
		deliver(rx, rx->pending);
		io_cancel(rx->worker, &rx->timer);
	} else if (merges(rx->net) && rx->count < HAND_MAX &&
		   rx->iov_end - rx->iov_at + SEGMENTS <= HAND_IOVS / 2 && !rx->late) {
		if (!io_pending(&rx->timer))
			io_timeout(rx->worker, &rx->timer, clock_now() + SPILL_WAIT);
		return false;
	} else {
		count(&rx->net->rx_dropped);
	}
	rx->pending = 0;
	rx->late = false;
	return true;
}

/* Larger than the driver was told that packets are (5.1.4.2). */
static bool exceeds(const struct net *n, uint8_t gso, size_t len)
{
	return virtio_has(&n->virtio, VIRTIO_NET_F_MTU) &&
	       (gso & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_NONE &&
	       len > NETPORT_HEADER + LINK_MOST + netport_info(n->port)->mtu;
}

static void received(struct net_rx *rx, size_t len)
{
	static const uint8_t no_flags;
	const struct iovec *iov = rx->iov + rx->iov_at;
	uint8_t head[NETPORT_HEADER + MAC_LEN];

	if (len < sizeof(head)) {
		count(&rx->net->rx_dropped);
		return;
	}
	iov_get(iov, 0, head, sizeof(head));
	if (exceeds(rx->net, head[offsetof(struct virtio_net_hdr_v1, gso_type)], len)) {
		count(&rx->net->rx_dropped);
		return;
	}
	if (!passes(rx->net, load_mac(head + NETPORT_HEADER))) {
		count(&rx->net->rx_filtered);
		return;
	}
	/* 5.1.6.4.1; a tap tells of checksums that it has verified in any case. */
	if (!virtio_has(&rx->net->virtio, VIRTIO_NET_F_GUEST_CSUM))
		iov_put(iov, offsetof(struct virtio_net_hdr_v1, flags), &no_flags, 1);
	if (len <= rx->room) {
		deliver(rx, len);
		return;
	}
	rx->pending = len;
	rx->spilled = len - rx->room;
}

/* The port gave nothing: waits until it may. */
static void rx_wait(struct net_rx *rx, int why)
{
	if (why == -ENOTCONN)
		worker_post(rx->net->dev.machine->control, &rx->net->link_down);
	else if (why == -EAGAIN)
		io_poll(rx->worker, &rx->poll, rx->slot, POLLIN);
	else
		io_timeout(rx->worker, &rx->timer, clock_now() + SPILL_WAIT);
}

static bool rx_may_run(const struct net_rx *rx)
{
	return !rx->stopped && !io_pending(&rx->poll) &&
	       rx->pair < __atomic_load_n(&rx->net->data.pairs, __ATOMIC_RELAXED);
}

static void rx_run(struct net_rx *rx)
{
	if (!rx_may_run(rx))
		return;
	for (unsigned int i = 0; finish(rx) && !io_pending(&rx->timer); i++) {
		ssize_t n;

		take_hand(rx, frame_most(rx->net));
		if (!rx->count)
			return;
		if (i == TURN_MAX) {
			virtio_again(rx->queue);
			return;
		}
		rx->iov[rx->iov_end] = (struct iovec){rx->spill, sizeof(rx->spill)};
		n = netport_receive(rx->net->port, rx->pair, rx->iov + rx->iov_at,
				    rx->iov_end - rx->iov_at + 1);
		if (n < 0) {
			rx_wait(rx, (int)n);
			return;
		}
		received(rx, (size_t)n);
	}
}

static void rx_polled(struct io *io, int result)
{
	(void)result;
	rx_run(container_of(io, struct net_rx, poll));
}

static void rx_timed(struct io *io, int result)
{
	struct net_rx *rx = container_of(io, struct net_rx, timer);

	rx->late = rx->pending && result == -ETIME;
	rx_run(rx);
}

static void rx_again(struct post *post)
{
	rx_run(container_of(post, struct net_rx, again));
}

static void rx_stop(struct net_rx *rx)
{
	rx->stopped = true;
	rx->pending = 0;
	rx->late = false;
	while (rx->count)
		virtio_untake(rx->hand[--rx->count]);
	rx->room = 0;
	rx->iov_at = rx->iov_end = 0;
	io_cancel(rx->worker, &rx->poll);
	io_cancel(rx->worker, &rx->timer);
}

/* Sending */

static void give_back(struct net_tx *tx)
{
	for (unsigned int i = 0; i < tx->held_count; i++)
		virtio_done(tx->held[i], 0);
	tx->held_count = 0;
}

/* Few enough that the driver does not miss them. */
static unsigned int held_most(const struct net_tx *tx)
{
	return MAX(1U, MIN(HELD_MAX, tx->net->virtio.data.size[tx->queue->index] / 8U));
}

static bool is_large(const struct virtio_request *r)
{
	return r->chain.out_len > HELD_SMALL;
}

static void hold(struct net_tx *tx, struct virtio_request *r)
{
	/* A large one is held alone. */
	if (tx->held_count >= held_most(tx) || is_large(r) ||
	    (tx->held_count && is_large(tx->held[0])))
		give_back(tx);
	tx->held[tx->held_count++] = r;
	tx->sent++;
	if (io_pending(&tx->timer))
		return;
	tx->sent_before = tx->sent;
	io_timeout(tx->worker, &tx->timer, clock_now() + HOLD);
}

static void tx_timed(struct io *io, int result)
{
	struct net_tx *tx = container_of(io, struct net_tx, timer);

	if (result != -ETIME || tx->stopped || !tx->held_count)
		return;
	if (tx->sent == tx->sent_before) {
		give_back(tx);
		return;
	}
	tx->sent_before = tx->sent;
	io_timeout(tx->worker, &tx->timer, clock_now() + HOLD);
}

static void tx_run(struct net_tx *tx)
{
	struct net *n = tx->net;

	for (unsigned int i = 0; !tx->stopped && !io_pending(&tx->poll); i++) {
		struct virtio_request *r;
		int ret;

		if (i == TURN_MAX) {
			virtio_again(tx->queue);
			return;
		}
		r = virtio_take(tx->queue);
		if (!r)
			return;
		ret = netport_send(n->port, tx->pair, r->chain.iov, r->chain.out, r->chain.out_len);
		if (ret == -EAGAIN) {
			virtio_untake(r);
			io_poll(tx->worker, &tx->poll, tx->slot, POLLOUT);
			return;
		}
		if (ret == -ENOTCONN)
			worker_post(n->dev.machine->control, &n->link_down);
		count(ret ? &n->tx_dropped : &n->tx_frames);
		hold(tx, r);
	}
}

static void tx_polled(struct io *io, int result)
{
	(void)result;
	tx_run(container_of(io, struct net_tx, poll));
}

static void tx_stop(struct net_tx *tx)
{
	tx->stopped = true;
	give_back(tx);
	io_cancel(tx->worker, &tx->poll);
	io_cancel(tx->worker, &tx->timer);
}

/* Commands (5.1.6.5) */

static uint64_t guest_offloads(const struct net *n)
{
	return n->virtio.features & (FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) |
				     FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN) | FEATURE(GUEST_UFO));
}

/* Bytes of the command's own; false when there are not as many. */
static bool argument(const struct virtq_chain *c, size_t at, void *to, size_t len)
{
	return virtq_chain_read(c, sizeof(struct virtio_net_ctrl_hdr) + at, to, len) == len;
}

static bool set_mode(struct net *n, unsigned int command, const struct virtq_chain *c)
{
	const unsigned int feature = command <= VIRTIO_NET_CTRL_RX_ALLMULTI
					     ? VIRTIO_NET_F_CTRL_RX
					     : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (command > VIRTIO_NET_CTRL_RX_NOBCAST || !virtio_has(&n->virtio, feature) ||
	    !argument(c, 0, &on, sizeof(on)))
		return false;
	if (on)
		__atomic_fetch_or(&n->data.modes, MODE(command), __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&n->data.modes, ~MODE(command), __ATOMIC_RELAXED);
	return true;
}

static void set_mac(struct net *n, uint64_t mac)
{
	uint8_t *config = virtio_config(&n->virtio);

	__atomic_store_n(&n->data.mac, mac, __ATOMIC_RELAXED);
	/* The driver reads it byte by byte at any time; what it reads is what it set. */
	for (unsigned int i = 0; i < MAC_LEN; i++)
		__atomic_store_n(&config[i], (uint8_t)(mac >> 8 * i), __ATOMIC_RELAXED);
}

static bool set_address(struct net *n, const struct virtq_chain *c)
{
	uint8_t mac[MAC_LEN];

	if (!virtio_has(&n->virtio, VIRTIO_NET_F_CTRL_MAC_ADDR) || !argument(c, 0, mac, MAC_LEN))
		return false;
	set_mac(n, load_mac(mac));
	return true;
}

/* One of the two tables at *@at: a count and that many addresses, of which as many are read as
 * there is room for. */
static bool read_table(const struct virtq_chain *c, size_t *at, uint64_t macs[MACS_MAX],
		       uint32_t *entries)
{
	uint8_t bytes[MACS_MAX * MAC_LEN], le[4];
	uint64_t len;

	if (!argument(c, *at, le, sizeof(le)))
		return false;
	*entries = load_le32(le);
	*at += sizeof(le);
	len = (uint64_t)*entries * MAC_LEN;
	if (len > c->out_len || !argument(c, *at, bytes, MIN(len, sizeof(bytes))))
		return false;
	for (unsigned int i = 0; i < MIN(*entries, MACS_MAX); i++)
		macs[i] = load_mac(bytes + (size_t)i * MAC_LEN);
	*at += len;
	return sizeof(struct virtio_net_ctrl_hdr) + *at <= c->out_len;
}

static bool set_tables(struct net *n, const struct virtq_chain *c)
{
	uint64_t uni[MACS_MAX], multi[MACS_MAX];
	uint32_t unis, multis, full = 0;
	size_t at = 0;

	if (!virtio_has(&n->virtio, VIRTIO_NET_F_CTRL_RX) || !read_table(c, &at, uni, &unis) ||
	    !read_table(c, &at, multi, &multis))
		return false;
	full |= unis > MACS_MAX ? MODE_UNI_FULL : 0;
	full |= multis > MACS_MAX ? MODE_MULTI_FULL : 0;
	lock_take(&n->lock);
	n->data.uni_count = (uint16_t)MIN(unis, MACS_MAX);
	n->data.multi_count = (uint16_t)MIN(multis, MACS_MAX);
	memcpy(n->data.uni, uni, n->data.uni_count * sizeof(uni[0]));
	memcpy(n->data.multi, multi, n->data.multi_count * sizeof(multi[0]));
	lock_drop(&n->lock);
	__atomic_fetch_or(&n->data.modes, full, __ATOMIC_RELAXED);
	__atomic_fetch_and(&n->data.modes, full | ~(MODE_UNI_FULL | MODE_MULTI_FULL),
			   __ATOMIC_RELAXED);
	return true;
}

static bool set_pairs(struct net *n, const struct virtq_chain *c)
{
	uint8_t le[2];
	uint16_t pairs;

	if (!virtio_has(&n->virtio, VIRTIO_NET_F_MQ) || !argument(c, 0, le, sizeof(le)))
		return false;
	pairs = load_le16(le);
	if (!pairs || pairs > n->pairs || netport_set_queues(n->port, pairs))
		return false;
	__atomic_store_n(&n->data.pairs, pairs, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < pairs; i++)
		worker_post(n->rx[i].worker, &n->rx[i].again);
	return true;
}

static bool set_offloads(struct net *n, const struct virtq_chain *c)
{
	uint8_t le[8];
	uint64_t offloads;

	if (!virtio_has(&n->virtio, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    !argument(c, 0, le, sizeof(le)))
		return false;
	offloads = load_le64(le);
	if (offloads & ~guest_offloads(n) || netport_set_offloads(n->port, offloads))
		return false;
	n->data.offloads = offloads;
	return true;
}

static bool command(struct net *n, const struct virtq_chain *c)
{
	struct virtio_net_ctrl_hdr h;

	if (virtq_chain_read(c, 0, &h, sizeof(h)) != sizeof(h))
		return false;
	switch (h.class << 8 | h.cmd) {
	case VIRTIO_NET_CTRL_MAC << 8 | VIRTIO_NET_CTRL_MAC_TABLE_SET:
		return set_tables(n, c);
	case VIRTIO_NET_CTRL_MAC << 8 | VIRTIO_NET_CTRL_MAC_ADDR_SET:
		return set_address(n, c);
	case VIRTIO_NET_CTRL_MQ << 8 | VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET:
		return set_pairs(n, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS << 8 | VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET:
		return set_offloads(n, c);
	default:
		return h.class == VIRTIO_NET_CTRL_RX && set_mode(n, h.cmd, c);
	}
}

static void ctrl_run(struct virtio_queue *q)
{
	struct virtio_request *r;

	while ((r = virtio_take(q))) {
		const uint8_t ack = command(net_of(q), &r->chain) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;

		virtio_done(r, (uint32_t)virtq_chain_write(&r->chain, 0, &ack, sizeof(ack)));
	}
}

/* Queues, by their numbers (5.1.2) */

enum role { ROLE_RX, ROLE_TX, ROLE_CTRL, ROLE_NONE };

static enum role role_of(const struct virtio_queue *q)
{
	const struct net *n = net_of(q);
	const unsigned int pairs = virtio_has(q->virtio, VIRTIO_NET_F_MQ) ? n->pairs : 1;

	if (q->index < 2 * pairs)
		return q->index % 2 ? ROLE_TX : ROLE_RX;
	return q->index == 2 * pairs && virtio_has(q->virtio, VIRTIO_NET_F_CTRL_VQ) ? ROLE_CTRL
										    : ROLE_NONE;
}

static void net_ready(struct virtio_queue *q)
{
	struct net *n = net_of(q);

	switch (role_of(q)) {
	case ROLE_RX:
		n->rx[q->index / 2].stopped = false;
		rx_run(&n->rx[q->index / 2]);
		break;
	case ROLE_TX:
		n->tx[q->index / 2].stopped = false;
		tx_run(&n->tx[q->index / 2]);
		break;
	case ROLE_CTRL:
		ctrl_run(q);
		break;
	case ROLE_NONE:
		break;
	}
}

static void net_cancel(struct virtio_queue *q)
{
	struct net *n = net_of(q);

	if (role_of(q) == ROLE_RX)
		rx_stop(&n->rx[q->index / 2]);
	else if (role_of(q) == ROLE_TX)
		tx_stop(&n->tx[q->index / 2]);
}

/* What a driver finds that begins anew. */
static void forget(struct net *n)
{
	const uint64_t mac = n->mac;

	memset(&n->data, 0, sizeof(n->data));
	n->data.modes = MODE_PROMISC;
	n->data.offloads = UINT64_MAX; /* all that will be negotiated */
	n->data.pairs = 1;
	set_mac(n, mac);
}

static int net_start(struct virtio *v)
{
	struct net *n = container_of(v, struct net, virtio);
	int ret;

	n->data.offloads &= guest_offloads(n);
	ret = netport_set_offloads(n->port, n->data.offloads);
	return ret ? ret : netport_set_queues(n->port, n->data.pairs);
}

static void net_stop(struct virtio *v)
{
	forget(container_of(v, struct net, virtio));
}

static const struct virtio_model net_model = {
	.id = VIRTIO_ID_NET,
	.worker = SANDBOX_NET,
	.class_code = 0x020000,
	.segments_max = SEGMENTS,
	.depth = DEPTH,
	.ready = net_ready,
	.cancel = net_cancel,
	.start = net_start,
	.stop = net_stop,
};

/* Addresses */

static int parse_mac(const char *text, uint64_t *mac, struct err *err)
{
	const char *at = text;

	*mac = 0;
	for (unsigned int i = 0; i < MAC_LEN; i++, at += 3) {
		char *end = NULL;
		unsigned long byte = isxdigit((unsigned char)*at) ? strtoul(at, &end, 16) : 0;

		if (end != at + 2 || *end != (i < MAC_LEN - 1 ? ':' : '\0'))
			return err_set(err, EINVAL,
				       "mac: '%.32s' is not an address like 02:00:00:12:34:56",
				       text);
		*mac |= (uint64_t)byte << 8 * i;
	}
	if (!*mac || *mac & MAC_GROUP)
		return err_set(err, EINVAL,
			       "mac: %s is no card's address: its first byte is odd, or all are 0",
			       text);
	return 0;
}

static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
	return h;
}

/*
 * The same at each start, another for each card that this host has at a time, most likely another
 * than those of other hosts; locally administered.
 */
static uint64_t make_mac(const struct net *n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	char host[64] = "";
	FILE *f = fopen("/etc/machine-id", "re");

	if (f) {
		if (!fgets(host, sizeof(host), f))
			*host = '\0';
		fclose(f);
	}
	h = hash(hash(hash(h, host), netport_info(n->port)->name), n->dev.id);
	return ((h ^ h >> 32) << 8 & UINT64_C(0xffffffffff00)) | 0x02;
}

/* The device */

static uint64_t offered(const struct net *n)
{
	const struct netport_info *info = netport_info(n->port);
	uint64_t features = info->features | FEATURE(MAC) | FEATURE(STATUS) | FEATURE(MRG_RXBUF) |
			    FEATURE(CTRL_VQ) | FEATURE(CTRL_RX) | FEATURE(CTRL_RX_EXTRA) |
			    FEATURE(CTRL_MAC_ADDR);

	if (info->features)
		features |= FEATURE(CTRL_GUEST_OFFLOADS);
	if (info->mtu)
		features |= FEATURE(MTU);
	if (info->queues > 1)
		features |= FEATURE(MQ);
	return features;
}

static int make_pairs(struct net *n, struct err *err)
{
	n->rx = calloc(n->pairs, sizeof(*n->rx));
	n->tx = calloc(n->pairs, sizeof(*n->tx));
	if (!n->rx || !n->tx)
		return err_sys(err, ENOMEM, "queues");
	for (unsigned int i = 0; i < n->pairs; i++) {
		struct net_rx *rx = &n->rx[i];
		struct net_tx *tx = &n->tx[i];

		*tx = (struct net_tx){.net = n, .pair = i, .stopped = true};
		rx->net = n;
		rx->pair = i;
		rx->stopped = true;
		rx->poll.done = rx_polled;
		rx->timer.done = rx_timed;
		rx->again.fn = rx_again;
		tx->poll.done = tx_polled;
		tx->timer.done = tx_timed;
	}
	return 0;
}

/* The workers of its queues are known now. */
static int add_files(struct net *n, struct err *err)
{
	for (unsigned int i = 0; i < n->pairs; i++) {
		const int fd = netport_fd(n->port, i);
		struct net_rx *rx = &n->rx[i];
		struct net_tx *tx = &n->tx[i];

		rx->queue = n->virtio.queues + (size_t)2 * i;
		tx->queue = rx->queue + 1;
		rx->slot = worker_add_file(rx->queue->worker, fd);
		if (rx->slot < 0)
			return err_sys(err, -rx->slot, "cannot hand the network to a worker");
		rx->worker = rx->queue->worker;
		tx->slot = worker_add_file(tx->queue->worker, fd);
		if (tx->slot < 0)
			return err_sys(err, -tx->slot, "cannot hand the network to a worker");
		tx->worker = tx->queue->worker;
	}
	return netport_capture(n->port, n->rx[0].worker, err);
}

static int net_create(struct device *dev, struct err *err)
{
	struct net *n = to_net(dev);
	int ret = 0;

	lock_init(&n->lock, LOCK_LEAF);
	n->has_lock = true;
	n->link_down.fn = on_lost;
	if (n->options.mac)
		ret = parse_mac(n->options.mac, &n->mac, err);
	if (!ret)
		ret = netport_open(&n->port, dev->id, &n->options.port, dev->machine->log, err);
	if (ret)
		return ret;
	if (!n->options.mac)
		n->mac = make_mac(n);
	n->pairs = netport_info(n->port)->queues;
	n->virtio.offered = offered(n);
	n->virtio.queue_count = 2 * n->pairs + 1;
	n->virtio.config_size = offsetof(struct virtio_net_config, speed);
	n->virtio.spread = n->pairs > 1;
	ret = make_pairs(n, err);
	if (!ret)
		ret = virtio_attach(&n->virtio, dev, &net_model, err);
	return ret ? ret : add_files(n, err);
}

static void net_reset(struct device *dev)
{
	struct net *n = to_net(dev);
	struct virtio_net_config *c = virtio_config(&n->virtio);

	c->max_virtqueue_pairs = htole16((uint16_t)n->pairs);
	c->mtu = htole16(netport_info(n->port)->mtu);
	set_status(n);
	forget(n);
}

static int net_loaded(struct device *dev, struct err *err)
{
	struct net *n = to_net(dev);
	const struct net_data *d = &n->data;

	if (d->uni_count > MACS_MAX || d->multi_count > MACS_MAX || !d->pairs ||
	    d->pairs > n->pairs)
		return err_set(err, EPROTO, "%u of %u queues, or more than %u addresses", d->pairs,
			       n->pairs, MACS_MAX);
	set_status(n);
	return 0;
}

static void drain(struct worker *w, struct io *io)
{
	io_cancel(w, io);
	io_drain(w, io);
}

static void drop_pairs(struct net *n)
{
	for (unsigned int i = 0; i < n->pairs && n->rx && n->tx; i++) {
		struct net_rx *rx = &n->rx[i];
		struct net_tx *tx = &n->tx[i];

		if (rx->worker) {
			worker_unpost(rx->worker, &rx->again);
			drain(rx->worker, &rx->poll);
			drain(rx->worker, &rx->timer);
			worker_remove_file(rx->worker, rx->slot);
		}
		if (tx->worker) {
			drain(tx->worker, &tx->poll);
			drain(tx->worker, &tx->timer);
			worker_remove_file(tx->worker, tx->slot);
		}
	}
	free(n->rx);
	free(n->tx);
}

static void net_destroy(struct device *dev)
{
	struct net *n = to_net(dev);

	virtio_detach(&n->virtio);
	drop_pairs(n);
	if (dev->machine->control)
		worker_unpost(dev->machine->control, &n->link_down);
	netport_close(n->port);
	if (n->has_lock)
		lock_destroy(&n->lock);
	log_info(dev->machine->log,
		 "%s: %lu frames in, %lu dropped, %lu for others; %lu out, %lu dropped", dev->id,
		 n->rx_frames, n->rx_dropped, n->rx_filtered, n->tx_frames, n->tx_dropped);
}

static const struct option net_options[] = {
	{
		.name = "mac",
		.type = OPTION_STRING,
		.offset = offsetof(struct net_options, mac),
		.help = "its address; without one, an address of its own at each start the same",
	},
	NETPORT_OPTIONS(struct net_options, port),
	OPTION_END,
};

static const struct state_field net_fields[] = {
	STATE_ARRAY(struct net_data, uni),         STATE_ARRAY(struct net_data, multi),
	STATE_FIELD(struct net_data, mac),         STATE_FIELD(struct net_data, offloads),
	STATE_FIELD(struct net_data, modes),       STATE_FIELD(struct net_data, uni_count),
	STATE_FIELD(struct net_data, multi_count), STATE_FIELD(struct net_data, pairs),
	STATE_ARRAY(struct net_data, pad),
};
static const struct state_table net_state =
	STATE_TABLE("virtio_net", 1, struct net_data, net_fields);

DEVICE_CLASS(virtio_net) = {
	.name = "virtio_net",
	.summary = "network card on a tap, a stream socket or passt",
	.size = sizeof(struct net),
	.options = net_options,
	.options_offset = offsetof(struct net, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct net, virtio),
	.state = &net_state,
	.state_offset = offsetof(struct net, data),
	.outside = true,
	.create = net_create,
	.reset = net_reset,
	.loaded = net_loaded,
	.destroy = net_destroy,
};
