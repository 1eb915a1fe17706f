/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/job.c - the job document: one table of fields, by which it is written, read and checked.
 *
 * Reads from: a memory file that the job's owner made. Trusts: nothing.
 */
#include "job/job.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "base/hex.h"
#include "ctl/live.h"

#define GROUPS_MAX 100000u /* more than NGROUPS_MAX (65536), the kernel's own limit */
#define MOUNTS_MAX 1024u
#define SECONDS_MAX ((guint64)G_MAXINT32)
#define GRACE_MAX 86400u
#define NAME_MAX_BYTES 255u
#define HOST_MAX_BYTES 64u /* HOST_NAME_MAX */

typedef enum {
    FIELD_UINT,   /* guint, uid_t, gid_t */
    FIELD_UINT64, /* guint64 */
    FIELD_CHOICE, /* the word of an enum; up to number `max` */
    FIELD_IMAGE,  /* an image's name, or "" for NULL */
    FIELD_ID,     /* a job id */
    FIELD_HOST,   /* a host name */
    FIELD_NAME,   /* a word without blanks */
    FIELD_ENTRY,  /* a name for a line of passwd or group */
    FIELD_PATH,   /* an absolute path */
    FIELD_HOME,   /* an absolute path for a line of passwd */
    FIELD_PLACE,  /* an absolute path, or "" for NULL */
    FIELD_PATHS,  /* a list of absolute paths */
    FIELD_DOMAIN, /* a name or address of the network, or "" for NULL */
    FIELD_HOSTS,  /* a list of names or addresses of the network */
    FIELD_KEY,    /* VT_KEY_DIGITS hexadecimal digits, or "" for NULL */
    FIELD_GROUPS, /* gid_t array; its length follows it in VtOwner */
    FIELD_NAMES,  /* a list of names for lines of group, as long as FIELD_GROUPS before it */
} FieldKind;

typedef struct {
    const char *key;
    FieldKind kind;
    gsize offset;
    guint64 min, max;
    const VtChoice *choice;
} Field;

G_STATIC_ASSERT(sizeof(VtImage) == sizeof(guint));
G_STATIC_ASSERT(sizeof(uid_t) == sizeof(guint) && sizeof(gid_t) == sizeof(guint));

#define ID_MAX ((guint64)G_MAXUINT32 - 1) /* (uid_t)-1 means "no id" */

#define JOB(member) G_STRUCT_OFFSET(VtJob, member)
static const Field job_fields[] = {
    {"id", FIELD_ID, JOB(id), 0, 0},
    {"name", FIELD_NAME, JOB(name), 0, 0},
    {"host", FIELD_HOST, JOB(host), 0, 0},
    {"user", FIELD_ENTRY, JOB(owner.user), 0, 0},
    {"group", FIELD_ENTRY, JOB(owner.group), 0, 0},
    {"uid", FIELD_UINT, JOB(owner.uid), 0, ID_MAX},
    {"gid", FIELD_UINT, JOB(owner.gid), 0, ID_MAX},
    {"groups", FIELD_GROUPS, JOB(owner.groups), 0, ID_MAX},
    {"group_names", FIELD_NAMES, JOB(owner.group_names), 0, 0},
    {"home", FIELD_HOME, JOB(owner.home), 0, 0},
    {"shell", FIELD_HOME, JOB(owner.shell), 0, 0},
    {"image", FIELD_CHOICE, JOB(image), 0, VT_IMAGE_DISK, &vt_image_choice},
    {"image_name", FIELD_IMAGE, JOB(image_name), 0, 0},
    {"image_dir", FIELD_PLACE, JOB(image_dir), 0, 0},
    {"init", FIELD_CHOICE, JOB(init), 0, VT_INIT_SYSTEM, &vt_init_choice},
    {"fs_type", FIELD_CHOICE, JOB(fs_type), 0, VT_FS_RAMDISK, &vt_fs_type_choice},
    {"scratch_dir", FIELD_PLACE, JOB(scratch_dir), 0, 0},
    {"scratch_mib", FIELD_UINT, JOB(scratch_mib), 0, VT_RAM_MIB_MAX},
    {"accel", FIELD_CHOICE, JOB(accel), 0, VT_ACCEL_KVM, &vt_accel_choice},
    {"locks", FIELD_CHOICE, JOB(locks), 0, VT_LOCKS_REMOTE, &vt_locks_choice},
    {"file_server", FIELD_CHOICE, JOB(file_server), 0, VT_FILE_SERVER_RUST, &vt_file_server_choice},
    {"vms", FIELD_UINT, JOB(vms), 1, VT_VMS_MAX},
    {"net", FIELD_CHOICE, JOB(net), 0, VT_NET_USER, &vt_net_choice},
    {"has_uplink", FIELD_UINT, JOB(has_uplink), 0, 1},
    {"mac_prefix", FIELD_UINT, JOB(mac_prefix), 0, 0xffffff},
    {"domain", FIELD_DOMAIN, JOB(domain), 0, 0},
    {"name_servers", FIELD_HOSTS, JOB(name_servers), 0, VT_NAME_SERVERS_MAX},
    {"search_domains", FIELD_HOSTS, JOB(search_domains), 0, VT_SEARCH_DOMAINS_MAX},
    {"time_servers", FIELD_HOSTS, JOB(time_servers), 0, VT_TIME_SERVERS_MAX},
    {"ram_mib", FIELD_UINT, JOB(ram_mib), VT_RAM_MIB_MIN, VT_RAM_MIB_MAX},
    {"vcpus", FIELD_UINT, JOB(vcpus), 1, VT_VCPUS_MAX},
    {"boot_timeout_s", FIELD_UINT, JOB(boot_timeout_s), 1, SECONDS_MAX},
    {"walltime_s", FIELD_UINT, JOB(walltime_s), 0, SECONDS_MAX},
    {"cput_s", FIELD_UINT, JOB(cput_s), 0, SECONDS_MAX},
    {"kill_grace_s", FIELD_UINT, JOB(kill_grace_s), 0, GRACE_MAX},
    {"kernel_dir", FIELD_PATH, JOB(kernel_dir), 0, 0},
    {"submit_dir", FIELD_PATH, JOB(submit_dir), 0, 0},
    {"mounts", FIELD_PATHS, JOB(mounts), 0, MOUNTS_MAX},
    {"tmp_mib", FIELD_UINT64, JOB(tmp_mib), 1, VT_RAM_MIB_MAX},
    {"run_wait_s", FIELD_UINT, JOB(run_wait_s), 0, GRACE_MAX},
    {"node_file", FIELD_PLACE, JOB(node_file), 0, 0},
    {"node", FIELD_UINT, JOB(node), 0, VT_NODES_MAX - 1},
    {"nodes", FIELD_UINT, JOB(nodes), 1, VT_NODES_MAX},
    {"addresses", FIELD_HOSTS, JOB(addresses), 0, VT_NODES_MAX},
    {"transport", FIELD_CHOICE, JOB(transport), 0, VT_TRANSPORT_VXLAN, &vt_carrier_choice},
    {"vni", FIELD_UINT, JOB(vni), 0, VT_VNI_MAX},
    {"net_mtu", FIELD_UINT, JOB(net_mtu), 0, 65535},
    {"peer_key", FIELD_KEY, JOB(peer_key), 0, 0},
};
#undef JOB

void vt_job_free(VtJob *job)
{
    if (!job)
        return;
    g_free(job->id);
    g_free(job->name);
    g_free(job->host);
    vt_owner_clear(&job->owner);
    g_free(job->domain);
    g_strfreev(job->name_servers);
    g_strfreev(job->search_domains);
    g_strfreev(job->time_servers);
    g_free(job->image_name);
    g_free(job->image_dir);
    g_free(job->scratch_dir);
    g_free(job->kernel_dir);
    g_free(job->submit_dir);
    g_strfreev(job->mounts);
    g_free(job->node_file);
    g_strfreev(job->addresses);
    g_free(job->peer_key);
    g_free(job);
}

void vt_owner_clear(VtOwner *owner)
{
    g_free(owner->user);
    g_free(owner->group);
    g_free(owner->groups);
    g_strfreev(owner->group_names);
    g_free(owner->home);
    g_free(owner->shell);
    *owner = (VtOwner){0};
}

bool vt_job_id_is_valid(const char *id)
{
    return ctl_id_is_valid(id);
}

/* Bytes as text and back: one code point a byte, so that any path survives JSON. */
static json_t *bytes_to_json(const char *bytes)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (const char *at = bytes ? bytes : ""; *at; at++)
        g_string_append_unichar(text, (guchar)*at);
    return json_stringn(text->str, text->len);
}

/* (transfer full); NULL if a code point is no byte. Jansson has refused U+0000. */
static char *bytes_from_json(const json_t *value)
{
    const char *text = json_string_value(value);
    g_autoptr(GString) bytes = g_string_new(NULL);
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (c > 0xff)
            return NULL;
        g_string_append_c(bytes, (char)c);
    }
    return g_string_free(g_steal_pointer(&bytes), FALSE);
}

static json_t *paths_to_json(char *const *paths)
{
    json_t *list = json_array();
    for (; paths && *paths; paths++)
        json_array_append_new(list, bytes_to_json(*paths));
    return list;
}

static json_t *groups_to_json(const VtOwner *owner)
{
    json_t *list = json_array();
    for (gsize i = 0; i < owner->n_groups; i++)
        json_array_append_new(list, json_integer(owner->groups[i]));
    return list;
}

static json_t *field_to_json(const VtJob *job, const Field *field)
{
    const void *at = G_STRUCT_MEMBER_P(job, field->offset);
    switch (field->kind) {
    case FIELD_UINT:
        return json_integer(*(const guint *)at);
    case FIELD_UINT64:
        return json_integer((json_int_t) * (const guint64 *)at);
    case FIELD_CHOICE:
        return json_string(vt_choice_word(field->choice, *(const guint *)at));
    case FIELD_PATHS:
    case FIELD_HOSTS:
    case FIELD_NAMES:
        return paths_to_json(*(const GStrv *)at);
    case FIELD_GROUPS:
        return groups_to_json(&job->owner);
    default:
        return bytes_to_json(*(char *const *)at);
    }
}

char *vt_job_save(const VtJob *job)
{
    json_t *root = json_object();
    json_object_set_new(root, "version", json_integer(VT_JOB_VERSION));
    for (gsize i = 0; i < G_N_ELEMENTS(job_fields); i++)
        json_object_set_new(root, job_fields[i].key, field_to_json(job, &job_fields[i]));
    char *dumped = json_dumps(root, JSON_ENSURE_ASCII | JSON_INDENT(1));
    char *document = g_strdup(dumped);
    free(dumped);
    json_decref(root);
    return document;
}

bool vt_job_has_control(const char *text)
{
    for (; *text; text++)
        if ((guchar)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

bool vt_job_path_is_valid(const char *path)
{
    if (path[0] != '/' || strlen(path) >= PATH_MAX)
        return false;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    return !g_strv_contains((const char *const *)parts, ".") &&
           !g_strv_contains((const char *const *)parts, "..");
}

bool vt_job_name_is_valid(const char *name)
{
    return name[0] && strlen(name) <= NAME_MAX_BYTES && !vt_job_has_control(name) &&
           !strchr(name, ' ');
}

bool vt_job_entry_is_valid(const char *name)
{
    return name[0] && strlen(name) <= NAME_MAX_BYTES && !vt_job_has_control(name) &&
           !strpbrk(name, " :/,") && name[0] != '-' && name[0] != '+';
}

bool vt_job_host_is_valid(const char *host)
{
    return strlen(host) <= HOST_MAX_BYTES && g_ascii_isalnum(host[0]) &&
           strspn(host, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-") == strlen(host);
}

static bool text_is_valid(FieldKind kind, const char *text)
{
    switch (kind) {
    case FIELD_ID:
        return vt_job_id_is_valid(text);
    case FIELD_IMAGE:
        return vt_image_name_is_valid(text);
    case FIELD_HOST:
        return vt_job_host_is_valid(text);
    case FIELD_DOMAIN:
        return vt_network_name_is_valid(text);
    case FIELD_KEY:
        return vt_hex_is_valid(text, VT_KEY_DIGITS);
    case FIELD_NAME:
        return vt_job_name_is_valid(text);
    case FIELD_ENTRY:
        return vt_job_entry_is_valid(text);
    case FIELD_HOME:
        return vt_job_path_is_valid(text) && !vt_job_has_control(text) && !strchr(text, ':');
    default:
        return vt_job_path_is_valid(text);
    }
}

static bool load_number(const json_t *value, const Field *field, guint64 *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (guint64)json_integer_value(value);
    return *number >= field->min && *number <= field->max;
}

static bool load_text(const json_t *value, FieldKind kind, char **text)
{
    if (!json_is_string(value))
        return false;
    g_autofree char *bytes = bytes_from_json(value);
    if (!bytes || !text_is_valid(kind, bytes))
        return false;
    *text = g_steal_pointer(&bytes);
    return true;
}

static bool is_empty_text(const json_t *value)
{
    return json_is_string(value) && json_string_length(value) == 0;
}

static bool load_texts(const json_t *value, FieldKind kind, gsize max, GStrv *texts)
{
    if (!json_is_array(value) || json_array_size(value) > max)
        return false;
    GStrv list = g_new0(char *, json_array_size(value) + 1);
    *texts = list;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!load_text(json_array_get(value, i), kind, &list[i]))
            return false;
    return true;
}

static bool load_groups(const json_t *value, const Field *field, VtOwner *owner)
{
    if (!json_is_array(value) || json_array_size(value) > GROUPS_MAX)
        return false;
    owner->n_groups = json_array_size(value);
    owner->groups = g_new0(gid_t, owner->n_groups);
    for (size_t i = 0; i < owner->n_groups; i++) {
        guint64 gid;
        if (!load_number(json_array_get(value, i), field, &gid))
            return false;
        owner->groups[i] = (gid_t)gid;
    }
    return true;
}

static bool load_field(VtJob *job, const Field *field, const json_t *value)
{
    void *at = G_STRUCT_MEMBER_P(job, field->offset);
    guint64 number;
    switch (field->kind) {
    case FIELD_UINT:
        if (!load_number(value, field, &number))
            return false;
        *(guint *)at = (guint)number;
        return true;
    case FIELD_UINT64:
        return load_number(value, field, at);
    case FIELD_CHOICE:
        return json_is_string(value) &&
               vt_choice_find(field->choice, json_string_value(value), at) &&
               *(guint *)at <= field->max;
    case FIELD_IMAGE:
    case FIELD_DOMAIN:
    case FIELD_KEY:
    case FIELD_PLACE:
        return is_empty_text(value) || load_text(value, field->kind, at);
    case FIELD_PATHS:
        return load_texts(value, FIELD_PATH, field->max, at);
    case FIELD_HOSTS:
        return load_texts(value, FIELD_DOMAIN, field->max, at);
    case FIELD_NAMES:
        return json_array_size(value) == job->owner.n_groups &&
               load_texts(value, FIELD_ENTRY, GROUPS_MAX, at);
    case FIELD_GROUPS:
        return load_groups(value, field, &job->owner);
    default:
        return load_text(value, field->kind, at);
    }
}

/* The first key of `root` that no field has; NULL if there is none. */
static const char *find_unknown_key(json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        bool known = strcmp(key, "version") == 0;
        for (gsize i = 0; !known && i < G_N_ELEMENTS(job_fields); i++)
            known = strcmp(key, job_fields[i].key) == 0;
        if (!known)
            return key;
    }
    return NULL;
}

/* A disk has an image, a pool and a place; nothing else has any of them. */
static bool check_disk(const VtJob *job, GError **error)
{
    bool is_disk = job->image == VT_IMAGE_DISK;
    bool ok = is_disk
                  ? job->image_name && job->image_dir && !job->scratch_dir == (job->scratch_mib > 0)
                  : !job->image_name && !job->image_dir && !job->scratch_dir &&
                        job->scratch_mib == 0 && job->init == VT_INIT_AGENT;
    return ok || vt_error_set(error, VT_ERROR_USER,
                              "job document: keys of a disk do not go with image '%s'",
                              vt_choice_word(&vt_image_choice, job->image));
}

/* Each node has an address, and their engines a key; a network between them is the private one's. */
static bool check_nodes(const VtJob *job, GError **error)
{
    bool is_one = job->nodes == 1, is_far = job->transport != VT_TRANSPORT_NONE;
    guint n = g_strv_length(job->addresses);
    bool ok = job->node < job->nodes && n == (is_one ? 0 : job->nodes) &&
              is_one == !job->peer_key && is_far == (!is_one && job->net == VT_NET_PRIVATE) &&
              (job->vni > 0) == (job->transport == VT_TRANSPORT_VXLAN) &&
              (is_far ? job->net_mtu >= VT_NET_MTU_MIN : job->net_mtu == 0);
    for (guint i = 0; ok && i < n; i++)
        ok = vt_address_is_ipv4(job->addresses[i]);
    return ok ||
           vt_error_set(error, VT_ERROR_USER, "job document: its nodes do not go with each other");
}

static VtJob *job_from_json(json_t *root, GError **error)
{
    if (!json_is_object(root) ||
        json_integer_value(json_object_get(root, "version")) != VT_JOB_VERSION) {
        vt_error_set(error, VT_ERROR_USER, "job document is not of version %d", VT_JOB_VERSION);
        return NULL;
    }
    const char *unknown = find_unknown_key(root);
    if (unknown) {
        g_autofree char *shown = g_strescape(unknown, NULL);
        vt_error_set(error, VT_ERROR_USER, "job document has unknown key '%.64s'", shown);
        return NULL;
    }
    g_autoptr(VtJob) job = g_new0(VtJob, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(job_fields); i++) {
        const json_t *value = json_object_get(root, job_fields[i].key);
        if (value && load_field(job, &job_fields[i], value))
            continue;
        vt_error_set(error, VT_ERROR_USER, "job document: %s '%s'",
                     value ? "bad value of" : "no key", job_fields[i].key);
        return NULL;
    }
    if (!check_disk(job, error) || !check_nodes(job, error))
        return NULL;
    return g_steal_pointer(&job);
}

VtJob *vt_job_load(const char *document, gsize size, GError **error)
{
    if (size > VT_JOB_DOCUMENT_MAX) {
        vt_error_set(error, VT_ERROR_USER, "job document is larger than %d bytes",
                     VT_JOB_DOCUMENT_MAX);
        return NULL;
    }
    json_error_t problem;
    json_t *root = json_loadb(document, size, JSON_REJECT_DUPLICATES, &problem);
    if (!root) {
        vt_error_set(error, VT_ERROR_USER, "job document is not JSON (line %d)", problem.line);
        return NULL;
    }
    VtJob *job = job_from_json(root, error);
    json_decref(root);
    return job;
}
