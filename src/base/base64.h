/* SPDX-License-Identifier: Apache-2.0 */
/* base/base64.h - bytes as one word of A-Z a-z 0-9 - and _ (RFC 4648's base64url, no padding). */
#pragma once

#include <glib.h>

/* The word of `size` bytes; "" for none. (transfer full) */
char *vt_base64_encode(const void *data, gsize size);

/* The bytes of `word`, followed by a NUL that is not counted. NULL for what vt_base64_encode() does
 * not write: another character, a length that no bytes have, bits behind the last byte. (transfer
 * full) */
GBytes *vt_base64_decode(const char *word);
