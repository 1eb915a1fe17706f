/* SPDX-License-Identifier: Apache-2.0 */
/* engine/log.c - what the engine has said of the job, kept for who asks later. */
#include <string.h>

#include "engine/engine.h"

#define NOTES_MAX 200 /* of each some hundred bytes */
#define TAIL_LINES 20

static void add_line(GString *text, guint64 monotonic_us, const char *what)
{
    gint64 ago_us = g_get_monotonic_time() - (gint64)monotonic_us;
    g_string_append_printf(text, "%" G_GINT64_FORMAT " %s\n", g_get_real_time() - ago_us, what);
}

void vt_log_note(VtEngine *engine, CtlNote kind, const char *text)
{
    g_autoptr(GString) line = g_string_new(NULL);
    add_line(line, (guint64)g_get_monotonic_time(), text);
    if (engine->notes->len >= NOTES_MAX)
        g_ptr_array_remove_index(engine->notes, 0);
    g_ptr_array_add(engine->notes, g_strdup(line->str));
    vt_channel_send_text(engine->client, CTL_NOTE, (guint8)kind, text);
    vt_team_tell_note(engine, kind, text);
}

static void add_tail(GString *text, const VtVm *vm, const char *what, const VtConsole *console)
{
    g_autofree char *tail = vt_console_tail(console, TAIL_LINES, "  ");
    if (*tail)
        g_string_append_printf(text, "  %s: %s\n%s", vt_vm_name(vm), what, tail);
}

char *vt_log_describe(const VtEngine *engine)
{
    GString *text = g_string_new(NULL);
    for (unsigned phase = 0; phase < CTL_PHASES; phase++)
        if (engine->phase_us[phase] > 0)
            add_line(text, engine->phase_us[phase], ctl_phase_name(phase));
    for (guint i = 0; i < engine->notes->len; i++)
        g_string_append(text, engine->notes->pdata[i]);
    for (guint i = 0; i < engine->job->vms; i++) {
        add_tail(text, &engine->vms[i], "serial console", engine->vms[i].console);
        add_tail(text, &engine->vms[i], "QEMU", engine->vms[i].qemu_log);
        add_tail(text, &engine->vms[i], "file servers", engine->vms[i].server_log);
    }
    return g_string_free(text, FALSE);
}
