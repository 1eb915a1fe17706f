/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-qcow2.c - any bytes as an image file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "image/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    vt_autofd fd = memfd_create("fuzz", MFD_CLOEXEC);
    guint64 bytes = 0;
    if (fd < 0 || !vt_fd_write_all(fd, data, size, NULL))
        return 0;
    bool ok = vt_qcow2_check(fd, &bytes, &error);
    if (ok != !error || ok != (bytes != 0) || (error && strpbrk(error->message, "\n\r\x1b")))
        abort();
    /* What must be so, whatever else is: no name of another file. */
    if (ok && (size < 72 || memcmp(data, "QFI\xfb", 4) != 0 ||
               memcmp(data + 8, "\0\0\0\0\0\0\0\0", 8) != 0))
        abort();
    return 0;
}
