/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook/hook.h - one call of a batch system's hook (doc/contracts/ctl.md, "Hooks").
 *
 * Libc only and static: it must run where nothing else of ours does. One thread, no allocation.
 *
 * Runs as: root; epilogue.precancel: the user. Reads from: the batch system's arguments and
 * environment, of which the user controls some. Trusts: the job's id, user and script path, which
 * are the batch system's; of everything else nothing.
 */
#pragma once

#include <stdbool.h>

#include "ctl/starting.h"

#define HOOK_NODES_MAX 254 /* of a job (node/order.h) */

typedef struct {
    char **argv; /* argv[1]: the job's id; ... as the batch system gives them */
    int argc;
    const char *name;            /* "prologue", ... */
    char site[4096];             /* path of the site's own script, NAME.orig beside the hook */
    char request[16384];         /* the request word; "": a bare-metal job */
    long long started_ms;        /* CLOCK_MONOTONIC */
    char ticket[CTL_TICKET_MAX]; /* of this call alone (ctl/starting.h) */
} Hook;

/* chain.c: the site's own scripts. */

/* Becomes the site's script. Returns 0 where there is none, 126 where it cannot be executed. */
int hook_chain(const Hook *hook);
/* Runs the site's script and waits for it. Returns its exit status; 1 if a signal ended it; 0 without
 * one. */
int hook_run_site(const Hook *hook);

/* prologue.c */
int hook_prologue(const Hook *hook);

/* epilogue.c */
/* Ends what lives of the job on this node, and waits until it is gone. */
void hook_end_job(const char *id);
int hook_epilogue(const Hook *hook);
int hook_precancel(const Hook *hook);

/* parallel.c */
int hook_prologue_parallel(const Hook *hook);
int hook_epilogue_parallel(const Hook *hook);

/* job.c: what the arguments and the environment say. */

/* Finds the request word among the job's resources; "" without one. */
void hook_find_request(Hook *hook);
/* The resource list among the arguments, or "". */
const char *hook_resources(const Hook *hook);
/* Seconds that the batch system gives a hook in all ($prologalarm in its configuration). */
int hook_limit_s(void);
/* True if the batch system has no other job on this node, running or not yet forgotten. */
bool hook_is_alone(const Hook *hook);
/* Writes the order of START (doc/contracts/ctl.md) into `text`. Returns NULL, or what is wrong. */
const char *hook_format_order(const Hook *hook, char *text, unsigned size);

/* The lines that `prologue.parallel` leaves on a further node (doc/contracts/peer.md), likewise. */
const char *hook_format_registration(const Hook *hook, char *text, unsigned size);

/* files.c: gives stdout and stderr, the job's output files, to the engine that was asked for over
 * `door`, if they are regular files of the batch system's own spool. Returns 0 or -errno. */
int hook_send_files(int door);

/* report.c: tells the user why there is no job: on stderr, and in NAME.eNUMBER in the submit
 * directory, with the rights of the owner of the job's script. */
void hook_report(const Hook *hook, const char *reason);
