/* SPDX-License-Identifier: Apache-2.0 */
/* image/pool.c - the pool of images. */
#include "image/pool.h"

char *vt_pool_find(const VtSettings *settings)
{
    if (!vt_settings_is_set(settings, VT_SETTING_VM_IMG_DIR)) {
        g_autofree char *own = g_build_filename(g_get_user_cache_dir(), "vtorque", "images", NULL);
        if (g_file_test(own, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&own);
    }
    return g_strdup(vt_settings_get_text(settings, VT_SETTING_VM_IMG_DIR));
}
