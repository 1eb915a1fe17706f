/* SPDX-License-Identifier: Apache-2.0 */
/* conf/table.h - every parameter of vtorque.conf: type, unit, range, built-in value, help. Inside
 * conf/ only. */
#pragma once

#include <glib.h>

#include "conf/choice.h"

typedef enum {
    VT_VALUE_TEXT,
    VT_VALUE_COUNT,
    VT_VALUE_SIZE, /* MiB, or with a unit */
    VT_VALUE_SECONDS,
    VT_VALUE_PATH,
    VT_VALUE_PATHS,
    VT_VALUE_HOST,      /* a name or address of the network */
    VT_VALUE_HOSTS,     /* a list of them, `max` at most */
    VT_VALUE_ADDRESSES, /* a list of addresses, `max` at most */
    VT_VALUE_MAC,       /* three bytes, XX:XX:XX */
    VT_VALUE_REGEX,
    VT_VALUE_IMAGE,  /* host, tiny, or an image's name */
    VT_VALUE_CHOICE, /* a word of `choice`; its number is that of the word */
} VtValueType;

typedef enum {
    VT_STATE_ACTIVE,
    VT_STATE_LATER,   /* a parameter of the original without effect yet: a warning */
    VT_STATE_REFUSED, /* one whose being ignored would mislead: an error */
} VtSettingState;

typedef struct {
    const char *key;
    VtValueType type;
    VtSettingState state;
    guint64 min, max;     /* in the unit */
    const char *unit;     /* NULL: none */
    const char *fallback; /* NULL: not set */
    const char *range;    /* what is allowed, as a message says it */
    const char *help;
    const VtChoice *choice;
} VtSettingInfo;

/* The first VT_SETTING_COUNT rows are those of the enum VtSetting, in its order. */
extern const VtSettingInfo vt_setting_table[];
extern const guint vt_setting_table_size;
