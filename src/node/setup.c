/* SPDX-License-Identifier: Apache-2.0 */
/* node/setup.c - the steps from a node of Torque to one of vTorque's, and back. */
#include "node/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/error.h"
#include "ctl/mom.h"

#define HOOK_MODE 0755
#define TRIAL_MS 10000

static void add(GArray *steps, VtSetupAct act, const VtHook *hook)
{
    const VtSetupStep step = {act, hook};
    g_array_append_val(steps, step);
}

static bool refuse(const VtHooks *hooks, const char *name, const char *suffix, const char *problem,
                   GError **error)
{
    return vt_error_set(error, VT_ERROR_HOST, "'%s/%s%s' %s", hooks->path, name, suffix, problem);
}

/* What no step of ours can be right about. */
static bool check_site(const VtHooks *hooks, const VtHook *hook, GError **error)
{
    const VtHookFile *site = hook->hook.kind == VT_HOOK_SITE ? &hook->hook : &hook->site;
    const char *suffix = site == &hook->site ? CTL_MOM_SITE : "";
    if (hook->hook.kind == VT_HOOK_UNSEEN || hook->site.kind == VT_HOOK_UNSEEN)
        return refuse(hooks, hook->name, "", "may not be read: only root can see what to do",
                      error);
    if (vt_hook_is_ours(&hook->site))
        return refuse(hooks, hook->name, CTL_MOM_SITE,
                      "is a copy of vtorque-hook, not the site's own script: remove it", error);
    if (hook->hook.kind == VT_HOOK_NONE && hook->site.kind == VT_HOOK_SITE)
        return refuse(hooks, hook->name, CTL_MOM_SITE,
                      "is there without a script to which it belongs, and would be run: rename or "
                      "remove it",
                      error);
    if (hook->hook.kind == VT_HOOK_SITE && hook->site.kind == VT_HOOK_SITE && !hook->is_one)
        return refuse(hooks, hook->name, CTL_MOM_SITE,
                      "is in the way of the site's script, which would get that name: rename or "
                      "remove it",
                      error);
    return !site->problem || refuse(hooks, hook->name, suffix, site->problem, error);
}

GArray *vt_setup_plan_install(const VtHooks *hooks, GError **error)
{
    g_autoptr(GArray) steps = g_array_new(FALSE, FALSE, sizeof(VtSetupStep));
    if (hooks->is_noexec) {
        vt_error_set(error, VT_ERROR_HOST,
                     "nothing in '%s' can be executed: it is mounted with noexec", hooks->path);
        return NULL;
    }
    for (gsize i = 0; i < VT_HOOKS_N; i++) {
        const VtHook *hook = &hooks->hooks[i];
        if (!check_site(hooks, hook, error))
            return NULL;
        if (hook->hook.kind == VT_HOOK_SITE && !hook->is_one)
            add(steps, VT_SETUP_KEEP, hook);
        if (hook->hook.kind != VT_HOOK_CURRENT || hook->hook.problem)
            add(steps, VT_SETUP_PLACE, hook);
        else if (hook->has_leftover)
            add(steps, VT_SETUP_TIDY, hook);
    }
    return g_steal_pointer(&steps);
}

static void plan_back(GArray *steps, const VtHook *hook)
{
    bool is_ours = vt_hook_is_ours(&hook->hook);
    bool has_site = hook->site.kind == VT_HOOK_SITE || hook->site.kind == VT_HOOK_UNSEEN;
    if (hook->has_leftover)
        add(steps, VT_SETUP_TIDY, hook);
    if (vt_hook_is_ours(&hook->site) || (hook->is_one && !is_ours))
        add(steps, VT_SETUP_FORGET, hook);
    else if (!is_ours && (has_site || hook->hook.kind != VT_HOOK_NONE))
        add(steps, VT_SETUP_LEAVE, hook);
    if (is_ours)
        add(steps, has_site ? VT_SETUP_RESTORE : VT_SETUP_REMOVE, hook);
}

/* What starts virtual machines goes before what ends them. */
GArray *vt_setup_plan_uninstall(const VtHooks *hooks)
{
    GArray *steps = g_array_new(FALSE, FALSE, sizeof(VtSetupStep));
    for (gsize i = VT_HOOKS_N; i-- > 0;)
        plan_back(steps, &hooks->hooks[i]);
    return steps;
}

bool vt_setup_changes(const VtSetupStep *step)
{
    return step->act != VT_SETUP_LEAVE;
}

const char *vt_setup_word(const VtSetupStep *step)
{
    static const char *const words[] = {
        [VT_SETUP_KEEP] = "keep",     [VT_SETUP_PLACE] = "install", [VT_SETUP_RESTORE] = "restore",
        [VT_SETUP_REMOVE] = "remove", [VT_SETUP_FORGET] = "tidy",   [VT_SETUP_TIDY] = "tidy",
        [VT_SETUP_LEAVE] = "leave",
    };
    return words[step->act];
}

static char *tell_left(const VtHook *hook)
{
    if (hook->hook.kind == VT_HOOK_UNSEEN)
        return g_strdup("may not be read by this user");
    if (hook->hook.kind == VT_HOOK_NONE)
        return g_strdup_printf("there is only %s" CTL_MOM_SITE, hook->name);
    if (hook->site.kind == VT_HOOK_NONE)
        return g_strdup("not vTorque's");
    return g_strdup_printf("not vTorque's, and %s" CTL_MOM_SITE " is another file", hook->name);
}

char *vt_setup_text(const VtSetupStep *step)
{
    const VtHook *hook = step->hook;
    switch (step->act) {
    case VT_SETUP_KEEP:
        return g_strdup_printf("the site's own, as %s" CTL_MOM_SITE, hook->name);
    case VT_SETUP_PLACE:
        return vt_hook_is_ours(&hook->hook)
                   ? g_strdup_printf("vTorque's hook in place of that of version %s",
                                     hook->hook.version)
                   : g_strdup("vTorque's hook");
    case VT_SETUP_RESTORE:
        return g_strdup_printf("the site's own, which was %s" CTL_MOM_SITE, hook->name);
    case VT_SETUP_REMOVE:
        return g_strdup("vTorque's hook");
    case VT_SETUP_FORGET:
        return g_strdup_printf("%s" CTL_MOM_SITE ", which is a second name of it", hook->name);
    case VT_SETUP_TIDY:
        return g_strdup("what an interrupted installation left");
    default:
        return tell_left(hook);
    }
}

/* Executes the file once: what cannot be executed would make Torque start each job of the node
 * again and again. */
static bool try_program(int folder, const char *name, GError **error)
{
    const char *const argv[] = {VT_HOOK_PROGRAM, "--version", NULL};
    const char *const environment[] = {NULL};
    int status = -1;
    vt_autofd fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    vt_autofd nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = fd < 0 || nothing < 0 ? -1 : fork();
    if (pid < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot try the new hook");
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            dup2(nothing, i);
        fexecve(fd, (char *const *)argv, (char *const *)environment);
        _exit(127);
    }
    vt_autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 || !vt_fd_wait(pidfd, TRIAL_MS))
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           vt_error_set(error, VT_ERROR_HOST, "the new hook cannot be executed here");
}

static bool sync_folder(const VtHooks *hooks, GError **error)
{
    return fsync(hooks->folder) == 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot write '%s' to its disk",
                              hooks->path);
}

/* A whole hook, under a name of its own. */
static bool make_copy(const VtHooks *hooks, const char *name, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(hooks->program, &size);
    if (unlinkat(hooks->folder, name, 0) < 0 && errno != ENOENT)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot remove '%s'", name);
    vt_autofd fd =
        openat(hooks->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make '%s'", name);
    if (!vt_fd_write_all(fd, data, size, error))
        return false;
    if (fchown(fd, 0, 0) < 0 || fchmod(fd, HOOK_MODE) < 0 || fsync(fd) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot write '%s'", name);
    /* A file that is open for writing cannot be executed. */
    vt_fd_clear(&fd);
    return try_program(hooks->folder, name, error);
}

/* Whoever else changes hooks (an administrator, a tool) is not overruled. Not told by device and
 * inode: on some overlays a file gets others when it is given its second name. */
static bool is_unchanged(const VtHooks *hooks, const VtHook *hook, GError **error)
{
    const struct stat *before = &hook->hook.entry;
    struct stat now = {0};
    bool is_there = fstatat(hooks->folder, hook->name, &now, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_there == (hook->hook.kind != VT_HOOK_NONE) && now.st_size == before->st_size &&
        now.st_mode == before->st_mode && now.st_uid == before->st_uid &&
        now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
        return true;
    return vt_error_set(error, VT_ERROR_HOST, "somebody else has changed it meanwhile: try again");
}

static bool place(const VtHooks *hooks, const VtHook *hook, GError **error)
{
    g_autofree char *copy = vt_hook_leftover(hook);
    if (make_copy(hooks, copy, error) && is_unchanged(hooks, hook, error)) {
        if (renameat(hooks->folder, copy, hooks->folder, hook->name) == 0)
            return true;
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot rename '%s'", copy);
    }
    unlinkat(hooks->folder, copy, 0);
    return false;
}

/* Steps that are one call. */
static bool call(const VtHooks *hooks, const VtSetupStep *step, GError **error)
{
    const VtHook *hook = step->hook;
    g_autofree char *site = vt_hook_name(hook, CTL_MOM_SITE);
    g_autofree char *leftover = vt_hook_leftover(hook);
    int folder = hooks->folder, result = 0;
    if (!is_unchanged(hooks, hook, error))
        return false;
    if (step->act == VT_SETUP_KEEP)
        result = linkat(folder, hook->name, folder, site, 0);
    else if (step->act == VT_SETUP_RESTORE)
        result = renameat(folder, site, folder, hook->name);
    else
        result = unlinkat(folder,
                          step->act == VT_SETUP_REMOVE   ? hook->name
                          : step->act == VT_SETUP_FORGET ? site
                                                         : leftover,
                          0);
    if (result < 0 && step->act == VT_SETUP_KEEP)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot give it the name '%s' too",
                                  site);
    return result == 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot %s it", vt_setup_word(step));
}

bool vt_setup_do(const VtHooks *hooks, const VtSetupStep *step, GError **error)
{
    if (step->act == VT_SETUP_LEAVE)
        return true;
    if ((step->act == VT_SETUP_PLACE ? place(hooks, step->hook, error)
                                     : call(hooks, step, error)) &&
        sync_folder(hooks, error))
        return true;
    g_prefix_error(error, "'%s/%s': ", hooks->path, step->hook->name);
    return false;
}
