/* SPDX-License-Identifier: Apache-2.0 */
/* cli/report.h - what became of a job: vsub's exit status, and the report for callers that must
 * tell a job's 125 from ours. */
#pragma once

#include "cli/attach.h"
#include "job/job.h"

/* vsub's exit status (doc/contracts/exit-status.md). */
int vt_report_status(const VtResult *result);

/* Writes the report of `job` as JSON to `path`, replacing it. */
bool vt_report_write(const char *path, const VtJob *job, const VtResult *result, GError **error);

/* The reason of a job that did not end by itself, to stderr: one line that begins with `program`, and
 * what belongs to it. Who sent a second INT knows. */
void vt_report_print_outcome(const VtResult *result, const char *program);

/* One line a phase, seconds since the start, to stderr. */
void vt_report_print_phases(const VtResult *result);
