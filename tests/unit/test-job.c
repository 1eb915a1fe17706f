/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-job.c - the job document: what is saved is loaded, what is wrong is refused by
 * its key. */
#include "job/job.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "job/owner.h"

static VtJob *make_job(void)
{
    static const gid_t groups[] = {4, 27, 4294967294u};
    VtJob *job = g_new0(VtJob, 1);
    job->id = g_strdup("3[0].long-host_x");
    job->name = g_strdup("n\xc3\xa4me\xff");
    job->host = g_strdup("node1");
    job->owner = (VtOwner){
        .user = g_strdup("ann"),
        .group = g_strdup("users"),
        .uid = 1000,
        .gid = 4294967294u,
        .groups = g_memdup2(groups, sizeof groups),
        .n_groups = G_N_ELEMENTS(groups),
        .group_names = g_strsplit("adm,sudo,g4294967294", ",", -1),
        .home = g_strdup("/home/ann"),
        .shell = g_strdup("/bin/bash"),
    };
    job->image = VT_IMAGE_TINY;
    job->vms = 64;
    job->net = VT_NET_PRIVATE;
    job->has_uplink = 1;
    job->mac_prefix = 0x525400;
    job->name_servers = g_strsplit("192.0.2.1,::1", ",", -1);
    job->search_domains = g_strsplit("hpc.example", ",", -1);
    job->ram_mib = 128;
    job->vcpus = 255;
    job->boot_timeout_s = 120;
    job->walltime_s = 5;
    job->kill_grace_s = 10;
    job->kernel_dir = g_strdup("/a b/\"c\"\n\x7f\x80");
    job->submit_dir = g_strdup("/");
    job->mounts = g_strsplit("/scratch,/d\xe4ta", ",", -1);
    job->tmp_mib = VT_RAM_MIB_MAX;
    job->node = 1;
    job->nodes = 2;
    job->addresses = g_strsplit("10.0.0.1,10.0.0.2", ",", -1);
    job->transport = VT_TRANSPORT_VXLAN;
    job->vni = 7;
    job->net_mtu = 1450;
    job->peer_key = g_strnfill(VT_KEY_DIGITS, 'a');
    return job;
}

static VtJob *load(const char *document, GError **error)
{
    return vt_job_load(document, strlen(document), error);
}

static void test_round(void)
{
    g_autoptr(VtJob) job = make_job();
    g_autofree char *document = vt_job_save(job);
    GError *error = NULL;
    g_autoptr(VtJob) copy = load(document, &error);
    g_assert_no_error(error);
    g_autofree char *again = vt_job_save(copy);
    g_assert_cmpstr(document, ==, again);
    g_assert_cmpstr(copy->name, ==, job->name);
    g_assert_cmpstr(copy->kernel_dir, ==, job->kernel_dir);
    g_assert_cmpstr(copy->mounts[1], ==, job->mounts[1]);
    g_assert_cmpuint(copy->owner.n_groups, ==, 3);
    g_assert_cmpuint(copy->owner.groups[2], ==, 4294967294u);
    g_assert_cmpint(copy->image, ==, VT_IMAGE_TINY);
    g_assert_true(g_str_is_ascii(document));
}

/* One line of the document is replaced by another, and the message must name its key. */
static const struct {
    const char *line, *with, *message;
} wrong[] = {
    {"\"version\": 1", "\"version\": 2", "*version 1"},
    {"\"version\": 1", "\"versions\": 1", "*version 1"},
    {"\"version\": 1", "\"version\": 1, \"version\": 1", "*not JSON*"},
    {"\"version\": 1", "\"version\": 1, \"more\": 1", "*unknown key 'more'"},
    {"\"id\": \"3[0].long-host_x\"", "\"id\": \"..\"", "*'id'"},
    {"\"id\": \"3[0].long-host_x\"", "\"id\": \"a/b\"", "*'id'"},
    {"\"id\": \"3[0].long-host_x\"", "\"id\": 3", "*'id'"},
    {"\"name\": ", "\"nam\": ", "*unknown key 'nam'"},
    {"\"host\": \"node1\"", "\"host\": \"-node\"", "*'host'"},
    {"\"host\": \"node1\"", "\"host\": \"no de\"", "*'host'"},
    {"\"user\": \"ann\"", "\"user\": \"ann:0\"", "*'user'"},
    {"\"user\": \"ann\"", "\"user\": \"\"", "*'user'"},
    {"\"user\": \"ann\"", "\"user\": \"a\\u0000b\"", "*not JSON*"},
    {"\"user\": \"ann\"", "\"user\": \"a\\u0100b\"", "*'user'"},
    {"\"group\": \"users\"", "\"group\": \"x\\ny\"", "*'group'"},
    {"\"uid\": 1000", "\"uid\": -1", "*'uid'"},
    {"\"uid\": 1000", "\"uid\": 4294967295", "*'uid'"},
    {"\"uid\": 1000", "\"uid\": 1.5", "*'uid'"},
    {"\"uid\": 1000", "\"uid\": 99999999999999999999", "*not JSON*"},
    {"\"home\": \"/home/ann\"", "\"home\": \"/home/a:b\"", "*'home'"},
    {"\"home\": \"/home/ann\"", "\"home\": \"home\"", "*'home'"},
    {"\"shell\": \"/bin/bash\"", "\"shell\": \"/bin/../x\"", "*'shell'"},
    {"\"image\": \"tiny\"", "\"image\": \"debian\"", "*'image'"},
    {"\"image\": \"tiny\"", "\"image\": \"disk\"", "*keys of a disk*'disk'"},
    {"\"image_name\": \"\"", "\"image_name\": \"a/b\"", "*'image_name'"},
    {"\"image_name\": \"\"", "\"image_name\": \"debian\"", "*keys of a disk*'tiny'"},
    {"\"scratch_dir\": \"\"", "\"scratch_dir\": \"a\"", "*'scratch_dir'"},
    {"\"init\": \"agent\"", "\"init\": \"system\"", "*keys of a disk*"},
    {"\"accel\": \"tcg\"", "\"accel\": \"auto\"", "*'accel'"},
    {"\"locks\": \"local\"", "\"locks\": 1", "*'locks'"},
    {"\"has_uplink\": 1", "\"has_uplink\": 2", "*'has_uplink'"},
    {"\"mac_prefix\": 5395456", "\"mac_prefix\": 16777216", "*'mac_prefix'"},
    {"\"domain\": \"\"", "\"domain\": \"a b\"", "*'domain'"},
    {"\"::1\"", "\"x\\ny\"", "*'name_servers'"},
    {"\"::1\"", "\"::1\", \"1\", \"2\"", "*'name_servers'"},
    {"\"hpc.example\"", "\"\"", "*'search_domains'"},
    {"\"ram_mib\": 128", "\"ram_mib\": 63", "*'ram_mib'"},
    {"\"ram_mib\": 128", "\"ram_mib\": 16777217", "*'ram_mib'"},
    {"\"vcpus\": 255", "\"vcpus\": 256", "*'vcpus'"},
    {"\"vcpus\": 255", "\"vcpus\": 0", "*'vcpus'"},
    {"\"walltime_s\": 5", "\"walltime_s\": true", "*'walltime_s'"},
    {"\"submit_dir\": \"/\"", "\"submit_dir\": \"/./x\"", "*'submit_dir'"},
    {"\"/scratch\"", "\"scratch\"", "*'mounts'"},
    {"\"/scratch\"", "7", "*'mounts'"},
    {"\"sudo\",", "", "*'group_names'"},
    {"\"sudo\"", "\"su,do\"", "*'group_names'"},
    {"\"node\": 1", "\"node\": 2", "*nodes do not go*"},
    {"\"node\": 1", "\"node\": 254", "*'node'"},
    {"\"nodes\": 2", "\"nodes\": 1", "*nodes do not go*"},
    {"\"nodes\": 2", "\"nodes\": 0", "*'nodes'"},
    {"\"10.0.0.2\"", "\"::1\"", "*nodes do not go*"},
    {"\"10.0.0.2\"", "\"node2\"", "*nodes do not go*"},
    {",\n  \"10.0.0.2\"", "", "*nodes do not go*"},
    {"\"net_mtu\": 1450", "\"net_mtu\": 0", "*nodes do not go*"},
    {"\"net_mtu\": 1450", "\"net_mtu\": 65536", "*'net_mtu'"},
    {"\"vni\": 7", "\"vni\": 0", "*nodes do not go*"},
    {"\"transport\": \"vxlan\"", "\"transport\": \"wireguard\"", "*nodes do not go*"},
    {"\"transport\": \"vxlan\"", "\"transport\": \"none\"", "*nodes do not go*"},
    {"\"transport\": \"vxlan\"", "\"transport\": \"auto\"", "*'transport'*"},
    {"\"vni\": 7", "\"vni\": 16777216", "*'vni'"},
    {"\"peer_key\": \"aaaa", "\"peer_key\": \"aaaA", "*'peer_key'"},
    {"\"peer_key\": \"aaaa", "\"peer_key\": \"aaa", "*'peer_key'"},
    {"\n  27", "\n  \"27\"", "*'groups'"},
};

static void test_wrong(void)
{
    g_autoptr(VtJob) job = make_job();
    g_autofree char *document = vt_job_save(job);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) text = g_string_new(document);
        g_test_message("%s", wrong[i].with);
        g_assert_cmpuint(g_string_replace(text, wrong[i].line, wrong[i].with, 1), ==, 1);
        g_assert_null(load(text->str, &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_USER);
        if (!g_pattern_match_simple(wrong[i].message, error->message))
            g_error("'%s' is not '%s'", error->message, wrong[i].message);
    }
}

/* What is no document at all. */
static void test_none(void)
{
    static const char *const texts[] = {"", "null", "[]", "{}", "{\"version\": 1}", "\"x\"", "{"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(load(texts[i], &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    }
}

static void test_size(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *big = g_strnfill(VT_JOB_DOCUMENT_MAX + 1, ' ');
    g_assert_null(load(big, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
}

static void test_ids(void)
{
    g_autofree char *longest = g_strnfill(255, 'x');
    g_autofree char *longer = g_strnfill(256, 'x');
    g_assert_true(vt_job_id_is_valid("1.n"));
    g_assert_true(vt_job_id_is_valid("3[0].long.server"));
    g_assert_true(vt_job_id_is_valid("a_b-c"));
    g_assert_true(vt_job_id_is_valid(longest));
    g_assert_false(vt_job_id_is_valid(longer));
    g_assert_false(vt_job_id_is_valid(""));
    g_assert_false(vt_job_id_is_valid("."));
    g_assert_false(vt_job_id_is_valid(".."));
    g_assert_false(vt_job_id_is_valid("a b"));
    g_assert_false(vt_job_id_is_valid("a/b"));
    g_assert_false(vt_job_id_is_valid("a\n"));
    g_assert_false(vt_job_id_is_valid("\xc3\xa4"));
}

static void test_owner(void)
{
    VtOwner owner = {0};
    GError *error = NULL;
    g_assert_true(vt_owner_load(&owner, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(owner.uid, ==, getuid());
    g_assert_nonnull(owner.user);
    g_assert_nonnull(owner.group);
    for (gsize i = 0; i < owner.n_groups; i++) {
        g_assert_cmpuint(owner.groups[i], !=, owner.gid);
        g_assert_true(i == 0 || owner.groups[i - 1] < owner.groups[i]);
    }
    vt_owner_clear(&owner);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/job/round", test_round);
    g_test_add_func("/job/wrong", test_wrong);
    g_test_add_func("/job/none", test_none);
    g_test_add_func("/job/size", test_size);
    g_test_add_func("/job/ids", test_ids);
    g_test_add_func("/job/owner", test_owner);
    return g_test_run();
}
