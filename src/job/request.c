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

#define BOOT_TIMEOUT_MAX 86400u /* s */

static bool read_image(const char *text, guint64 *number)
{
    VtImage image;
    if (!vt_image_find(text, &image))
        return false;
    *number = image;
    return true;
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
    bool (*read)(const char *text, guint64 *number);
    guint64 min, max;
    const char *allowed;
} KeyInfo;

static const KeyInfo keys[VT_REQUEST_KEYS] = {
    [VT_REQUEST_IMG] = {"img", read_image, 0, G_MAXUINT,
                        "must be host or tiny; images with a disk are not built yet"},
    [VT_REQUEST_RAM] = {"ram", read_ram, VT_RAM_MIB_MIN, VT_RAM_MIB_MAX,
                        "must be 96M to 16T in K, M, G or T, or a plain number of MiB"},
    [VT_REQUEST_VCPUS] = {"vcpus", vt_number_parse, 1, VT_VCPUS_MAX,
                          "must be a number from 1 to 255"},
    [VT_REQUEST_BOOT_TIMEOUT] = {"boot_timeout", vt_number_parse, 1, BOOT_TIMEOUT_MAX,
                                 "must be a number of seconds from 1 to 86400"},
};

static const char *const later_keys[] = {
    "distro",         "vms_per_node",   "metadata", "disk",   "arch",         "vcpu_pinning",
    "vm_prologue",    "vm_epilogue",    "vrdma",    "unclot", "unclot_shmem", "iocm",
    "iocm_min_cores", "iocm_max_cores", "fs_type",  NULL,
};

void vt_request_clear(VtRequest *request)
{
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        g_free(request->items[i].origin);
    *request = (VtRequest){0};
}

void vt_shape_clear(VtShape *shape)
{
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        g_free(shape->origins[i]);
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
                            "%s: -vm key '%s' is not built yet; there are img, ram, vcpus and "
                            "boot_timeout",
                            origin, shown);
    return vt_error_set(error, VT_ERROR_USER,
                        "%s: unknown -vm key '%.64s'; there are img, ram, vcpus and boot_timeout",
                        origin, shown);
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
    if (!keys[key].read(equals + 1, &number) || number < keys[key].min || number > keys[key].max) {
        g_autofree char *what = g_strdup_printf("-vm %s", name);
        return vt_error_set_value(error, VT_ERROR_USER, origin, what, equals + 1,
                                  keys[key].allowed);
    }
    VtRequestItem *item = &request->items[key];
    g_free(item->origin);
    *item = (VtRequestItem){.number = number, .origin = g_strdup(origin)};
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

/* A value with where it came from, before it meets the allocation. */
typedef struct {
    guint64 number;
    const char *origin;
    bool is_explicit; /* the user's, not the site's */
    bool is_site;     /* the site's file, not built in */
} Wanted;

static guint64 setting_number(const VtSettings *settings, VtRequestKey key, VtSetting setting)
{
    guint64 number = vt_settings_get_number(settings, setting);
    if (key == VT_REQUEST_IMG)
        g_assert(read_image(vt_settings_get_text(settings, setting), &number));
    return number;
}

/* The order of precedence: the command line, the script, the site's file, the built-in value. */
static Wanted want(const VtRequest *option, const VtRequest *directive, const VtSettings *settings,
                   VtRequestKey key)
{
    static const VtSetting fallbacks[VT_REQUEST_KEYS] = {
        [VT_REQUEST_IMG] = VT_SETTING_IMG_DEFAULT,
        [VT_REQUEST_RAM] = VT_SETTING_RAM_DEFAULT,
        [VT_REQUEST_VCPUS] = VT_SETTING_VCPUS_DEFAULT,
        [VT_REQUEST_BOOT_TIMEOUT] = VT_SETTING_TIMEOUT,
    };
    const VtRequestItem *item =
        option->items[key].origin ? &option->items[key] : &directive->items[key];
    if (item->origin)
        return (Wanted){item->number, item->origin, true, false};
    VtSetting setting = fallbacks[key];
    return (Wanted){setting_number(settings, key, setting),
                    vt_settings_get_origin(settings, setting), false,
                    vt_settings_is_set(settings, setting)};
}

static void note(GPtrArray *notes, char *text)
{
    g_ptr_array_add(notes, text);
}

/* A built-in default that is cut says nothing: nobody asked for it. */
static guint fit_vcpus(const Wanted *wanted, const VtAllocation *allocation, GPtrArray *notes)
{
    guint vcpus = (guint)wanted->number;
    guint limit = MIN(MIN(allocation->cores, allocation->host_cores), VT_VCPUS_MAX);
    if (!wanted->is_explicit && vcpus > limit) {
        if (wanted->is_site)
            note(notes, g_strdup_printf("%s: VCPUS_DEFAULT '%u' cut to %u, the job's cores",
                                        wanted->origin, vcpus, limit));
        return limit;
    }
    if (vcpus > allocation->host_cores)
        note(notes, g_strdup_printf("%s: vcpus '%u' is more than the %u cores of this machine: "
                                    "they will share",
                                    wanted->origin, vcpus, allocation->host_cores));
    else if (vcpus > allocation->cores)
        note(notes, g_strdup_printf("%s: vcpus '%u' is more than the job's %u cores",
                                    wanted->origin, vcpus, allocation->cores));
    return vcpus;
}

static bool fit_ram(const Wanted *wanted, const VtAllocation *allocation, guint *ram_mib,
                    GPtrArray *notes, GError **error)
{
    guint64 limit =
        allocation->is_memory_asked ? allocation->memory_mib : allocation->host_memory_mib;
    if (wanted->is_explicit && wanted->number > limit)
        return vt_error_set(
            error, VT_ERROR_USER,
            "%s: -vm ram '%" G_GUINT64_FORMAT "M': must be at most %" G_GUINT64_FORMAT "M, %s",
            wanted->origin, wanted->number, limit,
            allocation->is_memory_asked ? "which -l mem= allows" : "the memory of this machine");
    *ram_mib = (guint)wanted->number;
    if (wanted->number <= allocation->memory_mib)
        return true;
    if (wanted->is_explicit) {
        note(notes, g_strdup_printf("%s: ram '%uM' leaves this machine less than HOST_OS_RAM_MB",
                                    wanted->origin, *ram_mib));
        return true;
    }
    if (allocation->memory_mib < VT_RAM_MIB_MIN)
        return vt_error_set(error, VT_ERROR_USER,
                            "the job's memory of %" G_GUINT64_FORMAT
                            "M is too little for a guest, which needs %uM%s",
                            allocation->memory_mib, VT_RAM_MIB_MIN,
                            allocation->is_memory_asked ? " (-l mem=)" : "");
    note(notes, g_strdup_printf("%s: ram cut from %uM to %" G_GUINT64_FORMAT "M, the job's memory",
                                wanted->origin, *ram_mib, allocation->memory_mib));
    *ram_mib = (guint)allocation->memory_mib;
    return true;
}

bool vt_request_resolve(const VtRequest *option, const VtRequest *directive,
                        const VtSettings *settings, const VtAllocation *allocation, VtShape *shape,
                        GPtrArray *notes, GError **error)
{
    Wanted wanted[VT_REQUEST_KEYS];
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        wanted[i] = want(option, directive, settings, (VtRequestKey)i);
    guint ram_mib = 0;
    if (!fit_ram(&wanted[VT_REQUEST_RAM], allocation, &ram_mib, notes, error))
        return false;
    *shape = (VtShape){
        .image = (VtImage)wanted[VT_REQUEST_IMG].number,
        .ram_mib = ram_mib,
        .vcpus = fit_vcpus(&wanted[VT_REQUEST_VCPUS], allocation, notes),
        .boot_timeout_s = (guint)wanted[VT_REQUEST_BOOT_TIMEOUT].number,
    };
    for (guint i = 0; i < VT_REQUEST_KEYS; i++)
        shape->origins[i] = g_strdup(wanted[i].origin);
    return true;
}
