/* SPDX-License-Identifier: Apache-2.0 */
/* image/scratch.c - scratch disks: a file without a name, in a directory or in a tmpfs of its own. */
#include "image/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/size.h"
#include "image/qcow2.h"

#define FREE_MIB_MIN 64u /* a guest that cannot write as much would not get far */

/* O_EXCL: nobody can give it a name later. */
static int open_nameless(int folder, const char *path)
{
    return openat(folder, path, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
}

static bool check_space(int fd, const char *dir, GError **error)
{
    struct statvfs st;
    if (fstatvfs(fd, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a guest's disk in '%s'",
                                  dir);
    guint64 left = (guint64)st.f_bavail * st.f_frsize / VT_MIB;
    /* A tmpfs without a limit has no blocks at all. */
    if (st.f_blocks == 0 || left >= FREE_MIB_MIN)
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "cannot make a guest's disk in '%s': its file system has %" G_GUINT64_FORMAT
                        " MiB left, of which %u are needed",
                        dir, left, FREE_MIB_MIN);
}

int vt_scratch_new(const char *dir, guint64 size, GError **error)
{
    vt_autofd fd = open_nameless(AT_FDCWD, dir);
    if (fd >= 0)
        return check_space(fd, dir, error) && vt_qcow2_make(fd, size, error) ? vt_fd_steal(&fd)
                                                                             : -1;
    /* EISDIR: of a kernel, or a network's file system, that does not know the flag. */
    if (errno == EOPNOTSUPP || errno == EISDIR)
        vt_error_set(error, VT_ERROR_HOST,
                     "file system of '%s' has no nameless files (O_TMPFILE): name another "
                     "directory by WS_DIR or RAMDISK_DIR",
                     dir);
    else
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a guest's disk in '%s'", dir);
    return -1;
}

/* A tmpfs that is mounted nowhere, or -1 with errno. */
static int mount_nowhere(const char *size)
{
    const char *const options[][2] = {{"source", "vtorque"}, {"size", size}, {"mode", "0700"}};
    vt_autofd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0)
        return -1;
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (fsconfig(fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) < 0)
            return -1;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

int vt_scratch_new_in_memory(guint limit_mib, guint64 size, GError **error)
{
    g_autofree char *limit = g_strdup_printf("%uM", limit_mib);
    vt_autofd top = mount_nowhere(limit);
    /* The mount goes with `top`; its file system lives as long as the file. */
    vt_autofd fd = top < 0 ? -1 : open_nameless(top, ".");
    if (fd < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a guest's disk in memory");
        return -1;
    }
    return vt_qcow2_make(fd, size, error) ? vt_fd_steal(&fd) : -1;
}
