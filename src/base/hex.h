/* SPDX-License-Identifier: Apache-2.0 */
/* base/hex.h - bytes as hexadecimal digits: keys, digests, names of runs. Lower case alone. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* True for exactly so many digits. */
bool vt_hex_is_valid(const char *text, gsize digits);

/* The digits of `size` bytes. (transfer full) */
char *vt_hex_format(const guint8 *bytes, gsize size);

/* The `size` bytes of `digits`, of which twice as many are there and valid. */
void vt_hex_parse(const char *digits, guint8 *bytes, gsize size);
