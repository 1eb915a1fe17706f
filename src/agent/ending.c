/* SPDX-License-Identifier: Apache-2.0 */
/* agent/ending.c - kill, reap, sync, power. */
#include "agent/ending.h"

#include "agent/directory.h"
#include "agent/fd.h"
#include "agent/say.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>

enum { REAP_MS = 5000, REAP_STEP_MS = 1 };

/* The parent of a process, or -1. */
static pid_t get_parent(const char *pid)
{
    char path[64], text[512];
    auto_fd fd = -1;
    const char *end;
    ssize_t size;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (size <= 0)
        return -1;
    text[size] = '\0';
    end = strrchr(text, ')'); /* a program's name may hold anything, also ')' */
    return end && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : -1;
}

/* As a subreaper we get the orphans of whom we kill: generation by generation all become children.
 */
static void kill_children(void)
{
    Directory processes;
    const char *name;

    if (directory_open(&processes, "/proc") < 0)
        return;
    while ((name = directory_next(&processes)))
        if (name[0] >= '1' && name[0] <= '9' && get_parent(name) == getpid())
            kill((pid_t)strtol(name, NULL, 10), SIGKILL);
    directory_close(&processes);
}

int ending_kill_all(bool is_init)
{
    int left = REAP_MS / REAP_STEP_MS;
    pid_t pid;

    for (; left > 0; left--) {
        if (is_init)
            kill(-1, SIGKILL);
        else
            kill_children();
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0)
            return 0;
        poll(NULL, 0, REAP_STEP_MS);
    }
    return 1;
}

void ending_sync(void)
{
    sync(); /* the kernel passes over file systems that are read-only or live in memory */
}

void ending_power_off(void)
{
    tcdrain(2);
    reboot(RB_POWER_OFF);
    say("cannot power off: %s", strerror(errno));
}

static _Noreturn void hang(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (;;)
        pause();
}

static void panic_kernel(void)
{
    auto_fd fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "c", 1) < 0)
        say("cannot crash the kernel: %s", strerror(errno));
}

void ending_fault(WireFault fault)
{
    switch (fault) {
    case WIRE_FAULT_EXIT:
        _exit(1);
    case WIRE_FAULT_HANG:
        hang();
    case WIRE_FAULT_PANIC:
        panic_kernel();
        break;
    case WIRE_FAULT_POWEROFF:
        ending_power_off();
        break;
    }
}
