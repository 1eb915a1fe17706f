/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share/preload.c - what QEMU's virtiofsd gets from us in glibc's place: two functions.
 *
 * Each mends a fault of virtiofsd (seen with QEMU 7.2, the last that has it) which would cost a job
 * its life or its locks:
 *
 *   __openat64_2  A guest that opens a file with O_CREAT, which somebody else makes at that moment,
 *                 killed its file server, and so its job. virtiofsd finds the file in place, opens
 *                 it by its descriptor, and leaves O_CREAT among the flags; built with
 *                 _FORTIFY_SOURCE, glibc then aborts. A descriptor's file is there: the flag can
 *                 go. Two jobs that begin one log are all that it takes.
 *   memcpy        With locks on the host, whoever gave a lock back was refused (EOPNOTSUPP) and
 *                 kept it: a guest's kernel asks for flock(LOCK_UN) and fcntl(F_SETLKW, F_UNLCK) as
 *                 for locks that may wait, and virtiofsd refuses all that may wait. Such a request
 *                 becomes one that may not, when its header is copied out of the guest's memory. So
 *                 what is free is locked, what is held is unlocked, and only what would have to
 *                 wait is refused (EAGAIN).
 *   statx         A guest knows one file system where the machine may have several, in and below the
 *   fstatat64     shared directories. Files of different ones that have the same number are then the
 *                 same file to tar (which stores a link, not the file), cp and find. virtiofsd can
 *                 announce mounts to the guest's kernel, but that (Linux 6.1) then knows no POSIX
 *                 ACLs there and never forgets a name. So numbers of all file systems but the first
 *                 are changed in their upper bits.
 *   getxattr      A guest's kernel (Linux 6.1) refuses others' files (EOPNOTSUPP) on a file system that
 *   fgetxattr     has no POSIX ACLs, such as NFS 4, if the server says so. It is told that the file
 *                 has none.
 *
 * A shared object of its own: its bytes are part of the engine (share/preload.h). It is compiled
 * without builtins, since memcpy() must not become itself.
 */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

int __openat64_2(int folder, const char *path, int flags);

EXPORTED int __openat64_2(int folder, const char *path, int flags)
{
    return (int)syscall(SYS_openat, folder, path, flags & ~(O_CREAT | O_EXCL), 0);
}

/* No other copy of this size begins with the length and number of this request by chance. */
static void look_at_header(struct fuse_in_header *header)
{
    if (header->opcode == FUSE_SETLKW &&
        header->len == sizeof(struct fuse_in_header) + sizeof(struct fuse_lk_in))
        header->opcode = FUSE_SETLK;
}

EXPORTED void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    memmove(to, from, size);
    if (size == sizeof(struct fuse_in_header))
        look_at_header(to);
    return to;
}

#define DEVICES_MAX 255     /* more than that share their upper bits */
#define DEVICE_SHIFT 48     /* few file systems have numbers above */
#define DEVICES_UNCHANGED 2 /* the tree of binds, and what is looked at first in it */

/* The devices that were met, in the order in which they were. Never 0: that is the kernel's mark for
 * none. */
static _Atomic uint64_t devices[DEVICES_MAX];

static uint64_t upper_bits(uint64_t device)
{
    for (unsigned i = 0; i < DEVICES_MAX; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&devices[i], &none, device) || none == device)
            return i < DEVICES_UNCHANGED ? 0 : (uint64_t)i << DEVICE_SHIFT;
    }
    return (uint64_t)DEVICES_MAX << DEVICE_SHIFT;
}

EXPORTED int statx(int folder, const char *restrict path, int flags, unsigned mask,
                   struct statx *restrict st)
{
    int result = (int)syscall(SYS_statx, folder, path, flags, mask, st);
    if (result == 0)
        st->stx_ino ^= upper_bits((uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor);
    return result;
}

EXPORTED int fstatat64(int folder, const char *restrict path, struct stat64 *restrict st, int flags)
{
    int result = (int)syscall(SYS_newfstatat, folder, path, st, flags);
    if (result == 0)
        st->st_ino ^= upper_bits((uint64_t)major(st->st_dev) << 32 | minor(st->st_dev));
    return result;
}

static bool is_acl(const char *name)
{
    return strcmp(name, "system.posix_acl_access") == 0 ||
           strcmp(name, "system.posix_acl_default") == 0;
}

EXPORTED ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    ssize_t result = syscall(SYS_fgetxattr, fd, name, value, size);
    if (result < 0 && errno == EOPNOTSUPP && is_acl(name))
        errno = ENODATA;
    return result;
}

EXPORTED ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
    ssize_t result = syscall(SYS_getxattr, path, name, value, size);
    if (result < 0 && errno == EOPNOTSUPP && is_acl(name))
        errno = ENODATA;
    return result;
}
