/* SPDX-License-Identifier: Apache-2.0 */
/* image/pool.c - the pool of images. */
#include "image/pool.h"

#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "image/qcow2.h"
#include "image/trusted.h"

#define SUFFIX ".json"
#define SHOWN_MAX 20 /* names in a message */

char *vt_pool_find(const VtSettings *settings)
{
    if (!vt_settings_is_set(settings, VT_SETTING_VM_IMG_DIR)) {
        g_autofree char *own = g_build_filename(g_get_user_cache_dir(), "vtorque", "images", NULL);
        if (g_file_test(own, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&own);
    }
    return g_strdup(vt_settings_get_text(settings, VT_SETTING_VM_IMG_DIR));
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GStrv vt_pool_list(const char *pool)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GDir) dir = g_dir_open(pool, 0, NULL);
    const char *file;
    while (dir && (file = g_dir_read_name(dir))) {
        if (!g_str_has_suffix(file, SUFFIX))
            continue;
        g_autofree char *name = g_strndup(file, strlen(file) - strlen(SUFFIX));
        if (vt_image_name_is_valid(name))
            g_ptr_array_add(names, g_steal_pointer(&name));
    }
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

static bool refuse_name(const char *pool, const char *name, GError **error)
{
    g_auto(GStrv) names = vt_pool_list(pool);
    g_autofree char *shown = g_strescape(name, NULL);
    bool is_long = g_strv_length(names) > SHOWN_MAX;
    for (guint i = SHOWN_MAX; is_long && names[i]; i++)
        g_clear_pointer(&names[i], g_free);
    g_autofree char *there = g_strjoinv(", ", names);
    if (!*names)
        return vt_error_set(error, VT_ERROR_USER,
                            "no image '%.64s' in pool '%s'; there are none (make image)", shown,
                            pool);
    return vt_error_set(error, VT_ERROR_USER, "no image '%.64s' in pool '%s'; there are %s%s",
                        shown, pool, there, is_long ? ", ..." : "");
}

/* Opens pool and record. */
static VtRecord *load(const char *pool, const char *name, uid_t owner, int *folder, GError **error)
{
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
    vt_autofd fd = -1;
    *folder = -1;
    if (!vt_image_name_is_valid(name)) {
        refuse_name(pool, name, error);
        return NULL;
    }
    if (!vt_trusted_open_folder(pool, owner, folder, error) ||
        (*folder >= 0 && !vt_trusted_open_file(*folder, file, owner, &fd, error))) {
        g_prefix_error(error, "cannot use image '%s' of pool '%s': ", name, pool);
        return NULL;
    }
    if (fd < 0) {
        refuse_name(pool, name, error);
        return NULL;
    }
    g_autoptr(GError) local = NULL;
    g_autoptr(GBytes) text = vt_fd_read_all(fd, VT_RECORD_MAX, file, &local);
    if (!text) {
        vt_error_set(error, VT_ERROR_HOST, "cannot use image '%s' of pool '%s': %s", name, pool,
                     local->message);
        return NULL;
    }
    gsize size;
    const char *data = g_bytes_get_data(text, &size);
    return vt_record_parse(data, size, name, error);
}

VtRecord *vt_pool_load(const char *pool, const char *name, uid_t owner, GError **error)
{
    vt_autofd folder = -1;
    return load(pool, name, owner, &folder, error);
}

/* The file of a digest; -1 for none. */
static bool open_file(int folder, const char *digest, uid_t owner, int *fd, GError **error)
{
    if (!digest)
        return true;
    if (!vt_trusted_open_file(folder, digest, owner, fd, error))
        return false;
    return *fd >= 0 || vt_error_set(error, VT_ERROR_HOST, "file '%s' is not there", digest);
}

static bool check_disk(const VtPoolImage *image, GError **error)
{
    struct stat st;
    guint64 size;
    if (image->record->format == VT_FORMAT_QCOW2) {
        if (!vt_qcow2_check(image->disk, &size, error))
            return false;
    } else if (fstat(image->disk, &st) < 0) {
        return vt_error_set(error, VT_ERROR_HOST, "cannot look at the disk");
    } else {
        size = (guint64)st.st_size;
    }
    return size == image->record->size ||
           vt_error_set(error, VT_ERROR_HOST,
                        "the disk has %" G_GUINT64_FORMAT
                        " bytes, but its record says %" G_GUINT64_FORMAT,
                        size, image->record->size);
}

bool vt_pool_open(const char *pool, const char *name, uid_t owner, VtPoolImage *image,
                  GError **error)
{
    g_auto(VtPoolImage) found = VT_POOL_IMAGE_NONE;
    vt_autofd folder = -1;
    *image = VT_POOL_IMAGE_NONE;
    found.record = load(pool, name, owner, &folder, error);
    if (!found.record)
        return false;
    if (!open_file(folder, found.record->digest, owner, &found.disk, error) ||
        !open_file(folder, found.record->kernel, owner, &found.kernel, error) ||
        !open_file(folder, found.record->initramfs, owner, &found.initramfs, error) ||
        !check_disk(&found, error)) {
        g_prefix_error(error, "cannot use image '%s' of pool '%s': ", name, pool);
        return false;
    }
    *image = found;
    found = VT_POOL_IMAGE_NONE;
    return true;
}

void vt_pool_image_clear(VtPoolImage *image)
{
    g_clear_pointer(&image->record, vt_record_free);
    vt_fd_clear(&image->disk);
    vt_fd_clear(&image->kernel);
    vt_fd_clear(&image->initramfs);
}
