/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/relay.c - frames between guests and the programs that carry them out of the job.
 *
 * Theory of operation. For each direction of a pair there is one buffer, which holds a frame of the
 * largest size, and nothing is lost here: an end that does not take what waits for it is waited for,
 * and then so is the other one. The buffers are small on purpose. passt takes an acknowledgement
 * that says nothing new, as each change of a window is, for a loss, and sends all that is under way
 * once more (Debian 12's): the less that is, the better. Measured with 4 MiB: five times the bytes.
 *
 * Reads from: guests, and what their peers say. Trusts: nothing of either.
 */
#include "net/relay.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/switch.h"

#define LENGTH_SIZE 4
#define BUFFER_SIZE (LENGTH_SIZE + VT_RELAY_FRAME_MAX)
#define BURST 64 /* frames of one direction before the others have their turn */

#define ETHERNET_SIZE 14
#define IP_SIZE 20
#define IP_PROTOCOL (ETHERNET_SIZE + 9) /* offsets */
#define IP_SOURCE (ETHERNET_SIZE + 12)
#define IP_TARGET (ETHERNET_SIZE + 16)
#define UDP_SIZE 8

enum { TYPE_IP = 0x0800, TYPE_ARP = 0x0806, PROTOCOL_UDP = 17 };

typedef struct {
    int guest, uplink;
    VtRelayPeers peers;
    struct {
        gsize start, end; /* what is to be written */
        guint8 bytes[BUFFER_SIZE];
    } out; /* one frame and its length, to the uplink */
    struct {
        gsize start, end;
        guint8 bytes[BUFFER_SIZE];
    } in; /* to the guest */
} Pair;

static int type_of(const guint8 *frame)
{
    return frame[12] << 8 | frame[13];
}

bool vt_relay_may_leave(const guint8 *frame, gsize size)
{
    if (size < ETHERNET_SIZE || size > VT_RELAY_FRAME_MAX)
        return false;
    if (type_of(frame) != TYPE_IP)
        return type_of(frame) == TYPE_ARP;
    return size >= ETHERNET_SIZE + IP_SIZE && frame[ETHERNET_SIZE] >> 4 == 4 &&
           frame[IP_TARGET] != 0 && frame[IP_TARGET] != 127;
}

static bool is_udp(const guint8 *frame, gsize size)
{
    return size >= ETHERNET_SIZE + IP_SIZE && type_of(frame) == TYPE_IP &&
           frame[IP_PROTOCOL] == PROTOCOL_UDP;
}

/* Reads of a UDP frame the guest's port and the peer, which is the frame's target or its source. False
 * where there are no ports: passt makes no fragments, and takes none. */
static bool read_peer(const guint8 *frame, gsize size, bool is_target, VtRelayPeer *peer)
{
    gsize at = ETHERNET_SIZE + 4 * (frame[ETHERNET_SIZE] & 15u);
    if (size < at + UDP_SIZE)
        return false;
    memcpy(&peer->address, frame + (is_target ? IP_TARGET : IP_SOURCE), sizeof peer->address);
    memcpy(&peer->port, frame + at + (is_target ? 2 : 0), sizeof peer->port);
    memcpy(&peer->own_port, frame + at + (is_target ? 0 : 2), sizeof peer->own_port);
    return true;
}

static guint find_slot(const VtRelayPeer *peer)
{
    guint32 ports = (guint32)peer->port << 16 | peer->own_port;
    guint32 mixed = (peer->address ^ ports * 0x9e3779b1u) * 0x85ebca6bu;
    return (mixed ^ mixed >> 15) % VT_RELAY_PEERS;
}

void vt_relay_note(VtRelayPeers *peers, const guint8 *frame, gsize size)
{
    VtRelayPeer peer;
    if (is_udp(frame, size) && read_peer(frame, size, true, &peer))
        peers->peers[find_slot(&peer)] = peer;
}

bool vt_relay_may_enter(const VtRelayPeers *peers, const guint8 *frame, gsize size)
{
    VtRelayPeer peer;
    if (!is_udp(frame, size))
        return true;
    if (!read_peer(frame, size, false, &peer) || peer.address == 0)
        return false;
    const VtRelayPeer *known = &peers->peers[find_slot(&peer)];
    return known->address == peer.address && known->port == peer.port &&
           known->own_port == peer.own_port;
}

static bool is_later(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS);
}

/* False if the uplink is gone. */
static bool flush_out(Pair *pair)
{
    while (pair->out.start < pair->out.end) {
        ssize_t n = send(pair->uplink, pair->out.bytes + pair->out.start,
                         pair->out.end - pair->out.start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return is_later(n);
        pair->out.start += (gsize)n;
    }
    pair->out.start = pair->out.end = 0;
    return true;
}

/* From the guest to the uplink. False if either is gone. */
static bool pump_out(Pair *pair)
{
    for (int i = 0; i < BURST; i++) {
        if (!flush_out(pair))
            return false;
        if (pair->out.end > 0)
            return true;
        guint8 *frame = pair->out.bytes + LENGTH_SIZE;
        ssize_t n = recv(pair->guest, frame, VT_RELAY_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
        if (n <= 0)
            return is_later(n);
        guint32 length = g_htonl((guint32)n);
        memcpy(pair->out.bytes, &length, LENGTH_SIZE);
        if (!vt_relay_may_leave(frame, (gsize)n))
            continue;
        vt_relay_note(&pair->peers, frame, (gsize)n);
        pair->out.end = LENGTH_SIZE + (gsize)n;
    }
    return flush_out(pair);
}

static gsize frame_length(const Pair *pair)
{
    guint32 length;
    memcpy(&length, pair->in.bytes + pair->in.start, LENGTH_SIZE);
    return g_ntohl(length);
}

/* The whole frames of the buffer, as many as the guest takes. False if it is gone, or a length is
 * no frame's. */
static bool flush_in(Pair *pair)
{
    while (pair->in.end - pair->in.start >= LENGTH_SIZE) {
        gsize length = frame_length(pair);
        if (length > VT_RELAY_FRAME_MAX)
            return false;
        if (pair->in.end - pair->in.start < LENGTH_SIZE + length)
            break;
        const guint8 *frame = pair->in.bytes + pair->in.start + LENGTH_SIZE;
        if (vt_relay_may_enter(&pair->peers, frame, length)) {
            ssize_t n = send(pair->guest, frame, length, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0)
                return is_later(n);
        }
        pair->in.start += LENGTH_SIZE + length;
    }
    if (pair->in.start == pair->in.end)
        pair->in.start = pair->in.end = 0;
    return true;
}

/* True if a whole frame waits for the guest. */
static bool is_held(const Pair *pair)
{
    gsize size = pair->in.end - pair->in.start;
    return size >= LENGTH_SIZE && size >= LENGTH_SIZE + frame_length(pair);
}

/* Makes room where the buffer's end is reached. */
static void compact(Pair *pair)
{
    gsize size = pair->in.end - pair->in.start;
    if (pair->in.end < BUFFER_SIZE)
        return;
    memmove(pair->in.bytes, pair->in.bytes + pair->in.start, size);
    pair->in.start = 0;
    pair->in.end = size;
}

/* From the uplink to the guest, as much as there is room for. False if either is gone. */
static bool pump_in(Pair *pair)
{
    for (int i = 0; i < BURST; i++) {
        if (!flush_in(pair))
            return false;
        compact(pair);
        if (pair->in.end == BUFFER_SIZE)
            return true;
        ssize_t n = recv(pair->uplink, pair->in.bytes + pair->in.end, BUFFER_SIZE - pair->in.end,
                         MSG_DONTWAIT);
        if (n <= 0)
            return is_later(n);
        pair->in.end += (gsize)n;
    }
    return flush_in(pair);
}

/* Its end can be heard of, but not read: poll() would say so again and again. */
static bool is_lost(const Pair *pair, const struct pollfd *polls)
{
    return (polls[0].revents | polls[1].revents) & POLLNVAL ||
           (polls[1].revents & (POLLHUP | POLLERR) && pair->in.end == BUFFER_SIZE);
}

/* Each end is read from while there is room for what comes, and written to while something waits. */
static void prepare(const Pair *pair, struct pollfd *polls)
{
    int guest = (pair->out.end > 0 ? 0 : POLLIN) | (is_held(pair) ? POLLOUT : 0);
    int uplink = (pair->in.end == BUFFER_SIZE ? 0 : POLLIN) | (pair->out.end > 0 ? POLLOUT : 0);
    polls[0] = (struct pollfd){pair->guest, (short)guest, 0};
    polls[1] = (struct pollfd){pair->uplink, (short)uplink, 0};
}

static void pump(Pair *pair, const struct pollfd *polls)
{
    if (pair->guest < 0 || (!polls[0].revents && !polls[1].revents))
        return;
    if (pump_out(pair) && pump_in(pair) && !is_lost(pair, polls))
        return;
    close(pair->guest);
    close(pair->uplink);
    pair->guest = pair->uplink = -1;
}

void vt_relay_run(const int *guests, const int *uplinks, guint n)
{
    g_autofree Pair *pairs = g_new0(Pair, n);
    struct pollfd polls[2 * VT_SWITCH_PORTS_MAX];
    bool any = true;
    for (guint i = 0; i < n; i++)
        pairs[i].guest = guests[i], pairs[i].uplink = uplinks[i];
    while (any) {
        any = false;
        for (guint i = 0; i < n; i++) {
            prepare(&pairs[i], &polls[2 * i]);
            any = any || pairs[i].guest >= 0;
        }
        if (poll(polls, 2 * n, any ? -1 : 0) < 0 && errno != EINTR)
            return;
        for (guint i = 0; i < n; i++)
            pump(&pairs[i], &polls[2 * i]);
    }
}
