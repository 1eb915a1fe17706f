/* SPDX-License-Identifier: Apache-2.0 */
/* agent/fd.h - descriptors that close themselves. */
#pragma once

#include <unistd.h>

static inline void fd_clear(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define auto_fd __attribute__((cleanup(fd_clear))) int

/* The descriptor, no longer owned by `fd`, which becomes -1. */
static inline int fd_steal(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
