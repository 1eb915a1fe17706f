/* SPDX-License-Identifier: Apache-2.0 */
/* vm/machine.c - starting one QEMU by descriptors. */
#include "vm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "base/fd.h"

static const VtMachineFds qemu_fds = VT_MACHINE_FDS;
#define QEMU_FDS_END 12

/* Both ends of each line to QEMU; index 0 is ours. */
typedef struct {
    int qmp[2], serial[2], agent[2], log[2];
    VtMachineParts parts;
} Lines;

#define LINES_NONE ((Lines){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, VT_MACHINE_PARTS_NONE})

static void lines_clear(Lines *lines)
{
    for (int i = 0; i < 2; i++) {
        vt_fd_clear(&lines->qmp[i]);
        vt_fd_clear(&lines->serial[i]);
        vt_fd_clear(&lines->agent[i]);
        vt_fd_clear(&lines->log[i]);
    }
    vt_fd_clear(&lines->parts.files);
    vt_fd_clear(&lines->parts.root);
    vt_fd_clear(&lines->parts.disk);
    vt_fd_clear(&lines->parts.scratch);
    vt_fd_clear(&lines->parts.nic.fd);
    vt_fd_clear(&lines->parts.outer.fd);
}

static bool open_lines(Lines *lines, GError **error)
{
    int *const pairs[] = {lines->qmp, lines->serial, lines->agent};
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++)
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "cannot make QEMU's socket pairs");
    if (pipe2(lines->log, O_CLOEXEC) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the pipe of QEMU's log");
    return true;
}

/* The child is not QEMU; its log says why. Never returns. */
static void fail_child(int log, const char *act, const char *program)
{
    dprintf(log, "cannot %s %s: %s\n", act, program, g_strerror(errno));
    _exit(VT_EXIT_FAILED);
}

/* The child. Never returns. */
static void run_qemu(const Lines *lines, char *const argv[])
{
    const int moved[] = {lines->qmp[1],        lines->serial[1],     lines->agent[1],
                         lines->log[1],        lines->parts.files,   lines->parts.root,
                         lines->parts.disk,    lines->parts.scratch, lines->parts.nic.fd,
                         lines->parts.outer.fd};
    const int targets[] = {qemu_fds.qmp,   qemu_fds.serial, qemu_fds.agent, STDERR_FILENO,
                           qemu_fds.files, qemu_fds.root,   qemu_fds.disk,  qemu_fds.scratch,
                           qemu_fds.net,   qemu_fds.outer};
    int lifted[G_N_ELEMENTS(moved)];
    const char *const envp[] = {"LC_ALL=C.UTF-8", NULL};
    sigset_t batch;
    sigemptyset(&batch);
    const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    for (gsize i = 0; i < G_N_ELEMENTS(blocked); i++)
        sigaddset(&batch, blocked[i]);
    sigprocmask(SIG_SETMASK, &batch, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* First out of each other's way, then to their places. */
    for (gsize i = 0; i < G_N_ELEMENTS(moved); i++) {
        lifted[i] = moved[i] < 0 ? -1 : fcntl(moved[i], F_DUPFD_CLOEXEC, 64);
        if (moved[i] >= 0 && lifted[i] < 0)
            fail_child(lines->log[1], "place the descriptors of", argv[0]);
    }
    int log = fcntl(lines->log[1], F_DUPFD_CLOEXEC, 64);
    for (gsize i = 0; i < G_N_ELEMENTS(moved); i++)
        if (moved[i] >= 0 && dup2(lifted[i], targets[i]) < 0)
            fail_child(log, "place the descriptors of", argv[0]);
    syscall(SYS_close_range, QEMU_FDS_END, ~0u, 0);
    execve(argv[0], argv, (char *const *)envp);
    fail_child(STDERR_FILENO, "execute", argv[0]);
}

/* Nothing of this process has to be copied for a child that only places descriptors. */
static pid_t fork_qemu(const Lines *lines, char *const argv[])
{
    pid_t pid = vfork();
    if (pid == 0)
        run_qemu(lines, argv);
    return pid;
}

bool vt_machine_start(const VtPlan *plan, guint index, VtMachineParts *parts, VtMachine *machine,
                      GError **error)
{
    __attribute__((cleanup(lines_clear))) Lines lines = LINES_NONE;
    lines.parts = *parts;
    *parts = VT_MACHINE_PARTS_NONE;
    if (!open_lines(&lines, error))
        return false;
    g_auto(GStrv) argv =
        vt_command_new(plan, index, lines.parts.nic.kind, VT_QEMU_PROGRAM, &qemu_fds);
    pid_t pid = fork_qemu(&lines, argv);
    if (pid < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork QEMU");
    *machine = (VtMachine){
        .pid = pid,
        .qmp = vt_fd_steal(&lines.qmp[0]),
        .serial = vt_fd_steal(&lines.serial[0]),
        .agent = vt_fd_steal(&lines.agent[0]),
        .log = vt_fd_steal(&lines.log[0]),
    };
    return true;
}
