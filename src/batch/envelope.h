/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/envelope.h - the script that a batch system stores: directives, the lines that become
 * vtorque-run, and the user's script byte for byte.
 *
 * doc/contracts/envelope.md is the specification. Made by vsub, opened by vtorque-run; in between a
 * site's submit filter may have added lines before the script and behind it.
 *
 * Runs as: the user. Reads from: the user's own job script. Trusts: nothing; what is found is run
 * in the owner's guest, never here.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* What Torque's qsub takes whole: it cuts a script at 65,536 bytes, and a filter may add lines. */
#define VT_ENVELOPE_MAX 65000

/* What an envelope is made of; all borrowed. */
typedef struct {
    GBytes *script;
    const GPtrArray *lines; /* of char *: directives, each one line that begins with # */
    const char *run;        /* absolute path of vtorque-run: [A-Za-z0-9/._+-] */
    const char *shell;      /* absolute path that the user gave as -S, or NULL */
    const char *file;       /* absolute path at which the script lies instead, or NULL */
    /* For a job at a terminal what is executed there: none but the NULL for the login shell. NULL:
     * the job is its script. */
    char *const *terminal;
} VtEnvelopeParts;

/* The envelope. It may be longer than VT_ENVELOPE_MAX, unless there is a `file`: then that is
 * VT_ERROR_USER, since what is left are the directives. VT_ERROR_CONFIG: `run` cannot stand in a
 * shell's line. (transfer full) */
GBytes *vt_envelope_new(const VtEnvelopeParts *parts, GError **error);

/* A directive of `words`, quoted so that qsub reads the same words; "" for none. (transfer full) */
char *vt_envelope_line(const char *prefix, char *const *words);

/* What an envelope holds. */
typedef struct {
    GBytes *script; /* NULL: it lies in `file` */
    char *shell;    /* absolute path, or NULL */
    char *file;     /* absolute path, or NULL */
    GStrv terminal; /* as above */
    guint64 bytes;  /* of the script */
    char *digest;   /* SHA-256 of the script, 64 hexadecimal digits */
} VtEnvelope;

/* Opens the envelope in `data`. VT_ERROR_USER: there is none, or its script is not what vsub put
 * into it. `envelope` is all zero then. */
bool vt_envelope_open(VtEnvelope *envelope, const void *data, gsize size, GError **error);

/* True if `script` is the one that was put into the file: its size and digest. Else VT_ERROR_USER.
 */
bool vt_envelope_check(const VtEnvelope *envelope, GBytes *script, GError **error);

/* Frees what it holds; all zero afterwards. */
void vt_envelope_clear(VtEnvelope *envelope);
