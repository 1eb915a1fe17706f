/* SPDX-License-Identifier: Apache-2.0 */
/* image/trusted.c - a walk along a path on which each step is looked at after it is opened. */
#include "image/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"

#define LINKS_MAX 40 /* the kernel's own limit */

/* Where a walk has come to, and what is left of it. */
typedef struct {
    int at;        /* O_PATH */
    char *shown;   /* the path of `at` */
    GString *rest; /* with a slash, or nothing, at its start */
    guint links;
} Walk;

static void walk_clear(Walk *walk)
{
    vt_fd_clear(&walk->at);
    g_free(walk->shown);
    g_string_free(walk->rest, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Walk, walk_clear)

/* True if there is no root in our user namespace and `uid` is what everybody outside looks like. */
static bool is_outside(uid_t uid)
{
    g_autofree char *map = NULL, *overflow = NULL;
    if (!g_file_get_contents("/proc/self/uid_map", &map, NULL, NULL) ||
        !g_file_get_contents("/proc/sys/kernel/overflowuid", &overflow, NULL, NULL))
        return false;
    g_auto(GStrv) lines = g_strsplit(g_strchomp(map), "\n", 0);
    for (char **line = lines; *line; line++) {
        unsigned first;
        if (sscanf(*line, "%u", &first) != 1 || first == 0)
            return false;
    }
    return *lines && uid == (uid_t)g_ascii_strtoull(overflow, NULL, 10);
}

static bool check_owner(const struct stat *st, uid_t owner, const char *shown, GError **error)
{
    if (st->st_uid == 0 || st->st_uid == owner || is_outside(st->st_uid))
        return true;
    g_autofree char *other = owner == 0 ? g_strdup("") : g_strdup_printf(" or uid %u", owner);
    return vt_error_set(error, VT_ERROR_HOST, "'%s' belongs to uid %u: must belong to root%s",
                        shown, st->st_uid, other);
}

/* Links have no mode. */
static bool check(const struct stat *st, uid_t owner, const char *shown, GError **error)
{
    if (!check_owner(st, owner, shown, error))
        return false;
    if (S_ISLNK(st->st_mode) || !(st->st_mode & (S_IWGRP | S_IWOTH)))
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "'%s' has mode %04o: must not be writable by group or others", shown,
                        st->st_mode & 07777);
}

/* /tmp: anybody may add to it, but nobody may change what is another's. */
static bool is_passage(const Walk *walk, const struct stat *st)
{
    bool is_end = strspn(walk->rest->str, "/") == walk->rest->len;
    return !is_end && (st->st_mode & S_ISVTX) && (st->st_uid == 0 || is_outside(st->st_uid));
}

static bool check_step(const Walk *walk, uid_t owner, GError **error)
{
    struct stat st;
    if (fstat(walk->at, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look at '%s'", walk->shown);
    if (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
        return vt_error_set(error, VT_ERROR_HOST, "'%s' is not a directory", walk->shown);
    return is_passage(walk, &st) || check(&st, owner, walk->shown, error);
}

static bool is_link(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* The next name of what is left; NULL at the end. */
static char *take_name(Walk *walk)
{
    g_string_erase(walk->rest, 0, (gssize)strspn(walk->rest->str, "/"));
    gsize length = strcspn(walk->rest->str, "/");
    char *name = length == 0 ? NULL : g_strndup(walk->rest->str, length);
    g_string_erase(walk->rest, 0, (gssize)length);
    return name;
}

static bool go_to_root(Walk *walk)
{
    vt_fd_clear(&walk->at);
    walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_free(walk->shown);
    walk->shown = g_strdup("/");
    return walk->at >= 0;
}

/* Goes on where the link `fd`, `shown`, in the directory `walk->at` leads to. */
static bool follow(Walk *walk, int fd, const char *shown, GError **error)
{
    char target[PATH_MAX];
    ssize_t size = readlinkat(fd, "", target, sizeof target - 1);
    if (size <= 0 || ++walk->links > LINKS_MAX)
        return vt_error_set_errno(error, VT_ERROR_HOST, size < 0 ? errno : ELOOP,
                                  "cannot follow the link '%s'", shown);
    target[size] = '\0';
    g_string_prepend(walk->rest, target);
    return target[0] != '/' || go_to_root(walk) ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '/'");
}

static char *show(const char *folder, const char *name)
{
    if (strcmp(name, "..") == 0)
        return g_path_get_dirname(folder);
    return strcmp(name, ".") == 0 ? g_strdup(folder) : g_build_filename(folder, name, NULL);
}

/* One step. False without an error where there is nothing. */
static bool step(Walk *walk, const char *name, uid_t owner, GError **error)
{
    g_autofree char *before = walk->shown;
    vt_autofd from = walk->at;
    walk->shown = show(before, name);
    walk->at = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (walk->at < 0 && errno == ENOENT)
        return false;
    if (walk->at < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", walk->shown);
    if (!check_step(walk, owner, error))
        return false;
    if (!is_link(walk->at))
        return true;
    vt_autofd link = walk->at;
    walk->at = vt_fd_steal(&from);
    g_autofree char *shown = walk->shown;
    walk->shown = g_steal_pointer(&before);
    return follow(walk, link, shown, error);
}

bool vt_trusted_open_folder(const char *path, uid_t owner, int *fd, GError **error)
{
    g_auto(Walk) walk = {.at = -1, .rest = g_string_new(path)};
    g_autoptr(GError) local = NULL;
    *fd = -1;
    if (!go_to_root(&walk))
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '/'");
    bool ok = check_step(&walk, owner, &local);
    char *name;
    while (ok && (name = take_name(&walk))) {
        ok = step(&walk, name, owner, &local);
        g_free(name);
    }
    if (local) {
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    *fd = ok ? vt_fd_steal(&walk.at) : -1;
    return true;
}

bool vt_trusted_open_file(int folder, const char *name, uid_t owner, int *fd, GError **error)
{
    *fd = -1;
    /* A fifo must not make us wait, nor a terminal become ours, before it is refused. */
    vt_autofd file =
        openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (file < 0 && errno == ENOENT)
        return true;
    if (file < 0 && errno == ELOOP)
        return vt_error_set(error, VT_ERROR_HOST, "'%s' is a link: must be a file", name);
    if (file < 0 || fstat(file, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", name);
    if (!S_ISREG(st.st_mode))
        return vt_error_set(error, VT_ERROR_HOST, "'%s' is no file", name);
    if (!check(&st, owner, name, error))
        return false;
    fcntl(file, F_SETFL, 0);
    *fd = vt_fd_steal(&file);
    return true;
}
