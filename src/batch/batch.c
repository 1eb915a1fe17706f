/* SPDX-License-Identifier: Apache-2.0 */
/* batch/batch.c - which batch system jobs are submitted to. */
#include "batch/batch.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* qsub of the settings; where they do not name one, that of PATH too. (transfer full) or NULL */
static char *find_qsub(const VtSettings *settings, const char *host)
{
    VtSetting setting = vt_settings_has_host(settings, VT_SETTING_REGEX_FE, host)
                            ? VT_SETTING_QSUB_ON_FE
                            : VT_SETTING_QSUB_ON_NODES;
    const char *path = vt_settings_get_text(settings, setting);
    if (access(path, X_OK) == 0 || vt_settings_is_set(settings, setting))
        return g_strdup(path);
    return g_find_program_in_path("qsub");
}

/* A vsub by the name of qsub would start itself for ever. */
static bool is_ourselves(const char *command)
{
    struct stat own, other;
    return stat("/proc/self/exe", &own) == 0 && stat(command, &other) == 0 &&
           own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static bool refuse(const VtSettings *settings, const char *why, GError **error)
{
    return vt_error_set_value(error, VT_ERROR_CONFIG,
                              vt_settings_get_origin(settings, VT_SETTING_BATCH), "BATCH",
                              vt_settings_get_text(settings, VT_SETTING_BATCH), why);
}

/* What auto means. */
static bool choose_auto(const VtSettings *settings, bool has_qsub, bool has_site, VtBatch *batch,
                        GError **error)
{
    g_autofree char *sbatch = g_find_program_in_path("sbatch");
    *batch = has_qsub ? VT_BATCH_TORQUE : VT_BATCH_LOCAL;
    if (!has_qsub && sbatch)
        return refuse(settings,
                      "there is Slurm, which is not built yet; vsub --local runs the job "
                      "here",
                      error);
    if (!has_qsub && has_site)
        return refuse(settings,
                      "there is no qsub here (PBS_QSUB_ON_FE, PBS_QSUB_ON_NODES); vsub "
                      "--local runs the job here",
                      error);
    return true;
}

bool vt_batch_choose(const VtSettings *settings, const char *host, bool has_site, VtBatch *batch,
                     char **command, GError **error)
{
    g_autofree char *qsub = find_qsub(settings, host);
    bool has_qsub = qsub && access(qsub, X_OK) == 0;
    *command = NULL;
    *batch = (VtBatch)vt_settings_get_number(settings, VT_SETTING_BATCH);
    if (*batch == VT_BATCH_OPENPBS || *batch == VT_BATCH_SLURM)
        return refuse(settings, "is not built yet", error);
    if (*batch == VT_BATCH_AUTO && !choose_auto(settings, has_qsub, has_site, batch, error))
        return false;
    if (*batch == VT_BATCH_LOCAL)
        return true;
    if (!has_qsub)
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "'%s' cannot be run (PBS_QSUB_ON_FE, "
                            "PBS_QSUB_ON_NODES)",
                            qsub ? qsub : "qsub");
    if (is_ourselves(qsub))
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "'%s' is vsub itself: name Torque's qsub by PBS_QSUB_ON_FE and "
                            "PBS_QSUB_ON_NODES",
                            qsub);
    *command = g_steal_pointer(&qsub);
    return true;
}
