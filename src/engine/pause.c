/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/pause.c - a job whose vtorque-run is stopped rests until that goes on.
 *
 * A batch system that stops a job stops the processes that it knows, and a stopped process tells
 * nobody: it is asked each second. One question is under way at most, so that nothing piles up at
 * who does not read.
 */
#include "engine/engine.h"
#include "job/guest_plan.h"

#define PING_S 1
#define MISSING_MAX 3 /* seconds without an answer */
#define QMP_DEADLINE_MS 30000

static void set_clock(VtEngine *engine)
{
    gsize size;
    g_autoptr(GBytes) clock = vt_guest_clock((guint64)g_get_real_time() * 1000);
    const void *payload = g_bytes_get_data(clock, &size);
    engine->late_plans++;
    vt_channel_send(engine->agent, WIRE_STEP, WIRE_STEP_CLOCK, payload, size);
    vt_channel_send(engine->agent, WIRE_PLAN_END, 0, NULL, 0);
}

static gboolean on_ping(gpointer data)
{
    VtEngine *engine = data;
    if (engine->state != VT_STATE_RUNNING || !engine->client || !engine->qmp) {
        engine->ping_timer = 0;
        return G_SOURCE_REMOVE;
    }
    if (engine->missing++ == 0)
        vt_channel_send(engine->client, CTL_PING, 0, NULL, 0);
    if (engine->missing > MISSING_MAX && !engine->is_paused) {
        engine->is_paused = true;
        vt_qmp_command(engine->qmp, "stop", NULL, QMP_DEADLINE_MS, NULL, NULL);
    }
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
    if (!engine->is_paused || !engine->qmp || !engine->agent)
        return;
    engine->is_paused = false;
    vt_qmp_command(engine->qmp, "cont", NULL, QMP_DEADLINE_MS, NULL, NULL);
    /* The guest's own clock has stood still. */
    set_clock(engine);
}
