/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook/parallel.c - a further node of a job: what its batch daemon said is left for the order of the
 * first node; at the end it goes, with what has come of it.
 *
 * They run inside the batch daemon itself, which does nothing else meanwhile: nothing is waited for.
 */
#include <signal.h>
#include <stdio.h>

#include "ctl/registration.h"
#include "hook/hook.h"

int hook_prologue_parallel(const Hook *hook)
{
    static char text[CTL_REGISTRATION_MAX];
    int status = hook_run_site(hook);
    if (status != 0)
        return status;
    /* Where this fails there is no registration, and the first node says so to the owner: a status
     * here would have the job started again, for ever. */
    if (!hook_format_registration(hook, text, sizeof text))
        ctl_registration_write(hook->argv[1], text);
    /* A job that could not start has no epilogue here. */
    ctl_registration_sweep();
    return 0;
}

int hook_epilogue_parallel(const Hook *hook)
{
    signal(SIGPIPE, SIG_IGN);
    ctl_registration_remove(hook->argv[1]);
    hook_end_job(hook->argv[1]);
    signal(SIGPIPE, SIG_DFL);
    return hook_chain(hook);
}
