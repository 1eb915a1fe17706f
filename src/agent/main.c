/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/main.c - vtorque-agent: process 1 of a guest, or a service of it (`--service`).
 *
 * Runs as: root in the guest.
 */
#include "agent/agent.h"
#include "agent/ending.h"
#include "agent/fd.h"
#include "agent/init.h"
#include "agent/network.h"
#include "agent/port.h"
#include "agent/say.h"
#include "agent/system.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

/* From the kernel's start to the port; emulated guests need less than 2 s. */
enum { PORT_TIMEOUT_MS = 10000 };

/* Children are seen by a descriptor; a pipe without a reader is an errno. Returns the descriptor or
 * -1. */
static int take_signals(void)
{
    sigset_t child;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Gives the guest to its image's init, which starts the agent again as a service. Only a failure
 * returns. */
static void hand_over(void)
{
    const char *what;
    int error = system_enter(&what);

    say("cannot %s: %s", what, strerror(-error));
}

/* False if there is nothing to go on with. */
static bool prepare_init(void)
{
    int error;

    if (init_mount() < 0)
        return false;
    init_load_modules();
    if (system_is_wanted()) {
        hand_over();
        return false;
    }
    error = network_link_up("lo");
    if (error)
        say("cannot bring up the loopback interface: %s", strerror(-error));
    return true;
}

/* The descriptors that a process 1 opens for itself, and nothing else's. */
static void prepare_service(void)
{
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
        ;
    for (fd = 3; fd < 1024; fd++)
        close(fd);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* Woken by a job's output, the agent does not push the job off its processor: a program that writes
 * line by line would pay two switches a line, and the agent would send a frame a line. Its children
 * are not meant; spawn.c resets theirs. */
static void run_after_writers(void)
{
    struct sched_param none = {0};

    syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &none); /* musl's own refuses */
}

static void serve(bool is_init)
{
    static Agent agent; /* the only large object; its pages cost nothing until they are used */
    int events = port_events_open(), port, children;

    if (is_init && !prepare_init())
        return;
    children = take_signals();
    port = port_open(events, PORT_TIMEOUT_MS);
    fd_clear(&events);
    if (port < 0 || children < 0) {
        say("cannot open port %s: %s", PORT_NAME, strerror(port < 0 ? -port : errno));
        return;
    }
    run_after_writers();
    madvise(&agent, sizeof agent, MADV_NOHUGEPAGE);
    agent_init(&agent, port, children, is_init);
    agent_run(&agent);
}

int main(int argc, char **argv)
{
    bool is_init = getpid() == 1;

    if (!is_init && (argc != 2 || strcmp(argv[1], "--service") != 0)) {
        say("usage: vtorque-agent --service");
        return 2;
    }
    if (!is_init)
        prepare_service();
    serve(is_init);
    if (is_init)
        ending_power_off();
    return EXIT_FAILURE;
}
