/* SPDX-License-Identifier: Apache-2.0 */
/* hook/files.c - the job's output files, for its engine. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/door.h"
#include "ctl/run.h"
#include "hook/hook.h"

/* The mount that a descriptor's file is on; -1: unknown. No file system is asked: one of the user's
 * own may never answer. */
static long mount_of(int fd)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    ctl_autofd info = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = info < 0 ? 0 : read(info, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strstr(text, "mnt_id:");
    return at ? strtol(at + strlen("mnt_id:"), NULL, 10) : -1;
}

/* Bytes are appended by all who write to it: site, engine, batch system. */
static bool can_append(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flags >= 0 &&
           (flags & O_ACCMODE) != O_RDONLY && fcntl(fd, F_SETFL, flags | O_APPEND) == 0;
}

int hook_send_files(int door)
{
    int fds[CTL_DOOR_FDS_MAX], n = 0;
    uint8_t streams = 0;
    /* Root's hooks are called in mom_priv. */
    ctl_autofd spool = open("../spool", O_PATH | O_DIRECTORY | O_CLOEXEC);
    long mount = spool < 0 ? -1 : mount_of(spool);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (mount >= 0 && mount_of(fd) == mount && can_append(fd)) {
            fds[n++] = fd;
            streams |= (uint8_t)(1 << fd);
        }
    return n == 0 ? 0 : ctl_door_send(door, CTL_FILES, streams, NULL, 0, fds, n);
}
