/* SPDX-License-Identifier: Apache-2.0 */
/* keeper/birth.c - the engine's birth. */
#include "keeper/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/birth.h"
#include "ctl/run.h"

#define EXIT_UNBORN 125

/* An ordinary user's engine has all rights in its own user namespace, and must keep them over exec:
 * only ambient capabilities survive it where the uid is not 0. */
static void keep_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return;
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    syscall(SYS_capset, &header, data);
    for (unsigned long cap = 0; cap < 64; cap++)
        if (data[cap / 32].permitted & (1u << (cap % 32)))
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/* The keeper's is lower than the job's should be; set with the right to do so, it is the lowest that
 * anything of the job can have. */
static void reset_oom_score(void)
{
    ctl_autofd fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, "0", 1);
}

/* The newborn is no engine, and the owner learns why. Never returns. */
static void fail_birth(const char *what)
{
    char text[128];
    snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
    ctl_run_send_text(KEEPER_FD_RUN, CTL_OUTCOME, CTL_REASON_HOST, text);
    _exit(EXIT_UNBORN);
}

/* The newborn. Never returns. */
static void be_born(const Leaf *leaf, bool is_in_v2, int go, int lifeline, int folder,
                    const char *slots)
{
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int err = leaf_enter(leaf, is_in_v2);
    if (write(go, &err, sizeof err) != sizeof err)
        fail_birth("cannot answer the keeper");
    ssize_t n = read(go, &byte, 1);
    if (n < 0)
        fail_birth("cannot wait for the keeper");
    /* The end of the stream: the keeper died or gave up. */
    if (n == 0)
        _exit(EXIT_UNBORN);
    if (geteuid() != 0)
        keep_capabilities();
    else
        reset_oom_score();
    /* All numbers are below ENGINE_FDS or were duplicated above it by the keeper: no target is a
     * source. */
    if (dup2(lifeline, ENGINE_FD_KEEPER) < 0 || dup2(folder, ENGINE_FD_FOLDER) < 0)
        fail_birth("cannot place the engine's descriptors");
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const char *const argv[] = {"vtorque-engine", slots, NULL};
    const char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL};
    syscall(SYS_execveat, KEEPER_FDS + 1, "", argv, envp, AT_EMPTY_PATH);
    fail_birth("cannot execute the engine");
}

static pid_t clone_process(uint64_t flags, int cgroup)
{
    struct clone_args args = {
        .flags = flags | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .exit_signal = SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static int write_proc(pid_t pid, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    ctl_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int map_own_ids(pid_t pid)
{
    char text[64];
    snprintf(text, sizeof text, "%u %u 1\n", geteuid(), geteuid());
    int err = write_proc(pid, "uid_map", text);
    if (err == 0)
        err = write_proc(pid, "setgroups", "deny");
    snprintf(text, sizeof text, "%u %u 1\n", getegid(), getegid());
    return err == 0 ? write_proc(pid, "gid_map", text) : err;
}

static int abandon(Birth *birth, int err)
{
    kill(birth->pid, SIGKILL);
    waitpid(birth->pid, NULL, 0);
    close(birth->go);
    close(birth->lifeline);
    return err;
}

/* What the newborn said of its places: see leaf_enter(). */
static int wait_in_leaf(const Birth *birth)
{
    int err;
    return read(birth->go, &err, sizeof err) == sizeof err ? err : -ESRCH;
}

int birth_clone(Leaf *leaf, int folder, const char *slots, Birth *birth, const char **what)
{
    ctl_autofd theirs = -1, ours = -1, life_read = -1, life_write = -1;
    int go[2], life[2];
    *what = "cannot make the engine's pipes";
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0)
        return -errno;
    theirs = go[0], ours = go[1];
    if (pipe2(life, O_CLOEXEC) < 0)
        return -errno;
    life_read = life[0], life_write = life[1];

    bool user = geteuid() != 0, is_in_v2 = leaf->v2 >= 0;
    uint64_t flags =
        CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (user ? CLONE_NEWUSER : 0);
    pid_t pid = clone_process(flags, leaf->v2);
    /* Some hierarchies let a leaf be made, but nothing be born in it (a threaded or a foreign
     * domain). */
    if (pid < 0 && is_in_v2) {
        is_in_v2 = false;
        pid = clone_process(flags, -1);
    }
    *what = user ? "cannot make a user namespace (user.max_user_namespaces, "
                   "kernel.unprivileged_userns_clone and "
                   "kernel.apparmor_restrict_unprivileged_userns say whether users may)"
                 : "cannot make namespaces";
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        close(ours);
        close(life_write);
        be_born(leaf, is_in_v2, theirs, life_read, folder, slots);
    }
    close(ctl_fd_steal(&theirs)); /* so that its death is the end of ours */
    *birth = (Birth){.pid = pid, .lifeline = ctl_fd_steal(&life_write), .go = ctl_fd_steal(&ours)};
    *what = "cannot map ids into the job's user namespace";
    int err = user ? map_own_ids(pid) : 0;
    if (err < 0)
        return abandon(birth, err);
    *what = "cannot move the job into its cgroup";
    err = wait_in_leaf(birth);
    if (err < 0)
        return abandon(birth, err);
    leaf_miss(leaf, err);
    return 0;
}

int birth_release(Birth *birth)
{
    int err = write(birth->go, "", 1) == 1 ? 0 : -errno;
    if (err < 0)
        kill(birth->pid, SIGKILL);
    close(birth->go);
    birth->go = -1;
    return err;
}
