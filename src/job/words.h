/* SPDX-License-Identifier: Apache-2.0 */
/* job/words.h - a line cut into words, quoted as a shell quotes; nothing is expanded. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Cuts `text` at blanks. 'single' and "double" quotes and a backslash keep blanks; in double quotes
 * a backslash only quotes " and \. With `comments`, a word that begins with # ends the line. NULL
 * and VT_ERROR_USER for a quote that is not closed. (transfer full) */
GStrv vt_words_split(const char *text, bool comments, GError **error);

/* Cuts a list at commas, as qsub's -v does: quotes and backslashes keep a comma and are removed.
 * Empty parts are left out. Errors as above. (transfer full) */
GStrv vt_words_split_list(const char *text, GError **error);
