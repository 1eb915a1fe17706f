/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-scratch.c - scratch disks: without a name, of a limited size, refused by name where
 * there cannot be one.
 *
 * Each test runs in a child with mounts of its own, root's or an ordinary user's in a user namespace,
 * as an engine does.
 */
#include "image/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/size.h"
#include "image/qcow2.h"

#define PLACE "/tmp" /* what the child mounts over */

static void write_text(const char *path, const char *text)
{
    vt_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
}

static void enter_namespaces(void)
{
    uid_t uid = getuid();
    g_autofree char *uids = g_strdup_printf("%u %u 1\n", uid, uid);
    g_autofree char *gids = g_strdup_printf("%u %u 1\n", getgid(), getgid());
    int flags = CLONE_NEWNS | CLONE_NEWIPC | (uid != 0 ? CLONE_NEWUSER : 0);
    g_assert_cmpint(unshare(flags), ==, 0);
    if (uid != 0) {
        write_text("/proc/self/uid_map", uids);
        write_text("/proc/self/setgroups", "deny");
        write_text("/proc/self/gid_map", gids);
    }
    g_assert_cmpint(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
}

static void run_apart(gconstpointer data)
{
    void (*const *test)(void) = data;
    pid_t pid = fork();
    int status;
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        enter_namespaces();
        (*test)();
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static void mount_place(const char *type, const char *options)
{
    g_assert_cmpint(mount("none", PLACE, type, 0, options), ==, 0);
}

static void assert_disk(int fd, guint64 wanted)
{
    g_autoptr(GError) error = NULL;
    guint64 size = 0;
    struct stat st;
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_true(S_ISREG(st.st_mode));
    g_assert_cmpuint(st.st_nlink, ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpuint(st.st_uid, ==, geteuid());
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDWR);
    vt_qcow2_check(fd, &size, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(size, ==, wanted);
    /* Nobody can give it a name. */
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_assert_cmpint(linkat(AT_FDCWD, link, AT_FDCWD, PLACE "/named", AT_SYMLINK_FOLLOW), <, 0);
}

static void assert_refused(const char *dir, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(vt_scratch_new(dir, VT_GIB, &error), ==, -1);
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, dir));
    g_assert_nonnull(strstr(error->message, why));
}

static guint count_files(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void test_disk(void)
{
    g_autoptr(GError) error = NULL;
    mount_place("tmpfs", "size=128M");
    vt_autofd fd = vt_scratch_new(PLACE, VT_TIB, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count_files(PLACE), ==, 0);
    assert_disk(fd, VT_TIB);
}

static void test_unlimited(void)
{
    g_autoptr(GError) error = NULL;
    mount_place("tmpfs", "size=0");
    vt_autofd fd = vt_scratch_new(PLACE, VT_GIB, &error);
    g_assert_no_error(error);
    assert_disk(fd, VT_GIB);
}

static void test_link(void)
{
    g_autoptr(GError) error = NULL;
    mount_place("tmpfs", "size=128M");
    g_assert_cmpint(mkdir(PLACE "/there", 0700), ==, 0);
    g_assert_cmpint(symlink("there", PLACE "/link"), ==, 0);
    vt_autofd fd = vt_scratch_new(PLACE "/link", VT_GIB, &error);
    g_assert_no_error(error);
    assert_disk(fd, VT_GIB);
}

static void test_missing(void)
{
    mount_place("tmpfs", "size=128M");
    assert_refused(PLACE "/nowhere", "No such file");
}

static void test_file(void)
{
    mount_place("tmpfs", "size=128M");
    close(open(PLACE "/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_refused(PLACE "/file", "Not a directory");
}

static void test_read_only(void)
{
    mount_place("tmpfs", "size=128M");
    g_assert_cmpint(mount(NULL, PLACE, NULL, MS_REMOUNT | MS_RDONLY, NULL), ==, 0);
    assert_refused(PLACE, "Read-only file system");
}

/* The rights are the user's: neither root's nor those of a user namespace of its own. */
static void test_forbidden(void)
{
    mount_place("tmpfs", "size=128M");
    g_assert_cmpint(chmod(PLACE, 0555), ==, 0);
    if (getuid() == 0)
        g_assert_cmpint(setresuid(1, 1, 1), ==, 0);
    else
        g_assert_cmpint(unshare(CLONE_NEWUSER), ==, 0);
    assert_refused(PLACE, "Permission denied");
}

static void test_small(void)
{
    mount_place("tmpfs", "size=63M");
    assert_refused(PLACE, "has 63 MiB left, of which 64 are needed");
}

static void test_full(void)
{
    mount_place("tmpfs", "size=100M");
    vt_autofd fd = open(PLACE "/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(fallocate(fd, 0, 0, 50 << 20), ==, 0);
    assert_refused(PLACE, "has 50 MiB left, of which 64 are needed");
}

static void test_no_inodes(void)
{
    mount_place("tmpfs", "size=128M,nr_inodes=1");
    assert_refused(PLACE, "No space left");
}

static void test_no_nameless(void)
{
    mount_place("mqueue", NULL);
    assert_refused(PLACE, "has no nameless files (O_TMPFILE): name another directory by WS_DIR");
}

static void test_device(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(vt_scratch_new("/dev/null", VT_GIB, &error), ==, -1);
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
}

static void test_memory(void)
{
    g_autoptr(GError) error = NULL;
    vt_autofd fd = vt_scratch_new_in_memory(64, VT_GIB, &error);
    g_assert_no_error(error);
    assert_disk(fd, VT_GIB);
}

/* It is mounted nowhere that anybody could find. */
static void test_memory_no_mount(void)
{
    g_autofree char *before = NULL, *after = NULL;
    g_assert_true(g_file_get_contents("/proc/self/mountinfo", &before, NULL, NULL));
    vt_autofd fd = vt_scratch_new_in_memory(64, VT_GIB, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(g_file_get_contents("/proc/self/mountinfo", &after, NULL, NULL));
    g_assert_cmpstr(before, ==, after);
}

/* Every page up to the limit, and not one more. */
static void test_memory_limit(void)
{
    vt_autofd fd = vt_scratch_new_in_memory(16, VT_GIB, NULL);
    g_autofree char *block = g_malloc0(VT_MIB);
    struct stat st;
    g_assert_cmpint(fd, >=, 0);
    off_t at = 1 << 20;
    ssize_t n;
    while ((n = pwrite(fd, block, VT_MIB, at)) > 0) {
        g_assert_cmpint(at, <, 64 << 20);
        at += n;
    }
    g_assert_cmpint(n, ==, -1);
    g_assert_cmpint(errno, ==, ENOSPC);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_blocks * 512, ==, 16 << 20);
    /* What is given back can be used again. */
    g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4 << 20), ==,
                    0);
    g_assert_cmpint(pwrite(fd, block, VT_MIB, 1 << 20), ==, (gssize)VT_MIB);
}

/* Two do not share a limit. */
static void test_memory_two(void)
{
    vt_autofd one = vt_scratch_new_in_memory(4, VT_GIB, NULL);
    vt_autofd two = vt_scratch_new_in_memory(4, VT_GIB, NULL);
    g_assert_cmpint(fallocate(one, 0, 1 << 20, 3 << 20), ==, 0);
    g_assert_cmpint(fallocate(two, 0, 1 << 20, 3 << 20), ==, 0);
    g_assert_cmpint(fallocate(one, 0, 8 << 20, 3 << 20), ==, -1);
    g_assert_cmpint(errno, ==, ENOSPC);
}

/* As root acts for an owner: the file is the owner's. */
static void test_memory_owner(void)
{
    g_autoptr(GError) error = NULL;
    uid_t uid = getuid() == 0 ? 1 : getuid();
    setfsuid(uid);
    vt_autofd fd = vt_scratch_new_in_memory(64, VT_GIB, &error);
    setfsuid(getuid());
    g_assert_no_error(error);
    struct stat st;
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpuint(st.st_uid, ==, uid);
}

static void test_memory_no_right(void)
{
    g_autoptr(GError) error = NULL;
    if (getuid() == 0)
        g_assert_cmpint(setresuid(1, 1, 1), ==, 0);
    else
        g_assert_cmpint(unshare(CLONE_NEWUSER), ==, 0);
    g_assert_cmpint(vt_scratch_new_in_memory(64, VT_GIB, &error), ==, -1);
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
}

static const struct {
    const char *name;
    void (*test)(void);
} tests[] = {
    {"/scratch/disk", test_disk},
    {"/scratch/unlimited", test_unlimited},
    {"/scratch/link", test_link},
    {"/scratch/missing", test_missing},
    {"/scratch/file", test_file},
    {"/scratch/device", test_device},
    {"/scratch/read-only", test_read_only},
    {"/scratch/forbidden", test_forbidden},
    {"/scratch/small", test_small},
    {"/scratch/full", test_full},
    {"/scratch/no-inodes", test_no_inodes},
    {"/scratch/no-nameless", test_no_nameless},
    {"/scratch/memory/disk", test_memory},
    {"/scratch/memory/no-mount", test_memory_no_mount},
    {"/scratch/memory/limit", test_memory_limit},
    {"/scratch/memory/two", test_memory_two},
    {"/scratch/memory/owner", test_memory_owner},
    {"/scratch/memory/no-right", test_memory_no_right},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_data_func(tests[i].name, &tests[i].test, run_apart);
    return g_test_run();
}
