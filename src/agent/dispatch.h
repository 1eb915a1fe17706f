/* SPDX-License-Identifier: Apache-2.0 */
/* agent/dispatch.h - a frame from the host to its effect. */
#pragma once

#include "agent/agent.h"

#define DISPATCH_OVER (-1)

/* Checks the frame and does what it says. Returns 0; a WireError: the frame may not be, or not now;
 * DISPATCH_OVER: the host stopped talking. Of a SHUTDOWN it returns late, of some FAULTs never. */
int dispatch_frame(Agent *agent, const WireHeader *header, const uint8_t *payload);
