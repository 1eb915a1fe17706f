/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/oom.h - what the kernel does where memory is short: which of the job's processes it takes
 * first, and whether it has.
 *
 * Both is looked at by descriptors that stage 1 opens, since nothing is opened by path after stage 4.
 *
 * Reads from: the keeper's file `limits` in the run folder, the kernel. Trusts: both.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The guest goes first, its file servers next: the rest lives to say why. */
#define VT_OOM_SCORE_MACHINE 500
#define VT_OOM_SCORE_SERVER 250

typedef struct {
    int events; /* counts what the kernel killed: memory.events or memory.oom_control; -1: none */
    int score;  /* this process's oom_score_adj; -1: it stays as it is */
    guint memory_mib; /* what the job is held to; 0: nothing holds it */
    guint64 killed;   /* when it was opened */
    int own_score;
} VtOom;

#define VT_OOM_NONE ((VtOom){.events = -1, .score = -1})

/* Opens what the run folder `folder` names. Where there is nothing, nothing will be seen. */
void vt_oom_open(VtOom *oom, int folder);

/* Children are born with `score` from now on, or with more if this process has more itself. */
void vt_oom_raise(VtOom *oom, int score);
/* This process is as it was; its children stay. */
void vt_oom_restore(VtOom *oom);
/* The score is not changed again. */
void vt_oom_settle(VtOom *oom);

/* True if the kernel has killed a process of the job for want of memory since it was opened. */
bool vt_oom_has_killed(const VtOom *oom);

/* The number after the word `oom_kill` that begins a line of `text`; 0 if there is none. */
guint64 vt_oom_parse(const char *text);
