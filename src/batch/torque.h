/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/torque.h - a job with a virtual machine as a submission to Torque: what the job needs of
 * each node, and the command line of qsub that says so.
 *
 * Pure. A node decides again, with its own settings and what it was given.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "batch/qsub.h"
#include "conf/settings.h"

typedef struct {
    /* Of char *, "qsub" first and NULL last. For a job at a terminal the envelope's path is to be
     * put before that. */
    GPtrArray *argv;
    char *word;       /* the request's */
    GPtrArray *notes; /* of char *: what the user should know, one line each */
} VtTorque;

/* Plans the submission of what `qsub` says, directives read. One line, VT_ERROR_USER or
 * VT_ERROR_CONFIG, for what cannot be. (transfer full) */
VtTorque *vt_torque_new(const VtQsub *qsub, const VtSettings *settings, GError **error);

void vt_torque_free(VtTorque *torque);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtTorque, vt_torque_free)
