/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper/leaf.h - the job's leaf in each cgroup hierarchy, and the limits that are set in it before
 * anything is born there.
 *
 * Version 1 hierarchies and version 2 are handled alike, side by side where both are there. A leaf
 * lies below the cgroup of whoever starts the job, or below the one that the starter names (that of
 * a batch system's job). Below the starter's own, where a leaf may not be made there is none, and
 * the job runs without; below a named one the job does not run then.
 *
 * One user may have several roots of run folders, each with a slot 0 (XDG_RUNTIME_DIR, a root's mount
 * namespaces), and all their leaves below one cgroup: a leaf's name also says which root it is of.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define LEAVES_MAX                                                                                 \
    16 /* memory, pids and cpuacct of version 1, version 2, and what is only entered */
#define LEAF_PATH_MAX 1024
/* Below a batch system's cgroup, which has one job. Torque removes what begins with R itself, where
 * nobody else has. */
#define LEAF_BELOW "Rvt"

typedef struct {
    const char *cgroup;        /* path below each hierarchy's mount; NULL: the starter's own */
    unsigned long long memory; /* bytes; 0: no limit */
    unsigned long tasks;       /* processes and threads; 0: no limit */
} LeafWish;

typedef struct {
    char path[LEAF_PATH_MAX];
    const char *controller; /* of version 1; "" for version 2. (static) */
    bool is_made;           /* ours, to be removed; else a cgroup of the batch system's */
} LeafPlace;

typedef struct {
    int count;
    int v2;          /* descriptor of the leaf of version 2, or -1 */
    int v2_index;    /* which of the places is that leaf's, or -1 */
    int memory;      /* which of the places holds the job to its memory, or -1 */
    int tasks;       /* the same for tasks */
    bool must_enter; /* below a named cgroup: a place that can't be entered is an error */
    char events[LEAF_PATH_MAX + 32]; /* the file that counts what the kernel kills; "": none */
    LeafPlace places[LEAVES_MAX];
} Leaf;

#define LEAF_NONE ((Leaf){.v2 = -1, .v2_index = -1, .memory = -1, .tasks = -1})

/* Makes the leaves, named vtorque-<uid>-<slot>-<device>.<inode> (the last two, hexadecimal, are those
 * of `root`, the folder of run folders) or, below a named cgroup, LEAF_BELOW, and sets what limits can
 * be set. Below a named cgroup, hierarchies with other controllers (cpuset, cpu, devices,
 * freezer ...) get no leaf: the job lives in the cgroup itself. Returns 0, or -errno where a named
 * cgroup is not there or cannot be used; what was made by then is removed by leaf_remove(). */
int leaf_make(int root, int slot, const LeafWish *wish, Leaf *leaf);

/* Moves the calling thread, the only one of its process, into every place that takes it; `is_in_v2`:
 * it was cloned into that of version 2. Returns -errno, or a set of bits: the places (1 << index)
 * that did not take it. */
int leaf_enter(const Leaf *leaf, bool is_in_v2);

/* Takes note of what leaf_enter() returned: a limit of a place where nobody is holds nobody. */
void leaf_miss(Leaf *leaf, int missed);

/* Says in one line what the job is held to, and by what. */
void leaf_explain(const Leaf *leaf, const LeafWish *wish, char *text, size_t size);

/* Removes the leaves, once every process in them is dead. */
void leaf_remove(Leaf *leaf);
