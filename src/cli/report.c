/* SPDX-License-Identifier: Apache-2.0 */
/* cli/report.c - what became of a job. */
#include "cli/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define EXIT_INTERRUPTED 130
#define REPORT_VERSION 1
/* What is said where no engine said anything. */
#define KILLED "the job's engine was killed"

/* True if what the script did is the job's outcome. */
static bool script_counts(const VtResult *result)
{
    return result->has_outcome && !result->lost &&
           (result->reason == CTL_REASON_DONE || result->reason == CTL_REASON_WALLTIME ||
            result->reason == CTL_REASON_CPUT);
}

int vt_report_status(const VtResult *result)
{
    if (result->interrupted)
        return EXIT_INTERRUPTED;
    if (!result->has_exit || !script_counts(result))
        return VT_EXIT_FAILED;
    return result->exit_kind == WIRE_EXIT_SIGNAL ? 128 + (int)(result->exit_value & 0x7f)
                                                 : (int)(result->exit_value & 0xff);
}

void vt_report_print_outcome(const VtResult *result, const char *program)
{
    if (result->interrupted)
        return;
    if (!result->has_outcome)
        g_printerr("%s: " KILLED "\n", program);
    else if (result->reason != CTL_REASON_DONE)
        g_printerr("%s: %s\n", program, result->message);
}

static double seconds_since_start(const VtResult *result, guint64 at_us)
{
    return at_us > result->started_us ? (double)(at_us - result->started_us) / 1e6 : 0;
}

static json_t *script_json(const VtResult *result)
{
    if (!result->has_exit)
        return json_null();
    return json_pack("{s:i}", result->exit_kind == WIRE_EXIT_SIGNAL ? "signal" : "status",
                     (int)result->exit_value);
}

static json_t *phases_json(const VtResult *result)
{
    json_t *phases = json_object();
    for (unsigned phase = 0; phase < CTL_PHASES; phase++)
        if (result->phase_us[phase] > 0)
            json_object_set_new(phases, ctl_phase_name(phase),
                                json_real(seconds_since_start(result, result->phase_us[phase])));
    return phases;
}

bool vt_report_write(const char *path, const VtJob *job, const VtResult *result, GError **error)
{
    bool is_lost = result->has_outcome && result->reason == CTL_REASON_DONE && result->lost;
    const char *reason = !result->has_outcome ? "internal"
                         : is_lost            ? ctl_reason_name(CTL_REASON_HOST)
                                              : ctl_reason_name(result->reason);
    bool counts = script_counts(result);
    const char *said = is_lost                ? result->lost
                       : !result->has_outcome ? KILLED
                       : result->message      ? result->message
                                              : "";
    g_autofree char *message = g_utf8_make_valid(said, -1);
    json_t *report = json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:i, s:o, s:s, s:o, s:o, s:f}", "version", REPORT_VERSION, "job",
        job->id, "accel", vt_choice_word(&vt_accel_choice, job->accel), "outcome",
        counts                ? reason
        : result->interrupted ? "interrupted"
                              : "failed",
        "reason", reason ? reason : "internal", "exit_status", vt_report_status(result), "script",
        script_json(result), "message", message, "phases", phases_json(result), "script_ended",
        result->has_exit ? json_real(seconds_since_start(result, result->exit_us)) : json_null(),
        "total", seconds_since_start(result, (guint64)g_get_monotonic_time()));
    char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(report);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    free(text);
    g_autoptr(GError) local = NULL;
    if (!g_file_set_contents(path, line, -1, &local))
        return vt_error_set(error, VT_ERROR_HOST, "cannot write the report: %s", local->message);
    return true;
}

void vt_report_print_phases(const VtResult *result)
{
    for (unsigned phase = 0; phase < CTL_PHASES; phase++)
        if (result->phase_us[phase] > 0)
            g_printerr("vsub: %-9s %8.3f s\n", ctl_phase_name(phase),
                       seconds_since_start(result, result->phase_us[phase]));
    if (result->exit_us > 0)
        g_printerr("vsub: %-9s %8.3f s\n", "exit", seconds_since_start(result, result->exit_us));
    g_printerr("vsub: %-9s %8.3f s\n", "gone",
               seconds_since_start(result, (guint64)g_get_monotonic_time()));
}
