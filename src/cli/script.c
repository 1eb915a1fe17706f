/* SPDX-License-Identifier: Apache-2.0 */
/* cli/script.c - the job's script: its bytes, read once and whole before anything starts. */
#include "cli/script.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/run.h"

/* Never waits for a writer, as a pipe by that name would make it. */
static int open_script(const char *path, GError **error)
{
    struct stat st;
    vt_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read script '%s'", path);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        vt_error_set(error, VT_ERROR_USER, "script '%s' is not a regular file", path);
        return -1;
    }
    return vt_fd_steal(&fd);
}

/* A kernel or shell would take the CR for a part of the interpreter's name, or of a word. */
static GBytes *strip_returns(GBytes *script, GPtrArray *notes)
{
    gsize size, kept = 0;
    const char *data = g_bytes_get_data(script, &size);
    const char *newline = memchr(data, '\n', size);
    if (!newline || newline == data || newline[-1] != '\r')
        return g_bytes_ref(script);
    char *text = g_malloc(size);
    for (gsize i = 0; i < size; i++)
        if (data[i] != '\r' || i + 1 == size || data[i + 1] != '\n')
            text[kept++] = data[i];
    g_ptr_array_add(notes, g_strdup("the script's CR LF line ends became LF"));
    return g_bytes_new_take(text, kept);
}

/* No interpreter reads on behind a NUL, and each does something else there. A program is run by a
 * script of one line. */
static bool check_text(GBytes *script, const char *what, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(script, &size);
    const char *nul = memchr(data, '\0', size);
    return !nul || vt_error_set(error, VT_ERROR_USER,
                                "%s is no text: byte %" G_GSIZE_FORMAT " of it is NUL", what,
                                (gsize)(nul - data) + 1);
}

GBytes *vt_script_load(const char *path, int stdin_fd, GPtrArray *notes, GError **error)
{
    vt_autofd file = path ? open_script(path, error) : -1;
    if (path && file < 0)
        return NULL;
    g_autofree char *what =
        path ? g_strdup_printf("script '%s'", path) : g_strdup("script on standard input");
    g_autoptr(GBytes) script = vt_fd_read_all(path ? file : stdin_fd, CTL_SCRIPT_MAX, what, error);
    if (!script)
        return NULL;
    if (g_bytes_get_size(script) == 0) {
        vt_error_set(error, VT_ERROR_USER, "%s is empty", what);
        return NULL;
    }
    if (!check_text(script, what, error))
        return NULL;
    return strip_returns(script, notes);
}
