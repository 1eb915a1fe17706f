/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-place.c - any text as what qstat prints: ids, names and nodes are such, or are not there. */
#include <stdint.h>
#include <stdlib.h>

#include "batch/place.h"
#include "job/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GPtrArray) places = vt_places_parse_torque(text);
    for (guint i = 0; i < places->len; i++) {
        const VtPlace *place = places->pdata[i];
        if (!vt_job_id_is_valid(place->id) || (place->node && !vt_job_host_is_valid(place->node)) ||
            (place->owner && !vt_job_entry_is_valid(place->owner)))
            abort();
    }
    return 0;
}
