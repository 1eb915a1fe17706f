/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system/inject.c - runs a program and makes one system call of one of its descendants fail.
 *
 *   inject ROLE SYSCALL N ERRNO LOG PROGRAM [ARGUMENT...]
 *
 * ROLE is the name of a process's program; before it has executed one it is its parent's role with
 * `-child`, once for each generation. The N-th call of SYSCALL by whoever plays ROLE is not made and
 * returns -ERRNO; LOG then gets a line that says so. With N = 0 nothing fails, and LOG gets the
 * number of calls of each kind by role. What the dynamic loader opens does not count. QEMU and the
 * file servers are left alone once they are executed. The exit status is the program's.
 *
 * strace can do nearly the same, but counts by process: what comes later in another program is out
 * of its reach.
 */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEES_MAX 4096
#define COUNTS_MAX 2048
#define ROLE_MAX 64
#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

typedef struct {
    pid_t pid;
    char role[ROLE_MAX];
    bool is_inside; /* between the entry and the exit of a system call */
    bool is_failed; /* ... which is to fail */
} Tracee;

typedef struct {
    char role[ROLE_MAX];
    long number;
    unsigned calls;
} Count;

typedef struct {
    const char *role, *log;
    long number;
    unsigned nth;
    int errnum;
    Tracee tracees[TRACEES_MAX];
    Count counts[COUNTS_MAX];
} Inject;

static Tracee *find(Inject *inject, pid_t pid)
{
    Tracee *unused = NULL;
    for (size_t i = 0; i < TRACEES_MAX; i++) {
        if (inject->tracees[i].pid == pid)
            return &inject->tracees[i];
        if (inject->tracees[i].pid == 0 && !unused)
            unused = &inject->tracees[i];
    }
    if (!unused) {
        fprintf(stderr, "inject: too many processes\n");
        exit(1);
    }
    *unused = (Tracee){.pid = pid};
    return unused;
}

/* True if `pid` is a thread of somebody's, not a process. */
static bool is_thread(pid_t pid)
{
    char path[64], line[128];
    int group = pid;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Tgid: %d", &group) == 1)
            break;
    if (file)
        fclose(file);
    return group != pid;
}

static void take_role_of_parent(Inject *inject, const Tracee *parent, pid_t pid)
{
    Tracee *child = find(inject, pid);
    char role[ROLE_MAX];
    snprintf(role, sizeof role, "%.40s%s", parent->role, is_thread(pid) ? "" : "-child");
    memcpy(child->role, role, sizeof role);
}

static void take_role_of_program(Tracee *tracee)
{
    char path[64], exe[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", tracee->pid);
    ssize_t n = readlink(path, exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(exe, '/');
    snprintf(tracee->role, sizeof tracee->role, "%.40s", name ? name + 1 : exe);
}

/* What the loader opens: a shared object, or its cache. */
static bool is_loading(pid_t pid, const struct user_regs_struct *regs)
{
    char text[256] = "";
    unsigned long long at = regs->orig_rax == SYS_open ? regs->rdi : regs->rsi;
    struct iovec local = {text, sizeof text - 1}, remote = {(void *)at, sizeof text - 1};
    if (regs->orig_rax != SYS_openat && regs->orig_rax != SYS_open)
        return false;
    /* A path at the end of its page is read in part. */
    while (process_vm_readv(pid, &local, 1, &remote, 1, 0) < 0 && remote.iov_len > 16)
        local.iov_len = remote.iov_len /= 2;
    return strstr(text, ".so") != NULL;
}

static unsigned count(Inject *inject, const Tracee *tracee, long number)
{
    for (size_t i = 0; i < COUNTS_MAX; i++) {
        Count *entry = &inject->counts[i];
        if (entry->calls == 0) {
            memcpy(entry->role, tracee->role, sizeof entry->role);
            entry->number = number;
        }
        if (entry->number == number && strcmp(entry->role, tracee->role) == 0)
            return ++entry->calls;
    }
    return 0;
}

static void say(const Inject *inject, const char *role, long number, unsigned calls)
{
    FILE *log = fopen(inject->log, "ae");
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)number);
    if (log) {
        fprintf(log, "%s %s %u\n", role, name ? name : "?", calls);
        fclose(log);
    }
    free(name);
}

static void enter_call(Inject *inject, Tracee *tracee)
{
    struct user_regs_struct regs;
    tracee->is_failed = false;
    if (ptrace(PTRACE_GETREGS, tracee->pid, NULL, &regs) < 0)
        return;
    long number = (long)regs.orig_rax;
    bool is_wanted = number == inject->number && strcmp(tracee->role, inject->role) == 0;
    if ((!is_wanted && inject->nth > 0) || is_loading(tracee->pid, &regs))
        return;
    if (count(inject, tracee, number) != inject->nth || inject->nth == 0)
        return;
    regs.orig_rax = (unsigned long long)-1;
    tracee->is_failed = ptrace(PTRACE_SETREGS, tracee->pid, NULL, &regs) == 0;
    if (tracee->is_failed)
        say(inject, tracee->role, number, inject->nth);
}

static void leave_call(Inject *inject, Tracee *tracee)
{
    struct user_regs_struct regs;
    if (!tracee->is_failed || ptrace(PTRACE_GETREGS, tracee->pid, NULL, &regs) < 0)
        return;
    regs.rax = (unsigned long long)-(long long)inject->errnum;
    ptrace(PTRACE_SETREGS, tracee->pid, NULL, &regs);
}

/* True if the tracee was let go. */
static bool take_exec(Inject *inject, Tracee *tracee)
{
    take_role_of_program(tracee);
    tracee->is_inside = true; /* its exit comes */
    if (strncmp(tracee->role, "qemu", 4) != 0 && strcmp(tracee->role, "virtiofsd") != 0)
        return false;
    ptrace(PTRACE_DETACH, tracee->pid, NULL, NULL);
    tracee->pid = 0;
    return true;
}

static void take_stop(Inject *inject, Tracee *tracee, int status)
{
    int number = WSTOPSIG(status), event = status >> 16, deliver = 0;
    unsigned long message = 0;
    if (number == (SIGTRAP | 0x80)) {
        tracee->is_inside = !tracee->is_inside;
        (tracee->is_inside ? enter_call : leave_call)(inject, tracee);
    } else if (event == PTRACE_EVENT_EXEC) {
        if (take_exec(inject, tracee))
            return;
    } else if (event == PTRACE_EVENT_STOP) {
        /* A group stop lasts; the first stop of a newborn does not. */
        if (number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU) {
            ptrace(PTRACE_LISTEN, tracee->pid, NULL, NULL);
            return;
        }
    } else if (event > 0) {
        ptrace(PTRACE_GETEVENTMSG, tracee->pid, NULL, &message);
        take_role_of_parent(inject, tracee, (pid_t)message);
    } else {
        deliver = number;
    }
    ptrace(PTRACE_SYSCALL, tracee->pid, NULL, (void *)(long)deliver);
}

static pid_t start(char **argv)
{
    int go[2];
    char byte;
    if (pipe(go) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        close(go[0]);
        execv(argv[0], argv);
        fprintf(stderr, "inject: cannot execute %s: %s\n", argv[0], strerror(errno));
        _exit(1);
    }
    close(go[0]);
    if (pid > 0 && ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)OPTIONS) < 0)
        return -1;
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    if (write(go[1], "", 1) != 1)
        return -1;
    close(go[1]);
    return pid;
}

/* Runs until all that it traces are dead. Returns the exit status of `first`. */
static int run(Inject *inject, pid_t first)
{
    int status, result = 1;
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        if (pid <= 0)
            continue;
        Tracee *tracee = find(inject, pid);
        if (WIFSTOPPED(status)) {
            take_stop(inject, tracee, status);
            continue;
        }
        tracee->pid = 0;
        if (pid == first)
            result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return result;
}

int main(int argc, char **argv)
{
    static Inject inject;
    if (argc < 7) {
        fprintf(stderr, "usage: inject ROLE SYSCALL N ERRNO LOG PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    inject.role = argv[1];
    inject.number = seccomp_syscall_resolve_name(argv[2]);
    inject.nth = (unsigned)atoi(argv[3]);
    inject.errnum = atoi(argv[4]);
    inject.log = argv[5];
    if (inject.number < 0) {
        fprintf(stderr, "inject: there is no system call %s\n", argv[2]);
        return 2;
    }
    pid_t first = start(argv + 6);
    if (first < 0) {
        perror("inject: cannot trace");
        return 1;
    }
    snprintf(find(&inject, first)->role, ROLE_MAX, "inject");
    int status = run(&inject, first);
    for (size_t i = 0; inject.nth == 0 && i < COUNTS_MAX && inject.counts[i].calls > 0; i++)
        say(&inject, inject.counts[i].role, inject.counts[i].number, inject.counts[i].calls);
    return status;
}
