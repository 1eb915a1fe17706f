/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/birth.h - how a keeper is started and how it starts an engine (doc/contracts/job-life.md).
 *
 * The keeper is the engine's parent outside the cage: it holds the job's lock, waits, and removes
 * the two things that the kernel does not: an empty cgroup leaf and the run folder. Libc only, one
 * thread, no allocation.
 *
 * Runs as: whoever starts it (root, or the user). Reads from: its starter. Trusts: its starter.
 *
 * TERM to the keeper ends the engine at once, with all that the job has on this node. Its exit
 * status is the engine's, or 125.
 */
#pragma once

/* The engine's exit status where nobody took the job's output, and so nobody the outcome. */
#define ENGINE_EXIT_UNREAD 124

#define KEEPER_SLOTS_MAX 64 /* virtual machines of one job on one node */

/* Descriptors that the starter passes at these numbers; no other is kept. */
enum {
    KEEPER_FD_JOB = 3, /* the job document (job/job.h), a sealed memory file; the engine's */
    /* The run connection (ctl/run.h); the engine's, but a failure before that is told here */
    KEEPER_FD_RUN = 4,
    KEEPER_FD_ENGINE = 5, /* the engine's program */
    KEEPER_FD_GATE = 6,   /* a gate (ctl/gate.h), or /dev/null */
    KEEPER_FDS = 7,
};

/* Arguments: the path of the folder of run folders; the job's id, its name, its owner's uid; how
 * many slots it takes; what it may take: memory in MiB, then processes and threads (0: no limit); the cgroup below which
 * its leaf is made, as a path below each hierarchy's mount ("": the starter's own). */

/* What the engine gets; its one argument are the numbers of its slots, with commas between. */
enum {
    ENGINE_FD_JOB = 3,
    ENGINE_FD_RUN = 4,
    /* A pipe that only the keeper holds open: its end ends the engine at any time */
    ENGINE_FD_KEEPER = 5,
    ENGINE_FD_GATE = 6,
    ENGINE_FD_FOLDER = 7, /* the run folder, until the engine's socket is in it */
    ENGINE_FDS = 8,
};
