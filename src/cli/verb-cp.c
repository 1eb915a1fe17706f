/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/verb-cp.c - vmgr cp.
 *
 * Theory of operation. In the guest tar runs in a shell session of the owner's; here a child of
 * ours makes the stream, or takes it apart, at the other end of a pipe. So what reads a guest's
 * bytes holds neither a connection nor anything else of this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/session.h"
#include "cli/tar.h"
#include "cli/vmgr.h"

static const GOptionEntry options[] = {G_OPTION_ENTRY_NULL};

/* One side of a copy. */
typedef struct {
    VtLiveJob *job; /* NULL: it is here */
    guint8 machine;
    char *path;
} Side;

static void side_clear(Side *side)
{
    vt_live_job_free(side->job);
    g_free(side->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Side, side_clear)

/* JOB[/N]:PATH; what looks otherwise before its first colon is a path. */
static bool find_side(const char *text, Side *side, GError **error)
{
    static const char job[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._[]-";
    gsize length = strspn(text, job);
    if (length > 0 && text[length] == '/' && g_ascii_isdigit(text[length + 1]))
        length += 1 + strspn(text + length + 1, G_CSET_DIGITS);
    if (length == 0 || text[length] != ':') {
        side->path = g_strdup(text);
        return true;
    }
    g_autofree char *name = g_strndup(text, length);
    const char *path = text + length + 1;
    /* A word that begins with a dash is none of tar's options. */
    side->path = g_strconcat(*path == '-' ? "./" : "", *path ? path : ".", NULL);
    side->job = vt_jobs_find_machine(name, &side->machine, error);
    return side->job != NULL;
}

/* The last part of a path, which a copy of it is called. (transfer full), or NULL. */
static char *name_of(const char *path, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    if (*path && strcmp(name, "/") != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return g_steal_pointer(&name);
    vt_error_set(error, VT_ERROR_USER, "'%s': must name a file or a directory", path);
    return NULL;
}

/* The directory that a path is in; a slash at the end counts for nothing. (transfer full) */
static char *folder_of(const char *path)
{
    g_autofree char *plain = g_strdup(path);
    for (gsize n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--)
        plain[n - 1] = '\0';
    return g_path_get_dirname(plain);
}

static int end_child(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : VT_EXIT_FAILED;
}

/* Never returns: the child, whose outcome is its status. */
static _Noreturn void be_child(bool ok, GError *error)
{
    if (!ok)
        g_printerr("vmgr: %s\n", error->message);
    _exit(ok ? 0 : VT_EXIT_FAILED);
}

/* `here` and what it is to be called there, into `folder` of the guest. */
static int send_one(const Side *there, const char *folder, const char *here, const char *name,
                    GError **error)
{
    char *const words[] = {(char *)"tar", (char *)"-xof", (char *)"-",
                           (char *)"-C",  (char *)folder, NULL};
    int both[2];
    if (pipe2(both, O_CLOEXEC) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a pipe") - 1;
    pid_t child = fork();
    if (child == 0) {
        GError *problem = NULL;
        close(both[0]);
        bool ok = vt_tar_pack(here, name, both[1], &problem);
        be_child(ok, problem);
    }
    close(both[1]);
    VtAttachment what = {.input = both[0],
                         .output = STDERR_FILENO,
                         .errors = STDERR_FILENO,
                         .are_errors_quoted = true};
    int status = child < 0 ? -1 : vt_session_shell(there->job, there->machine, words, &what, error);
    close(both[0]);
    if (child < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork") - 1;
    int packed = end_child(child);
    return status < 0 || status > 0 ? status : packed;
}

static int fetch_one(const Side *there, const char *base, int folder, const char *name,
                     GError **error)
{
    g_autofree char *from = folder_of(there->path);
    char *const words[] = {(char *)"tar", (char *)"-cf", (char *)"-",  (char *)"-C",
                           from,          (char *)"--",  (char *)base, NULL};
    int both[2];
    if (pipe2(both, O_CLOEXEC) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a pipe") - 1;
    pid_t child = fork();
    if (child == 0) {
        GError *problem = NULL;
        close(both[1]);
        bool ok = vt_tar_unpack(both[0], base, folder, name, &problem);
        be_child(ok, problem);
    }
    close(both[0]);
    VtAttachment what = {
        .input = -1, .output = both[1], .errors = STDERR_FILENO, .are_errors_quoted = true};
    int status = child < 0 ? -1 : vt_session_shell(there->job, there->machine, words, &what, error);
    close(both[1]);
    if (child < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork") - 1;
    int unpacked = end_child(child);
    return status != 0 ? status : unpacked;
}

static bool is_folder_there(const Side *there, bool *is_folder, GError **error)
{
    char *const words[] = {(char *)"test", (char *)"-d", there->path, NULL};
    VtAttachment what = {
        .input = -1, .output = STDERR_FILENO, .errors = STDERR_FILENO, .are_errors_quoted = true};
    int status = vt_session_shell(there->job, there->machine, words, &what, error);
    *is_folder = status == 0;
    return status == 0 || status == 1 ||
           (status >= 0 && vt_error_set(error, VT_ERROR_GUEST, "the guest does not answer"));
}

static bool is_folder_here(const Side *here, bool *is_folder, GError **error)
{
    struct stat st;
    *is_folder = stat(here->path, &st) == 0 && S_ISDIR(st.st_mode);
    return true;
}

/* Copies one. Returns vmgr's status, -1 for `error`. */
static int copy(const Side *from, const Side *to, bool is_folder, GError **error)
{
    g_autofree char *base = name_of(from->path, error);
    g_autofree char *name = !base ? NULL : is_folder ? g_strdup(base) : name_of(to->path, error);
    g_autofree char *folder = is_folder ? g_strdup(to->path) : folder_of(to->path);
    if (!name)
        return -1;
    if (to->job)
        return send_one(to, folder, from->path, name, error);
    vt_autofd fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot write to '%s'", folder) - 1;
    return fetch_one(from, base, fd, name, error);
}

static bool check(const Side *from, const Side *to, GError **error)
{
    return !from->job != !to->job ||
           vt_error_set(error, VT_ERROR_USER,
                        "one side must be a guest (JOB:PATH), and the other must be here");
}

bool vt_verb_cp(int argc, char **argv, int *status, GError **error)
{
    bool is_folder;
    if (!vt_verb_parse(&argc, &argv, options, VT_VERB_CP_USAGE, 2, G_MAXINT - 1, error))
        return false;
    g_auto(Side) to = {0};
    if (!find_side(argv[argc - 1], &to, error))
        return false;
    for (int i = 1; i < argc - 1; i++) {
        g_auto(Side) from = {0};
        if (!find_side(argv[i], &from, error) || !check(&from, &to, error))
            return false;
        if (i == 1 && !(to.job ? is_folder_there : is_folder_here)(&to, &is_folder, error))
            return false;
        if (argc > 3 && !is_folder)
            return vt_error_set(error, VT_ERROR_USER, "'%s' is no directory", argv[argc - 1]);
        int copied = copy(&from, &to, is_folder, error);
        if (copied < 0)
            return false;
        if (copied > 0)
            *status = VT_EXIT_FAILED;
    }
    return true;
}
