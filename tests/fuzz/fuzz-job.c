/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-job.c - any bytes as a job document; what is loaded must save and load the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtJob) job = vt_job_load((const char *)data, size, &error);
    if (!job) {
        if (!error || strpbrk(error->message, "\n\r\x1b"))
            abort();
        return 0;
    }
    g_autofree char *saved = vt_job_save(job);
    g_autoptr(VtJob) copy = vt_job_load(saved, strlen(saved), NULL);
    if (!copy)
        abort();
    g_autofree char *again = vt_job_save(copy);
    if (strcmp(saved, again) != 0)
        abort();
    return 0;
}
