/* SPDX-License-Identifier: Apache-2.0 */
/* cage/filter.h - the system calls that nobody in the cage, and no file server, may make. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* For engine and QEMU: no new namespaces, mounts, tracing, foreign memory, bpf, perf, keys,
 * handles, io_uring or sockets; each is EPERM (clone3: ENOSYS, so that libc uses clone, whose flags
 * can be looked at). Needs no_new_privs. */
bool vt_filter_load_cage(GError **error);

/* For a file server, which adds one of its own: no new namespaces, mounts, tracing and the like.
 * `has_fixed_groups`: it lives in a user namespace where groups can't be set: setgroups does nothing
 * and succeeds, since virtiofsd insists on calling it. */
bool vt_filter_load_server(bool has_fixed_groups, GError **error);
