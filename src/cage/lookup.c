/* SPDX-License-Identifier: Apache-2.0 */
/* cage/lookup.c - opening paths with every id of the user who named them. */
#include "cage/lookup.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* The kernel takes the effective capabilities away when no id is root's any more; with KEEPCAPS the
 * permitted ones stay, to come back by. */
static bool become(const VtOwner *owner)
{
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 &&
           setresgid(owner->gid, owner->gid, owner->gid) == 0 &&
           setresuid(owner->uid, owner->uid, owner->uid) == 0;
}

static bool raise_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    return syscall(SYS_capset, &header, data) == 0;
}

static bool come_back(void)
{
    return raise_capabilities() && setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0 &&
           prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0;
}

bool vt_lookup_start(const VtOwner *owner, bool *is_changed, GError **error)
{
    *is_changed = getuid() == 0 && owner->uid != 0;
    return !*is_changed || (setgroups(owner->n_groups, owner->groups) == 0 && become(owner)) ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look as the owner of the job");
}

bool vt_lookup_stop(bool *is_changed, GError **error)
{
    bool ok = !*is_changed || (come_back() && setgroups(0, NULL) == 0);
    *is_changed = false;
    return ok || vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot become root again");
}
