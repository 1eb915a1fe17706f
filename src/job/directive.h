/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/directive.h - the #PBS lines of a job script, found as Torque's qsub finds them.
 *
 * Only the head of the script is looked at: up to the first line that a shell would execute. Empty
 * lines, comments and lines that begin with ":" do not end it; blanks may stand before #PBS; a
 * backslash at a line's end joins the next line as it is; CR LF ends a line as LF does.
 *
 * Reads from: the user's script, any bytes. Trusts: nothing.
 */
#pragma once

#include <glib.h>

#define VT_DIRECTIVE_PREFIX "#PBS"
/* Bytes of one directive with its continuations: qsub's own limit. */
#define VT_DIRECTIVE_MAX 32768

typedef struct {
    guint line;  /* number of its first line, from 1 */
    char *text;  /* what stands behind the prefix, with its continuations joined: one line */
    GStrv words; /* options and their values, quotes removed */
} VtDirective;

/* All directives, in order; (transfer full), of VtDirective. They begin with `prefix` (qsub's -C);
 * with an empty one there are none. VT_ERROR_USER, "script line N: ...": a quote that is not closed,
 * a NUL, too long, a continuation at the script's end. */
GPtrArray *vt_directives_parse(const void *script, gsize size, const char *prefix, GError **error);
