/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.c - the one error domain and its exit statuses. */
#include "base/error.h"

#include <string.h>

GQuark vt_error_quark(void)
{
    return g_quark_from_static_string("vt-error");
}

int vt_error_exit_status(const GError *error)
{
    if (error->domain == VT_ERROR &&
        (error->code == VT_ERROR_USER || error->code == VT_ERROR_CONFIG))
        return VT_EXIT_USAGE;
    return VT_EXIT_FAILED;
}

bool vt_error_set_errno(GError **error, VtError code, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VT_ERROR, code, "%s: %s", message, g_strerror(errnum));
    return false;
}

bool vt_error_set(GError **error, VtError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VT_ERROR, code, message);
    return false;
}

#define SHOWN_MAX 80 /* characters of a value: a message stays one line */

bool vt_error_set_value(GError **error, VtError code, const char *origin, const char *key,
                        const char *value, const char *allowed)
{
    g_autofree char *shown = g_strescape(value, "\"\\");
    const char *cut = "";
    if (strlen(shown) > SHOWN_MAX) {
        shown[SHOWN_MAX] = '\0';
        cut = "...";
    }
    return vt_error_set(error, code, "%s: %s '%s%s': %s", origin, key, shown, cut, allowed);
}
