/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/system/guest-root.c - root in a guest who is after the host. Stands as /init in front of the
 * agent, which it starts as process 1; its child waits until the job's script asks by the file
 * /tmp/attack/go, which holds a shared folder's path, tries what root can try in there, and leaves
 * /tmp/attack/results.
 *
 * The host has prepared in the folder: `secret` (root's, 0600), `roots` (root's folder, 0755),
 * `sticky` (root's, 1777, with root's `file`), `others` (another user's folder, 0700), `own` (the
 * owner's file), `out` (a link to /etc/shadow). Static.
 */
#include "attempt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define GO "/tmp/attack/go"
#define OTHER_UID 12345

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_NONBLOCK, 0666);
    if (fd >= 0)
        close(fd);
    return fd;
}

static int try_link(const char *from, const char *to)
{
    int err = link(from, to);
    if (err == 0)
        unlink(to);
    return err;
}

static int try_times(const char *path)
{
    const struct timeval times[2] = {{1, 0}, {1, 0}};
    return utimes(path, times);
}

static int try_mode(const char *path, mode_t mode)
{
    return chmod(path, mode);
}

static int set(const char *path, const char *name, const char *value, size_t size)
{
    return setxattr(path, name, value, size, 0);
}

/* The handle that the kernel makes for FUSE: node and generation, and the parent's. */
static int try_handles(const char *folder)
{
    struct {
        struct file_handle head;
        unsigned node[2], generation;
    } handle = {.head = {.handle_bytes = 12, .handle_type = 0x81}};
    int mount_fd = open(folder, O_RDONLY | O_DIRECTORY), found = -1;
    for (unsigned node = 1; node < 256 && found < 0; node++) {
        handle.node[0] = 0;
        handle.node[1] = node;
        int fd = open_by_handle_at(mount_fd, &handle.head, O_RDONLY | O_DIRECTORY);
        if (fd >= 0 && faccessat(fd, "etc/shadow", F_OK, 0) == 0)
            found = node;
        if (fd >= 0)
            close(fd);
    }
    close(mount_fd);
    errno = ESTALE;
    return found;
}

static void attack_folder(void)
{
    static const char capability[20] = "\1\0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    attempt_tell("read root's file", try_open("secret", O_RDONLY));
    attempt_tell("write root's file", try_open("secret", O_WRONLY));
    attempt_tell("truncate root's file", truncate("secret", 0));
    attempt_tell("chmod root's file", try_mode("secret", 0666));
    attempt_tell("chown root's file", chown("secret", 0, 0));
    attempt_tell("times of root's file", try_times("secret"));
    attempt_tell("attribute of root's file", set("secret", "user.x", "x", 1));
    attempt_tell("link to root's file", try_link("secret", "secret2"));
    attempt_tell("create as root", try_open("new", O_WRONLY | O_CREAT));
    attempt_tell("mkdir as root", mkdir("newdir", 0755));
    attempt_tell("symlink as root", symlink("/etc/shadow", "newlink"));
    attempt_tell("give a file to root", chown("own", 0, -1));
    attempt_tell("give a file to another", chown("own", OTHER_UID, -1));
    attempt_tell("give a file to root's group", chown("own", -1, 0));
    attempt_tell("give a file to another group", chown("own", -1, OTHER_UID));
    attempt_tell("character device", mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    attempt_tell("block device", mknod("disk", S_IFBLK | 0666, makedev(254, 0)));
    attempt_tell("file capabilities", set("own", "security.capability", capability, 20));
    attempt_tell("trusted attribute", set("own", "trusted.x", "x", 1));
    attempt_tell("security attribute", set("own", "security.x", "x", 1));
    attempt_tell("create in root's folder", try_open("roots/new", O_WRONLY | O_CREAT));
    attempt_tell("mkdir in root's folder", mkdir("roots/new", 0755));
    attempt_tell("rename into root's folder", rename("own", "roots/own"));
    attempt_tell("remove from a sticky folder", unlink("sticky/file"));
    attempt_tell("rename over in a sticky folder", rename("own", "sticky/file"));
    attempt_tell("look into another's folder", try_open("others", O_RDONLY | O_DIRECTORY));
    attempt_tell("read in another's folder", try_open("others/file", O_RDONLY));
    attempt_tell("follow a link out", try_open("out", O_RDONLY));
    attempt_tell("setuid on the owner's file", try_mode("own", 04755));
}

/* With the owner's fsuid, as the owner's program under a broken kernel. */
static void attack_as_owner(void)
{
    struct stat st;
    if (stat("own", &st) < 0 || setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
        return;
    attempt_tell("character device as the owner", mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    attempt_tell("read root's file as the owner", try_open("secret", O_RDONLY));
    attempt_tell("link to root's file as the owner", try_link("secret", "secret2"));
    attempt_tell("create in root's folder as the owner", try_open("roots/new", O_WRONLY | O_CREAT));
    (void)!seteuid(0);
    (void)!setegid(0);
}

/* The whole share, mounted once more and made writable: what says no now is the server. */
static void attack_tag(const char *tag, const char *place)
{
    char name[64];
    mkdir(place, 0700);
    if (mount(tag, place, "virtiofs", 0, "") < 0)
        return;
    if (mount(tag, place, "virtiofs", MS_REMOUNT, "") < 0 || chdir(place) < 0)
        return;
    snprintf(name, sizeof name, "%s: create at its top", tag);
    attempt_tell(name, try_open("new", O_WRONLY | O_CREAT));
    snprintf(name, sizeof name, "%s: mkdir at its top", tag);
    attempt_tell(name, mkdir("new", 0777));
    snprintf(name, sizeof name, "%s: rename at its top", tag);
    attempt_tell(name, rename(access("0", F_OK) == 0 ? "0" : "1", "9"));
    snprintf(name, sizeof name, "%s: forged file handles", tag);
    attempt_tell(name, try_handles(place));
}

/* The host's root, where the guest has it. */
static void attack_root(void)
{
    if (chdir("/tmp/attack/root/0") < 0)
        return;
    attempt_tell("root: read /etc/shadow", try_open("etc/shadow", O_RDONLY));
    attempt_tell("root: write /etc/passwd", try_open("etc/passwd", O_WRONLY));
    attempt_tell("root: create in /etc", try_open("etc/vtorque-attack", O_WRONLY | O_CREAT));
    attempt_tell("root: create in /var/tmp",
                 try_open("var/tmp/vtorque-attack", O_WRONLY | O_CREAT));
    attempt_tell("root: chmod /etc/passwd", try_mode("etc/passwd", 0666));
    attempt_tell("root: remove /usr/bin/env", unlink("usr/bin/env"));
    attempt_tell("root: link to /etc/shadow", try_link("etc/shadow", "etc/shadow-2"));
    attempt_tell("root: device node", mknod("etc/disk", S_IFBLK | 0666, makedev(254, 0)));
    attempt_tell("root: attribute", set("etc/passwd", "user.x", "x", 1));
    attempt_tell("root: the server's /proc", try_open("proc/self/mem", O_RDWR));
    attempt_tell("root: the host's run folders",
                 try_open("run/vtorque/jobs", O_RDONLY | O_DIRECTORY));
    attempt_tell("root: the host's /sys", try_open("sys/kernel", O_RDONLY | O_DIRECTORY));
    attempt_tell("root: the host's /dev", try_open("dev/null", O_RDWR));
}

static void attack(const char *folder)
{
    attempt_log = fopen("/tmp/attack/results.new", "w");
    if (!attempt_log || chdir(folder) < 0)
        return;
    attack_folder();
    attack_as_owner();
    attack_tag("vtorque", "/tmp/attack/files");
    attack_tag("vtorque-root", "/tmp/attack/root");
    attack_root();
    if (fclose(attempt_log) == 0)
        rename("/tmp/attack/results.new", "/tmp/attack/results");
}

static void rest(void)
{
    nanosleep(&(const struct timespec){.tv_nsec = 50000000}, NULL);
}

/* The job's root is process 1's, once the plan is applied. */
static void wait_and_attack(void)
{
    static char folder[4096];
    ssize_t n = -1;
    int proc;
    /* The agent mounts it, and takes it along when the root changes. */
    while ((proc = open("/proc", O_PATH)) < 0 || faccessat(proc, "1", F_OK, 0) < 0) {
        close(proc);
        rest();
    }
    for (;;) {
        int fd = openat(proc, "1/root" GO, O_RDONLY);
        if (fd >= 0 && (n = read(fd, folder, sizeof folder - 1)) > 0)
            break;
        if (fd >= 0)
            close(fd);
        rest();
    }
    folder[n] = '\0';
    folder[strcspn(folder, "\n")] = '\0';
    if (fchdir(proc) == 0 && chroot("1/root") == 0 && chdir("/") == 0)
        attack(folder);
}

int main(int argc, char **argv)
{
    if (fork() == 0) {
        wait_and_attack();
        _exit(0);
    }
    execv("/agent", argv);
    return 1;
}
