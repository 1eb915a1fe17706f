/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/run.c - names of a job's phases and of the reasons for its end; a text before the engine runs. */
#include "ctl/run.h"

#include <stdio.h>
#include <sys/socket.h>

#define TEXT_MAX 1023 /* bytes */

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
    [CTL_REASON_CPUT] = "cput",
    [CTL_REASON_NODE] = "node",
};

const char *ctl_phase_name(unsigned phase)
{
    return phase < CTL_PHASES ? phases[phase] : NULL;
}

const char *ctl_reason_name(unsigned reason)
{
    return reason < CTL_REASONS ? reasons[reason] : NULL;
}

void ctl_run_send_text(int fd, CtlType type, uint8_t aux, const char *text)
{
    uint8_t frame[WIRE_HEADER_SIZE + 2 + TEXT_MAX];
    char cut[TEXT_MAX + 1];
    WireWriter writer = wire_writer(frame + WIRE_HEADER_SIZE, sizeof frame - WIRE_HEADER_SIZE);
    snprintf(cut, sizeof cut, "%s", text);
    wire_put_string(&writer, cut);
    WireHeader header = {.length = (uint32_t)writer.used, .type = (uint8_t)type, .aux = aux};
    wire_header_format(&header, frame);
    (void)!send(fd, frame, WIRE_HEADER_SIZE + writer.used, MSG_NOSIGNAL | MSG_DONTWAIT);
}
