/* SPDX-License-Identifier: Apache-2.0 */
/* cli/limit.c - vsub's own stack. */
#include "cli/limit.h"

#include <sys/resource.h>

#include "base/error.h"

/* What Linux gives by default. QEMU's threads get stacks of this size. */
#define STACK_WANTED (8 * 1024 * 1024)
#define STACK_MIN (1024 * 1024)

static guint64 limit_value(rlim_t limit)
{
    return limit == RLIM_INFINITY ? G_MAXUINT64 : limit;
}

bool vt_limit_raise_stack(VtLimit *submitters, GError **error)
{
    struct rlimit stack;
    if (getrlimit(RLIMIT_STACK, &stack) < 0)
        return vt_error_set(error, VT_ERROR_HOST, "cannot read the limit of the stack");
    *submitters = (VtLimit){RLIMIT_STACK, limit_value(stack.rlim_cur), limit_value(stack.rlim_max)};
    if (stack.rlim_cur >= STACK_WANTED) /* or unlimited, which is the highest number */
        return true;
    stack.rlim_cur = STACK_WANTED;
    stack.rlim_max = MAX(stack.rlim_max, STACK_WANTED);
    if (setrlimit(RLIMIT_STACK, &stack) == 0)
        return true;
    stack.rlim_cur = stack.rlim_max = submitters->hard;
    if (submitters->hard >= STACK_MIN && setrlimit(RLIMIT_STACK, &stack) == 0)
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "the hard limit of the stack (ulimit -Hs) must be at least %d KiB",
                        STACK_MIN / 1024);
}
