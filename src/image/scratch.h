/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image/scratch.h - what a guest writes to its disk: a qcow2 file without a name, gone with the last
 * process that holds it.
 *
 * Runs as: root with the owner's fsuid and groups, or the user.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* A scratch disk of `size` bytes in the directory `dir`, with the process's fsuid. VT_ERROR_HOST
 * that names the directory: it is not there, not writable, full, or of a file system without
 * O_TMPFILE. Returns a descriptor or -1. */
int vt_scratch_new(const char *dir, guint64 size, GError **error);

/* The same in memory of `limit_mib` MiB at most: a tmpfs that is mounted on nothing, so that it goes
 * with the descriptor. Memory is charged to whoever writes. */
int vt_scratch_new_in_memory(guint limit_mib, guint64 size, GError **error);
