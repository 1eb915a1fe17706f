/* SPDX-License-Identifier: Apache-2.0 */
/* share/preload.h - the bytes of a shared object that QEMU's virtiofsd is started with
 * (share/preload.c says why). Made by the build. */
#pragma once

extern const unsigned char vt_preload_bytes[];
extern const unsigned int vt_preload_size;
