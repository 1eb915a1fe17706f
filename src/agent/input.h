/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/input.h - a session's stdin: what the host sent and the process has not yet taken.
 *
 * Never blocks: a process that does not read costs WIRE_INPUT_WINDOW bytes here and no more.
 */
#pragma once

#include "wire/wire.h"

typedef struct {
    int fd;             /* non-blocking write end, or -1 */
    size_t start, used; /* of `bytes`, a ring */
    uint32_t passed;    /* bytes passed on and not yet credited to the host again */
    bool is_ended;      /* the host sends no more */
    bool is_terminal;
    _Alignas(4096) uint8_t bytes[WIRE_INPUT_WINDOW];
} Input;

/* (takes `fd`) */
void input_init(Input *input, int fd, bool is_terminal);

/* Keeps `size` bytes; what comes after the process closed its end is dropped. False: more than the
 * window. */
bool input_take(Input *input, const uint8_t *bytes, size_t size);

/* The host sends no more: closes `fd` once all is passed on (a terminal: types its end-of-file
 * character). */
void input_end(Input *input);

/* True while input_pump() waits for `fd` to take something. */
bool input_wants_write(const Input *input);

/* Passes on what the process takes now. False, once: nobody reads it any more; `fd` is closed then.
 */
bool input_pump(Input *input);

/* The bytes that may be credited to the host, 0 if too few to be worth a frame. */
uint32_t input_take_credit(Input *input);

/* Closes and gives the pages back. */
void input_clear(Input *input);
