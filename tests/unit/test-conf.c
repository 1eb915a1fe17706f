/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-conf.c - vtorque.conf: what is read, what is refused, and where values come from.
 */
#include <string.h>

#include "base/error.h"
#include "conf/choice.h"
#include "conf/settings.h"

static VtSettings *parse(const char *text, GError **error)
{
    return vt_settings_parse(text, strlen(text), "x.conf", error);
}

static VtSettings *parse_good(const char *text)
{
    GError *error = NULL;
    VtSettings *settings = parse(text, &error);
    g_assert_no_error(error);
    return settings;
}

static void test_defaults(void)
{
    g_autoptr(VtSettings) settings = parse_good("");
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_VCPUS_DEFAULT), ==, 7);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_RAM_DEFAULT), ==, 1024);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_TIMEOUT), ==, 120);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_KILL_GRACE), ==, 10);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_HOST_OS_CORE_COUNT), ==, 1);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_HOST_OS_RAM_MB), ==, 2048);
    g_assert_cmpstr(vt_settings_get_text(settings, VT_SETTING_IMG_DEFAULT), ==, "host");
    g_assert_null(vt_settings_get_text(settings, VT_SETTING_GUEST_KERNEL));
    g_assert_null(vt_settings_get_list(settings, VT_SETTING_VM_MOUNTS)[0]);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_BATCH), ==, VT_BATCH_AUTO);
    g_assert_null(vt_settings_get_text(settings, VT_SETTING_VM_CHANNEL));
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_VM_BY_DEFAULT), ==, 0);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_VTORQUE_ENABLED), ==, 1);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_HOST_IMAGE), ==, 0);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_EXCLUSIVE_NODES), ==, 1);
    g_assert_cmpstr(vt_settings_get_text(settings, VT_SETTING_QSUB_ON_FE), ==, "/usr/bin/qsub");
    g_assert_true(vt_settings_has_host(settings, VT_SETTING_REGEX_FE, "login1"));
    g_assert_cmpstr(vt_settings_get_origin(settings, VT_SETTING_TIMEOUT), ==, "default");
    g_assert_cmpuint(vt_settings_get_warnings(settings)->len, ==, 0);
}

static void test_values(void)
{
    g_autoptr(VtSettings) settings = parse_good("# a comment\r\n"
                                                "VCPUS_DEFAULT=4   # another\r\n"
                                                "\n"
                                                "  RAM_DEFAULT='2G'\n"
                                                "GUEST_KERNEL=\"/a b\"'/c#'/d//e/\n"
                                                "VM_MOUNTS=( /scratch  '/data one' # here too\n"
                                                "  \"/x\\\"y\" )\n"
                                                "TIMEOUT=\n"
                                                "KILL_GRACE=''\n"
                                                "TMP_SIZE_DEFAULT=1048577K");
    char *const *mounts = vt_settings_get_list(settings, VT_SETTING_VM_MOUNTS);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_VCPUS_DEFAULT), ==, 4);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_RAM_DEFAULT), ==, 2048);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_TIMEOUT), ==, 120);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_KILL_GRACE), ==, 10);
    g_assert_cmpuint(vt_settings_get_number(settings, VT_SETTING_TMP_SIZE_DEFAULT), ==, 1025);
    g_assert_cmpstr(vt_settings_get_text(settings, VT_SETTING_GUEST_KERNEL), ==, "/a b/c#/d/e");
    g_assert_cmpstr(mounts[0], ==, "/scratch");
    g_assert_cmpstr(mounts[1], ==, "/data one");
    g_assert_cmpstr(mounts[2], ==, "/x\"y");
    g_assert_null(mounts[3]);
    g_assert_cmpstr(vt_settings_get_origin(settings, VT_SETTING_RAM_DEFAULT), ==, "x.conf:4");
    g_assert_cmpstr(vt_settings_get_origin(settings, VT_SETTING_TMP_SIZE_DEFAULT), ==, "x.conf:10");
    g_assert_false(vt_settings_is_set(settings, VT_SETTING_TIMEOUT));
}

/* A settings file is data. */
static void test_data(void)
{
    g_autoptr(VtSettings) settings = parse_good("LOG_FILE=\"$(touch /tmp/x) `id` $HOME\"\n"
                                                "LOG_ROTATE='$HOME'\n");
    VtSettingRow row;
    guint found = 0;
    for (guint i = 0; vt_settings_get_row(settings, i, &row); i++) {
        if (strcmp(row.key, "LOG_FILE") == 0) {
            g_assert_cmpstr(row.value, ==, "$(touch /tmp/x) `id` $HOME");
            g_assert_cmpstr(row.origin, ==, "x.conf:1");
            g_assert_false(row.has_effect);
            found++;
        }
    }
    g_assert_cmpuint(found, ==, 1);
    const GPtrArray *warnings = vt_settings_get_warnings(settings);
    g_assert_cmpuint(warnings->len, ==, 2);
    g_assert_cmpstr(warnings->pdata[0], ==, "x.conf:1: LOG_FILE has no effect yet");
    g_assert_cmpstr(warnings->pdata[1], ==, "x.conf:2: LOG_ROTATE has no effect yet");
}

static void test_network(void)
{
    g_autoptr(VtSettings) none = parse_good("");
    g_autoptr(VtSettings) some =
        parse_good("MAC_PREFIX=0A:1b:2C\nNAME_SERVER=( 192.0.2.1 2001:db8::1 )\n"
                   "SEARCH_DOMAIN=hpc.example\nNTP_SERVER_2=ntp.example\n");
    char *const *servers = vt_settings_get_list(some, VT_SETTING_NAME_SERVER);
    char *const *domains = vt_settings_get_list(some, VT_SETTING_SEARCH_DOMAIN);
    g_assert_cmpuint(vt_settings_get_number(none, VT_SETTING_MAC_PREFIX), ==, 0x525400);
    g_assert_null(vt_settings_get_list(none, VT_SETTING_NAME_SERVER)[0]);
    g_assert_cmpuint(vt_settings_get_number(some, VT_SETTING_MAC_PREFIX), ==, 0x0a1b2c);
    g_assert_cmpstr(servers[0], ==, "192.0.2.1");
    g_assert_cmpstr(servers[1], ==, "2001:db8::1");
    g_assert_null(servers[2]);
    g_assert_cmpstr(domains[0], ==, "hpc.example");
    g_assert_cmpstr(vt_settings_get_text(some, VT_SETTING_NTP_SERVER_2), ==, "ntp.example");
    g_assert_null(vt_settings_get_text(some, VT_SETTING_NTP_SERVER_1));
}

static void test_disabled_hosts(void)
{
    g_autoptr(VtSettings) none = parse_good("");
    g_autoptr(VtSettings) some = parse_good("DISABLED_HOSTS_LIST='login[0-9]+|gpu.*'\n");
    g_autoptr(VtSettings) all = parse_good("DISABLED_HOSTS_LIST='*'\n");
    g_assert_false(vt_settings_has_host(none, VT_SETTING_DISABLED_HOSTS_LIST, "login1"));
    g_assert_true(vt_settings_has_host(some, VT_SETTING_DISABLED_HOSTS_LIST, "login12"));
    g_assert_true(vt_settings_has_host(some, VT_SETTING_DISABLED_HOSTS_LIST, "gpu"));
    g_assert_false(vt_settings_has_host(some, VT_SETTING_DISABLED_HOSTS_LIST, "xlogin1"));
    g_assert_false(vt_settings_has_host(some, VT_SETTING_DISABLED_HOSTS_LIST, "login1x"));
    g_assert_true(vt_settings_has_host(all, VT_SETTING_DISABLED_HOSTS_LIST, "n1"));
}

static const struct {
    const char *text, *message;
} wrong[] = {
    {"VCPUS=4\n", "x.conf:1: unknown parameter 'VCPUS'*"},
    {"\n\nVCPUS_DEFAULT=x\n", "x.conf:3: VCPUS_DEFAULT 'x': must be a number from 1 to 255"},
    {"VCPUS_DEFAULT=0\n", "x.conf:1: VCPUS_DEFAULT '0': must be *"},
    {"VCPUS_DEFAULT=256\n", "x.conf:1: VCPUS_DEFAULT '256': must be *"},
    {"VCPUS_DEFAULT=99999999999999999999\n", "x.conf:1: VCPUS_DEFAULT *"},
    {"VCPUS_DEFAULT=( 1 )\n", "x.conf:1: VCPUS_DEFAULT is one value, not a list"},
    {"RAM_DEFAULT=1GB\n", "x.conf:1: RAM_DEFAULT '1GB': must be 96M to 16T*"},
    {"RAM_DEFAULT=95M\n", "x.conf:1: RAM_DEFAULT '95M': must be 96M to 16T*"},
    {"TIMEOUT=-1\n", "x.conf:1: TIMEOUT '-1': must be *"},
    {"KILL_GRACE=3601\n", "x.conf:1: KILL_GRACE '3601': must be *"},
    {"IMG_DEFAULT=a/b\n", "x.conf:1: IMG_DEFAULT 'a/b': must be host, tiny, or the name of*"},
    {"GUEST_KERNEL=boot\n", "x.conf:1: GUEST_KERNEL 'boot': must be an absolute path*"},
    {"GUEST_KERNEL=/a/../b\n", "x.conf:1: GUEST_KERNEL '/a/../b': must be an absolute path*"},
    {"VM_MOUNTS=( /a\n b )\n", "x.conf:1: VM_MOUNTS 'b': must be *"},
    {"DISABLED_HOSTS_LIST='('\n",
     "x.conf:1: DISABLED_HOSTS_LIST '(': must be a regular expression*"},
    {"VM_IMG_DIR=i\n", "x.conf:1: VM_IMG_DIR 'i': must be an absolute path*"},
    {"MAC_PREFIX=53:54:00\n", "x.conf:1: MAC_PREFIX '53:54:00': must be three bytes*"},
    {"MAC_PREFIX=52:54:0\n", "x.conf:1: MAC_PREFIX '52:54:0': must be three bytes*"},
    {"MAC_PREFIX=52:54:00:0\n", "x.conf:1: MAC_PREFIX '52:54:00:0': must be three bytes*"},
    {"MAC_PREFIX=52-54-00\n", "x.conf:1: MAC_PREFIX '52-54-00': must be three bytes*"},
    {"NAME_SERVER=dns.example\n", "x.conf:1: NAME_SERVER 'dns.example': must be 1 to 3 addr*"},
    {"NAME_SERVER=( 1.1.1.1 ::1 2.2.2.2 3.3.3.3 )\n", "x.conf:1: NAME_SERVER '3.3.3.3': must*"},
    {"SEARCH_DOMAIN=( a 'b c' )\n", "x.conf:1: SEARCH_DOMAIN 'b c': must be 1 to 6 domain*"},
    {"DOMAIN=( a )\n", "x.conf:1: DOMAIN is one value, not a list"},
    {"DOMAIN='a\tb'\n", "x.conf:1: DOMAIN *: must be a domain's name"},
    {"NTP_SERVER_1=-x\n", "x.conf:1: NTP_SERVER_1 '-x': must be a host's name or address"},
    {"ACCEL=xen\n", "x.conf:1: ACCEL 'xen': must be auto, kvm or tcg"},
    {"BATCH=pbs\n", "x.conf:1: BATCH 'pbs': must be auto, torque, openpbs, slurm or local"},
    {"VM_CHANNEL=x\n", "x.conf:1: VM_CHANNEL 'x': must be gres or other"},
    {"VM_BY_DEFAULT=yes\n", "x.conf:1: VM_BY_DEFAULT 'yes': must be true or false"},
    {"PBS_QSUB_ON_FE=qsub\n", "x.conf:1: PBS_QSUB_ON_FE 'qsub': must be an absolute path*"},
    {"REGEX_FE='['\n", "x.conf:1: REGEX_FE '?': must be a regular expression*"},
    {"LARGEST_NODE_RAM=1\n", "x.conf:1: LARGEST_NODE_RAM '1': must be 96M to 64T*"},
    {"SHARE_LOCKS=( local )\n", "x.conf:1: SHARE_LOCKS is one value, not a list"},
    {"TIMEOUT=1\nTIMEOUT=2\n", "x.conf:2: TIMEOUT is already set at x.conf:1"},
    {"TIMEOUT = 1\n", "x.conf:1: must be KEY=VALUE*"},
    {"TIMEOUT\n", "x.conf:1: must be KEY=VALUE*"},
    {"export TIMEOUT=1\n", "x.conf:1: must be KEY=VALUE*"},
    {"=1\n", "x.conf:1: must be KEY=VALUE*"},
    {"TIMEOUT=1 2\n", "x.conf:1: text behind the value*"},
    {"TIMEOUT=1; rm -r /\n", "x.conf:1: this character must be quoted*"},
    {"WS_DIR=`id`\n", "x.conf:1: this character must be quoted*"},
    {"WS_DIR='a\nb\n", "x.conf:1: quote ' is not closed"},
    {"WS_DIR=\"a\\\"\n", "x.conf:1: quote \" is not closed"},
    {"\nVM_MOUNTS=( /a\n", "x.conf:2: list ( is not closed"},
    {"VM_MOUNTS=( ( /a )\n", "x.conf:1: list ( is not closed"},
    {"WS_DIR=a)\n", "x.conf:1: text behind the value*"},
    {"WS_DIR=a\001\n", "x.conf:1: this character must be quoted*"},
};

static void test_wrong(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VtSettings) settings = parse(wrong[i].text, &error);
        g_test_message("%s", wrong[i].text);
        g_assert_null(settings);
        g_assert_error(error, VT_ERROR, VT_ERROR_CONFIG);
        if (!g_pattern_match_simple(wrong[i].message, error->message))
            g_error("'%s' is not '%s'", error->message, wrong[i].message);
    }
}

static void test_nul(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(vt_settings_parse("WS_DIR='a\0b'\n", 14, "x.conf", &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_CONFIG);
}

static void test_no_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_load("/nonexistent/vtorque.conf", &error);
    g_assert_no_error(error);
    g_assert_nonnull(settings);
    g_assert_null(vt_settings_load("/", &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_CONFIG);
}

/* The example shows every parameter with an effect, and is a good file as it is. */
static void test_example(void)
{
    g_autofree char *file =
        g_build_filename(g_getenv("VTORQUE_SOURCE"), "examples", "vtorque.conf", NULL);
    g_autofree char *text = NULL;
    VtSettingRow row;
    GError *error = NULL;
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    g_autoptr(VtSettings) settings = vt_settings_load(file, &error);
    g_assert_no_error(error);
    g_autoptr(GString) active = g_string_new(NULL);
    for (guint i = 0; vt_settings_get_row(settings, i, &row); i++) {
        g_autofree char *line = g_strdup_printf("\n#%s=", row.key);
        g_assert_cmpstr(row.origin, ==, "default");
        if (row.has_effect && !strstr(text, line))
            g_error("examples/vtorque.conf does not have %s", row.key);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        if (g_str_has_prefix(*line, "#") && !g_str_has_prefix(*line, "# "))
            g_string_append_printf(active, "%s\n", *line + 1);
    g_autoptr(VtSettings) all = parse_good(active->str);
    g_assert_cmpuint(vt_settings_get_warnings(all)->len, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/conf/defaults", test_defaults);
    g_test_add_func("/conf/values", test_values);
    g_test_add_func("/conf/data", test_data);
    g_test_add_func("/conf/network", test_network);
    g_test_add_func("/conf/disabled-hosts", test_disabled_hosts);
    g_test_add_func("/conf/wrong", test_wrong);
    g_test_add_func("/conf/nul", test_nul);
    g_test_add_func("/conf/no-file", test_no_file);
    g_test_add_func("/conf/example", test_example);
    return g_test_run();
}
