/* SPDX-License-Identifier: Apache-2.0 */
/* net/bridge.h - tap devices on a bridge, in this network namespace. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define VT_BRIDGE "guests" /* the device */

/* A new tap device "vm<index>", up, of which the descriptor is the only hold; -1 without an error where
 * this process may make none. */
int vt_bridge_new_tap(guint index, GError **error);

/* Makes a bridge of taps 0 to `n` - 1. */
bool vt_bridge_join(guint n, GError **error);

/* Brings the device `name` up. */
bool vt_bridge_bring_up(const char *name, GError **error);

/* Taps 0 to `n` - 1 take packets of `mtu` bytes; so does the bridge, once there is no port that takes less. */
bool vt_bridge_set_mtu(guint n, guint mtu, GError **error);

/* Adds the device `name` to that bridge, and brings it up. */
bool vt_bridge_add(const char *name, GError **error);
