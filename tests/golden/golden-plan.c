/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/golden-plan.c - job documents to node plans. */
#include "golden.h"

static char *make(const VtJob *job, const VtPlan *plan)
{
    return vt_plan_explain(plan);
}

int main(int argc, char **argv)
{
    return golden_main(argc, argv, "plan", make);
}
