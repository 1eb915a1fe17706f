/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/auto.h - descriptors that close themselves, for the rooms that use libc alone. */
#pragma once

#include <unistd.h>

static inline void ctl_fd_clear(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define ctl_autofd __attribute__((cleanup(ctl_fd_clear))) int

/* The descriptor, no longer owned by `fd`, which becomes -1. */
static inline int ctl_fd_steal(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
