/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/request.c - what a job asks of its virtual machine.
 *
 * Reads from: the user. Trusts: nothing.
 */
#include "job/request.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "job/memory.h"

#define BOOT_TIMEOUT_MAX 86400u /* s */

/* Whatever is no word of ours is the name of a record. */
static bool read_image(const char *text, guint64 *number)
{
    *number = strcmp(text, "host") == 0   ? VT_IMAGE_HOST
              : strcmp(text, "tiny") == 0 ? VT_IMAGE_TINY
                                          : VT_IMAGE_DISK;
    return vt_image_name_is_valid(text);
}

static bool read_ram(const char *text, guint64 *number)
{
    guint64 bytes;
    if (!vt_size_parse(text, VT_MIB, &bytes))
        return false;
    *number = vt_size_to_mib(bytes);
    return true;
}

typedef struct {
    const char *name;
    bool (*read)(const char *text, guint64 *number); /* NULL: a word of `choice` */
    guint64 min, max;
    const char *allowed;
    const VtChoice *choice;
    VtSetting fallback;
} KeyInfo;

static const KeyInfo keys[VT_REQUEST_KEYS] = {
    [VT_REQUEST_IMG] =
        {"img", read_image, 0, G_MAXUINT,
         "must be host, tiny, or the name of an image: 1 to 64 of A-Z a-z 0-9 . _ + -", NULL,
         VT_SETTING_IMG_DEFAULT},
    [VT_REQUEST_RAM] = {"ram", read_ram, VT_RAM_MIB_MIN, VT_RAM_MIB_MAX,
                        "must be 96M to 16T in K, M, G or T, or a plain number of MiB", NULL,
                        VT_SETTING_RAM_DEFAULT},
    [VT_REQUEST_VCPUS] = {"vcpus", vt_number_parse, 1, VT_VCPUS_MAX,
                          "must be a number from 1 to 255", NULL, VT_SETTING_VCPUS_DEFAULT},
    [VT_REQUEST_BOOT_TIMEOUT] = {"boot_timeout", vt_number_parse, 1, BOOT_TIMEOUT_MAX,
                                 "must be a number of seconds from 1 to 86400", NULL,
                                 VT_SETTING_TIMEOUT},
    [VT_REQUEST_DISTRO] = {"distro", NULL, 0, G_MAXUINT, NULL, &vt_family_choice,
                           VT_SETTING_DISTRO_DEFAULT},
    [VT_REQUEST_ARCH] = {"arch", NULL, 0, G_MAXUINT, NULL, &vt_arch_choice,
                         VT_SETTING_ARCH_DEFAULT},
    [VT_REQUEST_FS_TYPE] = {"fs_type", NULL, 0, G_MAXUINT, NULL, &vt_fs_type_choice,
                            VT_SETTING_FILESYSTEM_TYPE},
    [VT_REQUEST_INIT] = {"init", NULL, 0, G_MAXUINT, NULL, &vt_init_choice,
                         VT_SETTING_INIT_DEFAULT},
    [VT_REQUEST_SHARE_LOCKS] = {"share_locks", NULL, 0, G_MAXUINT, NULL, &vt_locks_choice,
                                VT_SETTING_SHARE_LOCKS},
    [VT_REQUEST_VMS_PER_NODE] = {"vms_per_node", vt_number_parse, 1, VT_VMS_MAX,
                                 "must be a number from 1 to 64", NULL, VT_SETTING_VMS_PER_NODE},
    [VT_REQUEST_NET] = {"net", NULL, 0, G_MAXUINT, NULL, &vt_net_choice, VT_SETTING_NET_DEFAULT},
};

#define KEY_NAMES                                                                                  \
    "img, ram, vcpus, boot_timeout, distro, arch, fs_type, init, share_locks, vms_per_node and "   \
    "net"

static const char *const later_keys[] = {
    "metadata", "disk", "vcpu_pinning",   "vm_prologue",    "vm_epilogue",  "vrdma",
    "unclot",   "iocm", "iocm_min_cores", "iocm_max_cores", "unclot_shmem", NULL,
};

static void item_clear(VtRequestItem *item)
{
    g_free(item->text);
    g_free(item->origin);
    *item = (VtRequestItem){0};
}

void vt_request_clear(VtRequest *request)
{
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        item_clear(&request->items[i]);
    *request = (VtRequest){0};
}

void vt_shape_clear(VtShape *shape)
{
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        g_free(shape->origins[i]);
    g_free(shape->image_name);
    *shape = (VtShape){0};
}

static bool find_key(const char *name, VtRequestKey *key)
{
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        if (strcmp(name, keys[i].name) == 0) {
            *key = (VtRequestKey)i;
            return true;
        }
    return false;
}

static bool refuse_key(const char *name, const char *origin, GError **error)
{
    g_autofree char *shown = g_strescape(name, "\"\\");
    if (g_strv_contains(later_keys, name))
        return vt_error_set(error, VT_ERROR_USER,
                            "%s: -vm key '%s' is not built yet; there are " KEY_NAMES, origin,
                            shown);
    return vt_error_set(error, VT_ERROR_USER, "%s: unknown -vm key '%.64s'; there are " KEY_NAMES,
                        origin, shown);
}

static bool read_value(const KeyInfo *key, const char *text, guint64 *number)
{
    guint choice;
    if (!key->choice)
        return key->read(text, number) && *number >= key->min && *number <= key->max;
    if (!vt_choice_find(key->choice, text, &choice))
        return false;
    *number = choice;
    return true;
}

static bool parse_pair(VtRequest *request, const char *pair, const char *origin, GError **error)
{
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair)
        return vt_error_set_value(error, VT_ERROR_USER, origin, "-vm", pair,
                                  "must be key=value[,key=value...]");
    g_autofree char *name = g_strndup(pair, (gsize)(equals - pair));
    VtRequestKey key;
    guint64 number;
    if (!find_key(name, &key))
        return refuse_key(name, origin, error);
    if (!read_value(&keys[key], equals + 1, &number)) {
        g_autofree char *what = g_strdup_printf("-vm %s", name);
        return vt_error_set_value(error, VT_ERROR_USER, origin, what, equals + 1,
                                  keys[key].choice ? keys[key].choice->allowed : keys[key].allowed);
    }
    VtRequestItem *item = &request->items[key];
    item_clear(item);
    *item = (VtRequestItem){number, g_strdup(equals + 1), g_strdup(origin)};
    return true;
}

bool vt_request_parse(VtRequest *request, const char *text, const char *origin, GError **error)
{
    if (strlen(text) > VT_REQUEST_TEXT_MAX)
        return vt_error_set(error, VT_ERROR_USER, "%s: -vm is longer than %d bytes", origin,
                            VT_REQUEST_TEXT_MAX);
    g_auto(GStrv) pairs = g_strsplit(text, ",", -1);
    if (!pairs[0])
        return vt_error_set_value(error, VT_ERROR_USER, origin, "-vm", "",
                                  "must be key=value[,key=value...]");
    for (char **pair = pairs; *pair; pair++)
        if (!parse_pair(request, *pair, origin, error))
            return false;
    return true;
}

const VtRequestItem *vt_request_choose(const VtRequest *option, const VtRequest *directive,
                                       VtRequestKey key)
{
    return option->items[key].origin ? &option->items[key] : &directive->items[key];
}

char *vt_request_format(const VtRequest *option, const VtRequest *directive)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < VT_REQUEST_KEYS; i++) {
        const VtRequestItem *item = vt_request_choose(option, directive, (VtRequestKey)i);
        if (item->origin)
            g_string_append_printf(text, "%s%s=%s", text->len ? "," : "", keys[i].name, item->text);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* A value with where it came from, before it meets the allocation. */
typedef struct {
    guint64 number;
    const char *text; /* NULL: neither said nor built in */
    const char *origin;
    bool is_explicit; /* the user's, not the site's */
    bool is_site;     /* the site's file, not built in */
} Wanted;

/* The order of precedence: the command line, the script, the site's file, the built-in value. */
static Wanted want(const VtRequest *option, const VtRequest *directive, const VtSettings *settings,
                   VtRequestKey key)
{
    const VtRequestItem *item = vt_request_choose(option, directive, key);
    if (item->origin)
        return (Wanted){item->number, item->text, item->origin, true, false};
    VtSetting setting = keys[key].fallback;
    Wanted wanted = {
        vt_settings_get_number(settings, setting), vt_settings_get_text(settings, setting),
        vt_settings_get_origin(settings, setting), false, vt_settings_is_set(settings, setting)};
    if (key == VT_REQUEST_IMG)
        g_assert(read_image(wanted.text, &wanted.number));
    return wanted;
}

static void note(GPtrArray *notes, char *text)
{
    g_ptr_array_add(notes, text);
}

/* Local jobs write to memory, unless somebody says otherwise. */
static VtFsType find_fs_type(const Wanted *fs_type)
{
    return fs_type->is_explicit || fs_type->is_site ? (VtFsType)fs_type->number : VT_FS_RAMDISK;
}

/* Each has a core at least of what a batch system gave; as many as the user's vcpus= leave room for,
 * if only the site asks for them. */
static bool fit_vms(const Wanted *wanted, const Wanted *vcpus, const VtAllocation *allocation,
                    guint *vms, GPtrArray *notes, GError **error)
{
    guint each = vcpus->is_explicit ? (guint)vcpus->number : 1;
    guint most = MAX(MIN(allocation->cores, allocation->host_cores) / each, 1);
    *vms = (guint)wanted->number;
    if (!wanted->is_explicit && *vms > most) {
        note(notes, g_strdup_printf("%s: VMS_PER_NODE_DEFAULT '%u' cut to %u, for the job's cores",
                                    wanted->origin, *vms, most));
        *vms = most;
    }
    return !allocation->is_cores_asked || *vms <= allocation->cores ||
           vt_error_set(error, VT_ERROR_USER,
                        "%s: -vm vms_per_node '%u': must be at most %u, which -l nodes=1:ppn= "
                        "allows",
                        wanted->origin, *vms, allocation->cores);
}

/* Cores that are not there, or not the job's, would be others'. */
static bool check_vcpus(const Wanted *wanted, const VtAllocation *allocation, guint vms,
                        GError **error)
{
    guint given = allocation->is_cores_asked ? MAX(allocation->cores / vms, 1) : G_MAXUINT;
    guint limit = MIN(given, allocation->host_cores);
    g_autofree char *times = g_strdup_printf(" for each of %u virtual machines", vms);
    if (wanted->number <= limit)
        return true;
    return vt_error_set(error, VT_ERROR_USER,
                        "%s: -vm vcpus '%" G_GUINT64_FORMAT "': must be at most %u%s, %s",
                        wanted->origin, wanted->number, limit, vms > 1 ? times : "",
                        limit < allocation->host_cores ? "which -l nodes=1:ppn= allows"
                                                       : "the cores that a job may use here");
}

/* A built-in default that is cut says nothing: nobody asked for it. */
static bool fit_vcpus(const Wanted *wanted, const VtAllocation *allocation, guint vms, guint *vcpus,
                      GPtrArray *notes, GError **error)
{
    guint cores = MIN(allocation->cores, allocation->host_cores);
    guint limit = MIN(MAX(cores / vms, 1), VT_VCPUS_MAX);
    *vcpus = (guint)wanted->number;
    if (!wanted->is_explicit && *vcpus > limit) {
        if (wanted->is_site)
            note(notes, g_strdup_printf("%s: VCPUS_DEFAULT '%u' cut to %u, the job's cores",
                                        wanted->origin, *vcpus, limit));
        *vcpus = limit;
        return true;
    }
    if (wanted->is_explicit && !check_vcpus(wanted, allocation, vms, error))
        return false;
    if (allocation->quota_cores > 0 && *vcpus * vms > allocation->quota_cores)
        note(notes, g_strdup_printf("%s: vcpus '%u' will share the time of %u cores, which is what "
                                    "the cgroup gives",
                                    wanted->origin, *vcpus, allocation->quota_cores));
    else if (vms > 1 && *vcpus * vms > allocation->host_cores)
        note(notes, g_strdup_printf("%u virtual machines with %u vCPUs each share %u cores", vms,
                                    *vcpus, allocation->host_cores));
    else if (*vcpus * vms > allocation->cores)
        note(notes, g_strdup_printf("%s: vcpus '%u' leaves this machine less than "
                                    "HOST_OS_CORE_COUNT",
                                    wanted->origin, *vcpus));
    return true;
}

/* What a job with this much RAM takes in all, as far as it follows from the request. */
VtNet vt_request_net(VtNet wanted, bool is_explicit, bool is_one)
{
    return is_explicit || is_one ? wanted : VT_NET_PRIVATE;
}

static bool is_one(const VtAllocation *allocation, guint vms)
{
    return vms == 1 && allocation->nodes <= 1;
}

static VtNet find_net(const Wanted *net, bool is_alone)
{
    return vt_request_net((VtNet)net->number, net->is_explicit, is_alone);
}

static VtMemoryShape plan_memory(const Wanted wanted[VT_REQUEST_KEYS], const VtSettings *settings,
                                 const VtAllocation *allocation, guint vms, guint vcpus)
{
    const Wanted *fs_type = &wanted[VT_REQUEST_FS_TYPE];
    VtImage image = (VtImage)wanted[VT_REQUEST_IMG].number;
    bool is_in_memory = image == VT_IMAGE_DISK && find_fs_type(fs_type) == VT_FS_RAMDISK &&
                        !vt_settings_is_set(settings, VT_SETTING_RAMDISK_DIR);
    guint ramdisk_mib = (guint)vt_settings_get_number(settings, VT_SETTING_RAMDISK_SIZE);
    return (VtMemoryShape){
        .vms = vms,
        .ram_mib = (guint)wanted[VT_REQUEST_RAM].number,
        .vcpus = vcpus,
        .servers = image == VT_IMAGE_HOST ? 2 : 1,
        .is_emulated = allocation->accel != VT_ACCEL_KVM,
        .scratch_mib = is_in_memory ? ramdisk_mib : 0,
        .is_scratch_ram = is_in_memory && ramdisk_mib == 0,
        .has_uplink = find_net(&wanted[VT_REQUEST_NET], is_one(allocation, vms)) != VT_NET_NONE,
    };
}

/* What takes the memory that is not RAM. */
static const char *rest_name(const VtMemoryShape *shape)
{
    return shape->is_scratch_ram || shape->scratch_mib > 0 ? "QEMU, file servers and disk"
                                                           : "QEMU and file servers";
}

static const char *limit_name(const VtAllocation *allocation)
{
    return allocation->is_memory_asked     ? "-l mem= allows"
           : allocation->is_memory_cgroups ? "the cgroup allows"
                                           : "this machine has";
}

/* The RAM that the job's memory has room for, where nobody asked for so much. */
static bool cut_ram(const Wanted *wanted, const VtMemoryShape *shape,
                    const VtAllocation *allocation, guint *ram_mib, GPtrArray *notes,
                    GError **error)
{
    VtMemoryShape least = *shape;
    *ram_mib = vt_memory_largest_ram(shape, allocation->memory_mib);
    least.ram_mib = VT_RAM_MIB_MIN;
    if (*ram_mib == 0)
        return vt_error_set(error, VT_ERROR_USER,
                            "the job's memory of %" G_GUINT64_FORMAT
                            "M is too little: with the least guest, of %uM, a job takes "
                            "%" G_GUINT64_FORMAT "M%s",
                            allocation->memory_mib, VT_RAM_MIB_MIN, vt_memory_of(&least).total,
                            allocation->is_memory_asked ? " (-l mem=)" : "");
    least.ram_mib = *ram_mib;
    note(notes, g_strdup_printf("%s: ram cut from %uM to %uM: with %" G_GUINT64_FORMAT
                                "M for %s that is the job's "
                                "%" G_GUINT64_FORMAT "M",
                                wanted->origin, shape->ram_mib, *ram_mib,
                                vt_memory_of(&least).total - vt_memory_of(&least).ram,
                                rest_name(shape), allocation->memory_mib));
    return true;
}

static bool fit_ram(const Wanted *wanted, const VtMemoryShape *shape,
                    const VtAllocation *allocation, guint *ram_mib, GPtrArray *notes,
                    GError **error)
{
    guint64 total = vt_memory_of(shape).total;
    guint64 limit =
        allocation->is_memory_asked ? allocation->memory_mib : allocation->host_memory_mib;
    *ram_mib = shape->ram_mib;
    if (total <= allocation->memory_mib)
        return true;
    if (!wanted->is_explicit)
        return cut_ram(wanted, shape, allocation, ram_mib, notes, error);
    if (total > limit)
        return vt_error_set(error, VT_ERROR_USER,
                            "%s: -vm ram '%uM': with %" G_GUINT64_FORMAT
                            "M for %s the job takes %" G_GUINT64_FORMAT
                            "M, and %s %" G_GUINT64_FORMAT "M",
                            wanted->origin, *ram_mib, total - vt_memory_of(shape).ram,
                            rest_name(shape), total, limit_name(allocation), limit);
    note(notes, g_strdup_printf("%s: ram '%uM' leaves this machine less than HOST_OS_RAM_MB",
                                wanted->origin, *ram_mib));
    return true;
}

/* What only a disk has is refused where there is none: it would be ignored. */
static bool check_disk_keys(const Wanted wanted[VT_REQUEST_KEYS], GError **error)
{
    static const VtRequestKey disk_keys[] = {VT_REQUEST_DISTRO, VT_REQUEST_FS_TYPE,
                                             VT_REQUEST_INIT};
    for (gsize i = 0; i < G_N_ELEMENTS(disk_keys); i++) {
        const Wanted *one = &wanted[disk_keys[i]];
        if (one->is_explicit && wanted[VT_REQUEST_IMG].number != VT_IMAGE_DISK)
            return vt_error_set(error, VT_ERROR_USER,
                                "%s: -vm %s '%s' goes with an image that has a disk, and img is "
                                "'%s' (%s)",
                                one->origin, keys[disk_keys[i]].name, one->text,
                                wanted[VT_REQUEST_IMG].text, wanted[VT_REQUEST_IMG].origin);
    }
    return true;
}

/* Of the family that the user names; DISTRO_DEFAULT speaks of IMG_DEFAULT alone. */
static void take_family(const Wanted *image, const Wanted *family, VtShape *shape)
{
    shape->has_family = shape->image == VT_IMAGE_DISK && family->text &&
                        (family->is_explicit || !image->is_explicit);
    shape->family = (VtFamily)family->number;
}

/* Several guests see each other's locks, unless somebody says otherwise. */
static VtLocks find_locks(const Wanted *locks, bool is_alone)
{
    bool is_said = locks->is_explicit || locks->is_site;
    return is_said || is_alone ? (VtLocks)locks->number : VT_LOCKS_REMOTE;
}

bool vt_request_resolve(const VtRequest *option, const VtRequest *directive,
                        const VtSettings *settings, const VtAllocation *allocation, VtShape *shape,
                        GPtrArray *notes, GError **error)
{
    Wanted wanted[VT_REQUEST_KEYS];
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        wanted[i] = want(option, directive, settings, (VtRequestKey)i);
    const Wanted *asked_vcpus = &wanted[VT_REQUEST_VCPUS];
    guint ram_mib = 0, vcpus = 0, vms = 0;
    if (!check_disk_keys(wanted, error) ||
        !fit_vms(&wanted[VT_REQUEST_VMS_PER_NODE], asked_vcpus, allocation, &vms, notes, error) ||
        !fit_vcpus(asked_vcpus, allocation, vms, &vcpus, notes, error))
        return false;
    const VtMemoryShape memory = plan_memory(wanted, settings, allocation, vms, vcpus);
    if (!fit_ram(&wanted[VT_REQUEST_RAM], &memory, allocation, &ram_mib, notes, error))
        return false;
    const Wanted *image = &wanted[VT_REQUEST_IMG];
    bool is_disk = image->number == VT_IMAGE_DISK;
    *shape = (VtShape){
        .image = (VtImage)image->number,
        .image_name = is_disk ? g_strdup(image->text) : NULL,
        .vms = vms,
        .net = find_net(&wanted[VT_REQUEST_NET], is_one(allocation, vms)),
        .has_net = wanted[VT_REQUEST_NET].is_explicit,
        .ram_mib = ram_mib,
        .vcpus = vcpus,
        .boot_timeout_s = (guint)wanted[VT_REQUEST_BOOT_TIMEOUT].number,
        .arch = (VtArch)wanted[VT_REQUEST_ARCH].number,
        .fs_type = find_fs_type(&wanted[VT_REQUEST_FS_TYPE]),
        .init = is_disk ? (VtInit)wanted[VT_REQUEST_INIT].number : VT_INIT_AGENT,
        .locks = find_locks(&wanted[VT_REQUEST_SHARE_LOCKS], is_one(allocation, vms)),
    };
    take_family(image, &wanted[VT_REQUEST_DISTRO], shape);
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        shape->origins[i] = g_strdup(wanted[i].origin);
    return true;
}
