/* SPDX-License-Identifier: Apache-2.0 */
/* job/record.c - a record: one table of keys, by which it is read and checked. */
#include "job/record.h"

#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "base/hex.h"

#define DIGEST_PREFIX "sha256-"
#define DIGEST_DIGITS 64
#define DESCRIPTION_MAX 1024 /* bytes */
#define SIZE_MAX_BYTES (G_GUINT64_CONSTANT(1) << 50)

static bool is_digest(const char *text)
{
    return vt_record_digest_is_valid(text);
}

/* A device that virtio-blk makes of the one disk: the disk or a partition of it. */
static bool is_device(const char *text)
{
    if (!g_str_has_prefix(text, "/dev/vda"))
        return false;
    const char *number = text + strlen("/dev/vda");
    return strlen(number) <= 3 && strspn(number, G_CSET_DIGITS) == strlen(number);
}

/* One that the guest's kernel has built in, or as a module of image/modules.list. */
static bool is_filesystem(const char *text)
{
    return strcmp(text, "ext4") == 0;
}

/* Printed as it is: nothing that a terminal would obey. */
static bool is_description(const char *text)
{
    for (const char *at = text; *at; at = g_utf8_next_char(at))
        if (!g_unichar_isprint(g_utf8_get_char(at)))
            return false;
    return strlen(text) <= DESCRIPTION_MAX;
}

static bool take_text(const json_t *value, bool (*is_valid)(const char *), char **text)
{
    if (!json_is_string(value) || !is_valid(json_string_value(value)))
        return false;
    *text = g_strdup(json_string_value(value));
    return true;
}

static bool take_choice(const json_t *value, const VtChoice *choice, guint *number)
{
    return json_is_string(value) && vt_choice_find(choice, json_string_value(value), number);
}

static bool take_version(const json_t *value, VtRecord *record)
{
    return json_integer_value(value) == VT_RECORD_VERSION;
}

static bool take_name(const json_t *value, VtRecord *record)
{
    return take_text(value, vt_image_name_is_valid, &record->name);
}

static bool take_family(const json_t *value, VtRecord *record)
{
    return take_choice(value, &vt_family_choice, &record->family);
}

static bool take_arch(const json_t *value, VtRecord *record)
{
    return take_choice(value, &vt_arch_choice, &record->arch);
}

static bool take_format(const json_t *value, VtRecord *record)
{
    return take_choice(value, &vt_format_choice, &record->format);
}

static bool take_digest(const json_t *value, VtRecord *record)
{
    return take_text(value, is_digest, &record->digest);
}

/* Whole sectors, as a disk has them. */
static bool take_size(const json_t *value, VtRecord *record)
{
    json_int_t size = json_integer_value(value);
    record->size = (guint64)size;
    return size >= 512 && size % 512 == 0 && record->size <= SIZE_MAX_BYTES;
}

static bool take_root(const json_t *value, VtRecord *record)
{
    return take_text(value, is_device, &record->root);
}

static bool take_filesystem(const json_t *value, VtRecord *record)
{
    return take_text(value, is_filesystem, &record->filesystem);
}

static bool take_kernel(const json_t *value, VtRecord *record)
{
    return take_text(value, is_digest, &record->kernel);
}

static bool take_initramfs(const json_t *value, VtRecord *record)
{
    return take_text(value, is_digest, &record->initramfs);
}

static bool take_init(const json_t *value, VtRecord *record)
{
    guint init;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!take_choice(json_array_get(value, i), &vt_init_choice, &init))
            return false;
        record->has_init[init] = true;
    }
    return json_array_size(value) > 0;
}

static bool take_description(const json_t *value, VtRecord *record)
{
    return take_text(value, is_description, &record->description);
}

static const struct {
    const char *key;
    bool (*take)(const json_t *value, VtRecord *record);
    bool is_optional;
    const char *allowed;
} keys[] = {
    {"version", take_version, false, "must be 1"},
    {"name", take_name, false, "must be 1 to 64 of A-Z a-z 0-9 . _ + -"},
    {"family", take_family, false, "must be debian, ubuntu, redhat, centos or osv"},
    {"arch", take_arch, false, "must be x86_64"},
    {"format", take_format, false, "must be qcow2 or raw"},
    {"digest", take_digest, false, "must be sha256- and 64 hexadecimal digits"},
    {"size", take_size, false, "must be a number of bytes, whole sectors of 512"},
    {"root", take_root, false, "must be /dev/vda or a partition of it"},
    {"filesystem", take_filesystem, false, "must be ext4"},
    {"kernel", take_kernel, true, "must be sha256- and 64 hexadecimal digits"},
    {"initramfs", take_initramfs, true, "must be sha256- and 64 hexadecimal digits"},
    {"init", take_init, false, "must be a list of agent and system"},
    {"description", take_description, false, "must be one line of at most 1024 bytes"},
};

bool vt_record_digest_is_valid(const char *digest)
{
    return g_str_has_prefix(digest, DIGEST_PREFIX) &&
           vt_hex_is_valid(digest + strlen(DIGEST_PREFIX), DIGEST_DIGITS);
}

static bool check_keys(json_t *root, const char *name, GError **error)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        bool known = false;
        for (gsize i = 0; !known && i < G_N_ELEMENTS(keys); i++)
            known = strcmp(key, keys[i].key) == 0;
        g_autofree char *shown = g_strescape(key, NULL);
        if (!known)
            return vt_error_set(error, VT_ERROR_HOST, "record of image '%s': unknown key '%.64s'",
                                name, shown);
    }
    return true;
}

static bool take_keys(json_t *root, VtRecord *record, const char *name, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const json_t *value = json_object_get(root, keys[i].key);
        if (!value && keys[i].is_optional)
            continue;
        if (!value || !keys[i].take(value, record))
            return vt_error_set(error, VT_ERROR_HOST, "record of image '%s': %s %s", name,
                                keys[i].key, keys[i].allowed);
    }
    if (strcmp(record->name, name) != 0)
        return vt_error_set(error, VT_ERROR_HOST, "record of image '%s': it is called '%s'", name,
                            record->name);
    if (!record->kernel != !record->initramfs)
        return vt_error_set(error, VT_ERROR_HOST,
                            "record of image '%s': kernel and initramfs go together", name);
    return true;
}

VtRecord *vt_record_parse(const char *text, gsize size, const char *name, GError **error)
{
    g_autoptr(VtRecord) record = g_new0(VtRecord, 1);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    bool ok = json_is_object(root) ||
              vt_error_set(error, VT_ERROR_HOST, "record of image '%s': not a JSON object", name);
    ok = ok && check_keys(root, name, error) && take_keys(root, record, name, error);
    json_decref(root);
    return ok ? g_steal_pointer(&record) : NULL;
}

void vt_record_free(VtRecord *record)
{
    if (!record)
        return;
    g_free(record->name);
    g_free(record->digest);
    g_free(record->root);
    g_free(record->filesystem);
    g_free(record->kernel);
    g_free(record->initramfs);
    g_free(record->description);
    g_free(record);
}
