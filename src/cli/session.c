/* SPDX-License-Identifier: Apache-2.0 */
/* cli/session.c - vmgr's end of a session in a guest. */
#include "cli/session.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/login.h"
#include "cli/report.h"
#include "ctl/control.h"
#include "ctl/folder.h"

#define ASK_TIMEOUT_MS 5000

/* What the guest's shell depends on, as the engine says it. */
static bool take_job(const char *text, VtJob *job, GError **error)
{
    char image[16], home[PATH_MAX], shell[PATH_MAX];
    guint number;
    if (!ctl_text_find(text, "image=", image, sizeof image) ||
        !ctl_text_find(text, "home=", home, sizeof home) ||
        !ctl_text_find(text, "shell=", shell, sizeof shell) ||
        !vt_choice_find(&vt_image_choice, image, &number))
        return vt_error_set(error, VT_ERROR_INTERNAL, "the job's engine does not say what it runs");
    job->image = (VtImage)number;
    job->owner.home = g_strdup(home);
    job->owner.shell = g_strdup(shell);
    return true;
}

bool vt_session_has_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

int vt_session_attach(VtAttachment *what, int fd)
{
    VtResult result = {0};
    what->program_name = "vmgr";
    what->is_shell = true;
    vt_attach(what, fd, &result);
    if (what->terminal)
        vt_terminal_close(what->terminal);
    vt_report_print_outcome(&result, "vmgr");
    int status = vt_report_status(&result);
    vt_result_clear(&result);
    return status;
}

static int attach(const VtJob *job, const VtLogin *command, VtAttachment *what, int fd)
{
    const char *type = g_getenv("TERM");
    g_autofree char *term = type && what->terminal ? g_strconcat("TERM=", type, NULL) : NULL;
    const char *const env[] = {term, NULL};
    mode_t mask = umask(0);
    umask(mask);
    what->cwd = job->owner.home;
    what->umask_bits = mask;
    what->program = command->program;
    what->argv = (const char *const *)command->argv;
    what->env = env;
    return vt_session_attach(what, fd);
}

int vt_session_shell(const VtLiveJob *live, guint8 machine, char *const *words, VtAttachment *what,
                     GError **error)
{
    vt_autofd fd = vt_jobs_connect(live, error);
    g_autofree char *text =
        fd < 0 ? NULL
               : vt_jobs_ask_on(fd, live, CTL_SHELL, machine, NULL, 0, ASK_TIMEOUT_MS, error);
    VtJob job = {0};
    if (!text || !take_job(text, &job, error))
        return -1;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    VtLogin command = {0};
    int status = -1;
    if (vt_login_load_shell(&command, &job, NULL, words ? *words : NULL, words ? words + 1 : NULL,
                            notes, error)) {
        for (guint i = 0; i < notes->len; i++)
            g_printerr("vmgr: note: %s\n", (const char *)notes->pdata[i]);
        status = attach(&job, &command, what, vt_fd_steal(&fd));
    }
    vt_login_clear(&command);
    vt_owner_clear(&job.owner);
    return status;
}
