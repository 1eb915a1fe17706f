/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/starting.c - the lock of a job that is being started. */
#include "ctl/starting.h"

#include <errno.h>
#include <fcntl.h>
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
