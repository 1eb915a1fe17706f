/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-cage.c - what a process in the cage can see and do: next to nothing.
 *
 * A child enters the cage as the engine does: root in a mount namespace, an ordinary user in a user
 * namespace of its own. Then it tries, as a QEMU that was taken over would.
 */
#include "cage/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "cage/filter.h"

#define CAGE_ID 1900000255u

/* What a call must fail with. `any`: with whatever, as long as it fails. */
typedef struct {
    const char *name;
    long number;
    long arguments[5];
    int errnum;
} Attempt;

enum { ANY = 0 };

#define PATH(text) ((long)(text))

static const struct rlimit low = {10, 10};

static const Attempt attempts[] = {
    {"unshare user", SYS_unshare, {CLONE_NEWUSER}, EPERM},
    {"unshare mounts", SYS_unshare, {CLONE_NEWNS}, EPERM},
    {"setns", SYS_setns, {0, 0}, EPERM},
    {"clone user", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, EPERM},
    {"clone net", SYS_clone, {CLONE_NEWNET | SIGCHLD}, EPERM},
    {"clone3", SYS_clone3, {0, 0}, ENOSYS},
    {"mount", SYS_mount, {PATH("x"), PATH("/lib"), PATH("tmpfs"), 0, 0}, EPERM},
    {"umount", SYS_umount2, {PATH("/"), 2}, EPERM},
    {"chroot", SYS_chroot, {PATH("/")}, EPERM},
    {"pivot_root", SYS_pivot_root, {PATH("."), PATH(".")}, EPERM},
    {"fsopen", SYS_fsopen, {PATH("tmpfs"), 0}, EPERM},
    {"open_tree", SYS_open_tree, {AT_FDCWD, PATH("/"), 1}, EPERM},
    {"ptrace", SYS_ptrace, {16, 1}, EPERM},
    {"ptrace me", SYS_ptrace, {0}, EPERM},
    {"process_vm_readv", SYS_process_vm_readv, {1}, EPERM},
    {"process_vm_writev", SYS_process_vm_writev, {1}, EPERM},
    {"kcmp", SYS_kcmp, {1, 1}, EPERM},
    {"pidfd_getfd", SYS_pidfd_getfd, {0, 0}, EPERM},
    {"prlimit of another", SYS_prlimit64, {1, RLIMIT_NOFILE, PATH(&low), 0}, EPERM},
    {"ioprio_set", SYS_ioprio_set, {1, 1, 0x6000}, EPERM},
    {"bpf", SYS_bpf, {0}, EPERM},
    {"perf_event_open", SYS_perf_event_open, {0}, EPERM},
    {"add_key", SYS_add_key, {PATH("user"), PATH("x"), PATH("x"), 1, -4}, EPERM},
    {"keyctl", SYS_keyctl, {0, -3}, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, {AT_FDCWD, 0, 0}, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, {1, 0}, EPERM},
    {"userfaultfd", SYS_userfaultfd, {0}, EPERM},
    {"syslog", SYS_syslog, {3}, EPERM},
    {"socket inet", SYS_socket, {AF_INET, SOCK_STREAM}, EPERM},
    {"socket netlink", SYS_socket, {AF_NETLINK, SOCK_RAW}, EPERM},
    {"socket unix", SYS_socket, {AF_UNIX, SOCK_STREAM}, EPERM},
    {"socket vsock", SYS_socket, {40, SOCK_STREAM}, EPERM},
    {"setuid", SYS_setuid, {0}, ANY},
    {"mknod", SYS_mknodat, {AT_FDCWD, PATH("/d"), S_IFCHR | 0600, 0x103}, ANY},
    {"mkdir", SYS_mkdirat, {AT_FDCWD, PATH("/d"), 0700}, EROFS},
    {"write to a bind", SYS_openat, {AT_FDCWD, PATH("/shown/file"), O_WRONLY}, ANY},
    {"the host's users", SYS_openat, {AT_FDCWD, PATH("/etc/passwd"), O_RDONLY}, ENOENT},
    {"out by dots", SYS_openat, {AT_FDCWD, PATH("../../../../etc/passwd"), O_RDONLY}, ENOENT},
    {"processes", SYS_openat, {AT_FDCWD, PATH("/proc/self"), O_RDONLY}, ENOENT},
};

static gboolean check_attempts(void)
{
    gboolean ok = TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(attempts); i++) {
        const Attempt *at = &attempts[i];
        const long *a = at->arguments;
        pid_t self = getpid();
        long result = syscall(at->number, a[0], a[1], a[2], a[3], a[4]);
        if (getpid() != self)
            _exit(0);
        if (result >= 0 || (at->errnum != ANY && errno != at->errnum)) {
            printf("# %s: %s\n", at->name, result >= 0 ? "done" : g_strerror(errno));
            ok = FALSE;
        }
    }
    return ok;
}

static gboolean check_state(void)
{
    int death = 0;
    prctl(PR_GET_PDEATHSIG, &death);
    if (death != SIGKILL) {
        printf("# outlives its parent\n");
        return FALSE;
    }
    gboolean ok =
        prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && getuid() != 0;
    for (int cap = 0; cap < 40; cap++)
        ok = ok && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 0;
    /* What it may. */
    int null = open("/dev/null", O_RDWR), shown = open("/shown/file", O_RDONLY);
    struct rlimit own;
    ok = ok && null >= 0 && shown >= 0 && prlimit(0, RLIMIT_NOFILE, NULL, &own) == 0;
    if (!ok)
        printf("# rights are left, or too few\n");
    return ok;
}

/* Of a device that is root's alone on the host. */
static gboolean check_device(const char *device)
{
    vt_autofd fd = open(device, O_RDWR | O_CLOEXEC);
    int open_err = errno;
    char byte = 'x';
    struct stat st;
    gboolean ok = fd >= 0 && read(fd, &byte, 1) == 1 && byte == '\0' && fstat(fd, &st) == 0;
    if (!ok)
        printf("# the device for us: %s\n", g_strerror(open_err));
    else if (getuid() == CAGE_ID && (st.st_uid != CAGE_ID || (st.st_mode & 0777) != 0600)) {
        printf("# the device is not ours alone: uid %u, mode %o\n", st.st_uid, st.st_mode & 0777);
        ok = FALSE;
    }
    return ok;
}

static void map_own_ids(uid_t uid, gid_t gid)
{
    g_autofree char *uids = g_strdup_printf("%u %u 1\n", uid, uid);
    g_autofree char *gids = g_strdup_printf("%u %u 1\n", gid, gid);
    const char *const writes[][2] = {{"/proc/self/uid_map", uids},
                                     {"/proc/self/setgroups", "deny"},
                                     {"/proc/self/gid_map", gids}};
    for (gsize i = 0; i < G_N_ELEMENTS(writes); i++) {
        vt_autofd fd = open(writes[i][0], O_WRONLY | O_CLOEXEC);
        g_assert_cmpint(write(fd, writes[i][1], strlen(writes[i][1])), ==,
                        (gssize)strlen(writes[i][1]));
    }
}

/* The child. */
static void live_in_cage(const char *folder, const char *device)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtCage) cage = vt_cage_new();
    uid_t uid = getuid();
    gid_t gid = getgid();
    g_assert_cmpint(unshare(CLONE_NEWNS | (uid != 0 ? CLONE_NEWUSER : 0)), ==, 0);
    if (uid != 0)
        map_own_ids(uid, gid);
    vt_cage_bind(cage, folder, "/shown");
    vt_cage_bind_optional(cage, "/nonexistent");
    vt_cage_device(cage, "/dev/null");
    vt_cage_device_for(cage, device, CAGE_ID, CAGE_ID);
    g_assert_true(vt_cage_detach_mounts(&error));
    if (!vt_cage_enter(cage, &error) || !vt_cage_drop(CAGE_ID, CAGE_ID, &error)) {
        printf("# %s\n", error->message);
        fflush(stdout);
        _exit(1);
    }
    gboolean ok = check_state();
    ok = check_device(device) && ok;
    ok = check_attempts() && ok;
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

static void test_cage(void)
{
    g_autofree char *folder = g_dir_make_tmp("vtorque-cage-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(folder, "file", NULL);
    g_autofree char *node = g_build_filename(folder, "node", NULL);
    gboolean has_node = mknod(node, S_IFCHR | 0600, makedev(1, 5)) == 0; /* zero; root's alone */
    int status;
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_cmpint(chmod(folder, 0755), ==, 0);
    g_assert_cmpint(chmod(file, 0644), ==, 0);
    fflush(stdout);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0)
        live_in_cage(folder, has_node ? node : "/dev/zero");
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    struct stat st;
    if (has_node)
        g_assert_true(stat(node, &st) == 0 && st.st_uid == 0 && (st.st_mode & 0777) == 0600);
    unlink(node);
    unlink(file);
    rmdir(folder);
    g_assert_cmphex(status, ==, 0);
}

typedef struct {
    const char *name;
    long number, arguments[5], result; /* 0, or -errno */
} Call;

static const Call server_calls[] = {
    {"unshare user", SYS_unshare, {CLONE_NEWUSER}, -EPERM},
    {"unshare mounts", SYS_unshare, {CLONE_NEWNS}, -EPERM},
    {"unshare net", SYS_unshare, {CLONE_NEWNET}, -EPERM},
    {"clone user", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, -EPERM},
    {"setns", SYS_setns, {0, 0}, -EPERM},
    {"mount", SYS_mount, {PATH("x"), PATH("/lib"), PATH("tmpfs"), 0, 0}, -EPERM},
    {"ptrace", SYS_ptrace, {16, 1}, -EPERM},
    {"socket inet", SYS_socket, {AF_INET, SOCK_STREAM}, -EPERM},
    {"a working directory of its own", SYS_unshare, {CLONE_FS}, 0},
    {"setgroups", SYS_setgroups, {0, 0}, 0},
};

/* The child: what a file server may still call. */
static void serve_files(void)
{
    g_autoptr(GError) error = NULL;
    gboolean ok = vt_filter_load_server(true, &error);
    for (gsize i = 0; i < G_N_ELEMENTS(server_calls); i++) {
        const Call *at = &server_calls[i];
        const long *a = at->arguments;
        pid_t self = getpid();
        long result = syscall(at->number, a[0], a[1], a[2], a[3], a[4]);
        if (getpid() != self)
            _exit(0);
        if ((result < 0 ? -errno : result) != at->result) {
            printf("# %s: %s\n", at->name, result >= 0 ? "done" : g_strerror(errno));
            ok = FALSE;
        }
    }
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

static void test_server(void)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0)
        serve_files();
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmphex(status, ==, 0);
}

/* The child: one capability is left, for good, and of the calls nothing. */
static void keep_one(void)
{
    static const char *const wanted[] = {"CapInh:\t0000000000000000\n",
                                         "CapPrm:\t0000000000001000\n",
                                         "CapEff:\t0000000000001000\n",
                                         "CapBnd:\t0000000000000000\n",
                                         "CapAmb:\t0000000000000000\n",
                                         "NoNewPrivs:\t1\n",
                                         "Seccomp:\t2\n"};
    g_autoptr(GError) error = NULL;
    g_autofree char *status = NULL;
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (uid != 0) {
        g_assert_cmpint(unshare(CLONE_NEWUSER), ==, 0);
        map_own_ids(uid, gid);
    }
    gboolean ok = vt_cage_drop_to(CAGE_ID, CAGE_ID, CAP_NET_ADMIN, &error);
    ok = getuid() == (uid == 0 ? CAGE_ID : uid) && ok;
    ok = g_file_get_contents("/proc/self/status", &status, NULL, NULL) && ok;
    for (gsize i = 0; ok && i < G_N_ELEMENTS(wanted); i++)
        if (!strstr(status, wanted[i])) {
            printf("# no %s", wanted[i]);
            ok = FALSE;
        }
    ok = setresuid(0, 0, 0) < 0 && socket(AF_NETLINK, SOCK_RAW, 0) < 0 && ok;
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

static void test_kept(void)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0)
        keep_one();
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmphex(status, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cage/inside", test_cage);
    g_test_add_func("/cage/server", test_server);
    g_test_add_func("/cage/kept", test_kept);
    return g_test_run();
}
