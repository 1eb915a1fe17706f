/* SPDX-License-Identifier: Apache-2.0 */
/* hook/main.c - which hook this is, and whether the job is one of ours. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/door.h"
#include "ctl/mom.h"
#include "hook/hook.h"

typedef struct {
    const char *name;
    int (*with_request)(const Hook *hook);
} Verb;

static const Verb verbs[] = {
    {"prologue", hook_prologue},
    {"prologue.parallel", hook_prologue_parallel},
    {"epilogue", hook_epilogue},
    {"epilogue.parallel", hook_epilogue_parallel},
    {"epilogue.precancel", hook_precancel},
};

static const Verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

int main(int argc, char **argv)
{
    static Hook hook; /* large for a stack */
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    hook.name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
    const Verb *verb = find_verb(hook.name);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(CTL_HOOK_MARK VT_VERSION);
        return 0;
    }
    if (!verb) {
        fprintf(stderr, "vtorque-hook: is called by the batch system, as prologue, "
                        "prologue.parallel, epilogue, epilogue.parallel or epilogue.precancel\n");
        return 2;
    }
    hook.argv = argv;
    hook.argc = argc;
    hook.started_ms = ctl_now_ms();
    snprintf(hook.ticket, sizeof hook.ticket, "%d-%lld", getpid(), hook.started_ms);
    snprintf(hook.site, sizeof hook.site, "%s" CTL_MOM_SITE, argv[0]);
    hook_find_request(&hook);
    if (hook.request[0] == '\0' || argc < 2)
        return hook_chain(&hook);
    return verb->with_request(&hook);
}
