/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/follow.c - a guest's serial console, for those who watch it and type.
 *
 * Theory of operation. A follower is a control connection that is spoken to as a session's is
 * (ctl/run.h), so that one program serves both. The console waits for nobody: what a follower has
 * granted no credit for is left out, and what the machine does not take of what is typed is lost,
 * as on a serial line.
 *
 * Reads from: whoever may control the job; the guest. Trusts: nothing.
 */
#include <unistd.h>

#include "ctl/control.h"
#include "engine/engine.h"
#include "wire/frame.h"

#define TYPED_MAX 4096 /* bytes that a follower may send before they are credited again */

struct VtFollower {
    VtVm *vm;
    VtChannel *client;
    guint64 credit; /* bytes that the follower takes */
    guint32 typed_credit;
    bool is_over;
};

VtFollower *vt_follower_new(VtVm *vm, VtChannel *client)
{
    VtFollower *follower = g_new0(VtFollower, 1);
    follower->vm = vm;
    follower->client = client;
    g_ptr_array_add(vm->followers, follower);
    return follower;
}

void vt_follower_leave(VtFollower *follower)
{
    g_ptr_array_remove(follower->vm->followers, follower);
    g_free(follower);
}

/* Far from what a channel holds: a send never ends a follower that is in use. */
static bool is_behind(const VtFollower *follower)
{
    return vt_channel_queued(follower->client) > 2 * CTL_OUTPUT_WINDOW;
}

static void start(VtFollower *follower)
{
    vt_channel_send_u32(follower->client, WIRE_STARTED, 0, 0);
    vt_channel_send_u32(follower->client, WIRE_CREDIT, WIRE_STDIN, TYPED_MAX);
    follower->typed_credit = TYPED_MAX;
}

static bool take_typed(VtFollower *follower, const guint8 *bytes, guint32 size)
{
    if (size > follower->typed_credit || is_behind(follower))
        return false;
    /* What a full line does not take is lost. */
    ssize_t n = write(follower->vm->machine.serial, bytes, size);
    (void)n;
    vt_channel_send_u32(follower->client, WIRE_CREDIT, WIRE_STDIN, size);
    return true;
}

static void end(VtFollower *follower, WireExitKind kind, guint32 value)
{
    guint8 payload[6];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, value);
    wire_put_string(&writer, "");
    vt_channel_send(follower->client, WIRE_EXIT, (guint8)kind, payload, writer.used);
    vt_channel_send_text(follower->client, CTL_OUTCOME, CTL_REASON_DONE, "");
    follower->is_over = true;
}

bool vt_follower_take(VtFollower *follower, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    if (header->session != 0 || wire_frame_check(header, payload, WIRE_ENGINE) < 0)
        return false;
    if (follower->is_over)
        return true;
    switch (header->type) {
    case WIRE_START:
        if (follower->typed_credit == 0)
            start(follower);
        return true;
    case WIRE_CREDIT:
        if (header->aux == WIRE_STDOUT)
            follower->credit += wire_get_u32(&reader);
        return !is_behind(follower);
    case WIRE_DATA:
        return take_typed(follower, payload, header->length);
    case WIRE_SIGNAL:
        end(follower, WIRE_EXIT_SIGNAL, header->aux);
        return true;
    default:
        return header->type >= WIRE_OPEN && header->type <= WIRE_CLOSE;
    }
}

void vt_follower_show_all(VtVm *vm, const guint8 *bytes, gsize size)
{
    for (guint i = 0; i < vm->followers->len; i++) {
        VtFollower *follower = vm->followers->pdata[i];
        gsize taken = is_behind(follower) ? 0 : MIN(size, follower->credit);
        follower->credit -= taken;
        if (taken > 0 && !follower->is_over)
            vt_channel_send(follower->client, WIRE_DATA, WIRE_STDOUT, bytes, taken);
    }
}

void vt_follower_end_all(VtVm *vm)
{
    for (guint i = 0; i < vm->followers->len; i++)
        if (!((VtFollower *)vm->followers->pdata[i])->is_over)
            end(vm->followers->pdata[i], WIRE_EXIT_STATUS, 0);
}
