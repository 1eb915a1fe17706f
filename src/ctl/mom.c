/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/mom.c - what Torque's configuration of a node says. */
#include "ctl/mom.h"

#include <stdio.h>
#include <string.h>

int ctl_mom_limit_s(const char *config)
{
    int limit = CTL_MOM_LIMIT_S, value;
    for (const char *line = config; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "$prologalarm %d", &value) == 1 && value > 0)
            limit = value;
    }
    return limit;
}
