/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/init.h - what only process 1 of a guest does.
 *
 * Runs as: root, first process. Failures are printed on the console; only what nothing works
 * without is returned.
 */
#pragma once

/* Mounts /dev, /proc, /sys, /dev/pts, /dev/shm and /run, and opens the console as descriptors 0
 * to 2. Returns 0 or -errno: without the first three there is no way to go on. */
int init_mount(void);

/* Loads the modules that /modules/order names, a file name a line, in that order, and removes their
 * files: their memory is the guest's. What fails is printed and skipped. */
void init_load_modules(void);
