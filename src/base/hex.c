/* SPDX-License-Identifier: Apache-2.0 */
/* base/hex.c - hexadecimal digits. */
#include "base/hex.h"

#include <string.h>

bool vt_hex_is_valid(const char *text, gsize digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

char *vt_hex_format(const guint8 *bytes, gsize size)
{
    GString *text = g_string_sized_new(2 * size + 1);
    for (gsize i = 0; i < size; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

void vt_hex_parse(const char *digits, guint8 *bytes, gsize size)
{
    for (gsize i = 0; i < size; i++)
        bytes[i] = (guint8)(g_ascii_xdigit_value(digits[2 * i]) << 4 |
                            g_ascii_xdigit_value(digits[2 * i + 1]));
}
