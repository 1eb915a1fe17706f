/* SPDX-License-Identifier: Apache-2.0 */
/* job/owner.c - who a job belongs to. */
#include "job/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "base/error.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX, of which no header knows more than a page's worth */
#define RECORD_MAX (1024 * 1024) /* bytes of one entry; a group may have many thousand members */

static void load_user(VtOwner *owner, char *buffer)
{
    struct passwd record, *found = NULL;
    if (getpwuid_r(owner->uid, &record, buffer, RECORD_MAX, &found) == 0 && found) {
        owner->user = vt_job_entry_is_valid(record.pw_name) ? g_strdup(record.pw_name)
                                                            : g_strdup_printf("u%u", owner->uid);
        owner->home = g_strdup(record.pw_dir);
        /* An empty field of passwd means the other. */
        owner->shell =
            g_strdup(vt_job_path_is_valid(record.pw_shell) ? record.pw_shell : "/bin/sh");
        return;
    }
    const char *home = getenv("HOME");
    owner->user = g_strdup_printf("u%u", owner->uid);
    owner->home = g_strdup(home ? home : "/");
    owner->shell = g_strdup("/bin/sh");
}

/* What the host calls a group; "g<gid>" for one without a name, or with one that a file of groups
 * cannot hold (directory services have such with blanks). (transfer full) */
static char *group_name(gid_t gid, char *buffer)
{
    struct group record, *found = NULL;
    if (getgrgid_r(gid, &record, buffer, RECORD_MAX, &found) == 0 && found &&
        vt_job_entry_is_valid(found->gr_name))
        return g_strdup(found->gr_name);
    return g_strdup_printf("g%u", gid);
}

static void load_group_names(VtOwner *owner, char *buffer)
{
    owner->group = group_name(owner->gid, buffer);
    owner->group_names = g_new0(char *, owner->n_groups + 1);
    for (gsize i = 0; i < owner->n_groups; i++)
        owner->group_names[i] = group_name(owner->groups[i], buffer);
}

static int compare_gids(const void *a, const void *b)
{
    gid_t left = *(const gid_t *)a, right = *(const gid_t *)b;
    return (left > right) - (left < right);
}

/* Each once and without the primary one: a gid that stands twice in a gid map is EINVAL. Takes
 * `all` over. */
static void take_groups(VtOwner *owner, gid_t *all, gsize n)
{
    gsize kept = 0;
    qsort(all, n, sizeof *all, compare_gids);
    for (gsize i = 0; i < n; i++)
        if (all[i] != owner->gid && (kept == 0 || all[i] != all[kept - 1]))
            all[kept++] = all[i];
    owner->groups = all;
    owner->n_groups = kept;
}

static bool load_groups(VtOwner *owner, GError **error)
{
    int n = getgroups(0, NULL);
    g_autofree gid_t *all = g_new0(gid_t, (gsize)MAX(n, 0) + 1);
    if (n > 0)
        n = getgroups(n, all);
    if (n < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot read own groups");
    take_groups(owner, g_steal_pointer(&all), (gsize)n);
    return true;
}

bool vt_owner_load(VtOwner *owner, GError **error)
{
    if (getuid() != geteuid() || getgid() != getegid())
        return vt_error_set(error, VT_ERROR_HOST, "cannot run setuid or setgid");
    *owner = (VtOwner){.uid = getuid(), .gid = getgid()};
    if (!load_groups(owner, error))
        return false;
    g_autofree char *buffer = g_malloc(RECORD_MAX);
    load_user(owner, buffer);
    load_group_names(owner, buffer);
    return true;
}

bool vt_owner_borrow(const VtOwner *owner, GError **error)
{
    if (geteuid() != 0 || owner->uid == 0)
        return true;
    if (setgroups(owner->n_groups, owner->groups) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot take the owner's groups");
    setfsgid(owner->gid);
    setfsuid(owner->uid);
    /* They tell nothing; asked again, they say what is. */
    if ((gid_t)setfsgid((gid_t)-1) == owner->gid && (uid_t)setfsuid((uid_t)-1) == owner->uid)
        return true;
    vt_owner_return();
    return vt_error_set(error, VT_ERROR_HOST, "cannot take the owner's ids for files");
}

void vt_owner_return(void)
{
    setfsuid(geteuid());
    setfsgid(getegid());
    if (geteuid() == 0)
        setgroups(0, NULL);
}

bool vt_owner_find(VtOwner *owner, uid_t uid, GError **error)
{
    struct passwd record, *found = NULL;
    g_autofree char *buffer = g_malloc(RECORD_MAX);
    int err = getpwuid_r(uid, &record, buffer, RECORD_MAX, &found);
    if (!found)
        return vt_error_set(error, err ? VT_ERROR_HOST : VT_ERROR_USER, "there is no user %u: %s",
                            uid, err ? g_strerror(err) : "the user database has none");
    g_autofree gid_t *all = g_new0(gid_t, GROUPS_MAX);
    int n = GROUPS_MAX;
    if (getgrouplist(record.pw_name, record.pw_gid, all, &n) < 0)
        return vt_error_set(error, VT_ERROR_HOST, "user %u is in more than %d groups", uid,
                            GROUPS_MAX);
    *owner = (VtOwner){.uid = uid, .gid = record.pw_gid};
    take_groups(owner, g_steal_pointer(&all), (gsize)n);
    load_user(owner, buffer);
    load_group_names(owner, buffer);
    return true;
}
