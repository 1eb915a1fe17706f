/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-record.c - records of images: what is read, and every way to be refused. */
#include "job/record.h"

#include <string.h>

#include "base/error.h"

#define HEX "0123456789abcdef"
#define DIGEST "sha256-" HEX HEX HEX HEX
#define NAME "demo"

/* Each key of a good record, with its comma. */
#define VERSION "\"version\": 1,"
#define NAMED "\"name\": \"" NAME "\","
#define FAMILY "\"family\": \"debian\","
#define ARCH "\"arch\": \"x86_64\","
#define FORMAT "\"format\": \"qcow2\","
#define DIGESTED "\"digest\": \"" DIGEST "\","
#define SIZE "\"size\": 1073741824,"
#define ROOT "\"root\": \"/dev/vda\","
#define FILESYSTEM "\"filesystem\": \"ext4\","
#define KERNEL "\"kernel\": \"" DIGEST "\","
#define INITRAMFS "\"initramfs\": \"" DIGEST "\","
#define INIT "\"init\": [\"agent\", \"system\"],"
#define DESCRIPTION "\"description\": \"a disk\""

/* A good record with `key` of it replaced by `text`. */
typedef struct {
    const char *name, *key, *text;
    const char *why; /* NULL: is taken */
} Row;

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A1024 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64 A64

static const Row rows[] = {
    {"good", "", "", NULL},
    {"version-2", VERSION, "\"version\": 2,", "version must be 1"},
    {"version-of-text", VERSION, "\"version\": \"1\",", "version must be 1"},
    {"version-1.0", VERSION, "\"version\": 1.0,", "version must be 1"},
    {"version-missing", VERSION, "", "version must be 1"},
    {"version-twice", VERSION, VERSION VERSION, "not a JSON object"},
    {"version-beyond-64-bits", VERSION, "\"version\": 18446744073709551617,", "not a JSON object"},
    {"name-of-another", NAMED, "\"name\": \"other\",", "it is called 'other'"},
    {"name-empty", NAMED, "\"name\": \"\",", "name must be"},
    {"name-of-dots", NAMED, "\"name\": \"..\",", "name must be"},
    {"name-with-slash", NAMED, "\"name\": \"demo/../x\",", "name must be"},
    {"name-with-nul", NAMED, "\"name\": \"demo\\u0000\",", "not a JSON object"},
    {"name-in-capitals", NAMED, "\"name\": \"DEMO\",", "it is called 'DEMO'"},
    {"name-of-65", NAMED, "\"name\": \"a" A64 "\",", "name must be"},
    {"family-ubuntu", FAMILY, "\"family\": \"ubuntu\",", NULL},
    {"family-in-capitals", FAMILY, "\"family\": \"Debian\",", NULL},
    {"family-unknown", FAMILY, "\"family\": \"plan9\",", "family must be debian, ubuntu"},
    {"family-null", FAMILY, "\"family\": null,", "family must be debian, ubuntu"},
    {"arch-unknown", ARCH, "\"arch\": \"aarch64\",", "arch must be x86_64"},
    {"format-raw", FORMAT, "\"format\": \"raw\",", NULL},
    {"format-vmdk", FORMAT, "\"format\": \"vmdk\",", "format must be qcow2 or raw"},
    {"format-empty", FORMAT, "\"format\": \"\",", "format must be qcow2 or raw"},
    {"digest-missing", DIGESTED, "", "digest must be sha256-"},
    {"digest-of-path", DIGESTED, "\"digest\": \"/etc/shadow\",", "digest must be sha256-"},
    {"digest-below", DIGESTED, "\"digest\": \"sha256-../../etc/shadow\",",
     "digest must be sha256-"},
    {"digest-in-capitals", DIGESTED, "\"digest\": \"sha256-ABCDEF0123456789" HEX HEX HEX "\",",
     "digest must be sha256-"},
    {"digest-of-63", DIGESTED, "\"digest\": \"sha256-" HEX HEX HEX "0123456789abcde\",",
     "digest must be sha256-"},
    {"digest-of-65", DIGESTED, "\"digest\": \"" DIGEST "0\",", "digest must be sha256-"},
    {"digest-md5", DIGESTED, "\"digest\": \"md5-" HEX HEX "\",", "digest must be sha256-"},
    {"size-512", SIZE, "\"size\": 512,", NULL},
    {"size-1P", SIZE, "\"size\": 1125899906842624,", NULL},
    {"size-more-than-1P", SIZE, "\"size\": 1125899906843136,", "size must be"},
    {"size-0", SIZE, "\"size\": 0,", "size must be"},
    {"size-511", SIZE, "\"size\": 511,", "size must be"},
    {"size-513", SIZE, "\"size\": 513,", "size must be"},
    {"size-negative", SIZE, "\"size\": -512,", "size must be"},
    {"size-of-text", SIZE, "\"size\": \"512\",", "size must be"},
    {"size-real", SIZE, "\"size\": 1e9,", "size must be"},
    {"root-partition", ROOT, "\"root\": \"/dev/vda1\",", NULL},
    {"root-partition-128", ROOT, "\"root\": \"/dev/vda128\",", NULL},
    {"root-partition-1000", ROOT, "\"root\": \"/dev/vda1000\",", "root must be /dev/vda"},
    {"root-other-disk", ROOT, "\"root\": \"/dev/vdb\",", "root must be /dev/vda"},
    {"root-by-label", ROOT, "\"root\": \"LABEL=root\",", "root must be /dev/vda"},
    {"root-with-argument", ROOT, "\"root\": \"/dev/vda init=/bin/sh\",", "root must be /dev/vda"},
    {"filesystem-xfs", FILESYSTEM, "\"filesystem\": \"xfs\",", "filesystem must be ext4"},
    {"filesystem-in-capitals", FILESYSTEM, "\"filesystem\": \"EXT4\",", "filesystem must be ext4"},
    {"kernel-alone", INITRAMFS, "", "kernel and initramfs go together"},
    {"initramfs-alone", KERNEL, "", "kernel and initramfs go together"},
    {"neither", KERNEL INITRAMFS, "", NULL},
    {"kernel-of-path", KERNEL, "\"kernel\": \"/boot/vmlinuz\",", "kernel must be sha256-"},
    {"kernel-null", KERNEL, "\"kernel\": null,", "kernel must be sha256-"},
    {"initramfs-of-number", INITRAMFS, "\"initramfs\": 1,", "initramfs must be sha256-"},
    {"init-agent", INIT, "\"init\": [\"agent\"],", NULL},
    {"init-empty", INIT, "\"init\": [],", "init must be a list"},
    {"init-of-text", INIT, "\"init\": \"agent\",", "init must be a list"},
    {"init-of-object", INIT, "\"init\": {\"agent\": 1},", "init must be a list"},
    {"init-unknown", INIT, "\"init\": [\"agent\", \"/bin/sh\"],", "init must be a list"},
    {"init-of-lists", INIT, "\"init\": [[\"agent\"]],", "init must be a list"},
    {"description-empty", DESCRIPTION, "\"description\": \"\"", NULL},
    {"description-of-1024", DESCRIPTION, "\"description\": \"" A1024 "\"", NULL},
    {"description-of-1025", DESCRIPTION, "\"description\": \"b" A1024 "\"", "description must be"},
    {"description-of-lines", DESCRIPTION, "\"description\": \"a\\nb\"", "description must be"},
    {"description-of-escapes", DESCRIPTION, "\"description\": \"\\u001b[2J\"",
     "description must be"},
    {"description-of-c1", DESCRIPTION, "\"description\": \"\\u009b2J\"", "description must be"},
    {"description-from-right", DESCRIPTION, "\"description\": \"\\u202etxt\"",
     "description must be"},
    {"description-of-letters", DESCRIPTION, "\"description\": \"Größe \\u4e2d\"", NULL},
    {"description-missing", "," DESCRIPTION, "", "description must be"},
    {"unknown-key", DESCRIPTION, "\"backing\": \"/etc/shadow\"," DESCRIPTION,
     "unknown key 'backing'"},
    {"unknown-key-of-escapes", DESCRIPTION, "\"a\\u001b[2J\": 1," DESCRIPTION,
     "unknown key 'a\\033[2J'"},
    {"capital-key", DESCRIPTION, "\"Size\": 512," DESCRIPTION, "unknown key 'Size'"},
};

/* Replaces `key` in a good record by `text`. */
static char *make(const char *key, const char *text)
{
    g_autoptr(GString) record = g_string_new("{" VERSION NAMED FAMILY ARCH FORMAT DIGESTED SIZE ROOT
                                                 FILESYSTEM KERNEL INITRAMFS INIT DESCRIPTION "}");
    if (*key)
        g_assert_cmpuint(g_string_replace(record, key, text, 1), ==, 1);
    return g_string_free(g_steal_pointer(&record), FALSE);
}

static void assert_refused(const char *text, gsize size, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtRecord) record = vt_record_parse(text, size, NAME, &error);
    g_assert_null(record);
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "record of image '" NAME "': "));
    g_assert_nonnull(strstr(error->message, why));
    g_assert_null(strpbrk(error->message, "\n\r\x1b"));
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    g_autofree char *text = make(row->key, row->text);
    if (row->why) {
        assert_refused(text, strlen(text), row->why);
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(VtRecord) record = vt_record_parse(text, strlen(text), NAME, &error);
    g_assert_no_error(error);
    g_assert_nonnull(record);
}

static void test_values(void)
{
    g_autofree char *text = make("", "");
    g_autoptr(VtRecord) record = vt_record_parse(text, strlen(text), NAME, NULL);
    g_assert_cmpstr(record->name, ==, NAME);
    g_assert_cmpint(record->family, ==, VT_FAMILY_DEBIAN);
    g_assert_cmpint(record->arch, ==, VT_ARCH_X86_64);
    g_assert_cmpint(record->format, ==, VT_FORMAT_QCOW2);
    g_assert_cmpstr(record->digest, ==, DIGEST);
    g_assert_cmpuint(record->size, ==, 1 << 30);
    g_assert_cmpstr(record->root, ==, "/dev/vda");
    g_assert_cmpstr(record->filesystem, ==, "ext4");
    g_assert_cmpstr(record->kernel, ==, DIGEST);
    g_assert_cmpstr(record->initramfs, ==, DIGEST);
    g_assert_true(record->has_init[VT_INIT_AGENT] && record->has_init[VT_INIT_SYSTEM]);
    g_assert_cmpstr(record->description, ==, "a disk");
}

static void test_optional(void)
{
    g_autofree char *text = make(KERNEL INITRAMFS, "");
    g_autoptr(VtRecord) record = vt_record_parse(text, strlen(text), NAME, NULL);
    g_assert_null(record->kernel);
    g_assert_null(record->initramfs);
}

/* Not a record at all; and a good one cut off at each byte. */
static void test_shapes(void)
{
    static const char *const shapes[] = {"",     " ", "[]",  "1",     "\"x\"",
                                         "null", "{", "{}}", "{} {}", "{'a': 1}"};
    for (gsize i = 0; i < G_N_ELEMENTS(shapes); i++)
        assert_refused(shapes[i], strlen(shapes[i]), "not a JSON object");
    assert_refused("{}", 2, "version must be 1");
    g_autofree char *text = make("", "");
    for (gsize size = 0; size < strlen(text); size++)
        assert_refused(text, size, "not a JSON object");
    g_autofree char *deep = g_strnfill(60000, '[');
    assert_refused(deep, strlen(deep), "not a JSON object");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/record/%s", rows[i].name);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/record/values", test_values);
    g_test_add_func("/record/optional", test_optional);
    g_test_add_func("/record/shapes", test_shapes);
    return g_test_run();
}
