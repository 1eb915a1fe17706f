/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/shell.c - sessions beside the job's, each at the other end of a control connection.
 *
 * Theory of operation. OPENING -start-> STARTED -the agent's ENDED-> OVER. In OPENING nothing but a
 * number of the agent's is taken. In STARTED frames go both ways as they come, with the number put
 * in and taken out; what the agent may send is what the client has granted, at most
 * SHELL_CREDIT_MAX, so nothing is held here but what the client's socket does not take, and a
 * client that grants without reading loses its connection. Where the connection ends first, the
 * session is hung up, later killed, and lives on here without a client until the agent has ended
 * it: only then is its number free again.
 *
 * Reads from: whoever may control the job; the agent. Trusts: nothing; uid, gid and groups are the
 * job document's, whoever asks.
 */
#include <signal.h>
#include <string.h>

#include "base/error.h"
#include "ctl/control.h"
#include "engine/engine.h"
#include "job/environment.h"
#include "wire/frame.h"

#define SESSION_MIN 2                            /* 0 is the job's, 1 the ssh server's */
#define SHELL_CREDIT_MAX (2 * CTL_OUTPUT_WINDOW) /* that a client may have granted, a stream */
#define SHELL_QUEUE_MAX (4 * CTL_OUTPUT_WINDOW)  /* that waits for a client, or for the agent */

typedef enum { OPENING, STARTED, OVER } State;

struct VtShell {
    VtVm *vm;
    guint16 number;
    VtChannel *client; /* NULL: gone */
    State state;
    VtOpening opening;
    gint64 credit
        [3]; /* of the outputs, as the agent knows it; before the start: as the client has said */
    bool ended[3]; /* by the agent; [0]: nobody reads it */
    guint64 input_credit;
    bool is_running, has_exited;
    char *failure; /* why the command could not be started, or NULL */
    guint kill_timer;
};

static guint count(const VtEngine *engine)
{
    guint n = 0;
    for (guint i = 0; i < engine->job->vms; i++)
        for (guint session = SESSION_MIN; session < WIRE_SESSIONS_MAX; session++)
            n += engine->vms[i].shells[session] != NULL;
    return n;
}

static guint16 find_number(const VtVm *vm)
{
    for (guint16 session = SESSION_MIN; session < WIRE_SESSIONS_MAX; session++)
        if (!vm->shells[session])
            return session;
    return 0;
}

VtShell *vt_shell_new(VtEngine *engine, guint vm, VtChannel *client, const char **why)
{
    bool is_there = vm < engine->job->vms;
    guint16 number = is_there ? find_number(&engine->vms[vm]) : 0;
    if (!is_there)
        *why = "the job has no such virtual machine";
    else if (engine->state >= VT_STATE_CLOSING)
        *why = "the job is ending";
    else if (engine->vms[vm].state != VT_VM_READY)
        *why = "the virtual machine is not ready yet";
    else if (number == 0 || count(engine) >= CTL_SHELLS_MAX)
        *why = "the job has as many shells as it can have";
    else {
        VtShell *shell = g_new0(VtShell, 1);
        shell->vm = &engine->vms[vm];
        shell->number = number;
        shell->client = client;
        vt_opening_init(&shell->opening);
        return shell->vm->shells[number] = shell;
    }
    return NULL;
}

static void shell_free(VtShell *shell)
{
    if (shell->vm->shells[shell->number] == shell)
        shell->vm->shells[shell->number] = NULL;
    g_clear_handle_id(&shell->kill_timer, g_source_remove);
    vt_opening_clear(&shell->opening);
    g_free(shell->failure);
    g_free(shell);
}

static void to_agent(const VtShell *shell, guint8 type, guint8 aux, const void *payload, gsize size)
{
    vt_channel_send_to(shell->vm->agent, shell->number, type, aux, payload, size);
}

static void tell(VtShell *shell, CtlReason reason, const char *message)
{
    if (shell->client)
        vt_channel_send_text(shell->client, CTL_OUTCOME, (guint8)reason, message ? message : "");
    shell->state = OVER;
}

static bool is_terminal(const VtShell *shell)
{
    return shell->opening.flags == WIRE_OPEN_PTY;
}

/* What the job's script has found, as its run connection said it; before that came: as a local job
 * finds it. (transfer full) of GBytes as in VtOpening. */
static GPtrArray *job_environment(const VtEngine *engine)
{
    GPtrArray *words = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    for (guint i = 0; engine->opening.complete && i < engine->opening.words->len; i++) {
        GBytes *word = engine->opening.words->pdata[i];
        if (*(const guint8 *)g_bytes_get_data(word, NULL) == WIRE_WORD_ENV)
            g_ptr_array_add(words, g_bytes_ref(word));
    }
    if (engine->opening.complete)
        return words;
    char *const nothing[] = {NULL};
    const VtEnvironmentSource source = {
        .job = engine->job, .submit_environment = nothing, .work_dir = engine->job->submit_dir};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) entries = vt_environment_new(&source, notes, NULL);
    for (char **entry = entries; entry && *entry; entry++) {
        g_autofree char *word = g_strdup_printf("%c%s", WIRE_WORD_ENV, *entry);
        g_ptr_array_add(words, g_bytes_new(word, strlen(word)));
    }
    return words;
}

/* True for two words, kind and text, that set the same variable. */
static bool is_same_variable(GBytes *a, GBytes *b)
{
    gsize a_size, b_size;
    const guint8 *a_data = g_bytes_get_data(a, &a_size), *b_data = g_bytes_get_data(b, &b_size);
    const guint8 *equals = memchr(a_data, '=', a_size);
    gsize name = equals ? (gsize)(equals - a_data) + 1 : a_size;
    return a_data[0] == WIRE_WORD_ENV && b_size >= name && memcmp(a_data, b_data, name) == 0;
}

static bool has_variable(const GPtrArray *words, GBytes *variable)
{
    for (guint i = 0; i < words->len; i++)
        if (is_same_variable(words->pdata[i], variable))
            return true;
    return false;
}

/* Adds the job's environment and limits to the opening. False if the agent would refuse it, and
 * with it the job. */
static bool complete(VtShell *shell)
{
    VtOpening *opening = &shell->opening;
    const VtEngine *engine = shell->vm->engine;
    g_autoptr(GPtrArray) variables = job_environment(engine);
    guint own = opening->words->len;
    bool has_argument = false;
    for (guint i = 0; i < own; i++)
        has_argument |=
            *(const guint8 *)g_bytes_get_data(opening->words->pdata[i], NULL) == WIRE_WORD_ARG;
    for (guint i = 0; i < variables->len; i++) {
        GBytes *variable = variables->pdata[i];
        if (has_variable(opening->words, variable))
            continue;
        opening->words_size += g_bytes_get_size(variable);
        g_ptr_array_add(opening->words, g_bytes_ref(variable));
    }
    for (guint i = 0; opening->limits->len == 0 && i < engine->opening.limits->len; i++)
        g_ptr_array_add(opening->limits, g_bytes_ref(engine->opening.limits->pdata[i]));
    return has_argument && opening->words->len <= WIRE_WORDS_MAX &&
           opening->words_size <= WIRE_ARENA_MAX;
}

static bool start(VtShell *shell)
{
    if (!complete(shell))
        return false;
    shell->state = STARTED;
    shell->ended[WIRE_STDERR] = is_terminal(shell);
    vt_opening_send(&shell->opening, shell->vm, shell->number);
    for (guint8 which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        guint8 payload[4];
        WireWriter writer = wire_writer(payload, sizeof payload);
        wire_put_u32(&writer, (guint32)shell->credit[which]);
        if (shell->credit[which] > 0 && !shell->ended[which])
            to_agent(shell, WIRE_CREDIT, which, payload, sizeof payload);
    }
    return true;
}

/* Whoever grants more than it reads would have it kept here. */
static bool take_credit(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    guint32 bytes = wire_get_u32(&reader);
    if (shell->has_exited || shell->ended[header->aux])
        return true;
    shell->credit[header->aux] += bytes;
    if (shell->credit[header->aux] > SHELL_CREDIT_MAX ||
        vt_channel_queued(shell->client) > SHELL_QUEUE_MAX)
        return false;
    if (shell->state == STARTED)
        to_agent(shell, WIRE_CREDIT, header->aux, payload, header->length);
    return true;
}

/* What is passed on needs no look at its payload but at how much it is. */
static bool pass_on(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    if (header->type == WIRE_DATA) {
        if (header->length > shell->input_credit)
            return false;
        shell->input_credit -= header->length;
    }
    /* Nobody can type so fast: the machine does not take it. */
    if (vt_channel_queued(shell->vm->agent) > SHELL_QUEUE_MAX)
        return false;
    bool is_moot = header->type == WIRE_CLOSE && header->aux == WIRE_STDERR && is_terminal(shell);
    if (!shell->has_exited && !is_moot)
        to_agent(shell, header->type, header->aux, payload, header->length);
    return true;
}

bool vt_shell_take(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    if (shell->state == OVER)
        return true;
    if (header->session != 0 || wire_frame_check(header, payload, WIRE_ENGINE) < 0)
        return false;
    switch (header->type) {
    case WIRE_GROUPS:
        return true;
    case WIRE_CREDIT:
        return take_credit(shell, header, payload);
    case WIRE_OPEN:
    case WIRE_WORD:
    case WIRE_LIMIT:
        return vt_opening_add(&shell->opening, header, payload);
    case WIRE_START:
        return vt_opening_add(&shell->opening, header, payload) && start(shell);
    case WIRE_CLOSE:
    case WIRE_DATA:
    case WIRE_SIGNAL:
    case WIRE_WINSIZE:
        return shell->state == STARTED && pass_on(shell, header, payload);
    default:
        return false;
    }
}

static gboolean on_hung_up(gpointer data)
{
    VtShell *shell = data;
    shell->kill_timer = 0;
    to_agent(shell, WIRE_SIGNAL, SIGKILL, NULL, 0);
    return G_SOURCE_REMOVE;
}

void vt_shell_leave(VtShell *shell)
{
    if (shell->state == STARTED && !shell->has_exited) {
        to_agent(shell, WIRE_SIGNAL, SIGHUP, NULL, 0);
        to_agent(shell, WIRE_SIGNAL, SIGCONT, NULL, 0);
    }
    /* Of a terminal the first of these is the hang-up; of what is over, they are ignored. */
    if (shell->state == STARTED)
        to_agent(shell, WIRE_CLOSE, WIRE_STDOUT, "", 1);
    if (shell->state == STARTED && !is_terminal(shell)) {
        to_agent(shell, WIRE_CLOSE, WIRE_STDERR, "", 1);
        to_agent(shell, WIRE_CLOSE, WIRE_STDIN, "", 1);
    }
    shell->client = NULL;
    if (shell->state == STARTED)
        shell->kill_timer = g_timeout_add_seconds(CTL_SHELL_HUP_S, on_hung_up, shell);
    else
        shell_free(shell);
}

static bool take_input_frame(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    if (shell->ended[WIRE_STDIN])
        return false;
    if (header->type == WIRE_CLOSE)
        shell->ended[WIRE_STDIN] = true;
    else
        shell->input_credit += wire_get_u32(&reader);
    return shell->input_credit <= WIRE_INPUT_WINDOW;
}

static bool take_output_frame(VtShell *shell, const WireHeader *header)
{
    if (shell->ended[header->aux])
        return false;
    if (header->type == WIRE_CLOSE)
        shell->ended[header->aux] = true;
    else
        shell->credit[header->aux] -= header->length;
    return shell->credit[header->aux] >= -WIRE_TAIL_MAX;
}

static bool take_exit(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    guint32 value = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    if (shell->has_exited)
        return false;
    shell->has_exited = true;
    if (header->aux == WIRE_EXIT_FAILED) {
        g_autofree char *printable = g_strescape(what, NULL);
        shell->failure = g_strdup_printf("cannot start the command in the guest: %s: %s", printable,
                                         g_strerror((int)(value & 0xffff)));
    }
    return true;
}

static void take_ended(VtShell *shell)
{
    shell->vm->shells[shell->number] = NULL;
    tell(shell, shell->failure ? CTL_REASON_START : CTL_REASON_DONE, shell->failure);
    if (!shell->client)
        shell_free(shell);
}

/* False: it may not come now. */
static bool take_session(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    switch (header->type) {
    case WIRE_STARTED:
        if (shell->is_running || shell->has_exited)
            return false;
        shell->is_running = true;
        return true;
    case WIRE_EXIT:
        return take_exit(shell, header, payload);
    case WIRE_ENDED:
        return shell->has_exited;
    case WIRE_CREDIT:
        return take_input_frame(shell, header, payload);
    default:
        return header->aux == WIRE_STDIN ? take_input_frame(shell, header, payload)
                                         : take_output_frame(shell, header);
    }
}

void vt_shell_take_session(VtShell *shell, const WireHeader *header, const guint8 *payload)
{
    if (shell->state != STARTED || !take_session(shell, header, payload)) {
        vt_vm_fail(shell->vm, CTL_REASON_GUEST_PROTOCOL,
                   "the guest's agent sent what it may not send (a shell's session)");
        return;
    }
    if (header->type == WIRE_ENDED)
        take_ended(shell);
    else if (shell->client)
        vt_channel_send(shell->client, header->type, header->aux, payload, header->length);
}

void vt_shell_end_all(VtVm *vm, CtlReason reason)
{
    g_autofree char *why = g_strdup_printf("the job has ended (%s)", ctl_reason_name(reason));
    for (guint session = SESSION_MIN; session < WIRE_SESSIONS_MAX; session++) {
        VtShell *shell = vm->shells[session];
        vm->shells[session] = NULL;
        if (!shell)
            continue;
        tell(shell, reason == CTL_REASON_DONE ? CTL_REASON_ENDED : reason, why);
        if (!shell->client)
            shell_free(shell);
    }
}
