/* SPDX-License-Identifier: Apache-2.0 */
/* agent/port.h - finding the virtio port that leads to the host. */
#pragma once

#define PORT_NAME "org.vtorque.agent"

/* Listens for the kernel's device events; to be called before the drivers are loaded, so that none
 * is missed. Returns a descriptor, or -1: then port_open() only looks more often. */
int port_events_open(void);

/* Waits until the port is there and the host at its other end. Returns its descriptor
 * (non-blocking, close-on-exec), -ETIMEDOUT after `timeout_ms`, or another -errno (-EBUSY: another
 * agent has it). */
int port_open(int events, int timeout_ms);
