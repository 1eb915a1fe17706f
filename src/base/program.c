/* SPDX-License-Identifier: Apache-2.0 */
/* base/program.c - where the programs of ours find each other. */
#include "base/program.h"

#include <unistd.h>

#include "base/error.h"

char *vt_program_find(const char *name, GError **error)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = self ? g_path_get_dirname(self) : NULL;
    const char *const places[] = {".", "../libexec/vtorque", "../lib/vtorque"};
    for (gsize i = 0; directory && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(directory, places[i], name, NULL);
        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    vt_error_set(error, VT_ERROR_HOST, "cannot find '%s' beside '%s'", name,
                 self ? self : "this program");
    return NULL;
}
