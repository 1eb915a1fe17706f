/* SPDX-License-Identifier: Apache-2.0 */
/* cli/output.h - files that vsub writes for a job: where -o, -e and --report lead. */
#pragma once

#include "cli/options.h"
#include "job/job.h"

/* The absolute path that `option` (-o or -e, named by `key`) stands for: [HOST:]PATH with this
 * machine as HOST, relative to `folder`; $PBS_JOBID, $PBS_JOBNAME and $HOME are replaced; in a
 * directory it is JOBNAME.<suffix>NUMBER, as qsub names it. Nothing is created; a file that cannot
 * be written is VT_ERROR_USER. NULL without error if the option was not given. (transfer full) */
char *vt_output_find(const char *key, const VtOptionText *option, const char *folder,
                     const VtJob *job, char suffix, GError **error);

/* The absolute path of a file to be written, which is checked: its directory or itself must be
 * writable, and it must not be a directory. (transfer full) */
char *vt_output_check(const char *key, const char *origin, const char *path, const char *folder,
                      GError **error);
