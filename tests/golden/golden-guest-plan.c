/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/golden-guest-plan.c - job documents to guest plans. */
#include "golden.h"
#include "job/guest_plan.h"

#define NOW_NS (G_GUINT64_CONSTANT(1767225600) * 1000000000 + 123456789)

static char *make(const VtJob *job, const VtPlan *plan)
{
    static const char random[VT_GUEST_RANDOM_SIZE] = "random";
    const guint8 seed[2 * VT_SSH_SEED_SIZE] = "seed";
    VtSshKeys keys;
    vt_ssh_keys_make(&keys, seed);
    g_autoptr(GPtrArray) steps =
        vt_guest_plan_new(job, plan, plan->n_vms - 1, &keys, NOW_NS, random, sizeof random);

    vt_ssh_keys_clear(&keys);
    return vt_guest_plan_explain(steps);
}

int main(int argc, char **argv)
{
    return golden_main(argc, argv, "guest-plan", make);
}
