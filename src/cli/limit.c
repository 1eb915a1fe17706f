/* SPDX-License-Identifier: Apache-2.0 */
/* cli/limit.c - the submitter's limits, and vsub's own stack. */
#include "cli/limit.h"

#include <errno.h>
#include <sys/resource.h>

#include "base/error.h"

/* What Linux gives by default. QEMU's threads get stacks of this size. */
#define STACK_WANTED (8 * 1024 * 1024)
#define STACK_MIN (1024 * 1024)
#define OPEN_FILES_MAX (1024 * 1024) /* fs.nr_open of a fresh kernel: more is EPERM there */

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

bool vt_limits_load(GArray **limits, GError **error)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(VtLimit));
    for (int resource = 0; resource < (int)RLIM_NLIMITS; resource++) {
        struct rlimit own;
        if (getrlimit((__rlimit_resource_t)resource, &own) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot read own limits");
        VtLimit limit = {resource, limit_value(own.rlim_cur), limit_value(own.rlim_max)};
        if (resource == RLIMIT_NOFILE) {
            limit.soft = MIN(limit.soft, OPEN_FILES_MAX);
            limit.hard = MIN(limit.hard, OPEN_FILES_MAX);
        }
        g_array_append_val(all, limit);
    }
    *limits = g_steal_pointer(&all);
    return true;
}
