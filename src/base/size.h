/* SPDX-License-Identifier: Apache-2.0 */
/* base/size.h - numbers, sizes and durations as people write them. Nothing overflows; bad text is
 * refused. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define VT_KIB ((guint64)1 << 10)
#define VT_MIB ((guint64)1 << 20)
#define VT_GIB ((guint64)1 << 30)
#define VT_TIB ((guint64)1 << 40)

/* Decimal digits only. False, with `number` unchanged, for anything else or more than 64 bits hold.
 */
bool vt_number_parse(const char *text, guint64 *number);

/* A size in bytes: digits and K, M, G, T or KiB, MiB, GiB, TiB (all binary, any case); without a
 * unit it counts `plain_unit` bytes. False, with `bytes` unchanged, for anything else. */
bool vt_size_parse(const char *text, guint64 plain_unit, guint64 *bytes);

/* A size as qsub reads it: digits, then k, m, g, t or nothing, then b (bytes), w (words of 8 bytes)
 * or nothing, any case. */
bool vt_size_parse_qsub(const char *text, guint64 *bytes);

/* [[HH:]MM:]SS in seconds; each part is any number. */
bool vt_duration_parse(const char *text, guint64 *seconds);

/* Whole MiB that hold `bytes`. */
guint64 vt_size_to_mib(guint64 bytes);
