/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/sshd.c - the ssh server of a guest: a session of root's, beside the job's.
 *
 * Nobody waits for it: a client tries again until it listens (job/ssh.c). It is killed with all else
 * when the guest goes down.
 */
#include <string.h>

#include "engine/engine.h"
#include "job/guest_plan.h"

#define PROGRAM "/usr/sbin/sshd"
#define PRINTED_MAX 200 /* bytes of what a guest says of it */

void vt_sshd_start(VtVm *vm)
{
    static const char *const words[] = {PROGRAM, "-D", "-f", VT_SSH_FOLDER "/sshd_config"};
    static const char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    guint8 payload[64];
    WireWriter writer = wire_writer(payload, sizeof payload);
    VtChannel *agent = vm->agent;
    if (!vt_ssh_is_wanted(vm->engine->job, vm->engine->plan))
        return;
    wire_put_u32(&writer, 0);
    wire_put_u32(&writer, 0);
    wire_put_u32(&writer, 022);
    wire_put_u16(&writer, 0);
    wire_put_u16(&writer, 0);
    wire_put_string(&writer, "/");
    vt_channel_send_to(agent, VT_SESSION_SSHD, WIRE_OPEN, 0, payload, writer.used);
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        vt_channel_send_to(agent, VT_SESSION_SSHD, WIRE_WORD, WIRE_WORD_ARG, words[i],
                           strlen(words[i]));
    vt_channel_send_to(agent, VT_SESSION_SSHD, WIRE_WORD, WIRE_WORD_ENV, path, sizeof path - 1);
    vt_channel_send_to(agent, VT_SESSION_SSHD, WIRE_START, 0, NULL, 0);
    vm->has_sshd = true;
}

/* It says nothing that anybody waits for; where it ends by itself, the guests are on their own. */
void vt_sshd_take(VtVm *vm, const WireHeader *header, const guint8 *payload)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    if (header->type == WIRE_ENDED)
        vm->has_sshd = false;
    if (header->type != WIRE_EXIT || vm->is_sshd_over || vm->engine->state >= VT_STATE_CLOSING)
        return;
    vm->is_sshd_over = true;
    guint32 value = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    g_autofree char *printable = g_strescape(what, NULL);
    g_autofree char *how =
        header->aux == WIRE_EXIT_FAILED
            ? g_strdup_printf("%.*s: %s", PRINTED_MAX, printable, g_strerror((int)(value & 0xffff)))
            : g_strdup_printf("status %u", value);
    g_autofree char *text =
        g_strdup_printf("%s: its ssh server does not run (%s)", vt_vm_name(vm), how);
    vt_log_note(vm->engine, CTL_NOTE_ALWAYS, text);
}
