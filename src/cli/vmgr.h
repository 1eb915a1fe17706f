/* SPDX-License-Identifier: Apache-2.0 */
/* cli/vmgr.h - vmgr's verbs: one file each. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The exit status of a verb that has looked, and whose lines say what is not well. */
#define VT_VERB_NOT_WELL 1

/* Runs a verb with what follows it on the command line (argv[0] is the verb). `status`, 0
 * before, is vmgr's at its end. False without an error: that is VT_VERB_NOT_WELL. */
typedef bool (*VtVerbRun)(int argc, char **argv, int *status, GError **error);

bool vt_verb_list(int argc, char **argv, int *status, GError **error);
bool vt_verb_end(int argc, char **argv, int *status, GError **error);
bool vt_verb_console(int argc, char **argv, int *status, GError **error);
bool vt_verb_shell(int argc, char **argv, int *status, GError **error);
bool vt_verb_cp(int argc, char **argv, int *status, GError **error);
bool vt_verb_log(int argc, char **argv, int *status, GError **error);
bool vt_verb_setup(int argc, char **argv, int *status, GError **error);
bool vt_verb_show(int argc, char **argv, int *status, GError **error);

#define VT_VERB_SETUP_USAGE                                                                        \
    "install|check|uninstall --node [--prefix DIR] [--torque-home DIR] [--dry-run]"
#define VT_VERB_CP_USAGE "[JOB[/N]:]PATH... [JOB[/N]:]PATH"
#define VT_VERB_CONSOLE_USAGE "[--once|--follow] JOB[/N]"
#define VT_VERB_SHELL_USAGE "JOB[/N] [COMMAND...]"
#define VT_VERB_SHOW_USAGE "config|images|image NAME [--json]"

/* Parses `options`; what is left must be `min` to `max` words, which `argv[1]`... then are. `usage`
 * follows the verb in help. */
bool vt_verb_parse(int *argc, char ***argv, const GOptionEntry *options, const char *usage, int min,
                   int max, GError **error);
