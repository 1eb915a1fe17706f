/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cluster.h - the way from vmgr to jobs on other nodes: the batch system says where they are, and
 * vtorque-reach goes there.
 *
 * Runs as: the user. Reads from: the batch system, another node. Trusts: the site's settings.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "batch/place.h"

typedef struct VtCluster VtCluster;

/* NULL without an error where there is none: no batch system; for root, who is served on a job's own
 * node. VT_ERROR_CONFIG and others: why its other nodes
 * are not to be reached from here, and what to set. (transfer full) */
VtCluster *vt_cluster_load(GError **error);
void vt_cluster_free(VtCluster *cluster);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtCluster, vt_cluster_free)

/* As vt_places_load(). */
GPtrArray *vt_cluster_find(const VtCluster *cluster, const char *id, GError **error);

/* True if that is this machine. */
bool vt_cluster_is_here(const VtCluster *cluster, const char *node);

/* Sets out for a node: a socket, or -1 with VT_ERROR_HOST. Does not block. (transfer full) */
int vt_cluster_start(const VtCluster *cluster, const char *node, GError **error);

/* Waits until the socket of vt_cluster_start() is one of the node's user.sock. VT_ERROR_USER: no job of this
 * user's is there; VT_ERROR_HOST for all else. Messages name the node. Blocks, 90 s at most. */
bool vt_cluster_wait(int fd, const char *node, GError **error);
