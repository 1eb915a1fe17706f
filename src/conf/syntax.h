/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf/syntax.h - the text of a settings file, one assignment after the other.
 *
 * Looks like shell and is data: KEY=VALUE, where VALUE is a word of plain, 'single' and "double"
 * quoted pieces, or a list of words in ( ), which may go over several lines; # begins a comment. A
 * backslash quotes the next character (in double quotes: only " \ $ and `). Nothing is expanded or
 * executed.
 *
 * Reads from: the site's file, or a user's own. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *at, *end;
    const char *file; /* (borrowed) for messages */
    guint line;
} VtSyntax;

typedef struct {
    char *key;
    GPtrArray *words; /* of char *: one unless is_list */
    bool is_list;
    guint line;
} VtAssignment;

VtSyntax vt_syntax(const char *text, gsize size, const char *file);

/* The next assignment, (transfer full). NULL at the end of the text, and with `error` set to
 * VT_ERROR_CONFIG
 * ("FILE:LINE: ...") for text that is none. */
VtAssignment *vt_syntax_next(VtSyntax *syntax, GError **error);

void vt_assignment_free(VtAssignment *assignment);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtAssignment, vt_assignment_free)
