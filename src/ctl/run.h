/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/run.h - the run connection: between whoever stands for the user (vsub --local, later
 * vtorque-run) and the engine.
 *
 * A stream socket that carries the frames of wire/wire.h for session 0, and the types below.
 * Specification: doc/contracts/run.md. Libc only.
 *
 * Client to engine: WIRE_OPEN (uid, gid: ignored, the engine knows the owner), WIRE_WORD,
 * WIRE_LIMIT, CTL_SCRIPT, WIRE_START once, in that order; then WIRE_DATA and WIRE_CLOSE of stdin as
 * WIRE_CREDIT allows, WIRE_CREDIT for stdout and stderr, WIRE_CLOSE of either when nobody reads it
 * any more, WIRE_SIGNAL, WIRE_WINSIZE, CTL_END. Engine to client: CTL_PHASE, CTL_NOTE,
 * WIRE_STARTED, WIRE_CREDIT, WIRE_DATA, WIRE_CLOSE, WIRE_EXIT, and as the last frame CTL_OUTCOME.
 */
#pragma once

#include "wire/wire.h"

#define CTL_SCRIPT_MAX (64 * 1024 * 1024) /* bytes */
/* In the guest: the job's script, the owner's, mode 0500. */
#define CTL_SCRIPT_PATH "/run/vtorque/script"
#define CTL_OUTPUT_WINDOW                                                                          \
    (256 * 1024) /* bytes of stdout, and of stderr, that each hop holds at most (plus the tail) */

typedef enum {
    CTL_PHASE = 128, /* aux = CtlPhase; u64 CLOCK_MONOTONIC in microseconds: it was reached then */
    /* Aux = CtlNote; string: something that the owner should know, for their stderr */
    CTL_NOTE = 129,
    CTL_SCRIPT = 130, /* bytes: appended to the script */
    CTL_END = 131,    /* aux = CtlEnd: end the job */
    /* Aux = CtlReason; string: a message of one or more lines. Empty for CTL_REASON_DONE */
    CTL_OUTCOME = 132,
    /* aux = bits 1 << WireStream of stdout and stderr. The batch system's hook, while the job is
     * being started: for each a regular file comes along, in that order, as this frame's descriptors.
     * Client, before WIRE_START: u64 device, u64 inode of each; where it is the hook's file, the
     * engine writes to that, also when the connection is gone; a client that is killed loses
     * nothing. No client's descriptor is taken: one of a file system of the owner's could keep the
     * engine from ending */
    CTL_FILES = 133,
    /* Engine, first on a run connection that came later: string, lines key=value (image, vm, vcpus, ...) */
    CTL_JOB = 134,
    /* Engine, to a run connection that came later, once the script runs: are you there? */
    CTL_PING = 135,
    CTL_PONG = 136, /* client: yes */
} CtlType;

/* A job's life, in order (doc/contracts/job-life.md). The first two are the keeper's. */
typedef enum {
    CTL_PHASE_LOCKED,   /* the run folder is ours */
    CTL_PHASE_BORN,     /* the engine lives in its namespaces and its cgroup */
    CTL_PHASE_PREPARED, /* everything that needs rights is opened, helpers run */
    CTL_PHASE_CAGED,    /* root changed and all rights given up */
    CTL_PHASE_STARTING, /* QEMU runs */
    CTL_PHASE_BOOTED,   /* the guest's agent has said its first word */
    CTL_PHASE_READY,    /* the guest has applied its plan */
    CTL_PHASE_RUNNING,  /* the script runs */
    CTL_PHASE_ENDING,   /* the script has ended, or must */
    CTL_PHASES
} CtlPhase;

typedef enum {
    CTL_NOTE_ALWAYS = 0,
    CTL_NOTE_VERBOSE = 1, /* for who asked to be told more (vsub --verbose) */
} CtlNote;

typedef enum {
    CTL_END_TERM = 0, /* TERM, the grace, KILL */
    CTL_END_NOW = 1,  /* the VM goes at once */
} CtlEnd;

/* Why a job ended; names by ctl_reason_name(). */
typedef enum {
    CTL_REASON_DONE,     /* the script ended by itself: its status counts */
    CTL_REASON_WALLTIME, /* its status counts (143 or 137) */
    CTL_REASON_ENDED,    /* ended by its owner or root (vmgr end, second INT, lost connection) */
    CTL_REASON_BOOT_TIMEOUT,
    CTL_REASON_GUEST_PANIC,
    CTL_REASON_GUEST_POWEROFF,
    CTL_REASON_GUEST_PLAN,     /* a step of the guest plan failed */
    CTL_REASON_GUEST_PROTOCOL, /* the agent said what it may not say, or ended */
    CTL_REASON_QEMU,           /* QEMU died or did not answer */
    CTL_REASON_SHARE,          /* the file server died */
    CTL_REASON_DISK,           /* no space is left for what the guest writes to its disk */
    CTL_REASON_START,          /* the script could not be started in the guest */
    CTL_REASON_HOST,           /* this machine refused something before the guest started */
    CTL_REASON_INTERNAL,
    CTL_REASON_MEMORY, /* the job took more memory than it may, or the machine has none left */
    CTL_REASON_CPUT,   /* as CTL_REASON_WALLTIME, for processor time */
    CTL_REASON_NODE,   /* a further node of the job was lost, or never came */
    CTL_REASONS
} CtlReason;

/* Sends one frame with a text, CTL_NOTE or CTL_OUTCOME, over the connection `fd` while nobody else
 * uses it: before the engine runs. A text that is too long is cut. Never blocks; a client that is
 * gone learns nothing. */
void ctl_run_send_text(int fd, CtlType type, uint8_t aux, const char *text);

/* Lower-case names for messages, reports and tests; NULL out of range. */
const char *ctl_phase_name(unsigned phase);
const char *ctl_reason_name(unsigned reason);
