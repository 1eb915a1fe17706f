/* SPDX-License-Identifier: Apache-2.0 */
/* node/caller.c - from a user's good credential to a program with that user's id. */
#include "node/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/program.h"
#include "node/verbs.h"

#define PROGRAM_FD 3
/* A group that nobody is in. One of the user's own, as another machine knows it, could be more than they are
 * here; and who has another group than they is not theirs to trace (ptrace(2)). */
#define NO_GROUP 65534
#define OPEN_FILES 16

bool vt_caller_check(const VtPeerVisit *visit, uid_t uid, GError **error)
{
    if (!vt_visitor_has_job(uid))
        return vt_error_set(error, VT_ERROR_USER, "no job of yours runs here");
    return visit->count_user(visit->data, uid) ||
           vt_error_set(error, VT_ERROR_HOST, "there are too many connections of yours, or in all");
}

/* The daemon's own place in the kernel's eyes is not a user's. */
static void reset_priority(void)
{
    vt_autofd fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "0", 1) < 0)
        g_printerr("vtorqued: cannot reset oom_score_adj: %s\n", g_strerror(errno));
}

/* Descriptors: the connection, the key, nothing to complain to, the program. No other stays. */
static bool place(int connection, int key, int program)
{
    vt_autofd nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const int fds[] = {connection, key, nothing, program};
    int lifted[G_N_ELEMENTS(fds)];
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        if ((lifted[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64)) < 0)
            return false;
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        if (dup2(lifted[i], (int)i) < 0)
            return false;
    vt_fd_steal(&nothing); /* of what is closed now */
    return fcntl(PROGRAM_FD, F_SETFD, FD_CLOEXEC) == 0 &&
           syscall(SYS_close_range, PROGRAM_FD + 1, ~0u, 0) == 0;
}

static bool is_all(guint32 id, const guint32 ids[3])
{
    return ids[0] == id && ids[1] == id && ids[2] == id;
}

/* In this order: limits and groups need rights; the death signal is lost with the ids; a daemon that was gone
 * before it was asked for is seen by the parent. */
static bool drop(uid_t uid, pid_t daemon)
{
    uid_t uids[3];
    gid_t gids[3];
    const struct rlimit none = {0, 0}, files = {OPEN_FILES, OPEN_FILES};
    return setrlimit(RLIMIT_CORE, &none) == 0 && setrlimit(RLIMIT_FSIZE, &none) == 0 &&
           setrlimit(RLIMIT_NOFILE, &files) == 0 && setgroups(0, NULL) == 0 &&
           setresgid(NO_GROUP, NO_GROUP, NO_GROUP) == 0 && setresuid(uid, uid, uid) == 0 &&
           getresuid(&uids[0], &uids[1], &uids[2]) == 0 && is_all(uid, uids) &&
           getresgid(&gids[0], &gids[1], &gids[2]) == 0 && is_all(NO_GROUP, gids) &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
           getppid() == daemon;
}

static int fail(int connection, const char *what)
{
    g_printerr("vtorqued: a user is not let in: %s\n", what);
    ctl_door_send_text(connection, VT_PEER_REFUSED, 0,
                       "this node cannot let you in: its daemon's log says why");
    return VT_EXIT_FAILED;
}

int vt_caller_let_in(const VtPeerVisit *visit, uid_t uid, const char *key)
{
    static const char *const argv[] = {VT_REACH_PROGRAM, VT_REACH_SERVE, NULL};
    static const char *const envp[] = {NULL};
    g_autoptr(GError) error = NULL;
    int connection = visit->fd;
    g_autofree char *path = vt_program_find(VT_REACH_PROGRAM, &error);
    vt_autofd program = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    vt_autofd digits = program < 0 ? -1 : vt_fd_from_bytes("key", key, strlen(key), &error);
    if (program < 0 || digits < 0)
        return fail(connection, error ? error->message : g_strerror(errno));
    reset_priority();
    umask(077);
    if (chdir("/") < 0 || setsid() < 0)
        return fail(connection, g_strerror(errno));
    g_autofree char *from = vt_peer_remote(connection);
    g_printerr("vtorqued: uid %u is let in from %s\n", uid, from ? from : "?");
    if (ctl_door_send(connection, VT_PEER_TAKEN, 0, NULL, 0, NULL, 0) < 0)
        return VT_EXIT_FAILED;
    /* Behind this nobody is told anything: the connection ends. */
    if (!place(connection, digits, program) || !drop(uid, visit->daemon))
        _exit(VT_EXIT_FAILED);
    alarm(0);
    syscall(SYS_execveat, PROGRAM_FD, "", argv, envp, AT_EMPTY_PATH);
    _exit(VT_EXIT_FAILED);
}
