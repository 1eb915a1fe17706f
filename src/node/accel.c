/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/accel.c - ACCEL, and what the probe has found before.
 *
 * The probe takes some tens of milliseconds where KVM works, most of them the kernel's for making
 * and removing a machine: as much as all else that vTorque adds to a start. So that is remembered.
 * What doesn't work is tried again each time: it may have been mended.
 */
#include "node/accel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/folder.h"

#define MEMORY_NAME "kvm"
/* A host that is itself a virtual machine may have been moved to another processor meanwhile. */
#define MEMORY_S 3600

/* What must be the same for a memory to count: a driver that is loaded again makes a new node. (transfer full) or NULL: there is nothing that could be told again. */
static char *describe(const char *device)
{
    g_autofree char *boot = NULL;
    struct stat st;
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL) ||
        stat(device, &st) < 0)
        return NULL;
    return g_strdup_printf("version=" VT_VERSION "\nboot=%s\ndevice=%lx:%lx:%lx:%o:%ld.%09ld\n",
                           g_strstrip(boot), (gulong)st.st_dev, (gulong)st.st_ino,
                           (gulong)st.st_rdev, st.st_mode, (glong)st.st_ctim.tv_sec,
                           st.st_ctim.tv_nsec);
}

/* True if what is remembered in `root` is `now` and not old. */
static bool is_remembered(int root, const char *now)
{
    char text[CTL_FILE_MAX];
    struct stat st;
    gint64 time_s = g_get_real_time() / G_USEC_PER_SEC;
    return root >= 0 && now && fstatat(root, MEMORY_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_mtime <= time_s &&
           time_s - st.st_mtime < MEMORY_S && ctl_file_read(root, MEMORY_NAME, text) == 0 &&
           strcmp(text, now) == 0;
}

static VtProbeVerdict probe(const VtProbeCalls *calls, const char *folder, char **text)
{
    g_autofree char *now = folder ? describe(calls->device) : NULL;
    vt_autofd root = folder ? ctl_root_open(folder, false) : -1;
    if (is_remembered(root, now))
        return vt_probe_look(calls, text);
    VtProbeVerdict verdict = vt_probe_run(calls, text);
    if (root >= 0 && now && verdict == VT_PROBE_WORKS)
        ctl_file_write(root, MEMORY_NAME, now); /* else it is tried again */
    return verdict;
}

bool vt_accel_choose(VtAccel wanted, const char *origin, const VtProbeCalls *calls,
                     const char *folder, VtAccel *accel, GPtrArray *warnings, GError **error)
{
    g_autofree char *text = NULL;
    *accel = VT_ACCEL_TCG;
    if (wanted == VT_ACCEL_TCG)
        return true;
    if (probe(calls, folder, &text) == VT_PROBE_WORKS)
        *accel = VT_ACCEL_KVM;
    else if (wanted == VT_ACCEL_KVM)
        return vt_error_set(error, VT_ERROR_HOST, "%s: ACCEL 'kvm': %s", origin, text);
    else
        g_ptr_array_add(warnings, g_strdup_printf("the job's processor is emulated, which is 20 to "
                                                  "100 times slower than KVM: %s",
                                                  text));
    return true;
}
