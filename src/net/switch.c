/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/switch.c - a learning switch between datagram sockets.
 *
 * Reads from: guests. Trusts: nothing; a frame is looked at in its first twelve bytes alone.
 */
#include "net/switch.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>

#define HEADER_SIZE 14
#define BURST 64 /* frames of one port before the others have their turn */

static guint64 address_at(const guint8 *bytes)
{
    guint64 address = 0;
    for (int i = 0; i < 6; i++)
        address = address << 8 | bytes[i];
    return address;
}

/* Each address has one place; a later one takes it from another that has the same. */
static guint place_of(guint64 address)
{
    return (guint)((address ^ address >> 8 ^ address >> 16) & 0xff);
}

int vt_switch_route(VtSwitchTable *table, const guint8 *frame, gsize size, guint port)
{
    if (size < HEADER_SIZE)
        return (int)port; /* to nobody */
    guint64 target = address_at(frame), source = address_at(frame + 6);
    if (source != 0 && !(frame[6] & 1)) {
        table->addresses[place_of(source)] = source;
        table->ports[place_of(source)] = (guint8)port;
    }
    if (frame[0] & 1 || table->addresses[place_of(target)] != target)
        return -1;
    return table->ports[place_of(target)];
}

static void forward(const int *ports, guint n, guint from, int to, const guint8 *frame, gsize size)
{
    for (guint i = 0; i < n; i++)
        if (i != from && (to < 0 || i == (guint)to))
            (void)!send(ports[i], frame, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* False if the port is of no use any more. */
static bool drain(VtSwitchTable *table, const int *ports, guint n, guint port, guint8 *frame)
{
    for (int i = 0; i < BURST; i++) {
        ssize_t size = recv(ports[port], frame, VT_SWITCH_FRAME_MAX, MSG_DONTWAIT);
        if (size <= 0)
            return size < 0 && (errno == EAGAIN || errno == EINTR);
        int to = vt_switch_route(table, frame, (gsize)size, port);
        forward(ports, n, port, to, frame, (gsize)size);
    }
    return true;
}

void vt_switch_run(const int *ports, guint n)
{
    static guint8 frame[VT_SWITCH_FRAME_MAX];
    VtSwitchTable table = {0};
    struct pollfd polls[VT_SWITCH_PORTS_MAX];
    for (guint i = 0; i < n; i++)
        polls[i] = (struct pollfd){.fd = ports[i], .events = POLLIN};
    while (poll(polls, n, -1) >= 0 || errno == EINTR)
        for (guint i = 0; i < n; i++)
            if (polls[i].revents && !drain(&table, ports, n, i, frame))
                polls[i].fd = -1;
}
