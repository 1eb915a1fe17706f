/* SPDX-License-Identifier: Apache-2.0 */
/* batch/batch.h - which batch system a machine submits to. */
#pragma once

/* The name of the batch system whose submit command is on PATH ("torque", "slurm"); NULL: none.
 * (static) */
const char *vt_batch_find(void);
