/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/word.h - a request as one opaque word: how it travels through a batch system.
 *
 * doc/contracts/request.md, "The request word", is the specification. The word says what the user
 * asked for and nothing of a site's defaults: each node decides with its own.
 *
 * Reads from: the user, through whatever the batch system lets a user change. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/request.h"

#define VT_WORD_PREFIX "vtorque:"
#define VT_WORD_TEXT_MAX 4096 /* bytes, before they are encoded */
#define VT_WORD_MAX (sizeof VT_WORD_PREFIX - 1 + (VT_WORD_TEXT_MAX * 4 + 2) / 3)

/* The word of a request that two places made: key by key `option` over `directive`. VT_ERROR_USER
 * if it is too long. (transfer full) */
char *vt_word_format(const VtRequest *option, const VtRequest *directive, GError **error);

/* The request of a whole word, with `origin` on every key. VT_ERROR_USER that begins with `origin`:
 * no word of ours, of a version that is not known, or a request that vt_request_parse() refuses.
 * `request` must be all zero, and is so after a failure. */
bool vt_word_parse(VtRequest *request, const char *word, const char *origin, GError **error);
