/* SPDX-License-Identifier: Apache-2.0 */
/* batch/batch.h - which batch system jobs are submitted to, and by which command. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"
#include "conf/settings.h"

/* The batch system of BATCH on this machine, whose short name is `host`, and (transfer full) its
 * submit command; NULL for VT_BATCH_LOCAL. Where there is a site's file (`has_site`), auto never
 * means local. VT_ERROR_CONFIG: what BATCH names is not built yet or not there, or its command is
 * this program itself. */
bool vt_batch_choose(const VtSettings *settings, const char *host, bool has_site, VtBatch *batch,
                     char **command, GError **error);
