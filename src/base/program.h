/* SPDX-License-Identifier: Apache-2.0 */
/* base/program.h - where the programs of ours find each other. */
#pragma once

#include <glib.h>

/* The path of our program `name`, which may be executed: beside this one, or in its libexec
 * directory. VT_ERROR_HOST if there is none. (transfer full) */
char *vt_program_find(const char *name, GError **error);

/* The same below the installation `prefix`; NULL: as above. (transfer full) */
char *vt_program_find_below(const char *prefix, const char *name, GError **error);
