/* SPDX-License-Identifier: Apache-2.0 */
/* base/fd.h - descriptors that close themselves, and memory files. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <unistd.h>

/* A descriptor that is closed at the end of its scope. Hand over by vt_fd_steal(). */
static inline void vt_fd_clear(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define vt_autofd __attribute__((cleanup(vt_fd_clear))) int

/* The descriptor, no longer owned by `fd`, which becomes -1. */
static inline int vt_fd_steal(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Reads from `fd` until its end, `max` bytes at most. More than that is VT_ERROR_USER. `what` names
 * the source in messages. The bytes are followed by a NUL that is not counted. Blocks. (transfer
 * full) */
GBytes *vt_fd_read_all(int fd, gsize max, const char *what, GError **error);

/* A close-on-exec memory file that holds `data`, positioned at its start and sealed against every
 * change. Returns -1 on failure. */
int vt_fd_from_bytes(const char *name, const void *data, gsize size, GError **error);

/* Makes sure that descriptors 0 to 2 are open: those that our starter left closed would be the next
 * that are opened, and be taken for stdin, stdout and stderr. They fail on use, as closed ones do.
 * Called first in main(). */
bool vt_fd_fill_standard(void);

/* Waits until `fd` can be read from (a pidfd: until the process has ended). False after
 * `timeout_ms` without that. */
bool vt_fd_wait(int fd, int timeout_ms);

/* True if `fd` is a regular file that is open for writing: a write to it waits for nobody. */
bool vt_fd_is_output_file(int fd);

/* Writes all of `data` to a blocking descriptor. */
bool vt_fd_write_all(int fd, const void *data, gsize size, GError **error);

/* Closes all descriptors but the standard ones and the `n` of `fds`. */
void vt_fd_keep_only(const int *fds, guint n);
