/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/start.h - starting a job that a batch system's hook asks for.
 *
 * Runs as: root, in a process of its own that may hang on the user database, with a deadline of its
 * starter's. Reads from: a hook's order, which holds a user's request. Trusts: the site's settings.
 */
#pragma once

#include <glib.h>

#include "node/order.h"

/* Starts keeper and engine of the order `text` (node/order.h); the job's starter connection is
 * `connection`, which learns of any failure as CTL_OUTCOME. A job of the same id that still lives is
 * ended before. Returns when the keeper holds the job's lock: the program's exit status. */
int vt_start_job(int connection, const char *text, gsize size, const char *settings_file);

/* The same on a further node of a job, by an order that was checked (node/follow.c): it is told of a
 * failure as CTL_OUTCOME, of the engine in its cage as VT_PEER_TAKEN; `connection` is then the
 * engine's. */
int vt_start_follower(int connection, VtOrder *order, const char *settings_file);
