/* SPDX-License-Identifier: Apache-2.0 */
/* vm/qmp.c - the monitor's lines, one command at a time. Theory of operation: vm/qmp.h. */
#include "vm/qmp.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"

#define READ_SIZE 65536
#define ERROR_MAX 200 /* characters of QEMU's own words in a message of ours */

typedef struct {
    char *name;
    json_t *arguments;
    guint deadline_ms;
    VtQmpReply reply;
    gpointer data;
} Command;

typedef enum {
    STATE_GREETING,    /* QEMU has said nothing yet */
    STATE_NEGOTIATING, /* qmp_capabilities is the outstanding command */
    STATE_READY,
    STATE_FAILED, /* nothing is read, written or called any more */
} State;

struct VtQmp {
    guint holds; /* the owner's, and one of each function that calls handlers */
    int fd;
    guint deadline_ms; /* of greeting and negotiation */
    State state;
    VtQmpHandlers handlers;
    gpointer data;
    GString *in, *out;
    gsize searched; /* bytes of `in` that hold no newline */
    GQueue waiting;
    Command *current; /* sent or being sent; NULL if none is outstanding */
    guint64 serial;   /* id of the newest command */
    guint reader, writer, timer, failer;
    GError *failure; /* waits for `failer` to tell it */
};

static void command_free(gpointer data)
{
    Command *command = data;
    if (!command)
        return;
    g_free(command->name);
    json_decref(command->arguments);
    g_free(command);
}

static void clear_source(guint *source)
{
    if (*source)
        g_source_remove(*source);
    *source = 0;
}

static VtQmp *hold(VtQmp *qmp)
{
    qmp->holds++;
    return qmp;
}

static void release(VtQmp *qmp)
{
    if (--qmp->holds > 0)
        return;
    g_string_free(qmp->in, TRUE);
    g_string_free(qmp->out, TRUE);
    g_clear_error(&qmp->failure);
    g_free(qmp);
}

/* Ends all that goes on by itself. */
static void stop(VtQmp *qmp)
{
    qmp->state = STATE_FAILED;
    clear_source(&qmp->reader);
    clear_source(&qmp->writer);
    clear_source(&qmp->timer);
    clear_source(&qmp->failer);
    g_queue_clear_full(&qmp->waiting, command_free);
    g_clear_pointer(&qmp->current, command_free);
    vt_fd_clear(&qmp->fd);
}

static gboolean on_failure(gpointer data)
{
    VtQmp *qmp = hold(data);
    void (*failed)(const GError *, gpointer) = qmp->handlers.failed;

    qmp->failer = 0;
    if (failed)
        failed(qmp->failure, qmp->data);
    release(qmp);
    return G_SOURCE_REMOVE;
}

/* `failed` is called from the main loop, never from inside a call of our user's. */
static void fail(VtQmp *qmp, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void fail(VtQmp *qmp, const char *format, ...)
{
    va_list args;

    if (qmp->state == STATE_FAILED)
        return;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    stop(qmp);
    vt_error_set(&qmp->failure, VT_ERROR_HOST, "%s", message);
    qmp->failer = g_idle_add_full(G_PRIORITY_DEFAULT, on_failure, qmp, NULL);
}

static gboolean on_deadline(gpointer data)
{
    VtQmp *qmp = data;

    qmp->timer = 0;
    if (qmp->current)
        fail(qmp, "QEMU did not answer '%s' within %u ms", qmp->current->name,
             qmp->current->deadline_ms);
    else
        fail(qmp, "QEMU's monitor did not greet in time");
    return G_SOURCE_REMOVE;
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data);

/* Writes what the socket takes. */
static void flush(VtQmp *qmp)
{
    while (qmp->out->len > 0) {
        ssize_t n = send(qmp->fd, qmp->out->str, qmp->out->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            fail(qmp, "cannot write to QEMU's monitor: %s", g_strerror(errno));
            return;
        }
        if (n < 0) {
            if (!qmp->writer)
                qmp->writer = g_unix_fd_add(qmp->fd, G_IO_OUT, on_writable, qmp);
            return;
        }
        g_string_erase(qmp->out, 0, n);
    }
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    VtQmp *qmp = data;

    flush(qmp);
    if (qmp->state != STATE_FAILED && qmp->out->len > 0)
        return G_SOURCE_CONTINUE;
    qmp->writer = 0;
    return G_SOURCE_REMOVE;
}

static void send_command(VtQmp *qmp, Command *command)
{
    json_t *message = json_pack("{s:s, s:O*, s:I}", "execute", command->name, "arguments",
                                command->arguments, "id", (json_int_t)++qmp->serial);
    char *text = json_dumps(message, JSON_COMPACT);

    qmp->current = command;
    qmp->timer = g_timeout_add(command->deadline_ms, on_deadline, qmp);
    g_string_append(qmp->out, text);
    g_string_append_c(qmp->out, '\n');
    free(text);
    json_decref(message);
    flush(qmp);
}

static void send_next(VtQmp *qmp)
{
    if (qmp->state == STATE_READY && !qmp->current && !g_queue_is_empty(&qmp->waiting))
        send_command(qmp, g_queue_pop_head(&qmp->waiting));
}

static Command *command_new(const char *name, json_t *arguments, guint deadline_ms,
                            VtQmpReply reply, gpointer data)
{
    Command *command = g_new0(Command, 1);

    command->name = g_strdup(name);
    command->arguments = arguments;
    command->deadline_ms = deadline_ms;
    command->reply = reply;
    command->data = data;
    return command;
}

void vt_qmp_command(VtQmp *qmp, const char *name, json_t *arguments, guint deadline_ms,
                    VtQmpReply reply, gpointer data)
{
    Command *command = command_new(name, arguments, deadline_ms, reply, data);

    if (qmp->state == STATE_FAILED) {
        command_free(command);
        return;
    }
    if (g_queue_get_length(&qmp->waiting) >= VT_QMP_QUEUE_MAX) {
        command_free(command);
        fail(qmp, "more than %d commands wait for QEMU's monitor", VT_QMP_QUEUE_MAX);
        return;
    }
    g_queue_push_tail(&qmp->waiting, command);
    send_next(qmp);
}

/* What QEMU says of an error, as text for a person. (transfer full) */
static char *error_text(const json_t *message)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(message, "error"), "desc"));
    char *shown = g_strndup(text ? text : "no description", ERROR_MAX);

    for (char *at = shown; *at; at++)
        if (!g_ascii_isprint(*at))
            *at = '?';
    return shown;
}

static void take_greeting(VtQmp *qmp)
{
    clear_source(&qmp->timer);
    qmp->state = STATE_NEGOTIATING;
    send_command(qmp, command_new("qmp_capabilities", NULL, qmp->deadline_ms, NULL, NULL));
}

static void take_reply(VtQmp *qmp, VtQmpKind kind, json_t *message)
{
    Command *command = g_steal_pointer(&qmp->current);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = kind == VT_QMP_ERROR ? error_text(message) : NULL;

    clear_source(&qmp->timer);
    if (text)
        vt_error_set(&error, VT_ERROR_HOST, "QEMU refused '%s': %s", command->name, text);
    if (qmp->state == STATE_NEGOTIATING && error) {
        fail(qmp, "%s", error->message);
    } else if (qmp->state == STATE_NEGOTIATING) {
        qmp->state = STATE_READY;
        if (qmp->handlers.ready)
            qmp->handlers.ready(qmp->data);
    } else if (command->reply) {
        command->reply(error ? NULL : json_object_get(message, "return"), error, command->data);
    }
    command_free(command);
    send_next(qmp);
}

static bool is_answer_to_current(const VtQmp *qmp, const json_t *message)
{
    const json_t *id = json_object_get(message, "id");

    return qmp->current && json_is_integer(id) && json_integer_value(id) == (json_int_t)qmp->serial;
}

static void take_message(VtQmp *qmp, VtQmpKind kind, json_t *message)
{
    bool greets = kind == VT_QMP_GREETING;

    if (kind == VT_QMP_BAD)
        fail(qmp, "QEMU's monitor sent what is not its protocol");
    else if (greets != (qmp->state == STATE_GREETING))
        fail(qmp, "QEMU's monitor %s", greets ? "greeted twice" : "did not greet first");
    else if (greets)
        take_greeting(qmp);
    else if (kind != VT_QMP_EVENT && !is_answer_to_current(qmp, message))
        fail(qmp, "QEMU's monitor answered what was not asked");
    else if (kind != VT_QMP_EVENT)
        take_reply(qmp, kind, message);
    else if (qmp->handlers.event)
        qmp->handlers.event(json_string_value(json_object_get(message, "event")),
                            json_object_get(message, "data"), qmp->data);
}

/* Each whole line leaves the buffer before it is acted upon. */
static void take_lines(VtQmp *qmp)
{
    while (qmp->state != STATE_FAILED) {
        char *end = memchr(qmp->in->str + qmp->searched, '\n', qmp->in->len - qmp->searched);
        json_auto_t *message = NULL;
        VtQmpKind kind;

        qmp->searched = end ? 0 : qmp->in->len;
        if ((end ? (gsize)(end - qmp->in->str) : qmp->in->len) > VT_QMP_LINE_MAX) {
            fail(qmp, "QEMU's monitor sent a message over %d bytes", VT_QMP_LINE_MAX);
            return;
        }
        if (!end)
            return;
        kind = vt_qmp_parse(qmp->in->str, (gsize)(end - qmp->in->str), &message);
        g_string_erase(qmp->in, 0, end + 1 - qmp->in->str);
        take_message(qmp, kind, message);
    }
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    VtQmp *qmp = hold(data);
    char buffer[READ_SIZE];
    ssize_t n = read(fd, buffer, sizeof buffer);

    if (n > 0) {
        g_string_append_len(qmp->in, buffer, n);
        take_lines(qmp);
    } else if (n == 0) {
        fail(qmp, "QEMU closed its monitor");
    } else if (errno != EINTR && errno != EAGAIN) {
        fail(qmp, "cannot read from QEMU's monitor: %s", g_strerror(errno));
    }
    release(qmp);
    return G_SOURCE_CONTINUE;
}

VtQmp *vt_qmp_new(int fd, guint deadline_ms, const VtQmpHandlers *handlers, gpointer data)
{
    VtQmp *qmp = g_new0(VtQmp, 1);

    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    qmp->holds = 1;
    qmp->fd = fd;
    qmp->deadline_ms = deadline_ms;
    qmp->handlers = *handlers;
    qmp->data = data;
    qmp->in = g_string_new(NULL);
    qmp->out = g_string_new(NULL);
    g_queue_init(&qmp->waiting);
    qmp->reader = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_readable, qmp);
    qmp->timer = g_timeout_add(deadline_ms, on_deadline, qmp);
    return qmp;
}

void vt_qmp_free(VtQmp *qmp)
{
    if (!qmp)
        return;
    stop(qmp);
    release(qmp);
}

/* What an object's one telling key says; an object with several of them or of the wrong type is
 * none. */
static VtQmpKind kind_of(const json_t *message)
{
    const json_t *event = json_object_get(message, "event");
    const json_t *data = json_object_get(message, "data");
    const json_t *error = json_object_get(message, "error");
    const json_t *greeting = json_object_get(message, "QMP");
    const json_t *result = json_object_get(message, "return");

    if (!!event + !!error + !!greeting + !!result != 1)
        return VT_QMP_BAD;
    if (event)
        return json_is_string(event) && (!data || json_is_object(data)) ? VT_QMP_EVENT : VT_QMP_BAD;
    if (error)
        return json_is_object(error) ? VT_QMP_ERROR : VT_QMP_BAD;
    if (greeting)
        return json_is_object(greeting) ? VT_QMP_GREETING : VT_QMP_BAD;
    return VT_QMP_RETURN;
}

VtQmpKind vt_qmp_parse(const char *line, gsize size, json_t **message)
{
    json_auto_t *parsed = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    VtQmpKind kind = kind_of(parsed);

    *message = kind == VT_QMP_BAD ? NULL : json_incref(parsed);
    return kind;
}
