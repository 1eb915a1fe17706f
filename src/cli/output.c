/* SPDX-License-Identifier: Apache-2.0 */
/* cli/output.c - files that vsub writes for a job. */
#include "cli/output.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static char *make_absolute(const char *path, const char *folder)
{
    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(folder, path, NULL);
}

static bool is_writable(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return !S_ISDIR(st.st_mode) && access(path, W_OK) == 0;
    g_autofree char *parent = g_path_get_dirname(path);
    return lstat(path, &st) < 0 && access(parent, W_OK | X_OK) == 0;
}

char *vt_output_check(const char *key, const char *origin, const char *path, const char *folder,
                      GError **error)
{
    g_autofree char *absolute = make_absolute(path, folder);
    if (!is_writable(absolute) || g_str_has_suffix(path, "/")) {
        vt_error_set_value(error, VT_ERROR_USER, origin, key, path,
                           "must be a file that can be written, in a directory that exists");
        return NULL;
    }
    return g_steal_pointer(&absolute);
}

/* What follows HOST: in `text`; NULL if that is another machine. */
static const char *skip_host(const char *text, const char *host)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');
    if (!colon || (slash && slash < colon))
        return text;
    g_autofree char *name = g_strndup(text, (gsize)(colon - text));
    name[strcspn(name, ".")] = '\0';
    bool is_here = strcmp(name, "localhost") == 0 || g_ascii_strcasecmp(name, host) == 0;
    return is_here ? colon + 1 : NULL;
}

static char *replace_variables(const char *text, const VtJob *job)
{
    const struct {
        const char *name, *value;
    } variables[] = {
        {"$PBS_JOBID", job->id},       {"${PBS_JOBID}", job->id},  {"$PBS_JOBNAME", job->name},
        {"${PBS_JOBNAME}", job->name}, {"$HOME", job->owner.home}, {"${HOME}", job->owner.home},
    };
    g_autoptr(GString) path = g_string_new(text);
    for (gsize i = 0; i < G_N_ELEMENTS(variables); i++)
        g_string_replace(path, variables[i].name, variables[i].value, 0);
    return g_string_free(g_steal_pointer(&path), FALSE);
}

/* JOBNAME.o123, in `folder`. */
static char *name_file(const char *folder, const VtJob *job, char suffix)
{
    g_autofree char *number = g_strndup(job->id, strcspn(job->id, "."));
    g_autofree char *name = g_strdup_printf("%s.%c%s", job->name, suffix, number);
    g_strdelimit(name, "/", '_');
    return g_build_filename(folder, name, NULL);
}

char *vt_output_find(const char *key, const VtOptionText *option, const char *folder,
                     const VtJob *job, char suffix, GError **error)
{
    if (!option->text)
        return NULL;
    const char *text = skip_host(option->text, job->host);
    if (!text || !*text) {
        vt_error_set_value(error, VT_ERROR_USER, option->origin, key, option->text,
                           "must be a path on this machine");
        return NULL;
    }
    g_autofree char *path = replace_variables(text, job);
    g_autofree char *absolute = make_absolute(path, folder);
    if (g_file_test(absolute, G_FILE_TEST_IS_DIR)) {
        g_autofree char *file = name_file(absolute, job, suffix);
        return vt_output_check(key, option->origin, file, folder, error);
    }
    return vt_output_check(key, option->origin, path, folder, error);
}
