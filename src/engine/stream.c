/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/stream.c - the job's output, from the agent to whoever reads it.
 *
 * Theory of operation. A stream holds at most CTL_OUTPUT_WINDOW bytes, and WIRE_TAIL_MAX more when
 * the script has ended: the agent may send what it was granted, and is granted what was sent on. So
 * a slow reader slows the script down, as a pipe does, and a script that has ended never waits for
 * its reader.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/engine.h"

static void grant(VtEngine *engine, WireStream which)
{
    VtStream *stream = &engine->streams[which];
    gint64 room = CTL_OUTPUT_WINDOW - (gint64)stream->held->len - MAX(stream->agent_credit, 0);
    /* In large steps: a frame for each small read would cost more than the data. */
    if (engine->state != VT_STATE_RUNNING || stream->ended || stream->agent_credit < 0 ||
        room < CTL_OUTPUT_WINDOW / 2)
        return;
    vt_channel_send_u32(engine->vms[0].agent, WIRE_CREDIT, which, (guint32)room);
    stream->agent_credit += room;
}

/* A file that takes no more is the owner's to hear of; the script goes on, as it would with a
 * reader that is gone. */
static void write_held(VtEngine *engine, WireStream which)
{
    VtStream *stream = &engine->streams[which];
    gsize written = 0;
    while (written < stream->held->len && !stream->discarded) {
        ssize_t n = write(stream->file, stream->held->data + written, stream->held->len - written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0) {
            written += (gsize)n;
            continue;
        }
        g_autofree char *text =
            g_strdup_printf("cannot write the job's %s: %s; the rest is lost",
                            which == WIRE_STDOUT ? "output" : "errors", g_strerror(errno));
        vt_log_note(engine, CTL_NOTE_ALWAYS, text);
        vt_fd_clear(&stream->file);
        vt_stream_discard(engine, which);
    }
    g_byte_array_set_size(stream->held, 0);
}

static void pump(VtEngine *engine, WireStream which)
{
    VtStream *stream = &engine->streams[which];
    gsize sent = 0;
    if (stream->file >= 0)
        write_held(engine, which);
    while (engine->client && sent < stream->held->len && stream->client_credit > 0) {
        gsize size = MIN(MIN(stream->held->len - sent, WIRE_PAYLOAD_MAX), stream->client_credit);
        vt_channel_send(engine->client, WIRE_DATA, which, stream->held->data + sent, size);
        stream->client_credit -= size;
        sent += size;
    }
    /* Discarded perhaps by a send just now, which lost the client. */
    if (stream->discarded)
        g_byte_array_set_size(stream->held, 0);
    else if (sent > 0)
        g_byte_array_remove_range(stream->held, 0, (guint)sent);
    if (stream->ended && stream->held->len == 0 && !stream->told) {
        stream->told = true;
        if (engine->client)
            vt_channel_send(engine->client, WIRE_CLOSE, which, "", 1);
    }
    grant(engine, which);
}

void vt_stream_start(VtEngine *engine, WireStream which)
{
    grant(engine, which);
}

bool vt_stream_add(VtEngine *engine, WireStream which, const guint8 *data, gsize size)
{
    VtStream *stream = &engine->streams[which];
    stream->agent_credit -= (gint64)size;
    if (stream->ended || stream->agent_credit < -WIRE_TAIL_MAX)
        return false;
    g_byte_array_append(stream->held, data, (guint)size);
    pump(engine, which);
    return true;
}

bool vt_stream_end(VtEngine *engine, WireStream which)
{
    if (engine->streams[which].ended)
        return false;
    engine->streams[which].ended = true;
    pump(engine, which);
    return true;
}

void vt_stream_credit(VtEngine *engine, WireStream which, guint32 bytes)
{
    engine->streams[which].client_credit += bytes;
    pump(engine, which);
}

void vt_stream_discard(VtEngine *engine, WireStream which)
{
    VtStream *stream = &engine->streams[which];
    if (stream->discarded)
        return;
    stream->discarded = true;
    if (engine->state == VT_STATE_RUNNING && !stream->ended)
        vt_channel_send(engine->vms[0].agent, WIRE_CLOSE, which, "", 1);
    pump(engine, which);
}

void vt_stream_give(VtEngine *engine, WireStream which, int file)
{
    vt_fd_clear(&engine->streams[which].given);
    engine->streams[which].given = file;
}

void vt_stream_use_file(VtEngine *engine, WireStream which, guint64 device, guint64 inode)
{
    VtStream *stream = &engine->streams[which];
    struct stat st;
    if (stream->given >= 0 && fstat(stream->given, &st) == 0 && st.st_dev == device &&
        st.st_ino == inode)
        stream->file = vt_fd_steal(&stream->given);
}

bool vt_stream_is_done(const VtEngine *engine, WireStream which)
{
    return engine->streams[which].held->len == 0;
}
