/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/options.h - what vsub is told: by its command line, and by the #PBS lines of the script.
 *
 * One table for both; qsub's letters mean what they mean there. The command line wins over the
 * script, and the last of one place over those before it. Short options may be joined with their
 * value (-lwalltime=5, -Nname) and flags with each other; options may follow the script's name, as
 * qsub allows. `-v` is qsub's list of variables; phase times are
 * `--verbose`.
 *
 * Reads from: the user. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/directive.h"
#include "job/request.h"

/* Where something was said; the greater wins. */
typedef enum {
    VT_PLACE_SCRIPT,
    VT_PLACE_LINE,
    VT_PLACES,
} VtPlace;

typedef struct {
    char *text;   /* NULL: not given */
    char *origin; /* "command line", "script line N" */
    VtPlace place;
} VtOptionText;

typedef struct {
    guint64 number; /* 0: not given */
    VtPlace place;
} VtOptionNumber;

typedef struct {
    bool is_help, is_version;
    bool is_local;
    bool is_dry_run;
    bool is_verbose;
    char *report;
    char *script;                    /* NULL: standard input */
    bool is_all_exported;            /* -V */
    bool is_interactive;             /* -I */
    bool is_command;                 /* -x: `script` is a command, executed as it is */
    VtOptionText name;               /* -N */
    VtOptionText output;             /* -o */
    VtOptionText error;              /* -e */
    VtOptionText join;               /* -j: "oe", "eo" or "n" */
    VtOptionText directory;          /* -d, -w */
    VtOptionText shell;              /* -S */
    VtOptionText arguments;          /* -F */
    VtOptionNumber cput_s;           /* -l */
    VtOptionNumber walltime_s;       /* -l */
    VtOptionNumber memory;           /* -l mem=, bytes */
    VtOptionNumber ppn;              /* -l nodes=1:ppn= */
    GPtrArray *variables[VT_PLACES]; /* -v: NAME or NAME=VALUE */
    VtRequest requests[VT_PLACES];   /* -vm */
} VtOptions;

/* The options of a command line (argv[0] is skipped). VT_ERROR_USER in one line. (transfer full) */
VtOptions *vt_options_parse(int argc, char *const *argv, GError **error);

/* Adds those of a script (job/directive.h) below the ones that are there; words that qsub would
 * ignore are told in `notes` (of char *). */
bool vt_options_add_directives(VtOptions *options, const GPtrArray *directives, GPtrArray *notes,
                               GError **error);

void vt_options_free(VtOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtOptions, vt_options_free)

/* The text of --help. (transfer full) */
char *vt_options_help(void);
