/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/qsub.h - a command line of Torque's qsub, and the directives of its script: what vsub hands
 * on as it is, what it takes over, and what it refuses for a job with a virtual machine.
 *
 * Reading never fails: a job that asks for no virtual machine is qsub's own, whatever its command
 * line says. What a job with one may not say is kept in `problem`.
 *
 * Reads from: the user. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/directive.h"
#include "job/request.h"

typedef enum {
    VT_QSUB_PASSED,  /* on to qsub, as it stands */
    VT_QSUB_TAKEN,   /* by vsub; qsub does not get it */
    VT_QSUB_REFUSED, /* for jobs with a virtual machine */
} VtQsubUse;

/* Values of -l that vsub must know. */
typedef enum {
    VT_QSUB_NODES,
    VT_QSUB_PROCS,
    VT_QSUB_NCPUS,
    VT_QSUB_MEM,
    VT_QSUB_PMEM,
    VT_QSUB_VMEM,
    VT_QSUB_PVMEM,
    VT_QSUB_GRES,
    VT_QSUB_OTHER,
    VT_QSUB_GPUS,
    VT_QSUB_ACCESS, /* naccesspolicy */
    VT_QSUB_RESOURCES,
} VtQsubResource;

typedef struct {
    char *text;   /* NULL: not given */
    char *origin; /* "command line", "script line N" */
    bool is_line; /* the command line, which wins over the script */
} VtQsubValue;

typedef struct {
    GPtrArray *words;      /* of char *: what is handed on, in order, without the script */
    GPtrArray *lines;      /* of char *: directives for the envelope */
    char *script;          /* NULL: standard input */
    char *prefix;          /* of directives */
    VtRequest option;      /* -vm of the command line */
    VtRequest directive;   /* -vm of the script */
    bool has_request;      /* there was a -vm */
    VtQsubValue shell;     /* -S */
    VtQsubValue arguments; /* -F */
    VtQsubValue resources[VT_QSUB_RESOURCES];
    bool has_name;       /* -N */
    bool is_exclusive;   /* -n, -E */
    bool is_interactive; /* -I: of a script the directives count alone */
    bool is_command;     /* -x: `script` is what is executed at the terminal */
    bool is_local, is_help, is_version, is_dry_run, is_about;
    bool is_without_script; /* there is none to be read: --about, -x, -I alone */
    GError *problem;
} VtQsub;

/* Reads a command line; argv[0] is skipped. (transfer full) */
VtQsub *vt_qsub_new(int argc, char *const *argv);

/* Reads the script's directives, and makes `lines` of them. */
void vt_qsub_add_directives(VtQsub *qsub, const GPtrArray *directives);

void vt_qsub_free(VtQsub *qsub);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtQsub, vt_qsub_free)

/* Row `index` of qsub's options, for tests and documents; false past the last. `why` is NULL for
 * what is not refused. */
bool vt_qsub_get_row(guint index, char *letter, bool *has_value, VtQsubUse *use, const char **why);
