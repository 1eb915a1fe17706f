/* SPDX-License-Identifier: Apache-2.0 */
/* agent/spawn.c - from a setup to a running program. */
#include "agent/spawn.h"

#include "agent/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

/* No descriptor of the agent is higher: 32 sessions with 4 each, and a few. */
enum { AGENT_FDS_MAX = 256 };

/* The kernel's fs.nr_open: a higher RLIMIT_NOFILE is refused even to root. */
enum { OPEN_FILES_MAX = 1024 * 1024 };

/* A pipe's capacity, even where the default differs: what is left in one at the end must fit the
 * tail. */
enum { PIPE_SIZE = WIRE_TAIL_MAX };

typedef struct {
    int ours[3], theirs[3];
    int status[2];
} Ends;

__attribute__((format(printf, 3, 4))) static bool fail(SpawnFailure *failure, int error,
                                                       const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    failure->error = error;
    vsnprintf(failure->what, sizeof failure->what, format, arguments);
    va_end(arguments);
    return false;
}

static void clear_ends(Ends *ends)
{
    for (int i = 0; i < 3; i++) {
        fd_clear(&ends->ours[i]);
        fd_clear(&ends->theirs[i]);
    }
    fd_clear(&ends->status[0]);
    fd_clear(&ends->status[1]);
}

static bool set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

static bool make_pipes(Ends *ends, const Setup *setup)
{
    for (int i = 0; i < (setup->is_joined ? WIRE_STDERR : 3); i++) {
        bool is_input = i == WIRE_STDIN;
        int both[2];

        if (pipe2(both, O_CLOEXEC) < 0)
            return false;
        ends->ours[i] = both[is_input];
        ends->theirs[i] = both[!is_input];
        fcntl(ends->ours[i], F_SETPIPE_SZ, PIPE_SIZE);
        /* /dev/stdout opens the pipe again, with the rights of whoever it belongs to. */
        if (!set_nonblocking(ends->ours[i]) || fchown(ends->theirs[i], setup->uid, setup->gid) < 0)
            return false;
    }
    if (setup->is_joined)
        ends->theirs[WIRE_STDERR] = fcntl(ends->theirs[WIRE_STDOUT], F_DUPFD_CLOEXEC, 3);
    return ends->theirs[WIRE_STDERR] >= 0;
}

static bool make_terminal(Ends *ends, const Setup *setup)
{
    struct winsize size = {.ws_row = setup->rows, .ws_col = setup->columns};
    auto_fd master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    char path[64];

    if (master < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof path) != 0)
        return false;
    ends->theirs[0] = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ends->theirs[0] < 0 || fchown(ends->theirs[0], setup->uid, (gid_t)-1) < 0 ||
        ioctl(master, TIOCSWINSZ, &size) < 0)
        return false;
    ends->theirs[1] = fcntl(ends->theirs[0], F_DUPFD_CLOEXEC, 3);
    ends->theirs[2] = fcntl(ends->theirs[0], F_DUPFD_CLOEXEC, 3);
    ends->ours[0] = fcntl(master, F_DUPFD_CLOEXEC, 3);
    ends->ours[1] = fd_steal(&master);
    return ends->theirs[1] >= 0 && ends->theirs[2] >= 0 && ends->ours[0] >= 0;
}

static void child_streams(const Ends *ends, int *status)
{
    for (int i = 0; i < 3; i++)
        dup2(ends->theirs[i], i);
    if (*status != 3)
        *status = dup3(*status, 3, O_CLOEXEC);
    /* Above all the other sessions' pipes: held here, they would not end there. */
    for (int fd = 4; fd < AGENT_FDS_MAX; fd++)
        close(fd);
}

static bool child_session(const Setup *setup, SpawnFailure *failure)
{
    const struct sched_param priority = {0};
    sigset_t none;

    if (setsid() < 0)
        return fail(failure, errno, "setsid");
    if (setup->has_terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        return fail(failure, errno, "take the terminal");
    for (int number = 1; number <= WIRE_SIGNAL_MAX; number++)
        signal(number, SIG_DFL);
    /* The agent's own (main.c), which a fork does not reset; musl's function refuses. */
    if (syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &priority) < 0)
        return fail(failure, errno, "set the scheduling policy");
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(setup->mask);
    return true;
}

static bool child_limits(const Setup *setup, SpawnFailure *failure)
{
    for (int i = 0; i < WIRE_LIMITS_MAX; i++) {
        struct rlimit limit = setup->limits[i];

        if (!(setup->limits_set & 1u << i))
            continue;
        if (i == RLIMIT_NOFILE && limit.rlim_max > OPEN_FILES_MAX)
            limit.rlim_max = OPEN_FILES_MAX;
        if (limit.rlim_cur > limit.rlim_max)
            limit.rlim_cur = limit.rlim_max;
        if (setrlimit(i, &limit) < 0)
            return fail(failure, errno, "set resource limit %d", i);
    }
    return true;
}

static bool child_identity(const Setup *setup, SpawnFailure *failure)
{
    if (setgroups(setup->group_count, setup->groups) < 0)
        return fail(failure, errno, "setgroups");
    if (setresgid(setup->gid, setup->gid, setup->gid) < 0)
        return fail(failure, errno, "setresgid %u", setup->gid);
    if (setresuid(setup->uid, setup->uid, setup->uid) < 0)
        return fail(failure, errno, "setresuid %u", setup->uid);
    return true;
}

static bool child_program(const Setup *setup, SpawnFailure *failure)
{
    const char *program = setup->program ? setup->program : setup->argv[0];

    /* As the user: a directory that only they may enter, on a share that knows no root. */
    if (chdir(setup->directory) < 0)
        return fail(failure, errno, "chdir to '%s'", setup->directory);
    execve(program, setup->argv, setup->envp);
    return fail(failure, errno, "exec '%s'", program);
}

/* The stages, in order: streams, session, limits (root may raise them), identity, program. */
static _Noreturn void run_child(const Setup *setup, const Ends *ends)
{
    SpawnFailure failure = {0};
    int status = ends->status[1];

    child_streams(ends, &status);
    if (child_session(setup, &failure) && child_limits(setup, &failure) &&
        child_identity(setup, &failure))
        child_program(setup, &failure);
    if (write(status, &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

bool spawn_start(const Setup *setup, Spawned *spawned, SpawnFailure *failure)
{
    __attribute__((cleanup(clear_ends))) Ends ends = {{-1, -1, -1}, {-1, -1, -1}, {-1, -1}};

    if (setup->has_terminal ? !make_terminal(&ends, setup) : !make_pipes(&ends, setup))
        return fail(failure, errno, setup->has_terminal ? "make a terminal" : "make pipes");
    if (pipe2(ends.status, O_CLOEXEC) < 0 || !set_nonblocking(ends.status[0]))
        return fail(failure, errno, "make a pipe");
    spawned->pid = fork();
    if (spawned->pid < 0)
        return fail(failure, errno, "fork");
    if (spawned->pid == 0)
        run_child(setup, &ends);
    spawned->status = fd_steal(&ends.status[0]);
    for (int i = 0; i < 3; i++)
        spawned->streams[i] = fd_steal(&ends.ours[i]);
    return true;
}
