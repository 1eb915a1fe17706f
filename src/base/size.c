/* SPDX-License-Identifier: Apache-2.0 */
/* base/size.c - numbers, sizes and durations as people write them. */
#include "base/size.h"

#include <string.h>

#define WORD_BYTES 8 /* what PBS calls a word */

/* Reads digits at `*text` and moves it behind them. */
static bool take_number(const char **text, guint64 *number)
{
    const char *at = *text;
    guint64 sum = 0;
    if (!g_ascii_isdigit(*at))
        return false;
    for (; g_ascii_isdigit(*at); at++)
        if (!g_uint64_checked_mul(&sum, sum, 10) ||
            !g_uint64_checked_add(&sum, sum, (guint64)(*at - '0')))
            return false;
    *text = at;
    *number = sum;
    return true;
}

bool vt_number_parse(const char *text, guint64 *number)
{
    guint64 value;
    if (!take_number(&text, &value) || *text)
        return false;
    *number = value;
    return true;
}

/* The bytes of K, M, G or T; 0 for another character. */
static guint64 multiplier(char letter)
{
    switch (g_ascii_toupper(letter)) {
    case 'K':
        return VT_KIB;
    case 'M':
        return VT_MIB;
    case 'G':
        return VT_GIB;
    case 'T':
        return VT_TIB;
    default:
        return 0;
    }
}

bool vt_size_parse(const char *text, guint64 plain_unit, guint64 *bytes)
{
    guint64 value, unit = plain_unit;
    if (!take_number(&text, &value))
        return false;
    if (*text) {
        unit = multiplier(*text++);
        if (*text && g_ascii_strcasecmp(text, "iB") != 0)
            return false;
    }
    if (unit == 0 || !g_uint64_checked_mul(&value, value, unit))
        return false;
    *bytes = value;
    return true;
}

bool vt_size_parse_qsub(const char *text, guint64 *bytes)
{
    guint64 value;
    if (!take_number(&text, &value))
        return false;
    guint64 unit = multiplier(*text);
    if (unit != 0)
        text++;
    else
        unit = 1;
    if (g_ascii_tolower(*text) == 'w')
        unit *= WORD_BYTES;
    if (*text && strchr("bBwW", *text))
        text++;
    if (*text || !g_uint64_checked_mul(&value, value, unit))
        return false;
    *bytes = value;
    return true;
}

bool vt_duration_parse(const char *text, guint64 *seconds)
{
    guint64 sum = 0;
    for (int part = 0; part < 3; part++) {
        guint64 value;
        if (!take_number(&text, &value) || !g_uint64_checked_mul(&sum, sum, 60) ||
            !g_uint64_checked_add(&sum, sum, value))
            return false;
        if (!*text) {
            *seconds = sum;
            return true;
        }
        if (*text++ != ':')
            return false;
    }
    return false;
}

guint64 vt_size_to_mib(guint64 bytes)
{
    return bytes / VT_MIB + (bytes % VT_MIB != 0);
}
