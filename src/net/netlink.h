/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/netlink.h - sockets to the kernel's networking, by libnl. Each is of the network namespace that this
 * process is in, closed on exec, and (transfer full): nl_socket_free().
 */
#pragma once

#include <glib.h>
#include <netlink/netlink.h>
#include <stdbool.h>

/* For devices, neighbours and routes. NULL with VT_ERROR_HOST. */
struct nl_sock *vt_netlink_open(GError **error);

/* For what a kernel offers by `name`, and the number of that family; its module is loaded where there is
 * one. NULL where the kernel has no such family. */
struct nl_sock *vt_netlink_open_generic(const char *name, int *family);

/* True if the kernel has that family. Leaves nothing but its module. */
bool vt_netlink_has_generic(const char *name);

/* False with VT_ERROR_HOST: what could not be done between the job's nodes, and libnl's reason `err`. */
bool vt_netlink_fail(GError **error, const char *what, int err);
