/* SPDX-License-Identifier: Apache-2.0 */
/* agent/say.h - what must be known even when the port is of no use: a line on the console (or the
 * journal). */
#pragma once

#include <stdio.h>

#define say(...)                                                                                   \
    do {                                                                                           \
        dprintf(2, "vtorque-agent: " __VA_ARGS__);                                                 \
        dprintf(2, "\n");                                                                          \
    } while (0)
