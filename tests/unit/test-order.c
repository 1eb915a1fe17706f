/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-order.c - the lines of START, as a hook says them and as nobody should. */
#include <string.h>

#include "base/error.h"
#include "node/order.h"

#define NEEDED                                                                                     \
    "version=1\nid=17.head\nname=hello\nuser=ann\nqueue=batch\nrequest=vtorque:dj0xCg\n"           \
    "work_dir=/home/ann\ncores=2\n"

static void test_good(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(VtOrder) order;
    const char *text =
        "memory_mib=512\ncput_s=60\n" NEEDED "node_file=/var/spool/torque/aux//17.head\n"
        "cgroup=/torque/17.head\n";
    g_assert_true(vt_order_parse(&order, text, strlen(text), &error));
    g_assert_no_error(error);
    g_assert_cmpstr(order.id, ==, "17.head");
    g_assert_cmpstr(order.name, ==, "hello");
    g_assert_cmpstr(order.user, ==, "ann");
    g_assert_cmpstr(order.queue, ==, "batch");
    g_assert_cmpstr(order.request, ==, "vtorque:dj0xCg");
    g_assert_cmpstr(order.work_dir, ==, "/home/ann");
    g_assert_cmpstr(order.node_file, ==, "/var/spool/torque/aux//17.head");
    g_assert_cmpstr(order.cgroup, ==, "/torque/17.head");
    g_assert_cmpuint(order.cores, ==, 2);
    g_assert_cmpuint(order.memory_mib, ==, 512);
    g_assert_cmpuint(order.cput_s, ==, 60);
}

static void test_least(void)
{
    g_auto(VtOrder) order;
    g_assert_true(vt_order_parse(&order, NEEDED, strlen(NEEDED), NULL));
    g_assert_null(order.node_file);
    g_assert_null(order.cgroup);
    g_assert_cmpuint(order.memory_mib, ==, 0);
}

/* The good order with one line changed or added, and what the message says. */
static void test_bad(void)
{
    static const struct {
        const char *from, *to, *said;
    } rows[] = {
        {"version=1\n", "version=2\n", "'version' is not allowed: '2'"},
        {"version=1\n", "", "lacks 'version'"},
        {"id=17.head\n", "id=../17\n", "'id' is not allowed: '../17'"},
        {"id=17.head\n", "id=\n", "'id' is not allowed"},
        {"id=17.head\n", "id=17.head\nid=18.head\n", "says 'id' twice"},
        {"name=hello\n", "name=he llo\n", "'name' is not allowed"},
        {"user=ann\n", "user=a:b\n", "'user' is not allowed"},
        {"user=ann\n", "user=-x\n", "'user' is not allowed"},
        {"user=ann\n", "", "lacks 'user'"},
        {"work_dir=/home/ann\n", "work_dir=home\n", "'work_dir' is not allowed"},
        {"work_dir=/home/ann\n", "work_dir=/home/../etc\n", "'work_dir' is not allowed"},
        {"work_dir=/home/ann\n", "work_dir=/home\x1b[1m\n", "no key=value"},
        {"cores=2\n", "cores=0\n", "'cores' is not allowed"},
        {"cores=2\n", "cores=-1\n", "'cores' is not allowed"},
        {"cores=2\n", "cores=2x\n", "'cores' is not allowed"},
        {"cores=2\n", "cores=99999999999\n", "'cores' is not allowed"},
        {"cores=2\n", "cores=2\nmemory_mib=0\n", "'memory_mib' is not allowed"},
        {"cores=2\n", "cores=2\ncput_s=2147483648\n", "'cput_s' is not allowed"},
        {"cores=2\n", "cores=2\nuid=0\n", "a key that is unknown"},
        {"cores=2\n", "cores=2\n\n", "no key=value"},
        {"cores=2\n", "cores=2\ncgroup=/../x\n", "'cgroup' is not allowed"},
        {"cores=2\n", "cores=2", "no text of whole lines"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GString) text = g_string_new(NEEDED);
        g_autoptr(GError) error = NULL;
        VtOrder order, none = {0};
        g_assert_cmpuint(g_string_replace(text, rows[i].from, rows[i].to, 1), ==, 1);
        g_assert_false(vt_order_parse(&order, text->str, text->len, &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_BATCH);
        g_assert_nonnull(strstr(error->message, rows[i].said));
        g_assert_cmpmem(&order, sizeof order, &none, sizeof none);
    }
    VtOrder order;
    g_assert_false(vt_order_parse(&order, "", 0, NULL));
    g_assert_false(vt_order_parse(&order, "id=1\0\n", 6, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/order/good", test_good);
    g_test_add_func("/order/least", test_least);
    g_test_add_func("/order/bad", test_bad);
    return g_test_run();
}
