/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/setup.h - making a node of Torque one of vTorque's, and back.
 *
 * Theory of operation. All hooks are looked at (node/hooks.h), steps follow from what was seen, and
 * each step is one system call that does all or nothing. A site's own NAME gets a second name,
 * NAME.orig; a copy of ours that is whole and has been executed once then takes the place of NAME.
 * So at each moment, and after each interruption:
 *   1. A NAME that a job finds is whole: the site's, or ours.
 *   2. Where NAME is ours and there was one of the site's, that is NAME.orig.
 *   3. What was done is seen by who looks again: the second run does the rest.
 * NAME.orig is never made over another file. Back is one rename, so the site's file is the very one.
 *
 * Runs as: root. Reads from: mom_priv. Trusts: what node/hooks.h trusts.
 */
#pragma once

#include "node/hooks.h"

typedef enum {
    VT_SETUP_KEEP,    /* NAME is also NAME.orig from here on */
    VT_SETUP_PLACE,   /* ours is NAME */
    VT_SETUP_RESTORE, /* NAME.orig is NAME */
    VT_SETUP_REMOVE,  /* NAME, which is ours, goes */
    VT_SETUP_FORGET,  /* NAME.orig goes: it is NAME too, or ours */
    VT_SETUP_TIDY,    /* what an interrupted installation left goes */
    VT_SETUP_LEAVE,   /* nothing is done */
} VtSetupAct;

typedef struct {
    VtSetupAct act;
    const VtHook *hook; /* borrowed of the VtHooks */
} VtSetupStep;

/* The steps that install all hooks, in their order; none if all is as it should be. VT_ERROR_HOST:
 * something must be mended by hand first, and says what. Pure. (transfer full) array of
 * VtSetupStep. */
GArray *vt_setup_plan_install(const VtHooks *hooks, GError **error);

/* The steps that take all of ours out. (transfer full) the same. */
GArray *vt_setup_plan_uninstall(const VtHooks *hooks);

/* False for VT_SETUP_LEAVE. */
bool vt_setup_changes(const VtSetupStep *step);

/* What the step does, in one word, and in a line. (static), (transfer full) */
const char *vt_setup_word(const VtSetupStep *step);
char *vt_setup_text(const VtSetupStep *step);

/* Does one step of locked `hooks`; it is on disk afterwards. VT_ERROR_HOST also if NAME has changed
 * since it was looked at. On failure NAME and NAME.orig are what they were. */
bool vt_setup_do(const VtHooks *hooks, const VtSetupStep *step, GError **error);
