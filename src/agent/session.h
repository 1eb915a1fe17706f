/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/session.h - one session: a process, its streams and its end.
 *
 * No function blocks on a session's pipe or process. Frames are sent through the Link, which may
 * block on the host.
 */
#pragma once

#include "agent/input.h"
#include "agent/link.h"
#include "agent/spawn.h"

#include <poll.h>

#define SESSION_POLLS 4 /* pollfd slots of one session: status, stdin, stdout, stderr */

typedef enum {
    SESSION_FREE,
    SESSION_SETUP,    /* OPEN came, START did not */
    SESSION_STARTING, /* the child has not executed its program yet */
    SESSION_RUNNING,
} SessionState;

typedef struct {
    int fd;         /* non-blocking read end, or -1 */
    int64_t credit; /* bytes that the host takes; below 0: into the tail */
    int64_t left;   /* once the process ended: bytes still to be sent; before: -1 */
    bool is_open;   /* a CLOSE is still owed to the host */
} Output;

typedef struct {
    SessionState state;
    uint16_t number;
    bool has_terminal;
    bool is_reaped; /* the process ended with wait_status */
    bool is_ending; /* its outputs hold nothing but what they held then */
    pid_t pid;
    int wait_status;
    int status_fd;         /* of Spawned, or -1 */
    SpawnFailure failure;  /* error 0: the program was executed */
    uint64_t held_signals; /* bit n-1: signal n came before the program ran */
    Input input;
    Output outputs[3]; /* [WIRE_STDIN] is not used */
} Session;

void session_init(Session *session, uint16_t number);

/* The host's frames. Each is harmless for a session that is over: it may have crossed ENDED. */
void session_open(Session *session, bool has_terminal);
void session_start(Session *session, const Setup *setup, Link *link);
bool session_take_input(Session *session, const uint8_t *bytes,
                        size_t size); /* false: beyond its window */
void session_take_credit(Session *session, WireStream stream, uint32_t credit);
void session_close(Session *session, WireStream stream);
void session_signal(Session *session, int number);
void session_resize(Session *session, uint16_t rows, uint16_t columns);

/* Its process was reaped. */
void session_reaped(Session *session, int wait_status);

/* Fills SESSION_POLLS entries with what the session waits for; fd -1 where it waits for nothing. */
void session_prepare_poll(const Session *session, struct pollfd *polls);

/* Moves what can be moved now, and sends the end once it has come. */
void session_pump(Session *session, const struct pollfd *polls, Link *link);

/* The machine is going down and the process was killed: forgets everything, tells nobody. */
void session_drop(Session *session);
