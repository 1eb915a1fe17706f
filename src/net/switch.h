/* SPDX-License-Identifier: Apache-2.0 */
/* net/switch.h - a learning switch between datagram sockets. */
#pragma once

#include <glib.h>

#define VT_SWITCH_FRAME_MAX 65536 /* bytes */
#define VT_SWITCH_PORTS_MAX 64

/* Where hardware addresses are: those of the guests, and a few that they make up. */
typedef struct {
    guint64 addresses[256]; /* 0: free */
    guint8 ports[256];
} VtSwitchTable;

/* Takes note of the sender of `frame`, of `size` bytes, which came in by `port`. Returns the port that
 * it is to leave by, or -1: all the others. */
int vt_switch_route(VtSwitchTable *table, const guint8 *frame, gsize size, guint port);

/* Switches frames between `n` sockets until one fails. What a port does not take at once is lost, as
 * in any switch. */
void vt_switch_run(const int *ports, guint n);
