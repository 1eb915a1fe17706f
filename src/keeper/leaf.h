/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper/leaf.h - the job's leaf in each cgroup hierarchy, below the cgroup of whoever starts the job.
 *
 * Version 1 hierarchies and version 2 are handled alike, side by side where both are there. Where a leaf may not be made
 * there is none, and the job runs without.
 */
#pragma once

#include <sys/types.h>

#define LEAVES_MAX 4 /* memory, pids and cpuacct of version 1, and version 2 */
#define LEAF_PATH_MAX 1024

typedef struct {
    int count;
    int v2; /* descriptor of the leaf of version 2, or -1 */
    char path[LEAVES_MAX][LEAF_PATH_MAX];
} Leaf;

/* Makes the leaves named vtorque-<uid>-<slot>. */
void leaf_make(int slot, Leaf *leaf);

/* Moves `pid` into every leaf (into one that it was cloned into: again). Returns 0 or -errno. */
int leaf_join(const Leaf *leaf, pid_t pid);

/* Removes the leaves, once every process in them is dead. */
void leaf_remove(Leaf *leaf);
