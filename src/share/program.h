/* SPDX-License-Identifier: Apache-2.0 */
/* share/program.h - a file server's program, made unreadable for whoever runs it. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Puts a copy of the program at `path` in its own place, in this process's mount namespace alone:
 * root's, mode 0711. The kernel lets nobody but root trace or dump a process whose program its own
 * ids may not read, and gives its /proc to root. Other files of that folder are not seen any more.
 *
 * Runs as: root, in a mount namespace of its own. */
bool vt_program_hide(const char *path, GError **error);
