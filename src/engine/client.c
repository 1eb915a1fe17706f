/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/client.c - the run connection, from the engine's side.
 *
 * Reads from: whoever stands for the owner. Trusts: nothing; a bad frame ends the job as the
 * connection's loss does.
 */
#include <signal.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "wire/frame.h"

/* The starter has learnt what it waited for, or gave up before. */
static void lose_starter(VtEngine *engine)
{
    if (engine->state == VT_STATE_DONE)
        vt_life_check_done(engine);
    else if (engine->phase_us[CTL_PHASE_READY] == 0)
        vt_life_stop(engine, CTL_REASON_ENDED, CTL_END_NOW);
}

/* The connection is of no use any more. */
static void lose(VtEngine *engine)
{
    g_clear_pointer(&engine->client, vt_channel_free);
    if (!engine->has_run) {
        lose_starter(engine);
        return;
    }
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++)
        if (engine->streams[which].file < 0)
            vt_stream_discard(engine, which);
    if (engine->state == VT_STATE_DONE)
        vt_life_check_done(engine);
    else
        vt_life_stop(engine, CTL_REASON_ENDED, CTL_END_TERM);
}

/* The hook's. Regular files alone: a pipe or a terminal could make the engine wait. */
static bool take_given_files(VtEngine *engine, guint8 streams)
{
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        if (!(streams & 1 << which))
            continue;
        vt_autofd file = vt_channel_take_fd(engine->client);
        if (file < 0 || !vt_fd_is_output_file(file))
            return false;
        vt_stream_give(engine, which, vt_fd_steal(&file));
    }
    return true;
}

/* What the client writes to is named, not handed over (ctl/run.h). */
static bool take_files(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    if (engine->opening.complete)
        return false;
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        if (!(header->aux & 1 << which))
            continue;
        guint64 device = wire_get_u64(&reader), inode = wire_get_u64(&reader);
        if (reader.ok)
            vt_stream_use_file(engine, which, device, inode);
    }
    return wire_reader_done(&reader);
}

/* What comes after the script's end is nobody's. */
static bool take_input(VtEngine *engine, const guint8 *payload, gsize size)
{
    if (size > engine->input_credit)
        return false;
    engine->input_credit -= size;
    if (engine->state == VT_STATE_RUNNING)
        vt_channel_send(engine->vms[0].agent, WIRE_DATA, WIRE_STDIN, payload, size);
    return true;
}

static bool take_stream_frame(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    bool is_input = header->aux == WIRE_STDIN;
    WireReader reader = wire_reader(payload, header->length);
    switch (header->type) {
    case WIRE_DATA:
        return take_input(engine, payload, header->length);
    case WIRE_CREDIT:
        vt_stream_credit(engine, header->aux, wire_get_u32(&reader));
        vt_life_check_done(engine);
        return true;
    default: /* WIRE_CLOSE */
        if (is_input && engine->state == VT_STATE_RUNNING)
            vt_channel_send(engine->vms[0].agent, WIRE_CLOSE, WIRE_STDIN, "", 1);
        if (!is_input) {
            vt_stream_discard(engine, header->aux);
            vt_life_check_done(engine);
        }
        return true;
    }
}

/* A signal that the user sent to vsub. Before the script lives there is nothing to hand it to but
 * the job itself. */
static void take_signal(VtEngine *engine, int number)
{
    /* A batch system says its TERM twice: by its own order to end, and to every process of the job. */
    if (engine->stopping && number == SIGTERM)
        return;
    if (engine->state == VT_STATE_RUNNING)
        vt_channel_send(engine->vms[0].agent, WIRE_SIGNAL, (guint8)number, NULL, 0);
    else if (number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT)
        vt_life_stop(engine, CTL_REASON_ENDED, CTL_END_NOW);
}

/* The agent ends at a bad frame: what is passed on to it is looked at here. */
static bool take_frame(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    bool is_ours = header->type >= CTL_PHASE;
    if (!engine->has_run && header->type == CTL_FILES)
        return take_given_files(engine, header->aux);
    if (header->session != 0 || !engine->has_run ||
        (!is_ours && wire_frame_check(header, payload, WIRE_ENGINE) < 0))
        return false;
    switch (header->type) {
    case WIRE_DATA:
    case WIRE_CREDIT:
    case WIRE_CLOSE:
        return take_stream_frame(engine, header, payload);
    case WIRE_SIGNAL:
        take_signal(engine, header->aux);
        return true;
    case WIRE_WINSIZE:
        if (engine->state == VT_STATE_RUNNING)
            vt_channel_send(engine->vms[0].agent, WIRE_WINSIZE, 0, payload, header->length);
        return true;
    case CTL_END:
        vt_life_stop(engine, CTL_REASON_ENDED,
                     header->aux == CTL_END_NOW ? CTL_END_NOW : CTL_END_TERM);
        return true;
    case CTL_PONG:
        vt_pause_answered(engine);
        return true;
    case CTL_FILES:
        return take_files(engine, header, payload);
    default:
        if (!vt_opening_add(&engine->opening, header, payload))
            return false;
        if (engine->opening.complete)
            vt_life_may_start(engine);
        return true;
    }
}

static void on_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    VtEngine *engine = data;
    if (engine->client && !take_frame(engine, header, payload))
        lose(engine);
}

static void on_closed(const char *reason, gpointer data)
{
    lose(data);
}

static void on_drained(gpointer data)
{
    vt_life_check_done(data);
}

void vt_client_phase(VtEngine *engine, CtlPhase phase)
{
    guint8 payload[8];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u64(&writer, engine->phase_us[phase]);
    if (engine->client)
        vt_channel_send(engine->client, CTL_PHASE, phase, payload, writer.used);
}

/* All servers know the same groups. */
static void tell_left_out(VtEngine *engine)
{
    const VtServer *servers = engine->vms[0].servers;
    guint left_out = MAX(servers[0].left_out, servers[1].left_out);
    if (left_out == 0)
        return;
    g_autofree char *text = g_strdup_printf(
        "%u of your %zu groups have no place in the guest's shared directories: files of theirs "
        "are nobody's there, and what such a group alone allows is refused",
        left_out, engine->job->owner.n_groups + 1);
    vt_log_note(engine, CTL_NOTE_ALWAYS, text);
}

static void listen_to(VtEngine *engine, int fd, bool is_late)
{
    const VtChannelHandlers handlers = {
        .frame = on_frame, .closed = on_closed, .drained = on_drained};
    engine->client = vt_channel_new(fd, &handlers, engine);
    if (!engine->has_run)
        vt_channel_keep_fds(engine->client);
    if (is_late) {
        g_autofree char *text = vt_control_describe(engine);
        vt_channel_send_text(engine->client, CTL_JOB, 0, text);
    }
    for (unsigned phase = CTL_PHASE_PREPARED; phase < CTL_PHASES; phase++)
        if (engine->phase_us[phase] > 0)
            vt_client_phase(engine, phase);
}

void vt_client_start(VtEngine *engine)
{
    engine->has_run = engine->job->run_wait_s == 0;
    listen_to(engine, vt_fd_steal(&engine->run), false);
    if (engine->has_run)
        tell_left_out(engine);
}

bool vt_client_take(VtEngine *engine, int fd)
{
    /* The script runs on the first node alone. */
    if (vt_team_is_follower(engine) || engine->has_run || engine->phase_us[CTL_PHASE_READY] == 0)
        return false;
    engine->has_run = true;
    g_clear_handle_id(&engine->run_timer, g_source_remove);
    g_clear_pointer(&engine->client, vt_channel_free);
    listen_to(engine, fd, true);
    tell_left_out(engine);
    vt_life_check_done(engine);
    return true;
}
