/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper/leaf.h - the job's leaf in each cgroup hierarchy, below the cgroup of whoever starts the
 * job.
 *
 * Version 1 hierarchies and version 2 are handled alike, side by side where both are there. Where a
 * leaf may not be made there is none, and the job runs without.
 */
#pragma once

#include <stdbool.h>

#define LEAVES_MAX 4 /* memory, pids and cpuacct of version 1, and version 2 */
#define LEAF_PATH_MAX 1024

typedef struct {
    int count;
    int v2;       /* descriptor of the leaf of version 2, or -1 */
    int v2_index; /* which of the paths is that leaf's, or -1 */
    char path[LEAVES_MAX][LEAF_PATH_MAX];
} Leaf;

#define LEAF_NONE ((Leaf){.v2 = -1, .v2_index = -1})

/* Makes the leaves named vtorque-<uid>-<slot>. */
void leaf_make(int slot, Leaf *leaf);

/* Moves the calling thread, the only one of its process, into every leaf that takes it; `is_in_v2`:
 * it was cloned into that of version 2. Returns 0 or -errno. */
int leaf_enter(const Leaf *leaf, bool is_in_v2);

/* Removes the leaves, once every process in them is dead. */
void leaf_remove(Leaf *leaf);
