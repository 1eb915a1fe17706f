/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/folder.c - run folders and their locks. */
#include "ctl/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/door.h"

#define LEAF_TRIES 2000 /* of 1 ms: a dead process leaves its cgroup a moment after it is seen */

int ctl_root_path(char *path, size_t size)
{
    uid_t uid = geteuid();
    const char *runtime = uid == 0 ? NULL : getenv("XDG_RUNTIME_DIR");
    struct stat st;
    int n;
    if (uid == 0)
        n = snprintf(path, size, "/run/vtorque/jobs");
    else if (runtime && runtime[0] == '/' && lstat(runtime, &st) == 0 && S_ISDIR(st.st_mode) &&
             st.st_uid == uid)
        n = snprintf(path, size, "%s/vtorque", runtime);
    else
        n = snprintf(path, size, "/tmp/vtorque-%u", uid);
    return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* Root's folder has a parent of its own to make; nobody else can write to /run. */
static int make_parent(const char *path)
{
    if (geteuid() == 0 && strcmp(path, "/run/vtorque/jobs") == 0 &&
        mkdir("/run/vtorque", 0755) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}

int ctl_root_open(const char *path, bool make)
{
    int err = make ? make_parent(path) : 0;
    if (err < 0)
        return err;
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    ctl_autofd fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return -EPERM;
    return ctl_fd_steal(&fd);
}

int ctl_root_find(void)
{
    char path[PATH_MAX];
    int err = ctl_root_path(path, sizeof path);
    return err < 0 ? err : ctl_root_open(path, false);
}

int ctl_folder_open(int root, int slot)
{
    char name[16];
    snprintf(name, sizeof name, "%d", slot);
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int ctl_file_write(int dir, const char *name, const char *text)
{
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".%s", name);
    {
        ctl_autofd fd =
            openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return -errno;
        size_t size = strlen(text);
        ssize_t n = write(fd, text, size);
        if (n < 0 || (size_t)n != size)
            return n < 0 ? -errno : -ENOSPC;
    }
    return renameat(dir, temporary, dir, name) < 0 ? -errno : 0;
}

int ctl_file_read(int dir, const char *name, char text[CTL_FILE_MAX])
{
    ctl_autofd fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, CTL_FILE_MAX - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 0;
}

bool ctl_text_find(const char *text, const char *key, char *value, size_t size)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0)
            continue;
        size_t found = strcspn(line + length, "\n");
        if (found >= size)
            return false;
        memcpy(value, line + length, found);
        value[found] = '\0';
        return true;
    }
    return false;
}

pid_t ctl_folder_holder(int dir)
{
    ctl_autofd fd = openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

unsigned long long ctl_process_start_time(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    ctl_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    /* The name may hold spaces and parentheses: fields are counted behind its last one. */
    char *at = strrchr(text, ')');
    unsigned long long start = 0;
    if (!at ||
        sscanf(at + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &start) != 1)
        return 0;
    return start;
}

/* Ends the engine that a killed keeper left and waits until all its processes are dead. It ends by
 * itself, at once; the signal is for one that is stuck before it could ask for that. */
static int wait_for_engine(int dir, long long deadline_ms)
{
    char text[CTL_FILE_MAX];
    int pid;
    unsigned long long start;
    if (ctl_file_read(dir, "engine", text) < 0 ||
        sscanf(text, "pid=%d\nstart=%llu\n", &pid, &start) != 2 || pid <= 1)
        return 0;
    ctl_autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) /* EINVAL: the number is a thread's now */
        return errno == ESRCH || errno == EINVAL ? 0 : -errno;
    if (ctl_process_start_time(pid) != start)
        return 0;
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    long long left_ms = deadline_ms - ctl_now_ms();
    int n = poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);
    return n > 0 ? 0 : n == 0 ? -EBUSY : -errno;
}

static void remove_leaf(const char *path)
{
    for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < LEAF_TRIES; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The keeper of this folder wrote its leaves' paths, one a line; all end in the same name of
 * ours. */
static void remove_leaves(int dir)
{
    char text[CTL_FILE_MAX];
    if (ctl_file_read(dir, "leaf", text) < 0)
        return;
    char *rest = text;
    for (char *path; (path = strsep(&rest, "\n")) != NULL;)
        if (strncmp(path, "/sys/fs/cgroup/", 15) == 0 && strstr(path, "/vtorque-") &&
            !strstr(path, "/../"))
            remove_leaf(path);
}

static void empty(int dir)
{
    static const char *const files[] = {"control", "engine", ".engine", "job",    ".job",
                                        "leaf",    ".leaf",  "limits",  ".limits"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlinkat(dir, files[i], 0);
}

/* Takes the lock of ROOT/<slot>, made if missing. Returns 0; -EAGAIN: somebody else has it, or it
 * went away meanwhile. */
static int take_slot(int root, int slot, bool make, long long deadline_ms, CtlFolder *folder)
{
    char name[16];
    snprintf(name, sizeof name, "%d", slot);
    if (make && mkdirat(root, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    ctl_autofd dir = ctl_folder_open(root, slot);
    if (dir < 0)
        return dir == -ENOENT ? -EAGAIN : dir;
    ctl_autofd lock = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(lock, F_SETLK, &request) < 0)
        return errno == EACCES ? -EAGAIN : -errno;
    struct stat st;
    if (fstat(lock, &st) < 0)
        return -errno;
    if (st.st_nlink == 0)
        return -EAGAIN;
    int err = wait_for_engine(dir, deadline_ms);
    if (err < 0)
        return err == -EBUSY ? -EAGAIN : err;
    remove_leaves(dir);
    empty(dir);
    *folder = (CtlFolder){
        .root = root, .dir = ctl_fd_steal(&dir), .lock = ctl_fd_steal(&lock), .slot = slot};
    return 0;
}

/* A slot that somebody has, or that something has which is no run folder of ours. */
static bool is_taken(int err)
{
    return err == -EAGAIN || err == -ENOTDIR || err == -ELOOP || err == -EACCES || err == -EISDIR;
}

int ctl_folder_take(int root, int first, CtlFolder *folder)
{
    int err = -EBUSY;
    /* A slot whose engine is not dead yet is not worth waiting for: there may be many that hang. */
    for (int slot = first; slot < CTL_SLOTS_MAX; slot++) {
        err = take_slot(root, slot, true, 0, folder);
        if (!is_taken(err))
            return err;
    }
    return err == -EAGAIN ? -EBUSY : err;
}

void ctl_folder_remove(CtlFolder *folder)
{
    char name[16];
    snprintf(name, sizeof name, "%d", folder->slot);
    empty(folder->dir);
    unlinkat(folder->dir, "lock", 0);
    unlinkat(folder->root, name, AT_REMOVEDIR);
    close(folder->dir);
    close(folder->lock);
    *folder = CTL_FOLDER_NONE;
}

int ctl_root_sweep(int root, int wait_ms)
{
    int swept = 0;
    long long deadline_ms = ctl_now_ms() + wait_ms;
    for (int slot = 0; slot < CTL_SLOTS_MAX; slot++) {
        CtlFolder folder;
        int err = take_slot(root, slot, false, deadline_ms, &folder);
        if (is_taken(err))
            continue;
        if (err < 0)
            return err;
        ctl_folder_remove(&folder);
        swept++;
    }
    return swept;
}
