/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/golden-command.c - job documents to QEMU command lines. */
#include "golden.h"
#include "vm/command.h"

static char *make(const VtJob *job, const VtPlan *plan)
{
    const VtMachineFds fds = {.qmp = 3,
                              .serial = 4,
                              .agent = 5,
                              .files = 6,
                              .root = 7,
                              .disk = 8,
                              .scratch = 9,
                              .net = 10,
                              .outer = 11};
    g_auto(GStrv) argv = vt_command_new(plan, plan->n_vms - 1,
                                        plan->net == VT_NET_PRIVATE ? VT_NIC_TAP : VT_NIC_NONE,
                                        "/usr/bin/qemu-system-x86_64", &fds);

    return vt_command_explain(argv);
}

int main(int argc, char **argv)
{
    return golden_main(argc, argv, "command", make);
}
