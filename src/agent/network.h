/* SPDX-License-Identifier: Apache-2.0 */
/* agent/network.h - the guest's network interfaces. */
#pragma once

#include <stdint.h>

/* Brings `interface` up; "lo" gets its address by that. Returns 0 or -errno. */
int network_link_up(const char *interface);

/* Gives the interface with hardware address `mac` (the first byte the highest of six) its IPv4
 * `address`, of host byte order, with `prefix` bits of network, brings it up, and routes all else by
 * `gateway` (0: none). Returns 0 or -errno; -ENODEV: there is no such interface. */
int network_set_address(uint64_t mac, uint32_t address, uint32_t prefix, uint32_t gateway);
