/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/check.h - whether this machine is a node on which Torque's jobs find virtual machines.
 *
 * Looks, and changes nothing; only in the directories of guests' disks a file without a name is made
 * and dropped. Whether a certain user may write there is not looked at.
 *
 * Runs as: root; anybody, who sees less. Reads from: settings, TORQUE_HOME, the programs' folder,
 * pool of images, the daemon's answer. Trusts: root's files.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    VT_CHECK_OK,
    VT_CHECK_MISSING,
    VT_CHECK_WRONG,
    VT_CHECK_UNSEEN, /* this user may not look */
} VtCheckState;

typedef struct {
    const char *what; /* one word (static) */
    VtCheckState state;
    char *text;
} VtFinding;

typedef struct {
    const char *settings_file;
    const char *torque_home; /* NULL: as the settings say */
    const char *prefix;      /* NULL: where this program is */
} VtCheckOptions;

/* The findings in a fixed order, one for each thing there is. Blocks for a trial of KVM
 * (vt_probe_run()), and at most CTL_DOOR_SPEAK_MS for the daemon's answer. (transfer full) array of
 * VtFinding *. */
GPtrArray *vt_check_node(const VtCheckOptions *options);

/* "ok", "missing", ... (static) */
const char *vt_check_word(VtCheckState state);
