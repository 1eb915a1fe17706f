/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/nodes.h - what -l nodes= of PBS says of cores: SPEC[+SPEC...][#WORD], with SPEC
 * COUNT|HOST[:ppn=N][:PROPERTY...].
 *
 * Pure. Only counts and ppn are looked at; what else stands there is the batch system's.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    guint64 count; /* nodes in all */
    guint ppn_min; /* of all specifications; one without ppn= has 1 */
} VtNodes;

/* False for a count or ppn that is no number from 1 to 1,000,000. */
bool vt_nodes_parse(const char *text, VtNodes *nodes);

/* `text`, which vt_nodes_parse() takes, with each ppn that is less than `cores` raised to that.
 * (transfer full) */
char *vt_nodes_raise(const char *text, guint cores);
