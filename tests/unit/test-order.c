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
    g_assert_true(vt_order_parse(&order, VT_ORDER_START, text, strlen(text), &error));
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
    g_assert_true(vt_order_parse(&order, VT_ORDER_START, NEEDED, strlen(NEEDED), NULL));
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
        g_assert_false(vt_order_parse(&order, VT_ORDER_START, text->str, text->len, &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_BATCH);
        g_assert_nonnull(strstr(error->message, rows[i].said));
        g_assert_cmpmem(&order, sizeof order, &none, sizeof none);
    }
    VtOrder order;
    g_assert_false(vt_order_parse(&order, VT_ORDER_START, "", 0, NULL));
    g_assert_false(vt_order_parse(&order, VT_ORDER_START, "id=1\0\n", 6, NULL));
}

#define REGISTRATION                                                                               \
    "version=1\nid=17.head\nname=hello\nuser=ann\nqueue=batch\nrequest=vtorque:dj0xCg\n"           \
    "work_dir=/home/ann\nleader=node1\nnode=1\nnodes=2\nnp=4\n"
#define KEY "00112233445566778899aabbccddeeff"
#define FOLLOW                                                                                     \
    "version=1\nid=17.head\nuser=ann\nrequest=vtorque:dj0xCg\ncores=3\nnode=1\nnodes=2\n"          \
    "host=node2\nreceiver=10.0.0.2\nrun=" KEY "\nnonce=" KEY "\nkey=" KEY KEY                      \
    "\naddresses=10.0.0.1,10.0.0.2\n"

/* Each with one line changed, and what the message says; NULL: nothing is wrong. */
static void test_follow(void)
{
    static const struct {
        const char *from, *to, *said;
    } rows[] = {
        {"id=", "id=", NULL},
        {"id=17.head", "id=18.head", "another job id"},
        {"user=ann", "user=bob", "another user"},
        {"request=vtorque:dj0xCg", "request=vtorque:dj0xCh", "another request"},
        {"cores=3", "cores=4", "asks for 4 cores here, more than the job can have"},
        {"cores=3", "cores=0", "'cores' is not allowed"},
        {"node=1\nnodes=2", "node=2\nnodes=3", "another number of addresses"},
        {"node=1\nnodes=2", "node=2\nnodes=2", "'node' is beyond its 'nodes'"},
        {"node=1\n", "node=0\n", "'node' is not allowed"},
        {"receiver=10.0.0.2", "receiver=10.0.0.1", "'receiver' is another node's address"},
        {"receiver=10.0.0.2", "receiver=::1", "'receiver' is not allowed"},
        {"10.0.0.1,10.0.0.2", "10.0.0.2,10.0.0.2", "'addresses' is not allowed"},
        {"run=0", "run=G", "'run' is not allowed"},
        {"key=0", "key=", "'key' is not allowed"},
        {"nonce=" KEY "\n", "", "lacks 'nonce'"},
        {"host=node2", "host=../x", "'host' is not allowed"},
        {"version=1\n", "version=1\nwork_dir=/x\n", "a key that is unknown"},
        {"version=1\n", "version=1\nvni=7\n", "'vni' goes with VXLAN alone"},
        {"version=1\n", "version=1\nmtu=1440\n", "go together"},
        {"version=1\n", "version=1\ntransport=wireguard\n", "go together"},
        {"version=1\n", "version=1\ntransport=wireguard\nmtu=1440\n", NULL},
        {"version=1\n", "version=1\ntransport=wireguard\nmtu=1440\nvni=7\n", "VXLAN alone"},
        {"version=1\n", "version=1\ntransport=vxlan\nmtu=1440\n", "VXLAN alone"},
        {"version=1\n", "version=1\ntransport=vxlan\nmtu=1440\nvni=7\n", NULL},
        {"version=1\n", "version=1\ntransport=none\n", "'transport' is not allowed: 'none'"},
        {"version=1\n", "version=1\ntransport=auto\nmtu=1440\n", "'transport' is not allowed"},
        {"version=1\n", "version=1\nvni=0\n", "'vni' is not allowed"},
        {"version=1\n", "version=1\nvni=16777216\n", "'vni' is not allowed"},
    };
    g_auto(VtOrder) registration;
    g_assert_true(vt_order_parse(&registration, VT_ORDER_REGISTRATION, REGISTRATION,
                                 strlen(REGISTRATION), NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GString) text = g_string_new(FOLLOW);
        g_autoptr(GError) error = NULL;
        g_auto(VtOrder) follow;
        g_string_replace(text, rows[i].from, rows[i].to, 1);
        bool ok = vt_order_parse(&follow, VT_ORDER_FOLLOW, text->str, text->len, &error) &&
                  vt_order_check(&follow, &registration, &error);
        g_assert_true(ok == !rows[i].said);
        g_assert_true(ok || strstr(error->message, rows[i].said));
    }
}

/* What is formatted is what was parsed. */
static void test_format(void)
{
    const char *text = FOLLOW "mtu=1450\ntransport=vxlan\nvni=77\n";
    g_auto(VtOrder) order, again;
    g_assert_true(vt_order_parse(&order, VT_ORDER_FOLLOW, text, strlen(text), NULL));
    g_autofree char *made = vt_order_format(&order, VT_ORDER_FOLLOW);
    g_assert_true(vt_order_parse(&again, VT_ORDER_FOLLOW, made, strlen(made), NULL));
    g_autofree char *remade = vt_order_format(&again, VT_ORDER_FOLLOW);
    g_assert_cmpstr(made, ==, remade);
    g_assert_cmpuint(strlen(made), ==, strlen(text));
}

#define USER "version=1\nclass=user\nreceiver=10.0.0.2\nnonce=" KEY "\nkey=" KEY KEY "\n"

/* Each with one line changed, and what the message says; NULL: nothing is wrong. */
static void test_user(void)
{
    static const struct {
        const char *from, *to, *said;
    } rows[] = {
        {"class=user", "class=user", NULL},
        {"class=user", "class=node", "'class' is not allowed"},
        {"class=user\n", "", "lacks 'class'"},
        {"version=1", "version=2", "'version' is not allowed"},
        {"key=0", "key=", "'key' is not allowed"},
        {"nonce=" KEY "\n", "", "lacks 'nonce'"},
        {"nonce=0", "nonce=1", "another connection or node"},
        {"receiver=10.0.0.2", "receiver=10.0.0.3", "another connection or node"},
        {"receiver=10.0.0.2\n", "", "lacks 'receiver'"},
        {"class=user\n", "class=user\nid=17.head\n", "a key that is unknown: 'id'"},
        {"class=user\n", "class=user\nuser=ann\n", "a key that is unknown: 'user'"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GString) text = g_string_new(USER);
        g_autoptr(GError) error = NULL;
        g_auto(VtOrder) order;
        g_assert_cmpuint(g_string_replace(text, rows[i].from, rows[i].to, 1), ==, 1);
        bool ok = vt_order_parse(&order, VT_ORDER_USER, text->str, text->len, &error) &&
                  vt_order_check_connection(&order, KEY, "10.0.0.2", &error);
        g_assert_true(ok == !rows[i].said);
        g_assert_true(ok || strstr(error->message, rows[i].said));
    }
    g_auto(VtOrder) order;
    g_assert_true(vt_order_parse(&order, VT_ORDER_USER, USER, strlen(USER), NULL));
    g_autofree char *made = vt_order_format(&order, VT_ORDER_USER);
    g_assert_cmpstr(made, ==, USER);
}

/* What one class says is nothing in the place of the other. */
static void test_classes(void)
{
    VtOrder none;
    g_assert_false(vt_order_parse(&none, VT_ORDER_FOLLOW, USER, strlen(USER), NULL));
    g_assert_false(vt_order_parse(&none, VT_ORDER_USER, FOLLOW, strlen(FOLLOW), NULL));
    const char *both = FOLLOW "class=user\n";
    g_assert_false(vt_order_parse(&none, VT_ORDER_FOLLOW, both, strlen(both), NULL));
    g_assert_false(vt_order_parse(&none, VT_ORDER_USER, both, strlen(both), NULL));
}

static void test_hosts(void)
{
    const char *text = NEEDED "hosts=node1:2,node2.example.org:1\n";
    g_auto(VtOrder) order;
    guint cores = 0;
    g_assert_true(vt_order_parse(&order, VT_ORDER_START, text, strlen(text), NULL));
    g_assert_cmpuint(order.nodes, ==, 2);
    g_autofree char *host = vt_order_host(&order, 1, &cores);
    g_assert_cmpstr(host, ==, "node2.example.org");
    g_assert_cmpuint(cores, ==, 1);
    static const char *const wrong[] = {"node1:2",         "node1:2,node2", "node1:2,node2:0",
                                        "node1:2,no de:1", "node1:2,",      "node1:2,node1:2"};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *bad = g_strdup_printf("%shosts=%s\n", NEEDED, wrong[i]);
        VtOrder none;
        g_assert_false(vt_order_parse(&none, VT_ORDER_START, bad, strlen(bad), NULL));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/order/good", test_good);
    g_test_add_func("/order/least", test_least);
    g_test_add_func("/order/bad", test_bad);
    g_test_add_func("/order/follow", test_follow);
    g_test_add_func("/order/format", test_format);
    g_test_add_func("/order/user", test_user);
    g_test_add_func("/order/classes", test_classes);
    g_test_add_func("/order/hosts", test_hosts);
    return g_test_run();
}
