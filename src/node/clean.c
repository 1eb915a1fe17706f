/* SPDX-License-Identifier: Apache-2.0 */
/* node/clean.c - what a job's owner has left running on its node. */
#include "node/clean.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "conf/settings.h"
#include "ctl/folder.h"
#include "job/job.h"

#define KILLERS 100

/* With the user's rights and no more the kernel kills all that these may kill, in one go, so that
 * nothing can fork away from it. Never returns. */
static void run_killer(const struct passwd *user)
{
    if (setgroups(0, NULL) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
        _exit(VT_EXIT_FAILED);
    _exit(kill(-1, SIGKILL) < 0 && errno != ESRCH ? VT_EXIT_FAILED : 0);
}

static bool kill_all(const struct passwd *user, GError **error)
{
    int status = SIGKILL;
    /* Whom it is to kill may kill it first. */
    for (int tries = 0; tries < KILLERS && WIFSIGNALED(status); tries++) {
        pid_t pid = fork();
        if (pid == 0)
            run_killer(user);
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "cannot end what '%s' has left running", user->pw_name);
    }
    return status == 0 || vt_error_set(error, VT_ERROR_HOST,
                                       "cannot end what '%s' has left running", user->pw_name);
}

static bool clean(const char *text, const char *settings_file, GError **error)
{
    char name[256];
    g_autoptr(VtSettings) settings = vt_settings_load(settings_file, error);
    if (!settings)
        return false;
    if (!vt_settings_get_number(settings, VT_SETTING_KILL_USER) ||
        !vt_settings_get_number(settings, VT_SETTING_EXCLUSIVE_NODES))
        return true;
    if (!ctl_text_find(text, "user=", name, sizeof name) || !vt_job_entry_is_valid(name))
        return vt_error_set(error, VT_ERROR_BATCH, "the order to clean up names no user");
    const struct passwd *user = getpwnam(name);
    if (!user || user->pw_uid == 0)
        return vt_error_set(error, VT_ERROR_BATCH, "'%s' is no user whose processes may be killed",
                            name);
    return kill_all(user, error);
}

int vt_clean_user(const char *text, const char *settings_file)
{
    g_autoptr(GError) error = NULL;
    if (clean(text, settings_file, &error))
        return 0;
    g_printerr("vtorqued: %s\n", error->message);
    return vt_error_exit_status(error);
}
