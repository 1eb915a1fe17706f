/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/golden/golden.h - what pure functions make of each job document in jobs/, compared with
 * files.
 *
 * golden-KIND DIR: for each DIR/jobs/NAME.json, what `make` returns must equal DIR/KIND/NAME.txt.
 * With VTORQUE_GOLDEN_UPDATE=1 in the environment the files are written instead: look at the
 * difference before you commit it.
 */
#pragma once

#include "job/job.h"
#include "job/plan.h"

#define GOLDEN_SLOT 3u

/* Where it is of one machine it is of the last, which differs most. (transfer full) */
typedef char *(*GoldenMake)(const VtJob *job, const VtPlan *plan);

/* Runs one test for each job document. Returns the exit status. */
int golden_main(int argc, char **argv, const char *kind, GoldenMake make);
