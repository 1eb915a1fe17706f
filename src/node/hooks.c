/* SPDX-License-Identifier: Apache-2.0 */
/* node/hooks.c - looking at the scripts of a node's Torque. */
#include "node/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "ctl/mom.h"
#include "image/trusted.h"

/* vtorque-hook has some 80 KiB; what is larger than this is none. */
#define PROGRAM_MAX (4 * 1024 * 1024)
#define VERSION_MAX 40
#define ELF "\177ELF"

/* In the order in which they are installed: what ends jobs is there before what starts them. */
static const char *const names[VT_HOOKS_N] = {
    "epilogue", "epilogue.parallel", "epilogue.precancel", "prologue.parallel", "prologue",
};

bool vt_hook_is_ours(const VtHookFile *file)
{
    return file->kind == VT_HOOK_CURRENT || file->kind == VT_HOOK_OTHER;
}

char *vt_hook_name(const VtHook *hook, const char *suffix)
{
    return g_strconcat(hook->name, suffix, NULL);
}

char *vt_hook_leftover(const VtHook *hook)
{
    return g_strconcat(".vtorque-hook.", hook->name, NULL);
}

/* What Torque demands of a script (its own stat() follows links); else it starts the job again and
 * again. NULL: it is met. (transfer full) */
static char *judge(const char *name, const struct stat *st)
{
    /* The one that a user runs. */
    mode_t needed = strcmp(name, "epilogue.precancel") == 0 ? 0505 : 0500;
    if (!S_ISREG(st->st_mode))
        return g_strdup("is no file");
    if (st->st_uid != 0)
        return g_strdup_printf("belongs to uid %u: must belong to root", st->st_uid);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return g_strdup_printf("has mode %04o: must not be writable by group or others",
                               st->st_mode & 07777);
    if ((st->st_mode & needed) != needed)
        return g_strdup_printf("has mode %04o: must be executable by %s", st->st_mode & 07777,
                               needed & 5 ? "everybody" : "root");
    return NULL;
}

/* What of `text` follows the mark; NULL without one. (transfer full) */
static char *find_version(const char *text, gsize size)
{
    const char *mark = memmem(text, size, CTL_HOOK_MARK, strlen(CTL_HOOK_MARK));
    if (!mark || size < strlen(ELF) || memcmp(text, ELF, strlen(ELF)) != 0)
        return NULL;
    mark += strlen(CTL_HOOK_MARK);
    gsize left = MIN(size - (gsize)(mark - text), VERSION_MAX), length = 0;
    while (length < left && g_ascii_isprint(mark[length]))
        length++;
    return g_strndup(mark, length);
}

static void compare(VtHookFile *file, int fd, GBytes *program)
{
    g_autoptr(GBytes) bytes = vt_fd_read_all(fd, PROGRAM_MAX, "a hook", NULL);
    gsize size = 0;
    const char *text = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    file->version = text ? find_version(text, size) : NULL;
    file->kind = !file->version                             ? VT_HOOK_SITE
                 : program && g_bytes_equal(bytes, program) ? VT_HOOK_CURRENT
                                                            : VT_HOOK_OTHER;
}

/* Nobody but root may change where the link leads. Torque looks at the file there each time; a hook
 * of ours runs it unseen. NULL: all is well. (transfer full) */
static char *judge_link(const VtHooks *hooks, const char *name)
{
    char target[PATH_MAX];
    ssize_t size = readlinkat(hooks->folder, name, target, sizeof target - 1);
    target[MAX(size, 0)] = '\0';
    g_autofree char *path =
        g_path_is_absolute(target) ? g_strdup(target) : g_build_filename(hooks->path, target, NULL);
    g_autofree char *directory = g_path_get_dirname(path), *file = g_path_get_basename(path);
    g_autoptr(GError) error = NULL;
    vt_autofd folder = -1, fd = -1;
    if (vt_trusted_open_folder(directory, 0, &folder, &error) &&
        vt_trusted_open_file(folder, file, 0, &fd, &error))
        return NULL;
    return g_strdup_printf("is a link: %s", error->message);
}

static bool look(const VtHooks *hooks, const char *hook, const char *name, VtHookFile *file,
                 GError **error)
{
    int folder = hooks->folder;
    struct stat st;
    if (fstatat(folder, name, &file->entry, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ||
               vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look at '%s'", name);
    file->is_link = S_ISLNK(file->entry.st_mode);
    file->kind = VT_HOOK_SITE;
    if (fstatat(folder, name, &st, 0) < 0) {
        /* For Torque a link that leads nowhere is no script. */
        file->kind = errno == ENOENT ? VT_HOOK_SITE : VT_HOOK_UNSEEN;
        return true;
    }
    file->problem = judge(hook, &st);
    if (file->is_link && !file->problem)
        file->problem = judge_link(hooks, name);
    if (!S_ISREG(st.st_mode))
        return true;
    vt_autofd fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        file->kind = VT_HOOK_UNSEEN;
    else
        compare(file, fd, hooks->program);
    return true;
}

static bool is_one(const VtHook *hook)
{
    const struct stat *a = &hook->hook.entry, *b = &hook->site.entry;
    return hook->hook.kind != VT_HOOK_NONE && hook->site.kind != VT_HOOK_NONE &&
           a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool look_at_all(VtHooks *hooks, GError **error)
{
    struct statvfs fs;
    hooks->is_noexec = fstatvfs(hooks->folder, &fs) == 0 && (fs.f_flag & ST_NOEXEC);
    for (gsize i = 0; i < VT_HOOKS_N; i++) {
        VtHook *hook = &hooks->hooks[i];
        struct stat st;
        hook->name = names[i];
        g_autofree char *site = vt_hook_name(hook, CTL_MOM_SITE);
        g_autofree char *leftover = vt_hook_leftover(hook);
        if (!look(hooks, names[i], names[i], &hook->hook, error) ||
            !look(hooks, names[i], site, &hook->site, error))
            return false;
        /* Ours is a copy with a mode of its own: no link, and for everybody to execute. */
        if (vt_hook_is_ours(&hook->hook) && !hook->hook.problem)
            hook->hook.problem = hook->hook.is_link
                                     ? g_strdup("is a link: must be a copy")
                                     : judge("epilogue.precancel", &hook->hook.entry);
        hook->is_one = is_one(hook);
        hook->has_leftover = fstatat(hooks->folder, leftover, &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    return true;
}

/* Root locks it and syncs it; others may be allowed to pass through, and no more. */
static bool open_folder(VtHooks *hooks, GError **error)
{
    vt_autofd passage = -1;
    if (!vt_trusted_open_folder(hooks->path, 0, &passage, error))
        return false;
    if (passage < 0)
        return vt_error_set(error, VT_ERROR_HOST,
                            "no directory '%s': TORQUE_HOME or --torque-home names Torque's home",
                            hooks->path);
    if (geteuid() != 0) {
        hooks->folder = vt_fd_steal(&passage);
        return true;
    }
    hooks->folder = openat(passage, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (hooks->folder < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", hooks->path);
    return true;
}

static bool take_lock(const VtHooks *hooks, GError **error)
{
    if (flock(hooks->folder, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        return vt_error_set(error, VT_ERROR_HOST, "another vmgr setup is at work in '%s'",
                            hooks->path);
    return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot lock '%s'", hooks->path);
}

/* It will be run by root for each job. */
static GBytes *load_program(const char *path, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *version = NULL;
    vt_autofd folder = -1, file = -1;
    gsize size;
    if (!vt_trusted_open_folder(directory, 0, &folder, error) ||
        (folder >= 0 && !vt_trusted_open_file(folder, name, 0, &file, error))) {
        g_prefix_error(error, "cannot use '%s': ", path);
        return NULL;
    }
    g_autoptr(GBytes) bytes = file < 0 ? NULL : vt_fd_read_all(file, PROGRAM_MAX, path, error);
    if (bytes) {
        const char *text = g_bytes_get_data(bytes, &size);
        version = find_version(text, size);
    }
    if (version)
        return g_steal_pointer(&bytes);
    if (!error || !*error)
        vt_error_set(error, VT_ERROR_HOST, "'%s' is not vTorque's hook", path);
    return NULL;
}

bool vt_hooks_open(const char *home, const char *program, bool lock, VtHooks *hooks, GError **error)
{
    g_auto(VtHooks) found = VT_HOOKS_NONE;
    *hooks = VT_HOOKS_NONE;
    found.path = g_build_filename(home, CTL_MOM_FOLDER, NULL);
    if (program && !(found.program = load_program(program, error)))
        return false;
    if (!open_folder(&found, error) || (lock && !take_lock(&found, error)) ||
        !look_at_all(&found, error))
        return false;
    *hooks = found;
    found = VT_HOOKS_NONE;
    return true;
}

static void clear_file(VtHookFile *file)
{
    g_free(file->version);
    g_free(file->problem);
}

void vt_hooks_clear(VtHooks *hooks)
{
    for (gsize i = 0; i < VT_HOOKS_N; i++) {
        clear_file(&hooks->hooks[i].hook);
        clear_file(&hooks->hooks[i].site);
    }
    g_free(hooks->path);
    vt_fd_clear(&hooks->folder);
    g_clear_pointer(&hooks->program, g_bytes_unref);
    *hooks = VT_HOOKS_NONE;
}
