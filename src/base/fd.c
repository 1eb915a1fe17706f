/* SPDX-License-Identifier: Apache-2.0 */
/* base/fd.c - descriptors and memory files. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/error.h"

GBytes *vt_fd_read_all(int fd, gsize max, const char *what, GError **error)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    for (;;) {
        guint8 chunk[65536];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read %s", what);
            return NULL;
        }
        if (n == 0)
            break;
        if (data->len + (gsize)n > max) {
            vt_error_set(error, VT_ERROR_USER, "%s is larger than %" G_GSIZE_FORMAT " bytes", what,
                         max);
            return NULL;
        }
        g_byte_array_append(data, chunk, (guint)n);
    }
    gsize size = data->len;
    g_byte_array_append(data, (const guint8 *)"", 1);
    return g_bytes_new_take(g_byte_array_free(g_steal_pointer(&data), FALSE), size);
}

bool vt_fd_wait(int fd, int timeout_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int n;
    while ((n = poll(&readable, 1, timeout_ms)) < 0 && errno == EINTR)
        ;
    return n > 0;
}

bool vt_fd_write_all(int fd, const void *data, gsize size, GError **error)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot write");
        at += n;
        size -= (gsize)n;
    }
    return true;
}

bool vt_fd_fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int vt_fd_from_bytes(const char *name, const void *data, gsize size, GError **error)
{
    vt_autofd fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make memory file '%s'", name);
        return -1;
    }
    if (!vt_fd_write_all(fd, data, size, error)) {
        g_prefix_error(error, "memory file '%s': ", name);
        return -1;
    }
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot seal memory file '%s'", name);
        return -1;
    }
    return vt_fd_steal(&fd);
}

bool vt_fd_is_output_file(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flags >= 0 &&
           (flags & O_ACCMODE) != O_RDONLY;
}

static int compare(gconstpointer a, gconstpointer b)
{
    return *(const int *)a - *(const int *)b;
}

void vt_fd_keep_only(const int *fds, guint n)
{
    g_autofree int *sorted = g_memdup2(fds, n * sizeof *fds);
    unsigned next = STDERR_FILENO + 1;
    qsort(sorted, n, sizeof *sorted, compare);
    for (guint i = 0; i < n; i++) {
        if ((unsigned)sorted[i] > next)
            syscall(SYS_close_range, next, sorted[i] - 1, 0);
        next = (unsigned)sorted[i] + 1;
    }
    syscall(SYS_close_range, next, ~0u, 0);
}
