/* SPDX-License-Identifier: Apache-2.0 */
/* job/guest_files.c - passwd, group, hosts, hostname and resolv.conf of a guest, and its node file.
 */
#include "job/guest_files.h"

#include <string.h>

typedef struct {
    const char *name;
    guint uid, gid;
    const char *home, *shell;
} SystemUser;

typedef struct {
    const char *name;
    guint gid;
} SystemGroup;

/* The ids below 100, and nobody, are the same on every Debian (base-passwd 3.6). */
static const SystemUser system_users[] = {
    {"root", 0, 0, "/root", "/bin/sh"},
    {"daemon", 1, 1, "/usr/sbin", NULL},
    {"bin", 2, 2, "/bin", NULL},
    {"sys", 3, 3, "/dev", NULL},
    {"games", 5, 60, "/usr/games", NULL},
    {"man", 6, 12, "/var/cache/man", NULL},
    {"lp", 7, 7, "/var/spool/lpd", NULL},
    {"mail", 8, 8, "/var/mail", NULL},
    {"www-data", 33, 33, "/var/www", NULL},
    {"sshd", 101, 65534, "/run/sshd", NULL},
    {"nobody", 65534, 65534, "/nonexistent", NULL},
};

static const SystemGroup system_groups[] = {
    {"root", 0},    {"daemon", 1},      {"bin", 2},      {"sys", 3},       {"adm", 4},
    {"tty", 5},     {"disk", 6},        {"lp", 7},       {"mail", 8},      {"news", 9},
    {"uucp", 10},   {"man", 12},        {"proxy", 13},   {"kmem", 15},     {"dialout", 20},
    {"fax", 21},    {"voice", 22},      {"cdrom", 24},   {"floppy", 25},   {"tape", 26},
    {"sudo", 27},   {"audio", 29},      {"dip", 30},     {"www-data", 33}, {"backup", 34},
    {"list", 38},   {"irc", 39},        {"src", 40},     {"shadow", 42},   {"utmp", 43},
    {"video", 44},  {"sasl", 45},       {"plugdev", 46}, {"staff", 50},    {"games", 60},
    {"users", 100}, {"nogroup", 65534},
};

#define NO_LOGIN "/usr/sbin/nologin"

/* An image with a disk has users and groups of its own, which stand behind the owner's: the first
 * line that fits is the one that counts. */
static bool has_own_system(const VtJob *job)
{
    return job->image == VT_IMAGE_DISK;
}

static char *make_passwd(const VtJob *job, const VtPlan *plan, guint index)
{
    const VtOwner *owner = &job->owner;
    GString *text = g_string_new(NULL);

    for (gsize i = 0; !has_own_system(job) && i < G_N_ELEMENTS(system_users); i++) {
        const SystemUser *user = &system_users[i];
        if (user->uid == owner->uid || strcmp(user->name, owner->user) == 0)
            continue;
        g_string_append_printf(text, "%s:x:%u:%u:%s:%s:%s\n", user->name, user->uid, user->gid,
                               user->name, user->home, user->shell ? user->shell : NO_LOGIN);
    }
    g_string_append_printf(text, "%s:x:%u:%u:%s:%s:%s\n", owner->user, owner->uid, owner->gid,
                           owner->user, owner->home, owner->shell);
    return g_string_free(text, FALSE);
}

static bool is_member(const VtOwner *owner, gid_t gid)
{
    for (gsize i = 0; i < owner->n_groups; i++)
        if (owner->groups[i] == gid)
            return true;
    return false;
}

/* The owner is a member by name too, for programs that call initgroups(). */
static void append_group(GString *text, const char *name, gid_t gid, const char *member)
{
    g_string_append_printf(text, "%s:x:%u:%s\n", name, gid, member ? member : "");
}

/* The host's names for the owner's groups come first; a system group gives way to one of the same
 * number or name. */
static char *make_group(const VtJob *job, const VtPlan *plan, guint index)
{
    const VtOwner *owner = &job->owner;
    const char *const *names = (const char *const *)owner->group_names;
    GString *text = g_string_new(NULL);

    append_group(text, owner->group, owner->gid, NULL);
    for (gsize i = 0; i < owner->n_groups; i++)
        append_group(text, names[i], owner->groups[i], owner->user);
    for (gsize i = 0; !has_own_system(job) && i < G_N_ELEMENTS(system_groups); i++) {
        const SystemGroup *group = &system_groups[i];
        if (group->gid != owner->gid && !is_member(owner, group->gid) &&
            strcmp(group->name, owner->group) != 0 && !g_strv_contains(names, group->name))
            append_group(text, group->name, group->gid, NULL);
    }
    return g_string_free(text, FALSE);
}

/* ADDRESS NAME.DOMAIN NAME */
static void append_host(GString *text, const VtJob *job, const char *address, const char *name)
{
    g_string_append(text, address);
    if (job->domain)
        g_string_append_printf(text, " %s.%s", name, job->domain);
    g_string_append_printf(text, " %s\n", name);
}

static char *make_hosts(const VtJob *job, const VtPlan *plan, guint index)
{
    GString *text = g_string_new("127.0.0.1 localhost\n");

    if (plan->net != VT_NET_PRIVATE)
        append_host(text, job, "127.0.1.1", plan->vms[index].name);
    for (guint i = 0; plan->net == VT_NET_PRIVATE && i < plan->n_names; i++) {
        g_autofree char *address = vt_address_format(plan->names[i].address);
        append_host(text, job, address, plan->names[i].name);
    }
    g_string_append(text, "::1 localhost ip6-localhost ip6-loopback\n");
    return g_string_free(text, FALSE);
}

static char *make_hostname(const VtJob *job, const VtPlan *plan, guint index)
{
    return g_strdup_printf("%s\n", plan->vms[index].name);
}

static char *make_resolv_conf(const VtJob *job, const VtPlan *plan, guint index)
{
    GString *text = g_string_new(NULL);
    bool asks = plan->has_uplink && job->name_servers && job->name_servers[0];

    if (!asks)
        g_string_append(text, "# This guest asks nobody for names.\n");
    for (char **server = job->name_servers; asks && *server; server++)
        g_string_append_printf(text, "nameserver %s\n", *server);
    if (job->search_domains && job->search_domains[0]) {
        g_autofree char *domains = g_strjoinv(" ", job->search_domains);
        g_string_append_printf(text, "search %s\n", domains);
    }
    return g_string_free(text, FALSE);
}

const VtGuestFile vt_guest_files[VT_GUEST_FILES] = {
    {"passwd", true, make_passwd},
    {"group", true, make_group},
    {"hosts", false, make_hosts},
    {"hostname", false, make_hostname},
    {"resolv.conf", false, make_resolv_conf},
};

char *vt_guest_nodefile(const VtPlan *plan)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < plan->n_names; i++)
        for (guint j = 0; j < plan->names[i].vcpus; j++)
            g_string_append_printf(text, "%s\n", plan->names[i].name);
    return g_string_free(text, FALSE);
}

char *vt_guest_time_servers(const VtJob *job, const char *before, const char *after)
{
    GString *text = g_string_new(NULL);

    for (char **server = job->time_servers; server && *server; server++)
        g_string_append_printf(text, "%s%s%s", before, *server, after);
    return g_string_free(text, FALSE);
}
