/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-hook.c - what the hook reads out of a batch system's arguments and environment. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "hook/hook.h"

static char *words[] = {
    (char *)"prologue", (char *)"17.head", (char *)"ann", (char *)"users",      (char *)"hello",
    (char *)"",         (char *)"batch",   (char *)"",    (char *)"/no/script", NULL};

static Hook make(const char *resources)
{
    words[5] = (char *)resources;
    return (Hook){.argv = words, .argc = 9, .name = "prologue"};
}

static void test_request(void)
{
    static const struct {
        const char *gres, *resources, *found;
    } rows[] = {
        {NULL, "nodes=1", ""},
        {"vtorque:AAAA", "", "vtorque:AAAA"},
        {"foo:1+vtorque:AAAA", "", "vtorque:AAAA"},
        {"foo:1%vtorque:AA-_", "", "vtorque:AA-_"},
        {"foo:1,vtorque:AAAA+bar:2", "", "vtorque:AAAA"},
        {"foo:vtorque:AAAA", "", ""},
        {"gpus:2", "nodes=1,other=vtorque:BBBB,mem=1gb", "vtorque:BBBB"},
        {"", "other=vtorque:BBBB", "vtorque:BBBB"},
        {NULL, "another=vtorque:BBBB", ""},
        {NULL, "other=x,vtorque:BBBB", ""},
        {"vtorque:AAAA", "other=vtorque:BBBB", "vtorque:AAAA"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Hook hook = make(rows[i].resources);
        if (rows[i].gres)
            g_setenv("PBS_RESOURCE_GRES", rows[i].gres, TRUE);
        else
            g_unsetenv("PBS_RESOURCE_GRES");
        hook_find_request(&hook);
        g_assert_cmpstr(hook.request, ==, rows[i].found);
    }
}

/* The order for a node file's text, slots, -l nodes and resources; "problem: " and what is wrong. */
static char *order_of(const char *nodes, const char *np, const char *spec, const char *resources)
{
    static char text[4096];
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("vtt-nodes-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, nodes, -1, NULL));
    g_setenv("PBS_NODEFILE", path, TRUE);
    if (np)
        g_setenv("PBS_NP", np, TRUE);
    else
        g_unsetenv("PBS_NP");
    g_setenv("PBS_RESOURCE_NODES", spec, TRUE);
    g_setenv("PBS_O_WORKDIR", "/home/ann", TRUE);
    Hook hook = make(resources);
    const char *problem = hook_format_order(&hook, text, sizeof text);
    g_unlink(path);
    return problem ? g_strconcat("problem: ", problem, NULL) : g_strdup(text);
}

static void test_nodes(void)
{
    static const struct {
        const char *nodes, *np, *spec, *said;
    } rows[] = {
        {"n1\nn1\n", "2", "1", "\ncores=2\n"},
        {"n1\n", "1", "1", "\ncores=1\n"},
        {"n1", "1", "1", "\ncores=1\n"},
        {"n1\nn1\n", "1", "1", "node file"},
        {"n1\n", "2", "1", "node file"},
        {"n1\nn2\n", "2", "1", "node file"},
        {"n1\nn10\n", "2", "1", "node file"},
        {"", "0", "1", "node file"},
        {"n1\nn2\n", "2", "2", "\nhosts=n1:1,n2:1\n"},
        {"n1\nn1\nn2\nn1\n", "4", "2", "\nhosts=n1:3,n2:1\n"},
        {"n1\nn1\nn2\nn1\n", "4", "2", "\ncores=3\n"},
        /* A host that is granted twice. */
        {"n1\nn1\n", "2", "2", "\ncores=2\n"},
        {"n1\n\nn2\n", "3", "3", "node file"},
        {"n1\nn2\nn3\n", "3", "2", "node file"},
        /* Named, and both. */
        {"n1\nn1\n", "2", "n1:ppn=2", "\ncores=2\n"},
        {"n1\nn2\n", "2", "n1+n2", "\nhosts=n1:1,n2:1\n"},
        {"n1\nn1\nn2\n", "3", "n1:ppn=2+n2:big", "\nhosts=n1:2,n2:1\n"},
        {"n1\nn2\nn3\n", "3", "1+n2+1:ppn=1#shared", "\nhosts=n1:1,n2:1,n3:1\n"},
        {"n1\nn2\n", "2", "n1:ppn=2", "node file"},
        {"n1\nn2\n", "2", "2node:ppn=2", "node file"},
        {"n1\nn2\n", "2", "99999999999999999999", "\nhosts=n1:1,n2:1\n"},
        /* None at all. */
        {"n1\n", NULL, "", "\ncores=1\n"},
        {"n1\nn1\n", NULL, "", "node file"},
        {"n1\n", "", "", "node file"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *said = order_of(rows[i].nodes, rows[i].np, rows[i].spec, "");
        g_assert_nonnull(strstr(said, rows[i].said));
    }
    g_setenv("BEOWULF_JOB_MAP", "n1:n2", TRUE);
    g_autofree char *mapped = order_of("n1\nn2\n", "2", "2", "");
    g_unsetenv("BEOWULF_JOB_MAP");
    g_assert_nonnull(strstr(mapped, "problem: the job's variable BEOWULF_JOB_MAP"));
}

static void test_memory(void)
{
    static const struct {
        const char *resources, *said;
    } rows[] = {
        {"nodes=1,mem=512mb", "\nmemory_mib=512\n"},
        {"mem=1gb,nodes=1", "\nmemory_mib=1024\n"},
        {"mem=2048kb", "\nmemory_mib=2\n"},
        {"mem=1073741824", "\nmemory_mib=1024\n"},
        {"mem=1073741824b", "\nmemory_mib=1024\n"},
        {"mem=1023kb", "\nmemory_mib=1\n"},
        {"mem=1", "\nmemory_mib=1\n"},
        {"mem=0", "\nmemory_mib=1\n"},
        {"mem=128mw", "\nmemory_mib=1024\n"},
        {"mem=1TB", "\nmemory_mib=1048576\n"},
        /* A value may hold what looks like another resource: the least counts. */
        {"mem=512mb,other=x,mem=999gb", "\nmemory_mib=512\n"},
        {"other=x,mem=999gb,mem=512mb", "\nmemory_mib=512\n"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *said = order_of("n1\n", "1", "1", rows[i].resources);
        g_assert_nonnull(strstr(said, rows[i].said));
    }
    g_autofree char *none = order_of("n1\n", "1", "1", "nodes=1,amem=1gb,mem=x,pmem=");
    g_assert_null(strstr(none, "memory_mib"));
    /* Of both kinds the least. */
    g_autofree char *each = order_of("n1\nn1\n", "2", "1", "mem=4gb,pmem=512mb,vmem=2gb,pvmem=3gb");
    g_assert_nonnull(strstr(each, "\nmemory_mib=2048\ncore_memory_mib=512\n"));
    g_autofree char *all = order_of("n1\nn1\n", "2", "1", "pvmem=3gb,vmem=2gb,mem=4gb");
    g_assert_nonnull(strstr(all, "\nmemory_mib=2048\n"));
}

/* Evenly, of several nodes. */
static void test_shares(void)
{
    g_autofree char *two = order_of("n1\nn2\n", "2", "2", "mem=1gb,pmem=256mb");
    g_assert_nonnull(strstr(two, "\nmemory_mib=512\ncore_memory_mib=256\n"));
    g_autofree char *least = order_of("n1\nn2\n", "2", "2", "mem=1mb");
    g_assert_nonnull(strstr(least, "\nmemory_mib=1\n"));
}

static void test_registration(void)
{
    static char text[4096];
    Hook hook = make("nodes=2:ppn=2,mem=1gb,cput=60");
    g_setenv("PBS_MSHOST", "n1", TRUE);
    g_setenv("PBS_NODENUM", "1", TRUE);
    g_setenv("PBS_RESOURCE_NODES", "2:ppn=2", TRUE);
    g_setenv("PBS_NP", "4", TRUE);
    g_unsetenv("PBS_NODEFILE");
    strcpy(hook.request, "vtorque:AAAA");
    g_assert_null(hook_format_registration(&hook, text, sizeof text));
    g_assert_cmpstr(text, ==,
                    "version=1\nid=17.head\nuser=ann\nname=hello\nqueue=batch\n"
                    "request=vtorque:AAAA\nwork_dir=/home/ann\nmemory_mib=512\ncput_s=60\n"
                    "leader=n1\nnode=1\nnodes=2\nnp=4\n");
    g_setenv("PBS_RESOURCE_NODES", "1:ppn=4", TRUE);
    g_assert_nonnull(hook_format_registration(&hook, text, sizeof text));
}

/* Torque leaves out what does not fit, and that may be the limit. */
static void test_long(void)
{
    g_autofree char *padding = g_strnfill(1990, 'x');
    g_autofree char *full = g_strconcat("nodes=1,other=", padding, NULL);
    g_autofree char *said = order_of("n1\n", "1", "1", full);
    g_assert_nonnull(strstr(said, "so long"));
    full[1900] = '\0';
    g_autofree char *fits = order_of("n1\n", "1", "1", full);
    g_assert_nonnull(strstr(fits, "cores=1\n"));
}

static void test_cput(void)
{
    static const struct {
        const char *resources, *said;
    } rows[] = {
        {"nodes=1,cput=10", "\ncput_s=10\n"},
        {"cput=01:00:01,nodes=1", "\ncput_s=3601\n"},
        {"cput=2:03", "\ncput_s=123\n"},
        {"pcput=5,cput=7", "\ncput_s=7\n"},
        {"cput=7,other=x,cput=9", "\ncput_s=7\n"},
        {"cput=99999999:00:00", "\ncput_s=2147483647\n"},
        {"cput=1:2:3:4", NULL},
        {"cput=-1", NULL},
        {"cput=x", NULL},
        {"pcput=5", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *said = order_of("n1\n", "1", "1", rows[i].resources);
        if (rows[i].said)
            g_assert_nonnull(strstr(said, rows[i].said));
        else
            g_assert_null(strstr(said, "cput_s"));
    }
}

/* A name or directory with a control character never becomes a line of its own. */
static void test_lines(void)
{
    g_autofree char *plain = order_of("n1\n", "1", "1", "");
    g_assert_nonnull(strstr(plain, "work_dir=/home/ann\n"));
    words[4] = (char *)"x\nuser=root";
    g_autofree char *forged = order_of("n1\n", "1", "1", "");
    words[4] = (char *)"hello";
    g_assert_null(strstr(forged, "user=root"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hook/request", test_request);
    g_test_add_func("/hook/nodes", test_nodes);
    g_test_add_func("/hook/memory", test_memory);
    g_test_add_func("/hook/shares", test_shares);
    g_test_add_func("/hook/registration", test_registration);
    g_test_add_func("/hook/cput", test_cput);
    g_test_add_func("/hook/long", test_long);
    g_test_add_func("/hook/lines", test_lines);
    return g_test_run();
}
