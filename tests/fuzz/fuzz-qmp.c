/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-qmp.c - lines of QEMU's monitor: first the parser, then a whole client that hears
 * them. */
#include "vm/qmp.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SAID_MAX 100000 /* bytes; less than a socket holds, so that nobody blocks */

typedef struct {
    unsigned failures, calls;
} Heard;

static void on_ready(gpointer data)
{
    Heard *heard = data;
    g_assert_cmpuint(heard->failures, ==, 0);
    heard->calls++;
}

static void on_event(const char *name, json_t *event_data, gpointer data)
{
    Heard *heard = data;
    g_assert_true(name && (!event_data || json_is_object(event_data)));
    g_assert_cmpuint(heard->failures, ==, 0);
    heard->calls++;
}

static void on_reply(json_t *result, const GError *error, gpointer data)
{
    Heard *heard = data;
    g_assert_true(!result == !!error);
    g_assert_cmpuint(heard->failures, ==, 0);
}

static void on_failed(const GError *error, gpointer data)
{
    Heard *heard = data;
    heard->failures++;
    for (const char *at = error->message; *at; at++)
        g_assert_true(g_ascii_isprint(*at));
}

static void parse(const uint8_t *data, size_t size)
{
    json_t *message = NULL;
    VtQmpKind kind = vt_qmp_parse((const char *)data, size, &message);

    g_assert_true((kind == VT_QMP_BAD) == (message == NULL));
    json_decref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const VtQmpHandlers handlers = {
        .ready = on_ready, .event = on_event, .failed = on_failed};
    Heard heard = {0};
    int ends[2];

    parse(data, size);
    if (size > SAID_MAX || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 0;
    g_assert_cmpint(write(ends[1], data, size), ==, (ssize_t)size);
    shutdown(ends[1], SHUT_WR);
    VtQmp *qmp = vt_qmp_new(ends[0], 60000, &handlers, &heard);
    vt_qmp_command(qmp, "query-status", NULL, 60000, on_reply, &heard);
    while (heard.failures == 0)
        g_main_context_iteration(NULL, TRUE);
    vt_qmp_free(qmp);
    close(ends[1]);
    g_assert_cmpuint(heard.failures, ==, 1);
    return 0;
}
