/* SPDX-License-Identifier: Apache-2.0 */
/* share/program.c - a file server's program, made unreadable for whoever runs it. */
#include "share/program.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"

#define FOLDER_OPTIONS "size=16m,mode=755"

static bool copy(int source, int target)
{
    ssize_t n;
    while ((n = sendfile(target, source, NULL, G_MAXINT32)) > 0)
        ;
    return n == 0;
}

bool vt_program_hide(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    vt_autofd source = open(path, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", path);
    if (mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, FOLDER_OPTIONS) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot mount on '%s'", folder);
    vt_autofd target = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (target < 0 || !copy(source, target) || fchmod(target, 0711) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot copy '%s'", path);
    return true;
}
