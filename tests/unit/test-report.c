/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-report.c - a job's exit status and report, from what became of it. */
#include "cli/report.h"

#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"

static VtResult ended(CtlReason reason, WireExitKind kind, guint32 value)
{
    return (VtResult){.has_exit = true,
                      .exit_kind = kind,
                      .exit_value = value,
                      .has_outcome = true,
                      .reason = reason};
}

static void test_statuses(void)
{
    for (guint32 status = 0; status < 256; status++) {
        VtResult result = ended(CTL_REASON_DONE, WIRE_EXIT_STATUS, status);
        g_assert_cmpint(vt_report_status(&result), ==, (int)status);
        result.reason = CTL_REASON_WALLTIME;
        g_assert_cmpint(vt_report_status(&result), ==, (int)status);
    }
}

static void test_deaths(void)
{
    for (guint32 number = 1; number <= 64; number++) {
        VtResult result = ended(CTL_REASON_DONE, WIRE_EXIT_SIGNAL, number);
        g_assert_cmpint(vt_report_status(&result), ==, (int)(128 + number));
        result.reason = CTL_REASON_ENDED;
        g_assert_cmpint(vt_report_status(&result), ==, VT_EXIT_FAILED);
    }
}

static void test_others(void)
{
    for (int reason = 0; reason < CTL_REASONS; reason++) {
        bool counts =
            reason == CTL_REASON_DONE || reason == CTL_REASON_WALLTIME || reason == CTL_REASON_CPUT;
        VtResult result = ended((CtlReason)reason, WIRE_EXIT_STATUS, 3);
        g_assert_cmpint(vt_report_status(&result), ==, counts ? 3 : VT_EXIT_FAILED);
        result.has_exit = false;
        g_assert_cmpint(vt_report_status(&result), ==, VT_EXIT_FAILED);
        result.interrupted = true;
        g_assert_cmpint(vt_report_status(&result), ==, 130);
    }
}

static void check_report(const VtResult *result, const char *script, const char *status)
{
    VtJob job = {.id = (char *)"7.n1"};
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "vtorque-test-report", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_assert_true(vt_report_write(path, &job, result, &error));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_unlink(path);
    g_test_message("%s", text);
    for (char *at = text; (at = strpbrk(at, " \n"));)
        memmove(at, at + 1, strlen(at));
    g_assert_nonnull(strstr(text, script));
    g_assert_nonnull(strstr(text, status));
}

static void test_report(void)
{
    VtResult result = ended(CTL_REASON_DONE, WIRE_EXIT_SIGNAL, 64);
    check_report(&result, "\"script\":{\"signal\":64}", "\"exit_status\":192,");
    result = ended(CTL_REASON_DONE, WIRE_EXIT_STATUS, 255);
    check_report(&result, "\"script\":{\"status\":255}", "\"exit_status\":255,");
    result.has_exit = false;
    check_report(&result, "\"script\":null", "\"exit_status\":125,");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/report/statuses", test_statuses);
    g_test_add_func("/report/deaths", test_deaths);
    g_test_add_func("/report/others", test_others);
    g_test_add_func("/report/report", test_report);
    return g_test_run();
}
