/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/starting.c - the lock of a job that is being started. */
#include "ctl/starting.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/folder.h"
#include "ctl/live.h"

#define FOLDER "/run/vtorque/starting"

static int open_folder(void)
{
    if (mkdir("/run/vtorque", 0755) < 0 && errno != EEXIST)
        return -errno;
    return ctl_root_open(FOLDER, true);
}

int ctl_starting_announce(const char *id, const char *ticket)
{
    if (!ctl_id_is_valid(id))
        return -EINVAL;
    ctl_autofd folder = open_folder();
    if (folder < 0)
        return folder;
    ctl_autofd fd = openat(folder, id, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    ssize_t size = (ssize_t)strlen(ticket), n = fd < 0 ? -1 : write(fd, ticket, (size_t)size);
    return n == size ? 0 : n < 0 ? -errno : -ENOSPC;
}

bool ctl_starting_is_announced(int lock, const char *ticket)
{
    char text[CTL_TICKET_MAX];
    ssize_t n = pread(lock, text, sizeof text, 0);
    return n >= 0 && (size_t)n == strlen(ticket) && memcmp(text, ticket, (size_t)n) == 0;
}

int ctl_starting_lock(const char *id)
{
    if (!ctl_id_is_valid(id))
        return -EINVAL;
    ctl_autofd folder = open_folder();
    if (folder < 0)
        return folder;
    for (;;) {
        struct stat st;
        struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        ctl_autofd fd = openat(folder, id, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return -errno;
        if (fcntl(fd, F_SETLKW, &request) < 0)
            return -errno;
        /* Its former holder may have removed it while we waited. */
        if (fstat(fd, &st) == 0 && st.st_nlink > 0)
            return ctl_fd_steal(&fd);
    }
}

void ctl_starting_unlock(const char *id, int lock)
{
    ctl_autofd folder = open_folder();
    if (folder >= 0)
        unlinkat(folder, id, 0);
    close(lock);
}
