/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/submit.h - vsub where there is a batch system: becomes its submit command.
 *
 * A job that asks for no virtual machine is handed on as it is: the same words, the same standard
 * input, the same environment.
 *
 * Runs as: the user. Reads from: the user, the site's settings. Trusts: the site's settings.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Submits the job of a command line, or shows what it would do. Does not return if that went well:
 * the program is the submit command then. Returns 0 where there was nothing to submit, and -1 with
 * an error. Sets `is_local`, and returns 0 with nothing done, if the job is to run here. Reads the
 * script from standard input if the command line names none: blocks until it ends. */
int vt_submit(int argc, char **argv, bool *is_local, GError **error);
