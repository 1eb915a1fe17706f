/* SPDX-License-Identifier: Apache-2.0 */
/* reach/pump.c - two buffers and a poll. */
#include "reach/pump.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define LAST_MS 10000 /* for who reads slowly what came before the other's end */

typedef struct {
    guint8 bytes[VT_PUMP_SIZE];
    gsize from, to;
    bool is_over; /* nothing comes any more */
} Way;

typedef struct {
    const VtPump *pump;
    Way in, out; /* from the far end, to it */
    bool has_failed;
    bool is_ending; /* an end has gone: what is under way has its time */
} State;

static bool is_passing(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static ssize_t read_from(const State *state, const Way *way, void *bytes, gsize size)
{
    return way == &state->in ? vt_secure_read(state->pump->secure, bytes, size)
                             : recv(state->pump->near, bytes, size, 0);
}

static ssize_t write_to(const State *state, const Way *way, const void *bytes, gsize size)
{
    return way == &state->in ? send(state->pump->near, bytes, size, MSG_NOSIGNAL)
                             : vt_secure_write(state->pump->secure, bytes, size);
}

/* Reads when all has been written: TLS wants the same bytes again after a write that was put off. */
static void move(State *state, Way *way)
{
    for (;;) {
        ssize_t n;
        while (way->from < way->to) {
            n = write_to(state, way, way->bytes + way->from, way->to - way->from);
            if (n < 0) {
                state->has_failed = state->has_failed || !is_passing(n);
                return;
            }
            way->from += (gsize)n;
        }
        if (way->is_over)
            return;
        n = read_from(state, way, way->bytes, sizeof way->bytes);
        if (is_passing(n))
            return;
        way->is_over = n <= 0;
        way->from = 0;
        way->to = n > 0 ? (gsize)n : 0;
    }
}

static bool is_idle(const Way *way)
{
    return way->from == way->to;
}

/* Of a socket that nothing is wanted of only its end is looked for, once. */
static struct pollfd watch(const State *state, int fd, bool reads, bool writes)
{
    bool is_wanted = reads || writes;
    return (struct pollfd){.fd = is_wanted || !state->is_ending ? fd : -1,
                           .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0) |
                                             (is_wanted ? 0 : POLLRDHUP))};
}

/* False when there is nothing to wait for. */
static bool wait_for_ends(State *state)
{
    const Way *in = &state->in, *out = &state->out;
    state->is_ending = state->is_ending || in->is_over || out->is_over;
    struct pollfd ready[] = {
        watch(state, state->pump->far, is_idle(in) && !in->is_over, !is_idle(out)),
        watch(state, state->pump->near, is_idle(out) && !out->is_over, !is_idle(in)),
    };
    int n = poll(ready, G_N_ELEMENTS(ready), state->is_ending ? LAST_MS : -1);
    for (gsize i = 0; i < G_N_ELEMENTS(ready); i++)
        state->is_ending = state->is_ending || ready[i].revents & (POLLRDHUP | POLLHUP | POLLERR);
    return n > 0 || (n < 0 && errno == EINTR);
}

void vt_pump_run(const VtPump *pump)
{
    g_autofree State *state = g_new0(State, 1);
    Way *in = &state->in, *out = &state->out;
    state->pump = pump;
    memcpy(in->bytes, pump->first, pump->first_size);
    in->to = pump->first_size;
    do {
        move(state, in);
        move(state, out);
    } while (!state->has_failed && !(in->is_over && is_idle(in)) &&
             !(out->is_over && is_idle(out)) && wait_for_ends(state));
}
