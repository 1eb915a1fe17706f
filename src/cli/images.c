/* SPDX-License-Identifier: Apache-2.0 */
/* cli/images.c - what the pool has, and whether a job could use it. */
#include "cli/images.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "image/pool.h"

typedef struct {
    const char *pool, *name;
    VtRecord *record; /* NULL: not fit */
    char *reason;     /* NULL: the image is fit */
} Image;

static void image_clear(Image *image)
{
    vt_record_free(image->record);
    g_free(image->reason);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Image, image_clear)

static bool load(const char *pool, const char *name, Image *image, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_auto(VtPoolImage) files = VT_POOL_IMAGE_NONE;
    image->pool = pool;
    image->name = name;
    image->record = vt_pool_load(pool, name, getuid(), &local);
    if (local && local->code == VT_ERROR_USER) {
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    if (image->record)
        vt_pool_open(pool, name, getuid(), &files, &local);
    image->reason = local ? g_strdup(local->message) : NULL;
    return true;
}

/* "agent system" */
static char *name_inits(const VtRecord *record)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(record->has_init); i++)
        if (record->has_init[i])
            g_string_append_printf(text, "%s%s", text->len ? " " : "",
                                   vt_choice_word(&vt_init_choice, i));
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void print_line(const Image *image)
{
    const VtRecord *record = image->record;
    if (!record) {
        g_print("%-20s %-7s %-7s %-6s %9s  %-12s %-3s  %s\n", image->name, "?", "?", "?", "?", "?",
                "no", image->reason);
        return;
    }
    g_autofree char *inits = name_inits(record);
    g_print("%-20s %-7s %-7s %-6s %9" G_GUINT64_FORMAT "  %-12s %-3s  %s\n", image->name,
            vt_choice_word(&vt_family_choice, record->family),
            vt_choice_word(&vt_arch_choice, record->arch),
            vt_choice_word(&vt_format_choice, record->format), vt_size_to_mib(record->size), inits,
            image->reason ? "no" : "yes", image->reason ? image->reason : record->description);
}

static void print_row(const char *key, const char *value)
{
    g_print("%-12s %s\n", key, value);
}

static void print_all(const Image *image)
{
    const VtRecord *record = image->record;
    print_row("name", image->name);
    print_row("pool", image->pool);
    if (record) {
        g_autofree char *inits = name_inits(record);
        g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT " bytes", record->size);
        const char *site = "the site's (GUEST_KERNEL)";
        print_row("description", record->description);
        print_row("family", vt_choice_word(&vt_family_choice, record->family));
        print_row("arch", vt_choice_word(&vt_arch_choice, record->arch));
        print_row("format", vt_choice_word(&vt_format_choice, record->format));
        print_row("size", size);
        print_row("digest", record->digest);
        print_row("root", record->root);
        print_row("filesystem", record->filesystem);
        print_row("kernel", record->kernel ? record->kernel : site);
        print_row("initramfs", record->initramfs ? record->initramfs : site);
        print_row("init", inits);
    }
    print_row("fit", image->reason ? "no" : "yes");
    if (image->reason)
        print_row("reason", image->reason);
}

static json_t *list_inits(const VtRecord *record)
{
    json_t *inits = json_array();
    for (guint i = 0; i < G_N_ELEMENTS(record->has_init); i++)
        if (record->has_init[i])
            json_array_append_new(inits, json_string(vt_choice_word(&vt_init_choice, i)));
    return inits;
}

/* Without a record the object has no keys of one. */
static json_t *describe(const Image *image)
{
    const VtRecord *record = image->record;
    json_t *object = json_pack("{s:s, s:s, s:b, s:s?}", "name", image->name, "pool", image->pool,
                               "fit", image->reason == NULL, "reason", image->reason);
    if (!record)
        return object;
    json_t *more = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s?, s:s?, s:o}", "description",
        record->description, "family", vt_choice_word(&vt_family_choice, record->family), "arch",
        vt_choice_word(&vt_arch_choice, record->arch), "format",
        vt_choice_word(&vt_format_choice, record->format), "size", (json_int_t)record->size,
        "digest", record->digest, "root", record->root, "filesystem", record->filesystem, "kernel",
        record->kernel, "initramfs", record->initramfs, "init", list_inits(record));
    json_object_update(object, more);
    json_decref(more);
    return object;
}

static void print_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    g_print("%s\n", text);
    free(text);
    json_decref(value);
}

void vt_images_print(const VtSettings *settings, bool as_json)
{
    g_autofree char *pool = vt_pool_find(settings);
    g_auto(GStrv) names = vt_pool_list(pool);
    json_t *array = json_array();
    if (!as_json && *names)
        g_print("%-20s %-7s %-7s %-6s %9s  %-12s %-3s  %s\n", "NAME", "FAMILY", "ARCH", "FORMAT",
                "SIZE/MiB", "INIT", "FIT", "DESCRIPTION");
    else if (!as_json)
        g_printerr("vmgr: no images in pool '%s' (make image)\n", pool);
    for (char **name = names; *name; name++) {
        g_auto(Image) image = {0};
        /* One that is gone since is none. */
        if (!load(pool, *name, &image, NULL))
            continue;
        if (as_json)
            json_array_append_new(array, describe(&image));
        else
            print_line(&image);
    }
    if (as_json)
        print_json(json_incref(array));
    json_decref(array);
}

bool vt_images_print_one(const VtSettings *settings, const char *name, bool as_json, GError **error)
{
    g_autofree char *pool = vt_pool_find(settings);
    g_auto(Image) image = {0};
    if (!load(pool, name, &image, error))
        return false;
    if (as_json)
        print_json(describe(&image));
    else
        print_all(&image);
    return true;
}
