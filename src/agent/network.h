/* SPDX-License-Identifier: Apache-2.0 */
/* agent/network.h - the guest's network interfaces. */
#pragma once

/* Brings `interface` up; "lo" gets its address by that. Returns 0 or -errno. */
int network_link_up(const char *interface);
