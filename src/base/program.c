/* SPDX-License-Identifier: Apache-2.0 */
/* base/program.c - where the programs of ours find each other. */
#include "base/program.h"

#include <unistd.h>

#include "base/error.h"

/* Where of `places` in `folder` there is one; NULL: nowhere. (transfer full) */
static char *find(const char *folder, const char *const *places, const char *name)
{
    for (; *places; places++) {
        g_autofree char *path = g_build_filename(folder, *places, name, NULL);
        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    return NULL;
}

char *vt_program_find(const char *name, GError **error)
{
    static const char *const places[] = {".", "../libexec/vtorque", "../lib/vtorque", NULL};
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = self ? g_path_get_dirname(self) : NULL;
    char *path = directory ? find(directory, places, name) : NULL;
    if (!path)
        vt_error_set(error, VT_ERROR_HOST, "cannot find '%s' beside '%s'", name,
                     self ? self : "this program");
    return path;
}

char *vt_program_find_below(const char *prefix, const char *name, GError **error)
{
    static const char *const places[] = {"bin", "libexec/vtorque", "lib/vtorque", NULL};
    if (!prefix)
        return vt_program_find(name, error);
    char *path = find(prefix, places, name);
    if (!path)
        vt_error_set(error, VT_ERROR_HOST, "cannot find '%s' below '%s'", name, prefix);
    return path;
}
