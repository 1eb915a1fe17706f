/* SPDX-License-Identifier: Apache-2.0 */
/* hook/prologue.c - the site's own prologue, then the job's virtual machine. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/door.h"
#include "ctl/mom.h"
#include "ctl/run.h"
#include "hook/hook.h"

#define CONNECT_MS 10000
#define RETRY_MS 100

static uint8_t payload[WIRE_PAYLOAD_MAX];
static char reason[WIRE_STRING_MAX + 1];

static const char *read_reason(const WireHeader *header)
{
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, reason, sizeof reason);
    return reader.ok && reason[0] ? reason : "the job's engine gave no reason";
}

/* A door that closed without a word: the daemon was killed before it looked at us. */
static const char closed[] = "vTorque's daemon closed the connection";

/* Returns NULL once the guest is ready, or why it will not be. */
static const char *wait_for_guest(int door, long long deadline_ms)
{
    for (bool is_first = true;; is_first = false) {
        WireHeader header;
        long long left = deadline_ms - ctl_now_ms();
        int err = left > 0 ? ctl_door_receive(door, &header, payload, (int)left) : -ETIMEDOUT;
        if (err == -ETIMEDOUT)
            return "the guest was not ready within the batch system's time for prologues";
        if (err < 0)
            return is_first ? closed : "the job's engine was killed";
        if (header.type == CTL_OUTCOME)
            return read_reason(&header);
        if (header.type == CTL_PHASE && header.aux == CTL_PHASE_READY)
            return NULL;
    }
}

static const char *start_guest(const Hook *hook, long long deadline_ms)
{
    static char order[WIRE_PAYLOAD_MAX];
    const char *problem = hook_format_order(hook, order, sizeof order);
    if (problem)
        return problem;
    /* A start that is asked for twice ends what the first has come to. */
    long long patience_ms = ctl_now_ms() + CONNECT_MS;
    do {
        ctl_autofd door = ctl_door_connect(CTL_DOOR_HOOK, CONNECT_MS);
        if (door < 0)
            return "vTorque's daemon does not run on this node";
        /* Who has answered and left takes nothing more: the answer is there all the same. */
        if (ctl_door_send(door, CTL_DOOR_START, 0, order, strlen(order), NULL, 0) == 0)
            hook_send_files(door);
        problem = wait_for_guest(door, deadline_ms);
        if (problem == closed)
            nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    } while (problem == closed && ctl_now_ms() < patience_ms);
    return problem;
}

int hook_prologue(const Hook *hook)
{
    long long limit_s = hook_limit_s() - CTL_MOM_RESERVE_S;
    int announced = ctl_starting_announce(hook->argv[1], hook->ticket);
    int status = hook_run_site(hook);
    if (status != 0)
        return status;
    signal(SIGPIPE, SIG_IGN);
    /* Sockets of the batch system, which it leaves open in every hook. */
    syscall(SYS_close_range, 3, ~0u, 0);
    long long deadline_ms = hook->started_ms + limit_s * 1000;
    if (deadline_ms < ctl_now_ms() + 1000)
        deadline_ms = ctl_now_ms() + 1000;
    const char *problem = announced < 0 ? "the prologue cannot write below /run/vtorque"
                                        : start_guest(hook, deadline_ms);
    if (!problem)
        return 0;
    hook_report(hook, problem);
    return 1;
}
