/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/mom.h - Torque on a node: where it looks for its scripts, and the time that it gives them.
 *
 * Libc only: read by the hooks themselves, and by who installs and checks them.
 */
#pragma once

/* Below TORQUE_HOME: Torque's own configuration, and the scripts that it runs as root. */
#define CTL_MOM_FOLDER "mom_priv"
#define CTL_MOM_CONFIG "config"

/* The time that each script has, where Torque is told nothing else. */
#define CTL_MOM_LIMIT_S 300

/* What a prologue keeps of its limit: Torque kills it early, and its own end takes a while. */
#define CTL_MOM_RESERVE_S 20

/* A site's own script has this behind its name, once a hook of ours is in its place. */
#define CTL_MOM_SITE ".orig"

/* What vtorque-hook says of itself, before its version: a copy of any version holds it. */
#define CTL_HOOK_MARK "vtorque-hook (vTorque) "

/* $prologalarm in the text of Torque's configuration: seconds. */
int ctl_mom_limit_s(const char *config);
