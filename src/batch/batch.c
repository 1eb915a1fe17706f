/* SPDX-License-Identifier: Apache-2.0 */
/* batch/batch.c - which batch system a machine submits to. */
#include "batch/batch.h"

#include <glib.h>

static const struct {
    const char *name, *command;
} systems[] = {
    {"torque", "qsub"},
    {"slurm", "sbatch"},
};

const char *vt_batch_find(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(systems); i++) {
        g_autofree char *program = g_find_program_in_path(systems[i].command);
        if (program)
            return systems[i].name;
    }
    return NULL;
}
