/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/attach.h - the user's end of a run connection, or of a shell's: opens the session, streams
 * it, forwards signals.
 *
 * Theory of operation. Everything is an event in the default GLib main context. Output is written
 * only when the descriptor is ready, in pieces that cannot block, and credited when written; so a
 * slow reader of stdout never holds up stderr. When the script has ended, all that the engine still
 * holds is taken into memory (a window and a tail at most): the virtual machine waits for no
 * reader. It ends by the engine's CTL_OUTCOME or the connection's end, when all output is written:
 * engine and keeper may be gone long before.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "cli/limit.h"
#include "cli/terminal.h"
#include "ctl/run.h"

typedef struct {
    const char *program_name; /* before each line of ours */
    const char *cwd;
    guint umask_bits;
    const char *program;
    const char *const *argv;
    const char *const *env;
    const VtLimit *limits;
    gsize n_limits;
    GBytes *script; /* NULL: none */
    /* What the program in the guest sits at, by way of ours; NULL: pipes. It is raw while the
     * program runs. HUP and TERM hang up then, as its end does, and as `~.` after Enter */
    VtTerminal *terminal;
    int input;              /* -1: none */
    int output;             /* WIRE_STDOUT */
    int errors;             /* WIRE_STDERR */
    bool are_errors_quoted; /* there, all but line feeds that is not printable ASCII becomes '?' */
    bool verbose;           /* notes of CTL_NOTE_VERBOSE are printed */
    /* A batch system's job: signals come several times and count once, and a second INT is one like
     * the first */
    bool is_batch;
    bool is_shell; /* a session beside the job's (ctl/control.h): its end is not the job's */
    bool progress; /* a line about the boot on the terminal, while nothing else is printed */
} VtAttachment;

typedef struct {
    bool has_exit; /* the script ended by itself or by a signal */
    WireExitKind exit_kind;
    guint32 exit_value;
    bool has_outcome;
    CtlReason reason;
    char *message;
    guint64 phase_us[CTL_PHASES]; /* CLOCK_MONOTONIC; 0: not reached */
    guint64 started_us, exit_us, ended_us;
    bool interrupted; /* by a second INT */
    bool terminated;  /* TERM was passed on */
    char *lost;       /* why output of the script could not be written, or NULL */
} VtResult;

/* Runs the job to its end. Blocks. `run` is taken over. */
void vt_attach(const VtAttachment *attachment, int run, VtResult *result);

void vt_result_clear(VtResult *result);
