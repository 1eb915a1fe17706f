/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/pause.c - a job whose vtorque-run is stopped rests until that goes on.
 *
 * A batch system that stops a job stops the processes that it knows, and a stopped process tells
 * nobody: it is asked each second. One question is under way at most, so that nothing piles up at
 * who does not read.
 */
#include "engine/engine.h"

#define PING_S 1
#define MISSING_MAX 3 /* seconds without an answer */

static void command_all(VtEngine *engine, const char *command)
{
    for (guint i = 0; i < engine->job->vms; i++)
        vt_qmp_command(engine->vms[i].qmp, command, NULL, VT_QMP_DEADLINE_MS, NULL, NULL);
}

void vt_pause_set(VtEngine *engine, bool is_paused)
{
    if (engine->is_paused == is_paused || engine->state < VT_STATE_READY ||
        engine->state == VT_STATE_DONE)
        return;
    engine->is_paused = is_paused;
    command_all(engine, is_paused ? "stop" : "cont");
    vt_team_tell_pause(engine, is_paused);
    /* The guests' own clocks have stood still. */
    for (guint i = 0; !is_paused && i < engine->job->vms; i++)
        vt_vm_set_clock(&engine->vms[i]);
}

static gboolean on_ping(gpointer data)
{
    VtEngine *engine = data;
    if (engine->state != VT_STATE_RUNNING || !engine->client) {
        engine->ping_timer = 0;
        return G_SOURCE_REMOVE;
    }
    if (engine->missing++ == 0)
        vt_channel_send(engine->client, CTL_PING, 0, NULL, 0);
    if (engine->missing > MISSING_MAX)
        vt_pause_set(engine, true);
    return G_SOURCE_CONTINUE;
}

void vt_pause_start(VtEngine *engine)
{
    if (engine->job->run_wait_s > 0)
        engine->ping_timer = g_timeout_add_seconds(PING_S, on_ping, engine);
}

void vt_pause_answered(VtEngine *engine)
{
    engine->missing = 0;
    vt_pause_set(engine, false);
}
