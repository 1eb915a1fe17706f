/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/session.c - the life of a session.
 *
 * Theory of operation: FREE -OPEN-> SETUP -START-> STARTING -(exec seen on the status pipe)->
 * RUNNING -> FREE. The end begins when the process was reaped, whoever else holds its pipes. What
 * the outputs hold at that moment is still sent, WIRE_TAIL_MAX bytes of each beyond its credit; a
 * process that enlarged its pipe has the rest sent as credit comes. Then, in this order: CLOSE
 * stdout, CLOSE stderr, EXIT, ENDED. Invariants: STARTED goes before the first DATA; nothing goes
 * after ENDED; each output's CLOSE goes once.
 */
#include "agent/session.h"

#include "agent/fd.h"
#include "agent/group.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum { POLL_STATUS, POLL_STDIN, POLL_STDOUT, POLL_STDERR };

/* A terminal does not say how much it holds; its buffers hold less than this. */
enum { TERMINAL_LEFT = 128 * 1024 };

void session_init(Session *session, uint16_t number)
{
    session->state = SESSION_FREE;
    session->number = number;
    session->status_fd = session->input.fd = -1;
    for (int i = WIRE_STDIN; i <= WIRE_STDERR; i++)
        session->outputs[i].fd = -1;
}

void session_open(Session *session, bool has_terminal)
{
    session->state = SESSION_SETUP;
    session->has_terminal = has_terminal;
    session->is_reaped = session->is_ending = false;
    session->pid = -1;
    session->failure.error = 0;
    session->held_signals = 0;
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++)
        session->outputs[i] =
            (Output){.fd = -1, .left = -1, .is_open = i == WIRE_STDOUT || !has_terminal};
}

void session_start(Session *session, const Setup *setup, Link *link)
{
    Spawned spawned = {.pid = -1, .status = -1, .streams = {-1, -1, -1}};

    session->state = SESSION_STARTING;
    /* The host need not wait for the fork, which takes its time where the guest is emulated. */
    link_send_u32(link, WIRE_CREDIT, WIRE_STDIN, session->number, WIRE_INPUT_WINDOW);
    if (!spawn_start(setup, &spawned, &session->failure))
        session->is_reaped = true;
    session->pid = spawned.pid;
    session->status_fd = spawned.status;
    input_init(&session->input, spawned.streams[WIRE_STDIN], session->has_terminal);
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++) {
        if (session->outputs[i].is_open)
            session->outputs[i].fd = spawned.streams[i];
        else
            fd_clear(&spawned.streams[i]);
    }
}

static bool is_alive(const Session *session)
{
    return session->state >= SESSION_STARTING;
}

bool session_take_input(Session *session, const uint8_t *bytes, size_t size)
{
    return !is_alive(session) || input_take(&session->input, bytes, size);
}

void session_take_credit(Session *session, WireStream stream, uint32_t credit)
{
    session->outputs[stream].credit += credit;
}

void session_close(Session *session, WireStream stream)
{
    Output *output = &session->outputs[stream];

    if (stream == WIRE_STDIN) {
        if (is_alive(session))
            input_end(&session->input);
        return;
    }
    output->is_open = false;
    fd_clear(&output->fd);
    /* The last descriptor of the terminal's master: whoever sits at it gets SIGHUP. */
    if (session->has_terminal && is_alive(session))
        fd_clear(&session->input.fd);
}

static void send_signal(const Session *session, int number)
{
    pid_t group = session->pid;

    if (session->is_reaped)
        return;
    /* At a terminal a shell leads, and its jobs are groups that can be stopped. */
    if (!session->has_terminal) {
        group_signal(group, number);
        return;
    }
    if (session->outputs[WIRE_STDOUT].fd >= 0) {
        pid_t foreground = -1;

        if (ioctl(session->outputs[WIRE_STDOUT].fd, TIOCGPGRP, &foreground) == 0 && foreground > 1)
            group = foreground;
    }
    kill(-group, number);
}

void session_signal(Session *session, int number)
{
    if (session->state == SESSION_RUNNING)
        send_signal(session, number);
    else if (session->state == SESSION_STARTING && number == SIGKILL && !session->is_reaped)
        kill(session->pid, SIGKILL); /* it may hang before its program runs */
    else if (session->state != SESSION_FREE)
        session->held_signals |= UINT64_C(1) << (number - 1);
}

void session_resize(Session *session, uint16_t rows, uint16_t columns)
{
    struct winsize size = {.ws_row = rows, .ws_col = columns};

    if (session->has_terminal && session->outputs[WIRE_STDOUT].fd >= 0)
        ioctl(session->outputs[WIRE_STDOUT].fd, TIOCSWINSZ, &size);
}

void session_reaped(Session *session, int wait_status)
{
    session->is_reaped = true;
    session->wait_status = wait_status;
}

/* Bytes of an output that may be sent now. */
static int64_t allowance(const Output *output)
{
    int64_t allowed = output->credit;

    if (output->left >= 0) {
        allowed += WIRE_TAIL_MAX;
        if (allowed > output->left)
            allowed = output->left;
    }
    return allowed;
}

void session_prepare_poll(const Session *session, struct pollfd *polls)
{
    const Input *input = &session->input;

    for (int i = 0; i < SESSION_POLLS; i++)
        polls[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    if (!is_alive(session))
        return;
    polls[POLL_STATUS].fd = session->status_fd;
    /* An idle pipe is watched for its reader going away. An idle terminal would report its closed
     * end for ever. */
    polls[POLL_STDIN].events = input_wants_write(input) ? POLLOUT : 0;
    if (!input->is_terminal || input_wants_write(input))
        polls[POLL_STDIN].fd = input->fd;
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++)
        if (session->state == SESSION_RUNNING && allowance(&session->outputs[i]) > 0)
            polls[POLL_STDIN + i].fd = session->outputs[i].fd;
}

static void send_close(Session *session, WireStream stream, WireCloseReason reason, Link *link)
{
    link_payload(link)[0] = (uint8_t)reason;
    link_send(link, WIRE_CLOSE, (uint8_t)stream, session->number, 1);
}

static void close_output(Session *session, WireStream stream, Link *link)
{
    Output *output = &session->outputs[stream];

    fd_clear(&output->fd);
    if (output->is_open)
        send_close(session, stream, WIRE_CLOSE_EOF, link);
    output->is_open = false;
}

/* Sends at most one frame. True if there may be more to send at once. */
static bool pump_output(Session *session, WireStream stream, Link *link)
{
    Output *output = &session->outputs[stream];
    int64_t allowed = output->fd < 0 ? 0 : allowance(output);
    ssize_t count;

    if (allowed <= 0)
        return false;
    if (allowed > WIRE_PAYLOAD_MAX)
        allowed = WIRE_PAYLOAD_MAX;
    count = read(output->fd, link_payload(link), (size_t)allowed);
    if (count < 0 && (errno == EINTR || (errno == EAGAIN && output->left < 0)))
        return false;
    if (count <= 0) { /* the end; a terminal's is EIO; EAGAIN: somebody else took what was left */
        close_output(session, stream, link);
        return false;
    }
    link_send(link, WIRE_DATA, (uint8_t)stream, session->number, (size_t)count);
    output->credit -= count;
    if (output->left >= 0)
        output->left -= count;
    return true;
}

static void pump_input(Session *session, Link *link)
{
    Input *input = &session->input;
    uint32_t credit;

    if (!input_pump(input)) {
        send_close(session, WIRE_STDIN, WIRE_CLOSE_ERROR, link);
        return;
    }
    credit = input_take_credit(input);
    if (credit > 0)
        link_send_u32(link, WIRE_CREDIT, WIRE_STDIN, session->number, credit);
}

static void run_held_signals(Session *session)
{
    for (int number = 1; number <= WIRE_SIGNAL_MAX; number++)
        if (session->held_signals & UINT64_C(1) << (number - 1))
            send_signal(session, number);
    session->held_signals = 0;
}

/* Learns from the status pipe whether the program runs. */
static void read_status(Session *session, Link *link)
{
    SpawnFailure failure;
    ssize_t count;

    if (session->status_fd < 0)
        return;
    count = read(session->status_fd, &failure, sizeof failure);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    fd_clear(&session->status_fd);
    if (count == (ssize_t)sizeof failure) {
        session->failure = failure;
        return;
    }
    session->state = SESSION_RUNNING;
    link_send_u32(link, WIRE_STARTED, 0, session->number, (uint32_t)session->pid);
    run_held_signals(session);
}

static void begin_end(Session *session)
{
    session->is_ending = true;
    fd_clear(&session->input.fd);
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++) {
        int held = 0;

        if (session->has_terminal)
            held = TERMINAL_LEFT;
        else if (session->outputs[i].fd >= 0)
            ioctl(session->outputs[i].fd, FIONREAD, &held);
        session->outputs[i].left = held;
    }
}

static void send_exit(const Session *session, Link *link)
{
    WireWriter writer = link_writer(link);
    const SpawnFailure *failure = &session->failure;
    WireExitKind kind = WIRE_EXIT_FAILED;

    if (failure->error) {
        wire_put_u32(&writer, (uint32_t)failure->error);
    } else if (WIFSIGNALED(session->wait_status)) {
        kind = WIRE_EXIT_SIGNAL;
        wire_put_u32(&writer, (uint32_t)WTERMSIG(session->wait_status));
    } else {
        kind = WIRE_EXIT_STATUS;
        wire_put_u32(&writer, (uint32_t)WEXITSTATUS(session->wait_status));
    }
    wire_put_string(&writer, failure->error ? failure->what : "");
    link_send(link, WIRE_EXIT, (uint8_t)kind, session->number, writer.used);
}

/* Drains the outputs as far as they may be; sends the end when both are through. */
static void advance_end(Session *session, Link *link)
{
    bool is_through = true;

    if (!session->is_ending)
        begin_end(session);
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++) {
        Output *output = &session->outputs[i];

        while (pump_output(session, (WireStream)i, link))
            ;
        if (output->fd >= 0 && output->left > 0)
            is_through = false;
    }
    if (!is_through)
        return;
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++)
        close_output(session, (WireStream)i, link);
    send_exit(session, link);
    link_send_empty(link, WIRE_ENDED, 0, session->number);
    session_drop(session);
}

void session_pump(Session *session, const struct pollfd *polls, Link *link)
{
    if (!is_alive(session))
        return;
    if (polls[POLL_STATUS].revents || session->is_reaped)
        read_status(session, link);
    if (session->is_reaped) {
        advance_end(session, link);
        return;
    }
    if (polls[POLL_STDIN].revents & POLLERR && !session->input.is_terminal) {
        fd_clear(&session->input.fd);
        send_close(session, WIRE_STDIN, WIRE_CLOSE_ERROR, link);
    } else if (session->input.fd >= 0) {
        pump_input(session, link);
    }
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++)
        if (polls[POLL_STDIN + i].revents)
            pump_output(session, (WireStream)i, link);
}

void session_drop(Session *session)
{
    if (session->state == SESSION_FREE)
        return;
    fd_clear(&session->status_fd);
    if (is_alive(session))
        input_clear(&session->input);
    for (int i = WIRE_STDOUT; i <= WIRE_STDERR; i++)
        fd_clear(&session->outputs[i].fd);
    session->state = SESSION_FREE;
}
