/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm/qmp.h - a client of QEMU's monitor protocol on one stream socket.
 *
 * Theory of operation: greeting -> qmp_capabilities -> ready. Commands are queued and sent in
 * order, one outstanding at a time; each has a deadline that begins when it is its turn. A reply
 * that is late, malformed, over VT_QMP_LINE_MAX or unasked for, an event before the greeting, too
 * long a queue, or the end of the stream, makes the client failed, once and for good: `failed` is
 * called with the reason and nothing else is called any more, neither for what waits nor for what
 * comes. Runs in the default GLib main context; never blocks. No handler is called from inside
 * vt_qmp_new() or vt_qmp_command().
 *
 * Reads from: QEMU, which a hostile guest may have taken over. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <jansson.h>

#define VT_QMP_LINE_MAX (1024 * 1024) /* bytes of one message */
#define VT_QMP_QUEUE_MAX 64           /* commands that wait */

typedef struct VtQmp VtQmp;

/* `result` (transfer none) is the "return" value, or NULL and `error` (VT_ERROR_HOST) is set where
 * QEMU answered an error. */
typedef void (*VtQmpReply)(json_t *result, const GError *error, gpointer data);

/* Each may be NULL. */
typedef struct {
    void (*ready)(gpointer data); /* capabilities are negotiated */
    /* `event_data` (transfer none) may be NULL. */
    void (*event)(const char *name, json_t *event_data, gpointer data);
    void (*failed)(const GError *error, gpointer data);
} VtQmpHandlers;

/* Takes over `fd` (made non-blocking). The greeting must come within `deadline_ms`, and the answer
 * to qmp_capabilities within as much again. */
VtQmp *vt_qmp_new(int fd, guint deadline_ms, const VtQmpHandlers *handlers, gpointer data);

/* Closes the socket; calls nothing. Safe inside a handler. */
void vt_qmp_free(VtQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtQmp, vt_qmp_free)

/* Queues a command; a client that is not ready yet sends it when it is, one that has failed drops
 * it. `arguments` (transfer full) may be NULL; `reply` may be NULL. */
void vt_qmp_command(VtQmp *qmp, const char *command, json_t *arguments, guint deadline_ms,
                    VtQmpReply reply, gpointer data);

/* The parser alone, for fuzzing and tests: what one line is. */
typedef enum {
    VT_QMP_BAD,
    VT_QMP_GREETING,
    VT_QMP_RETURN,
    VT_QMP_ERROR,
    VT_QMP_EVENT,
} VtQmpKind;

/* Parses one line of `size` bytes. `*message` is (transfer full), NULL for VT_QMP_BAD. */
VtQmpKind vt_qmp_parse(const char *line, gsize size, json_t **message);
