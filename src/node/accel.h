/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/accel.h - what runs the guest's instructions: ACCEL and the probe of KVM together.
 *
 * Runs as: the user. Trusts: the site's settings, the user's own folder of run folders.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"
#include "vm/probe.h"

/* Sets `accel` to VT_ACCEL_TCG or VT_ACCEL_KVM, as `wanted` says, which came from `origin`. With tcg
 * nothing is tried. With kvm, a KVM that doesn't work is VT_ERROR_HOST; with auto it is a line in
 * `warnings`.
 *
 * That KVM works, and nothing else, is remembered in the file "kvm" of `folder`, if that exists, is
 * this user's and closed to others (ctl_root_open()); NULL: nowhere. What is remembered counts for
 * an hour, this boot, this version and this device node, which is opened all the same. Blocks as
 * vt_probe_run() does, if it has to. */
bool vt_accel_choose(VtAccel wanted, const char *origin, const VtProbeCalls *calls,
                     const char *folder, VtAccel *accel, GPtrArray *warnings, GError **error);
