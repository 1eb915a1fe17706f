/* SPDX-License-Identifier: Apache-2.0 */
/* hook/epilogue.c - the end of the job's virtual machine, then the site's own script. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/live.h"
#include "ctl/starting.h"
#include "hook/hook.h"

#define STARTING_S 20 /* for a start that is under way to come as far as its run folder */
#define CONNECT_MS 1000
#define ANSWER_MS 1000
#define CLEAN_MS 5000

static void on_alarm(int number)
{
}

/* A hook's time is half of the batch system's limit at most; an engine ends by itself before. */
void hook_end_job(const char *id)
{
    CtlLive live;
    const struct sigaction interrupt = {.sa_handler = on_alarm}; /* no SA_RESTART */
    sigaction(SIGALRM, &interrupt, NULL);
    alarm(STARTING_S);
    int lock = ctl_starting_lock(id);
    alarm(0);
    ctl_autofd root = ctl_root_find();
    if (root >= 0 && ctl_live_find(root, id, &live) == 0 &&
        ctl_live_end(root, &live, CTL_END_TERM, hook_limit_s() * 1000 / 2) < 0)
        fprintf(stderr, "vTorque: the job's virtual machine does not end\n");
    if (root >= 0)
        ctl_root_sweep(root, 0);
    if (lock >= 0)
        ctl_starting_unlock(id, lock);
}

/* What the user has left running goes where nobody else's is meant: the daemon knows whether the
 * site wants it, and does it. */
static void clean_user(const Hook *hook)
{
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    char order[300];
    WireHeader header;
    if (hook->argc < 3 || !hook_is_alone(hook))
        return;
    int size = snprintf(order, sizeof order, "user=%s\n", hook->argv[2]);
    ctl_autofd door = ctl_door_connect(CTL_DOOR_HOOK, CONNECT_MS);
    if (door >= 0 && size < (int)sizeof order &&
        ctl_door_send(door, CTL_DOOR_CLEAN, 0, order, (size_t)size, NULL, 0) == 0)
        ctl_door_receive(door, &header, payload, CLEAN_MS);
}

int hook_epilogue(const Hook *hook)
{
    signal(SIGPIPE, SIG_IGN);
    hook_end_job(hook->argv[1]);
    clean_user(hook);
    signal(SIGPIPE, SIG_DFL);
    return hook_chain(hook);
}

/* The site's own comes first: as on bare metal it finds the script as it was, and the batch system's
 * TERM follows ours at once, whatever time it took. */
int hook_precancel(const Hook *hook)
{
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    WireHeader header;
    hook_run_site(hook);
    signal(SIGPIPE, SIG_IGN);
    ctl_autofd door = ctl_door_connect(CTL_DOOR_USER, CONNECT_MS);
    if (door >= 0 && ctl_door_send_text(door, CTL_DOOR_END, CTL_END_TERM, hook->argv[1]) == 0)
        ctl_door_receive(door, &header, payload, ANSWER_MS);
    return 0;
}
