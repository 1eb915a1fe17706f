/* SPDX-License-Identifier: Apache-2.0 */
/* job/environment.c - the environment in which a job's script starts. */
#include "job/environment.h"

#include <string.h>

#include "base/error.h"
#include "job/guest_plan.h"
#include "wire/wire.h"

#define PATH_ROOT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PATH_USER "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
#define LOCAL_QUEUE "local"

/* Words and bytes that are left for arguments, of which a job's are checked apart. */
#define ENTRIES_MAX (WIRE_WORDS_MAX / 2)
#define BYTES_MAX (WIRE_ARENA_MAX / 2)

static void set(GHashTable *table, const char *name, const char *value)
{
    g_hash_table_replace(table, g_strdup(name), g_strdup(value));
}

static void set_number(GHashTable *table, const char *name, guint number)
{
    g_hash_table_replace(table, g_strdup(name), g_strdup_printf("%u", number));
}

static bool is_locale(const char *name)
{
    return strcmp(name, "LANG") == 0 || strcmp(name, "LANGUAGE") == 0 || strcmp(name, "TZ") == 0 ||
           g_str_has_prefix(name, "LC_");
}

/* What belongs to the submitting process or machine and would be wrong in the guest. */
static bool is_local(const char *name)
{
    return strcmp(name, "HOSTNAME") == 0 || strcmp(name, "_") == 0 || strcmp(name, "SHLVL") == 0 ||
           strcmp(name, "PWD") == 0 || strcmp(name, "OLDPWD") == 0;
}

static bool is_in(const char *path, const char *folder)
{
    gsize length = strlen(folder);
    return g_str_has_prefix(path, folder) && (path[length] == '\0' || path[length] == '/');
}

/* A TMPDIR that is below one of the guest's own file systems and is not shared is not there: programs
 * do better without it. */
static bool is_absent(const VtJob *job, const char *name, const char *value)
{
    static const char *const own[] = {"/tmp/", "/var/tmp/", "/run/", "/dev/shm/", NULL};
    if (strcmp(name, "TMPDIR") != 0)
        return false;
    bool is_own = false;
    for (const char *const *folder = own; *folder; folder++)
        is_own = is_own || g_str_has_prefix(value, *folder);
    bool is_shared = is_in(value, job->submit_dir) || is_in(value, job->owner.home);
    for (char **mount = job->mounts; !is_shared && mount && *mount; mount++)
        is_shared = is_in(value, *mount);
    return is_own && !is_shared;
}

static const char *const login_names[] = {"HOME", "LOGNAME", "USER", "SHELL", NULL};

static void add_login(GHashTable *table, const VtJob *job)
{
    set(table, "HOME", job->owner.home);
    set(table, "LOGNAME", job->owner.user);
    set(table, "USER", job->owner.user);
    set(table, "SHELL", job->owner.shell);
    set(table, "PATH", job->owner.uid == 0 ? PATH_ROOT : PATH_USER);
}

/* The submitter's locale and time zone; with -V all the rest too. */
static void add_submitted(GHashTable *table, const VtEnvironmentSource *source, GPtrArray *notes)
{
    for (char *const *entry = source->submit_environment; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (!equals || equals == *entry)
            continue;
        g_autofree char *name = g_strndup(*entry, (gsize)(equals - *entry));
        bool wanted = is_locale(name) || (source->is_all_exported && !is_local(name) &&
                                          !is_absent(source->job, name, equals + 1) &&
                                          !g_strv_contains(login_names, name));
        if (wanted && strlen(*entry) > WIRE_WORD_MAX)
            g_ptr_array_add(notes,
                            g_strdup_printf("variable '%.64s' left out: it is longer than %d "
                                            "bytes",
                                            name, WIRE_WORD_MAX));
        else if (wanted)
            set(table, name, equals + 1);
    }
}

static const char *find_submitted(const VtEnvironmentSource *source, const char *name)
{
    gsize length = strlen(name);
    for (char *const *entry = source->submit_environment; *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

static bool is_name(const char *name)
{
    if (!g_ascii_isalpha(*name) && *name != '_')
        return false;
    for (; *name; name++)
        if (!g_ascii_isalnum(*name) && *name != '_')
            return false;
    return true;
}

static bool add_variable(GHashTable *table, const VtEnvironmentSource *source, const char *variable,
                         GPtrArray *notes, GError **error)
{
    const char *equals = strchr(variable, '=');
    g_autofree char *name =
        equals ? g_strndup(variable, (gsize)(equals - variable)) : g_strdup(variable);
    if (!is_name(name) || strlen(variable) > WIRE_WORD_MAX)
        return vt_error_set_value(
            error, VT_ERROR_USER, "-v", "variable", name,
            "must be a name of letters, digits and _, or NAME=VALUE of at most "
            "65535 bytes");
    const char *value = equals ? equals + 1 : find_submitted(source, name);
    if (value)
        set(table, name, value);
    else
        g_ptr_array_add(notes, g_strdup_printf("-v %s: there is no such variable here", name));
    return true;
}

/* Torque's PBS_O_ variables: the submitter's own, as they are there. */
static void add_submitter(GHashTable *table, const VtEnvironmentSource *source)
{
    static const char *const names[] = {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "MAIL", "TZ"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value = find_submitted(source, names[i]);
        g_autofree char *name = g_strdup_printf("PBS_O_%s", names[i]);
        if (value && strlen(value) < WIRE_WORD_MAX / 2)
            set(table, name, value);
    }
    set(table, "PBS_O_HOST", source->job->host);
    set(table, "PBS_O_SERVER", source->job->host);
    set(table, "PBS_O_QUEUE", LOCAL_QUEUE);
    set(table, "PBS_O_WORKDIR", source->work_dir);
}

static void add_count(GStrvBuilder *out, const char *name, guint value)
{
    g_autofree char *entry = g_strdup_printf("%s=%u", name, value);
    g_strv_builder_add(out, entry);
}

/* Open MPI 4 and MPICH's Hydra. */
static void add_mpi(GStrvBuilder *out, const char *node_file)
{
    g_autofree char *network = vt_address_format(VT_PRIVATE_NETWORK);
    const char *const by_network[] = {"OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_oob_tcp_if_include"};
    const char *const by_file[] = {"OMPI_MCA_orte_default_hostfile", "HYDRA_HOST_FILE"};
    for (gsize i = 0; i < G_N_ELEMENTS(by_network); i++) {
        g_autofree char *entry =
            g_strdup_printf("%s=%s/%u", by_network[i], network, VT_PRIVATE_PREFIX);
        g_strv_builder_add(out, entry);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(by_file); i++) {
        g_autofree char *entry = g_strconcat(by_file[i], "=", node_file, NULL);
        g_strv_builder_add(out, entry);
    }
    g_strv_builder_add_many(out, "OMPI_MCA_plm=rsh", "OMPI_MCA_ras=^tm,slurm", "HYDRA_LAUNCHER=ssh",
                            "HYDRA_RMK=user", NULL);
}

VtMachines vt_machines_of(const VtJob *job)
{
    return (VtMachines){job->vms, job->vms, job->vms * job->vcpus, job->vcpus, job->net};
}

GStrv vt_environment_of_machines(const VtMachines *machines, const char *node_file)
{
    g_autoptr(GStrvBuilder) out = g_strv_builder_new();
    add_count(out, "PBS_NUM_NODES", machines->all);
    add_count(out, "PBS_VMS_PN", machines->on_node);
    add_count(out, "PBS_NP", machines->cores);
    add_count(out, "PBS_NUM_PPN", machines->vcpus);
    if (machines->net == VT_NET_PRIVATE)
        add_mpi(out, node_file);
    return g_strv_builder_end(out);
}

static void add_entries(GHashTable *table, const VtJob *job)
{
    const VtMachines machines = vt_machines_of(job);
    g_auto(GStrv) entries = vt_environment_of_machines(&machines, VT_GUEST_NODEFILE);
    for (char **entry = entries; *entry; entry++) {
        char *equals = strchr(*entry, '=');
        *equals = '\0';
        set(table, *entry, equals + 1);
    }
}

static void add_job(GHashTable *table, const VtJob *job, bool is_interactive)
{
    set(table, "PBS_ENVIRONMENT", is_interactive ? "PBS_INTERACTIVE" : "PBS_BATCH");
    set(table, "ENVIRONMENT", "BATCH");
    set(table, "PBS_JOBID", job->id);
    set(table, "PBS_JOBNAME", job->name);
    set(table, "PBS_QUEUE", LOCAL_QUEUE);
    set(table, "PBS_SERVER", job->host);
    set(table, "PBS_NODEFILE", VT_GUEST_NODEFILE);
    set_number(table, "PBS_NODENUM", 0);
    set_number(table, "PBS_VNODENUM", 0);
    set_number(table, "PBS_TASKNUM", 1);
    add_entries(table, job);
    if (job->walltime_s > 0)
        set_number(table, "PBS_WALLTIME", job->walltime_s);
    set(table, "PBS_VERSION", "vTorque-" VT_VERSION);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The table as NAME=VALUE, sorted; NULL if the wire does not take it. */
static GStrv flatten(GHashTable *table, GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(g_free);
    gsize bytes = 0;
    GHashTableIter iter;
    gpointer name, value;
    g_hash_table_iter_init(&iter, table);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        char *entry = g_strdup_printf("%s=%s", (char *)name, (char *)value);
        g_ptr_array_add(entries, entry);
        bytes += strlen(entry) + 1;
    }
    if (entries->len > ENTRIES_MAX || bytes > BYTES_MAX) {
        vt_error_set(error, VT_ERROR_USER,
                     "the job's environment is larger than %d variables or %d bytes (-V, -v)",
                     ENTRIES_MAX, BYTES_MAX);
        return NULL;
    }
    g_ptr_array_sort(entries, compare_names);
    g_ptr_array_add(entries, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&entries), FALSE);
}

GStrv vt_environment_new(const VtEnvironmentSource *source, GPtrArray *notes, GError **error)
{
    g_autoptr(GHashTable) table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    add_login(table, source->job);
    add_submitted(table, source, notes);
    for (char *const *variable = source->variables; variable && *variable; variable++)
        if (!add_variable(table, source, *variable, notes, error))
            return NULL;
    add_submitter(table, source);
    add_job(table, source->job, source->is_interactive);
    return flatten(table, error);
}
