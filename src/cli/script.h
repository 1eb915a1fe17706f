/* SPDX-License-Identifier: Apache-2.0 */
/* cli/script.h - the job's script: its bytes, read once and whole before anything starts. */
#pragma once

#include <glib.h>

/* The script in file `path`, or of descriptor `stdin_fd` for NULL. Lines that end in CR LF, if the
 * first one does, end in LF afterwards, which is told in `notes` (of char *). VT_ERROR_USER: not
 * readable, no regular file, empty, larger than CTL_SCRIPT_MAX, with a NUL. Blocks until standard
 * input ends. (transfer full) */
GBytes *vt_script_load(const char *path, int stdin_fd, GPtrArray *notes, GError **error);
