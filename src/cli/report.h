/* SPDX-License-Identifier: Apache-2.0 */
/* cli/report.h - what became of a job: vsub's exit status, and the report for callers that must
 * tell a job's 125 from ours. */
#pragma once

#include "cli/attach.h"
#include "job/job.h"

/* What is said where no engine said anything. */
#define VT_REPORT_KILLED "the job's engine was killed"

/* vsub's exit status (doc/contracts/exit-status.md). */
int vt_report_status(const VtResult *result);

/* Writes the report of `job` as JSON to `path`, replacing it. */
bool vt_report_write(const char *path, const VtJob *job, const VtResult *result, GError **error);

/* One line a phase, seconds since the start, to stderr. */
void vt_report_print_phases(const VtResult *result);
