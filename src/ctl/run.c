/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/run.c - names of a job's phases and of the reasons for its end. */
#include "ctl/run.h"

static const char *const phases[CTL_PHASES] = {
    [CTL_PHASE_LOCKED] = "locked",     [CTL_PHASE_BORN] = "born",
    [CTL_PHASE_PREPARED] = "prepared", [CTL_PHASE_CAGED] = "caged",
    [CTL_PHASE_STARTING] = "starting", [CTL_PHASE_BOOTED] = "booted",
    [CTL_PHASE_READY] = "ready",       [CTL_PHASE_RUNNING] = "running",
    [CTL_PHASE_ENDING] = "ending",
};

static const char *const reasons[CTL_REASONS] = {
    [CTL_REASON_DONE] = "done",
    [CTL_REASON_WALLTIME] = "walltime",
    [CTL_REASON_ENDED] = "ended",
    [CTL_REASON_BOOT_TIMEOUT] = "boot-timeout",
    [CTL_REASON_GUEST_PANIC] = "guest-panic",
    [CTL_REASON_GUEST_POWEROFF] = "guest-poweroff",
    [CTL_REASON_GUEST_PLAN] = "guest-plan",
    [CTL_REASON_GUEST_PROTOCOL] = "guest-protocol",
    [CTL_REASON_QEMU] = "qemu",
    [CTL_REASON_SHARE] = "share",
    [CTL_REASON_DISK] = "disk",
    [CTL_REASON_START] = "start",
    [CTL_REASON_HOST] = "host",
    [CTL_REASON_INTERNAL] = "internal",
    [CTL_REASON_MEMORY] = "memory",
};

const char *ctl_phase_name(unsigned phase)
{
    return phase < CTL_PHASES ? phases[phase] : NULL;
}

const char *ctl_reason_name(unsigned reason)
{
    return reason < CTL_REASONS ? reasons[reason] : NULL;
}
