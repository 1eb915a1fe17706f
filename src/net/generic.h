/* SPDX-License-Identifier: Apache-2.0 */
/* net/generic.h - generic netlink: what a kernel offers by name. */
#pragma once

#include <glib.h>
#include <netlink/netlink.h>
#include <stdbool.h>

/* A socket of this network namespace, and the number of the family of that `name`, whose module is
 * loaded where there is one. (transfer full): nl_socket_free(). NULL where the kernel has no such family. */
struct nl_sock *vt_generic_open(const char *name, int *family);

/* True if the kernel has it. Leaves nothing but its module. */
bool vt_generic_has(const char *name);
