/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/control.c - the control socket.
 *
 * Reads from: whoever could open a socket of mode 0600 in a folder of mode 0700. Trusts: nothing of
 * what is sent.
 */
#include "ctl/control.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"

#define CONSOLE_LINES 1000

typedef struct {
    VtEngine *engine;
    VtChannel *channel;
    bool is_handed; /* the daemon's for somebody else */
    VtShell *shell; /* what it has become; without both it answers requests */
    VtFollower *follower;
} Control;

static void add_control(VtEngine *engine, int fd, bool is_handed);

static void control_free(gpointer data)
{
    Control *control = data;
    if (control->shell)
        vt_shell_leave(control->shell);
    if (control->follower)
        vt_follower_leave(control->follower);
    vt_channel_free(control->channel);
    g_free(control);
}

static void answer(Control *control, const char *text)
{
    vt_channel_send(control->channel, CTL_ANSWER, 0, text, MIN(strlen(text), WIRE_PAYLOAD_MAX));
}

static CtlPhase newest_phase(const VtEngine *engine)
{
    CtlPhase phase = CTL_PHASES - 1;
    while (phase > 0 && engine->phase_us[phase] == 0)
        phase--;
    return phase;
}

char *vt_control_describe(const VtEngine *engine)
{
    guint cores = 0;
    for (guint i = 0; i < engine->plan->n_names; i++)
        cores += engine->plan->names[i].vcpus;
    return g_strdup_printf(
        "id=%s\nname=%s\nuser=%s\nimage=%s\nvm=%s\nphase=%s\nram_mib=%u\n"
        "vcpus=%u\nvms=%u\nnet=%s\nmemory_mib=%u\nnode=%u\nnodes=%u\nall_vms=%u\ncores=%u\n",
        engine->job->id, engine->job->name, engine->job->owner.user,
        vt_choice_word(&vt_image_choice, engine->job->image), engine->plan->vms[0].name,
        engine->is_paused ? "paused" : ctl_phase_name(newest_phase(engine)), engine->plan->ram_mib,
        engine->plan->vcpus, engine->plan->n_vms, vt_choice_word(&vt_net_choice, engine->plan->net),
        engine->oom.memory_mib, engine->job->node, engine->job->nodes, engine->plan->n_names,
        cores);
}

/* A connection that is not taken is closed: its owner's end says so. */
static void take_hand(Control *control, guint8 kind, guint32 node)
{
    VtEngine *engine = control->engine;
    vt_autofd fd = vt_channel_take_fd(control->channel);
    if (fd < 0)
        return;
    if (kind == CTL_HAND_FOLLOWER) {
        if (vt_team_take(engine, node, fd))
            fd = -1;
    } else if (kind == CTL_HAND_CONTROL)
        add_control(engine, vt_fd_steal(&fd), true);
    else if (vt_client_take(engine, fd))
        fd = -1;
    else
        ctl_run_send_text(
            fd, CTL_OUTCOME, CTL_REASON_HOST,
            "the job's script has been started already, or its virtual machine is not "
            "ready");
}

static void refuse(Control *control, const char *why)
{
    vt_channel_send_text(control->channel, CTL_REFUSED, 0, why);
    g_ptr_array_remove(control->engine->controls, control);
}

static void open_shell(Control *control, guint vm)
{
    const char *why = NULL;
    control->shell = vt_shell_new(control->engine, vm, control->channel, &why);
    if (!control->shell) {
        refuse(control, why);
        return;
    }
    g_autofree char *job = vt_control_describe(control->engine);
    g_autofree char *text =
        g_strdup_printf("%shome=%s\nshell=%s\n", job, control->engine->job->owner.home,
                        control->engine->job->owner.shell);
    answer(control, text);
}

static void show_console(Control *control, guint vm, bool is_followed)
{
    if (vm >= control->engine->job->vms) {
        refuse(control, "the job has no such virtual machine");
        return;
    }
    g_autofree char *text = vt_console_tail(control->engine->vms[vm].console, CONSOLE_LINES, "");
    answer(control, text);
    if (is_followed && control->engine->state < VT_STATE_DONE)
        control->follower = vt_follower_new(&control->engine->vms[vm], control->channel);
}

static void on_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    Control *control = data;
    VtEngine *engine = control->engine;
    if (control->shell || control->follower) {
        if (control->shell ? !vt_shell_take(control->shell, header, payload)
                           : !vt_follower_take(control->follower, header, payload))
            g_ptr_array_remove(engine->controls, control);
        return;
    }
    g_autofree char *text = NULL;
    char message[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    guint vm;
    /* Who asks without reading the answers is not served. */
    if (vt_channel_queued(control->channel) >= WIRE_PAYLOAD_MAX) {
        g_ptr_array_remove(engine->controls, control);
        return;
    }
    bool is_daemons = header->type == CTL_HAND || header->type == CTL_FAIL;
    switch (control->is_handed && is_daemons ? 0 : header->type) {
    case CTL_HAND:
        take_hand(control, header->aux, wire_get_u32(&reader));
        break;
    case CTL_FAIL:
        wire_get_string(&reader, message, sizeof message);
        vt_life_fail(engine, CTL_REASON_NODE, message);
        break;
    case CTL_QUERY:
        text = vt_control_describe(engine);
        answer(control, text);
        break;
    case CTL_CONSOLE:
        show_console(control, header->aux, header->length == 1 && payload[0] == 1);
        break;
    case CTL_LOG:
        text = vt_log_describe(engine);
        answer(control, text);
        break;
    case CTL_SHELL:
        open_shell(control, header->aux);
        break;
    case CTL_END:
        answer(control, "");
        vt_life_stop(engine, CTL_REASON_ENDED,
                     header->aux == CTL_END_NOW ? CTL_END_NOW : CTL_END_TERM);
        break;
    case CTL_FAULT:
        vm = header->length == 1 ? payload[0] : 0;
        if (vm < engine->job->vms)
            vt_channel_send(engine->vms[vm].agent, WIRE_FAULT, header->aux, NULL, 0);
        answer(control, "");
        break;
    default:
        refuse(control, "unknown request");
    }
}

static void on_closed(const char *reason, gpointer data)
{
    Control *control = data;
    g_ptr_array_remove(control->engine->controls, control);
}

static void add_control(VtEngine *engine, int fd, bool is_handed)
{
    const VtChannelHandlers handlers = {.frame = on_frame, .closed = on_closed};
    vt_autofd connection = fd;
    guint plain = 0;
    for (guint i = 0; i < engine->controls->len; i++)
        plain += !((const Control *)engine->controls->pdata[i])->shell;
    if (plain >= CTL_CONTROLS_MAX || engine->controls->len >= CTL_CONTROLS_MAX + 2 * CTL_SHELLS_MAX)
        return;
    Control *control = g_new0(Control, 1);
    control->engine = engine;
    control->is_handed = is_handed;
    control->channel = vt_channel_new(vt_fd_steal(&connection), &handlers, control);
    if (!is_handed)
        vt_channel_keep_fds(control->channel);
    g_ptr_array_add(engine->controls, control);
}

static gboolean on_connection(gint fd, GIOCondition condition, gpointer data)
{
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection >= 0)
        add_control(data, connection, false);
    return G_SOURCE_CONTINUE;
}

bool vt_control_listen(VtEngine *engine, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    vt_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control",
               engine->folder);
    mode_t old = umask(0177);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
              listen(fd, CTL_CONTROLS_MAX) == 0;
    int errnum = errno;
    umask(old);
    if (!ok)
        return vt_error_set_errno(error, VT_ERROR_HOST, errnum, "cannot make the control socket");
    engine->control = vt_fd_steal(&fd);
    vt_fd_clear(&engine->folder);
    return true;
}

void vt_control_start(VtEngine *engine)
{
    engine->controls = g_ptr_array_new_with_free_func(control_free);
    g_unix_fd_add(engine->control, G_IO_IN, on_connection, engine);
}

static bool is_everything_read(const VtEngine *engine)
{
    for (guint i = 0; i < engine->controls->len; i++)
        if (vt_channel_queued(((const Control *)engine->controls->pdata[i])->channel) > 0)
            return false;
    return true;
}

void vt_control_end(VtEngine *engine)
{
    vt_life_linger(engine, is_everything_read);
    g_ptr_array_set_size(engine->controls, 0);
}
