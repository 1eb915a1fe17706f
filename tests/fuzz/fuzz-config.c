/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-config.c - any bytes as vtorque.conf. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_parse((const char *)data, size, "fuzz", &error);
    if (!settings) {
        if (!error || strpbrk(error->message, "\n\r\x1b"))
            abort();
        return 0;
    }
    VtSettingRow row;
    for (guint i = 0; vt_settings_get_row(settings, i, &row); i++)
        if (!row.key || !row.value || !row.origin || !row.help)
            abort();
    vt_settings_has_host(settings, VT_SETTING_DISABLED_HOSTS_LIST, "host");
    if (vt_settings_get_number(settings, VT_SETTING_VCPUS_DEFAULT) < 1)
        abort();
    return 0;
}
