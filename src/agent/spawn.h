/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/spawn.h - a session's process: its streams, its identity, its program.
 *
 * Runs as: root, until the stage `identity` in the child.
 */
#pragma once

#include "agent/setup.h"

/* What went wrong; written by the child in one piece (shorter than PIPE_BUF). */
typedef struct {
    int error; /* positive errno */
    char what[252];
} SpawnFailure;

typedef struct {
    pid_t pid;      /* leads a session and process group of its own */
    int status;     /* gives a SpawnFailure, or end-of-file once the program runs */
    int streams[3]; /* our ends, non-blocking. A terminal: two descriptors of its master, and -1 */
} Spawned;

/* Starts what `setup` says. Returns false, with `failure` filled, if not even a child could be
 * made. Never blocks: whatever may hang (a directory on a share, the program's file) is the
 * child's. (transfer full) */
bool spawn_start(const Setup *setup, Spawned *spawned, SpawnFailure *failure);
