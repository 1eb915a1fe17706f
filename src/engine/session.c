/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/session.c - what a session is opened with: collected from a connection, sent to an agent.
 *
 * Reads from: the run connection, shells (the owner's). Trusts: nothing; uid, gid and groups are
 * the job document's.
 */
#include "engine/engine.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

void vt_opening_init(VtOpening *opening)
{
    opening->cwd = g_strdup("/");
    opening->words = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    opening->limits = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    opening->script = g_byte_array_new();
}

/* Keeps `aux` and the payload behind it. */
static GBytes *keep(const WireHeader *header, const guint8 *payload)
{
    guint8 *data = g_malloc(header->length + 1);
    data[0] = header->aux;
    memcpy(data + 1, payload, header->length);
    return g_bytes_new_take(data, header->length + 1);
}

static bool add_open(VtOpening *opening, const WireHeader *header, const guint8 *payload)
{
    char cwd[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_u32(&reader);
    wire_get_u32(&reader);
    opening->umask_bits = wire_get_u32(&reader) & 0777;
    opening->rows = wire_get_u16(&reader);
    opening->columns = wire_get_u16(&reader);
    wire_get_string(&reader, cwd, sizeof cwd);
    if (!wire_reader_done(&reader) || cwd[0] != '/')
        return false;
    opening->flags = header->aux;
    g_free(opening->cwd);
    opening->cwd = g_strdup(cwd);
    return true;
}

static bool add_word(VtOpening *opening, const WireHeader *header, const guint8 *payload)
{
    opening->words_size += header->length + 1;
    if (header->aux > WIRE_WORD_PROGRAM || header->length > WIRE_WORD_MAX ||
        opening->words->len >= WIRE_WORDS_MAX || opening->words_size > WIRE_ARENA_MAX ||
        memchr(payload, 0, header->length))
        return false;
    g_ptr_array_add(opening->words, keep(header, payload));
    return true;
}

bool vt_opening_add(VtOpening *opening, const WireHeader *header, const guint8 *payload)
{
    if (opening->complete)
        return false;
    switch (header->type) {
    case WIRE_OPEN:
        return add_open(opening, header, payload);
    case WIRE_WORD:
        return add_word(opening, header, payload);
    case WIRE_LIMIT:
        if (header->aux >= RLIM_NLIMITS || header->length != 16 ||
            opening->limits->len >= RLIM_NLIMITS)
            return false;
        g_ptr_array_add(opening->limits, keep(header, payload));
        return true;
    case CTL_SCRIPT:
        if (opening->script->len + header->length > CTL_SCRIPT_MAX)
            return false;
        g_byte_array_append(opening->script, payload, header->length);
        return true;
    case WIRE_START:
        opening->complete = true;
        return opening->words->len > 0;
    default:
        return false;
    }
}

void vt_opening_clear(VtOpening *opening)
{
    g_clear_pointer(&opening->cwd, g_free);
    g_clear_pointer(&opening->words, g_ptr_array_unref);
    g_clear_pointer(&opening->limits, g_ptr_array_unref);
    g_clear_pointer(&opening->script, g_byte_array_unref);
}

static void send_kept(VtChannel *agent, guint16 session, guint8 type, const GPtrArray *kept)
{
    for (guint i = 0; i < kept->len; i++) {
        gsize size;
        const guint8 *data = g_bytes_get_data(g_ptr_array_index(kept, i), &size);
        vt_channel_send_to(agent, session, type, data[0], data + 1, size - 1);
    }
}

void vt_session_send_script(VtEngine *engine)
{
    const VtOwner *owner = &engine->job->owner;
    const GByteArray *script = engine->opening.script;
    guint8 step[64];
    WireWriter writer = wire_writer(step, sizeof step);
    wire_put_u32(&writer, owner->uid);
    wire_put_u32(&writer, owner->gid);
    wire_put_u32(&writer, S_IRUSR | S_IXUSR);
    wire_put_string(&writer, CTL_SCRIPT_PATH);
    vt_channel_send(engine->vms[0].agent, WIRE_STEP, WIRE_STEP_FILE, step, writer.used);
    for (gsize at = 0; at < script->len; at += WIRE_PAYLOAD_MAX)
        vt_channel_send(engine->vms[0].agent, WIRE_STEP, WIRE_STEP_APPEND, script->data + at,
                        MIN(script->len - at, WIRE_PAYLOAD_MAX));
    vt_channel_send(engine->vms[0].agent, WIRE_PLAN_END, 0, NULL, 0);
}

static void send_groups(const VtOwner *owner, VtChannel *agent, guint16 session)
{
    guint8 payload[WIRE_GROUPS_MAX * 4];
    WireWriter writer = wire_writer(payload, sizeof payload);
    for (gsize i = 0; i < MIN(owner->n_groups, WIRE_GROUPS_MAX); i++)
        wire_put_u32(&writer, owner->groups[i]);
    vt_channel_send_to(agent, session, WIRE_GROUPS, 0, payload, writer.used);
}

void vt_opening_send(const VtOpening *opening, VtVm *vm, guint16 session)
{
    const VtOwner *owner = &vm->engine->job->owner;
    guint8 payload[64 + WIRE_STRING_MAX];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, owner->uid);
    wire_put_u32(&writer, owner->gid);
    wire_put_u32(&writer, opening->umask_bits);
    wire_put_u16(&writer, opening->rows);
    wire_put_u16(&writer, opening->columns);
    wire_put_string(&writer, opening->cwd);
    vt_channel_send_to(vm->agent, session, WIRE_OPEN, opening->flags, payload, writer.used);
    send_groups(owner, vm->agent, session);
    send_kept(vm->agent, session, WIRE_LIMIT, opening->limits);
    send_kept(vm->agent, session, WIRE_WORD, opening->words);
    vt_channel_send_to(vm->agent, session, WIRE_START, 0, NULL, 0);
}

void vt_session_open(VtEngine *engine)
{
    vt_opening_send(&engine->opening, &engine->vms[0], 0);
    vt_stream_start(engine, WIRE_STDOUT);
    vt_stream_start(engine, WIRE_STDERR);
}
