/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/place.h - where the batch system's jobs run, as it says to a user.
 *
 * Runs as: the user. Reads from: the batch system's own command. Trusts: that; of its output what is taken is
 * checked.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"

typedef struct {
    char *id;
    char *owner;      /* a user's name, or NULL */
    char *state;      /* a word of the batch system's, or NULL */
    char *node;       /* the first one's name, or NULL: it has none */
    bool is_running;  /* on that node */
    bool has_request; /* in virtual machines */
} VtPlace;

void vt_place_free(VtPlace *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtPlace, vt_place_free)

/* Asks for the job `id`, or for all jobs (NULL), by the command beside `submit`, the submit command, else
 * that of PATH. Blocks, 20 s at most. (transfer full) array of VtPlace; VT_ERROR_USER: `id` cannot be one;
 * VT_ERROR_BATCH: no answer, or a failure's. */
GPtrArray *vt_places_load(VtBatch batch, const char *submit, const char *id, GError **error);

/* The output of Torque's `qstat -x`. (transfer full) */
GPtrArray *vt_places_parse_torque(const char *text);
