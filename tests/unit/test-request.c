/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-request.c - what -vm may say, and how it becomes one virtual machine. */
#include "job/request.h"

#include <string.h>

#include "base/error.h"

static const char *const good[] = {
    "ram=2G",           "ram=512",  "ram=98305K",
    "ram=1GiB,vcpus=2", "img=host", "img=tiny,boot_timeout=5",
    "ram=1G,ram=2G",
};

static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "here: -vm '': must be key=value*"},
    {"ram", "here: -vm 'ram': must be key=value*"},
    {"=1", "here: -vm '=1': must be key=value*"},
    {"ram=1G,", "here: -vm '': must be key=value*"},
    {"ram=1G,,vcpus=1", "here: -vm '': must be key=value*"},
    {"ram=", "here: -vm ram '': must be 96M to 16T*"},
    {"ram=95M", "here: -vm ram '95M': must be 96M to 16T*"},
    {"ram=17T", "here: -vm ram '17T': must be 96M to 16T*"},
    {"ram=99999999999999999999", "here: -vm ram *: must be 96M to 16T*"},
    {"ram=1GB", "here: -vm ram '1GB': must be 96M to 16T*"},
    {"ram=1.5G", "here: -vm ram *"},
    {"vcpus=0", "here: -vm vcpus '0': must be a number from 1 to 255"},
    {"vcpus=256", "here: -vm vcpus '256': must be a number from 1 to 255"},
    {"vcpus=-1", "here: -vm vcpus '-1': *"},
    {"vcpus=two", "here: -vm vcpus 'two': *"},
    {"boot_timeout=0", "here: -vm boot_timeout '0': must be a number of seconds from 1 to 86400"},
    {"boot_timeout=86401", "here: -vm boot_timeout *"},
    {"img=", "here: -vm img '': must be host, tiny, or the name of an image*"},
    {"img=/opt/x.img", "here: -vm img '/opt/x.img': must be host, tiny, or the name of an image*"},
    {"img=../x", "here: -vm img '../x': *"},
    {"img=a b", "here: -vm img 'a b': *"},
    {"RAM=1G", "here: unknown -vm key 'RAM'; there are img, ram, vcpus, *"},
    {"cpus=1", "here: unknown -vm key 'cpus'; there are img, ram, vcpus, *"},
    {"distro=suse", "here: -vm distro 'suse': must be debian, ubuntu, *"},
    {"arch=aarch64", "here: -vm arch 'aarch64': must be x86_64"},
    {"fs_type=nfs", "here: -vm fs_type 'nfs': must be sharedfs or ramdisk"},
    {"init=systemd", "here: -vm init 'systemd': must be agent or system"},
    {"share_locks=", "here: -vm share_locks '': must be local or remote"},
    {" ram=1G", "here: unknown -vm key ' ram'; *"},
    {"a\nb=1", "here: unknown -vm key 'a\\nb'; *"},
    {"metadata=2", "here: -vm key 'metadata' is not built yet; *"},
    {"vms_per_node=0", "here: -vm vms_per_node '0': must be a number from 1 to 64"},
    {"vms_per_node=65", "here: -vm vms_per_node '65': must be a number from 1 to 64"},
    {"net=bridge", "here: -vm net 'bridge': must be private, user or none"},
    {"metadata=x.yaml", "here: -vm key 'metadata' is not built yet; *"},
    {"disk=1G", "here: -vm key 'disk' is not built yet; *"},
    {"vcpu_pinning=true", "here: -vm key 'vcpu_pinning' is not built yet; *"},
    {"vm_prologue=x", "here: -vm key 'vm_prologue' is not built yet; *"},
    {"vm_epilogue=x", "here: -vm key 'vm_epilogue' is not built yet; *"},
    {"vrdma=true", "here: -vm key 'vrdma' is not built yet; *"},
    {"unclot=true", "here: -vm key 'unclot' is not built yet; *"},
    {"unclot_shmem=1G", "here: -vm key 'unclot_shmem' is not built yet; *"},
    {"iocm=true", "here: -vm key 'iocm' is not built yet; *"},
    {"iocm_min_cores=1", "here: -vm key 'iocm_min_cores' is not built yet; *"},
    {"iocm_max_cores=1", "here: -vm key 'iocm_max_cores' is not built yet; *"},
};

static void test_good(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        VtRequest request = {0};
        GError *error = NULL;
        g_assert_true(vt_request_parse(&request, good[i], "here", &error));
        g_assert_no_error(error);
        vt_request_clear(&request);
    }
}

static void test_wrong(void)
{
    g_autofree char *longest = g_strnfill(VT_REQUEST_TEXT_MAX + 1, 'x');
    VtRequest request = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vt_request_parse(&request, wrong[i].text, "here", &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_USER);
        if (!g_pattern_match_simple(wrong[i].message, error->message))
            g_error("'%s' is not '%s'", error->message, wrong[i].message);
    }
    g_assert_false(vt_request_parse(&request, longest, "here", NULL));
    vt_request_clear(&request);
}

/* Option, directive, site, allocation (0: not asked) and what must come out. The machine has 4
 * cores and 8 GiB. */
typedef struct {
    const char *option, *directive, *site;
    guint ppn, mem_mib;
    guint vcpus, ram_mib; /* 0: refused */
    const char *says;     /* the one note, or the error; NULL: none */
} Case;

static const Case cases[] = {
    {"", "", "", 0, 0, 3, 1024, NULL},
    {"vcpus=2,ram=512M", "vcpus=1,ram=1G", "VCPUS_DEFAULT=3\nRAM_DEFAULT=2G\n", 0, 0, 2, 512, NULL},
    {"", "vcpus=1,ram=3G", "VCPUS_DEFAULT=3\nRAM_DEFAULT=2G\n", 0, 0, 1, 3072, NULL},
    {"", "", "VCPUS_DEFAULT=2\nRAM_DEFAULT=2G\n", 0, 0, 2, 2048, NULL},
    {"ram=100M,ram=200M", "", "", 0, 0, 3, 200, NULL},
    {"", "", "VCPUS_DEFAULT=6\n", 0, 0, 3, 1024, "x.conf:1: VCPUS_DEFAULT '6' cut to 3*"},
    {"", "", "", 2, 0, 2, 1024, NULL},
    {"", "", "", 6, 0, 4, 1024, NULL},
    {"vcpus=4", "", "", 2, 0, 0, 0,
     "here: -vm vcpus '4': must be at most 2, which -l nodes=1:ppn= allows"},
    {"vcpus=4", "", "", 0, 0, 4, 1024,
     "here: vcpus '4' leaves this machine less than HOST_OS_CORE_COUNT"},
    {"vcpus=5", "", "", 0, 0, 0, 0,
     "here: -vm vcpus '5': must be at most 4, the cores that a job may use here"},
    {"vcpus=5", "", "", 6, 0, 0, 0,
     "here: -vm vcpus '5': must be at most 4, the cores that a job may use here"},
    /* Memory is RAM with what QEMU and the file servers take. */
    {"img=tiny,vcpus=1", "", "", 0, 1024, 1, 576,
     "default: ram cut from 1024M to 576M: with 447M for QEMU and file servers that is the job's "
     "1024M"},
    {"img=tiny,vcpus=1,ram=576M", "", "", 0, 1024, 1, 576, NULL},
    {"img=tiny,vcpus=1,ram=577M", "", "", 0, 1024, 0, 0,
     "here: -vm ram '577M': with 448M for QEMU and file servers the job takes 1025M, and -l mem= "
     "allows 1024M"},
    {"img=tiny,vcpus=1", "ram=577M", "", 0, 1024, 0, 0, "script: -vm ram '577M': with 448M *"},
    {"img=tiny,vcpus=1", "", "", 0, 534, 1, 96, "default: ram cut from 1024M to 96M: *"},
    {"img=tiny,vcpus=1", "", "", 0, 533, 0, 0,
     "the job's memory of 533M is too little: with the least guest, of 96M, a job takes 534M (-l "
     "mem=)"},
    /* A way out takes 96M more. */
    {"img=tiny,vcpus=1,net=user", "", "", 0, 1024, 1, 484,
     "default: ram cut from 1024M to 484M: *"},
    {"img=tiny,vcpus=1", "", "NET_DEFAULT=user\n", 0, 1024, 1, 484, "default: ram cut *"},
    {"vcpus=4", "", "", 4, 4096, 4, 1024, NULL},
    {"ram=9G", "", "", 0, 0, 0, 0,
     "here: -vm ram '9216M': with *M for QEMU and file servers the job takes *M, and this machine "
     "has 8192M"},
    {"ram=8000M", "", "", 0, 0, 0, 0, "here: -vm ram '8000M': with *, and this machine has 8192M"},
    {"ram=7G", "", "", 0, 0, 3, 7168,
     "here: ram '7168M' leaves this machine less than HOST_OS_RAM_MB"},
    {"img=tiny,vcpus=1", "", "RAM_DEFAULT=7G\n", 0, 0, 1, 5600,
     "x.conf:1: ram cut from 7168M to *M: with *M for QEMU and file servers that is the job's "
     "6144M"},
    /* A disk in memory as large as the RAM, of a size of its own, or not in memory. */
    {"img=debian,vcpus=1", "", "", 0, 1474, 1, 513,
     "default: ram cut from 1024M to 513M: with 960M for QEMU, file servers and disk *"},
    {"img=debian,vcpus=1", "", "RAMDISK_SIZE=100M\n", 0, 1474, 1, 921, "default: ram cut *"},
    {"img=debian,vcpus=1,fs_type=sharedfs", "", "", 0, 1474, 1, 1020, "default: ram cut *"},
    {"img=debian,init=system", "", "", 0, 0, 3, 1024, NULL},
    {"init=system", "img=debian", "", 0, 0, 3, 1024, NULL},
    {"init=system", "", "", 0, 0, 0, 0,
     "here: -vm init 'system' goes with an image that has a disk, and img is 'host' (default)"},
    {"distro=debian,img=tiny", "", "", 0, 0, 0, 0, "here: -vm distro 'debian' goes with *"},
    {"fs_type=sharedfs", "", "IMG_DEFAULT=debian\n", 0, 0, 3, 1024, NULL},
    {"", "", "INIT_DEFAULT=system\n", 0, 0, 3, 1024, NULL},
};

static void check_case(const Case *c)
{
    VtRequest option = {0}, directive = {0};
    VtShape shape = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    /* The way out has cases of its own. */
    g_autofree char *site =
        g_strconcat(c->site, strstr(c->site, "NET_DEFAULT") ? "" : "NET_DEFAULT=none\n", NULL);
    g_autoptr(VtSettings) settings = vt_settings_parse(site, strlen(site), "x.conf", &error);
    g_assert_no_error(error);
    g_assert_true(!*c->option || vt_request_parse(&option, c->option, "here", NULL));
    g_assert_true(!*c->directive || vt_request_parse(&directive, c->directive, "script", NULL));
    VtAllocation allocation = {
        .cores = c->ppn ? c->ppn : 3,
        .memory_mib = c->mem_mib ? c->mem_mib : 6144,
        .host_cores = 4,
        .host_memory_mib = 8192,
        .is_cores_asked = c->ppn > 0,
        .is_memory_asked = c->mem_mib > 0,
    };
    bool ok = vt_request_resolve(&option, &directive, settings, &allocation, &shape, notes, &error);
    g_assert_cmpint(ok, ==, c->ram_mib != 0);
    g_assert_cmpuint(shape.vcpus, ==, c->vcpus);
    g_assert_cmpuint(shape.ram_mib, ==, c->ram_mib);
    const char *said = ok ? (notes->len ? notes->pdata[0] : NULL) : error->message;
    g_assert_cmpuint(notes->len, <=, 1);
    if (!c->says)
        g_assert_cmpstr(said, ==, NULL);
    else if (!said || !g_pattern_match_simple(c->says, said))
        g_error("'%s' is not '%s'", said, c->says);
    vt_shape_clear(&shape);
    vt_request_clear(&option);
    vt_request_clear(&directive);
}

static void test_resolve(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("case %zu", i);
        check_case(&cases[i]);
    }
}

/* What a cgroup gives is named as what it is. */
static void test_cgroup(void)
{
    static const struct {
        const char *option, *says;
        VtAccel accel;
        guint vcpus, ram_mib;
    } rows[] = {
        {"vcpus=3",
         "here: vcpus '3' will share the time of 2 cores, which is what the cgroup gives",
         VT_ACCEL_TCG, 3, 1024},
        {"vcpus=2", NULL, VT_ACCEL_TCG, 2, 1024},
        {"", NULL, VT_ACCEL_TCG, 2, 1024},
        {"ram=2000M", "here: -vm ram '2000M': with *M, and the cgroup allows 2048M", VT_ACCEL_TCG,
         0, 0},
        /* Without emulation there is room for more. */
        {"img=tiny,vcpus=1,ram=1800M", NULL, VT_ACCEL_KVM, 1, 1800},
        {"img=tiny,vcpus=1,ram=1800M", "here: -vm ram '1800M': *", VT_ACCEL_TCG, 0, 0},
    };
    static const char site[] = "NET_DEFAULT=none\n";
    g_autoptr(VtSettings) settings = vt_settings_parse(site, sizeof site - 1, "x.conf", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtRequest option = {0}, directive = {0};
        VtShape shape = {0};
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        VtAllocation allocation = {.cores = 2,
                                   .memory_mib = 2048,
                                   .host_cores = 4,
                                   .host_memory_mib = 2048,
                                   .is_memory_cgroups = true,
                                   .quota_cores = 2,
                                   .accel = rows[i].accel};
        g_test_message("row %zu", i);
        g_assert_true(!*rows[i].option || vt_request_parse(&option, rows[i].option, "here", NULL));
        bool ok =
            vt_request_resolve(&option, &directive, settings, &allocation, &shape, notes, &error);
        const char *said = ok ? (notes->len ? notes->pdata[0] : NULL) : error->message;
        g_assert_cmpuint(shape.vcpus, ==, rows[i].vcpus);
        g_assert_cmpuint(shape.ram_mib, ==, rows[i].ram_mib);
        g_assert_true(said ? rows[i].says && g_pattern_match_simple(rows[i].says, said)
                           : !rows[i].says);
        vt_shape_clear(&shape);
        vt_request_clear(&option);
    }
}

static void test_origins(void)
{
    static const char site[] = "\nTIMEOUT=7\n";
    VtRequest option = {0}, directive = {0};
    VtShape shape = {0};
    VtAllocation allocation = {
        .cores = 2, .memory_mib = 4096, .host_cores = 4, .host_memory_mib = 8192};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(VtSettings) settings = vt_settings_parse(site, strlen(site), "x.conf", NULL);
    g_assert_true(vt_request_parse(&option, "img=tiny", "command line", NULL));
    g_assert_true(vt_request_parse(&directive, "ram=1G,img=host", "script line 3", NULL));
    g_assert_true(
        vt_request_resolve(&option, &directive, settings, &allocation, &shape, notes, NULL));
    g_assert_cmpint(shape.image, ==, VT_IMAGE_TINY);
    g_assert_cmpuint(shape.boot_timeout_s, ==, 7);
    g_assert_cmpstr(shape.origins[VT_REQUEST_IMG], ==, "command line");
    g_assert_cmpstr(shape.origins[VT_REQUEST_RAM], ==, "script line 3");
    g_assert_cmpstr(shape.origins[VT_REQUEST_BOOT_TIMEOUT], ==, "x.conf:2");
    g_assert_cmpstr(shape.origins[VT_REQUEST_VCPUS], ==, "default");
    vt_shape_clear(&shape);
    vt_request_clear(&option);
    vt_request_clear(&directive);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/request/good", test_good);
    g_test_add_func("/request/wrong", test_wrong);
    g_test_add_func("/request/resolve", test_resolve);
    g_test_add_func("/request/cgroup", test_cgroup);
    g_test_add_func("/request/origins", test_origins);
    return g_test_run();
}
