/* SPDX-License-Identifier: Apache-2.0 */
/* node/decision.c - request, settings and allocation become a job document. */
#include "node/decision.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "batch/local.h"
#include "ctl/folder.h"
#include "image/pool.h"
#include "net/uplink.h"
#include "node/accel.h"
#include "share/command.h"

void vt_decision_init(VtDecision *decision, const VtSettings *settings)
{
    const GPtrArray *warnings = vt_settings_get_warnings(settings);
    *decision = (VtDecision){
        .job = g_new0(VtJob, 1),
        .notes = g_ptr_array_new_with_free_func(g_free),
        .warnings = g_ptr_array_new_with_free_func(g_free),
        .request_notes = g_ptr_array_new_with_free_func(g_free),
    };
    decision->job->nodes = 1;
    for (guint i = 0; i < warnings->len; i++)
        g_ptr_array_add(decision->warnings, g_strdup(warnings->pdata[i]));
}

void vt_decision_clear(VtDecision *decision)
{
    vt_job_free(decision->job);
    vt_shape_clear(&decision->shape);
    vt_record_free(decision->record);
    g_free(decision->accel_origin);
    g_free(decision->kernel_file);
    g_clear_pointer(&decision->notes, g_ptr_array_unref);
    g_clear_pointer(&decision->warnings, g_ptr_array_unref);
    g_clear_pointer(&decision->request_notes, g_ptr_array_unref);
    *decision = (VtDecision){0};
}

/* Made of what a job id may carry. */
static char *load_host_name(void)
{
    char *name = g_strcanon(vt_host_name(), G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-", '-');
    if (vt_job_host_is_valid(name))
        return name;
    g_free(name);
    return g_strdup("localhost");
}

bool vt_decision_check_host(VtDecision *decision, const VtGiven *given, GError **error)
{
    decision->job->host = load_host_name();
    return vt_settings_check_host(given->settings, decision->job->host, error);
}

const char *vt_decision_scratch_dir(const VtSettings *settings, VtFsType type)
{
    VtSetting place = type == VT_FS_SHAREDFS ? VT_SETTING_WS_DIR : VT_SETTING_RAMDISK_DIR;
    bool is_dir = place == VT_SETTING_WS_DIR || vt_settings_is_set(settings, place);
    return is_dir ? vt_settings_get_text(settings, place) : NULL;
}

/* The image, and where its disk keeps what is written to it. */
static void take_disk(VtDecision *decision, const VtGiven *given)
{
    const VtShape *shape = &decision->shape;
    const VtSettings *settings = given->settings;
    VtJob *job = decision->job;
    job->image = shape->image;
    if (job->image != VT_IMAGE_DISK)
        return;
    job->image_name = g_strdup(shape->image_name);
    job->image_dir = vt_pool_find(settings);
    job->init = shape->init;
    job->fs_type = shape->fs_type;
    job->scratch_dir = g_strdup(vt_decision_scratch_dir(settings, shape->fs_type));
}

/* Where nobody asked for a way out, a machine that has none is no fault of the job's. */
static bool find_uplink(VtDecision *decision, const VtSettings *settings, GError **error)
{
    VtJob *job = decision->job;
    const VtShape *shape = &decision->shape;
    const char *missing = shape->net == VT_NET_NONE ? NULL : vt_uplink_missing();
    job->net = shape->net;
    job->has_uplink = shape->net != VT_NET_NONE && !missing;
    if (!missing || shape->net == VT_NET_PRIVATE)
        return true;
    job->net = VT_NET_NONE;
    if (vt_settings_is_set(settings, VT_SETTING_NET_DEFAULT) && !shape->has_net)
        g_ptr_array_add(decision->notes, g_strdup_printf("no network for the guest: %s", missing));
    return !shape->has_net || vt_error_set(error, VT_ERROR_HOST, "%s: net 'user': %s",
                                           shape->origins[VT_REQUEST_NET], missing);
}

/* What the machine looks names up in, as far as a guest's file has room. (transfer full) */
static GStrv load_search_list(void)
{
    g_auto(GStrv) all = vt_uplink_search_list();
    g_autoptr(GStrvBuilder) fit = g_strv_builder_new();
    for (guint i = 0; all[i] && i < VT_SEARCH_DOMAINS_MAX; i++)
        if (vt_network_name_is_valid(all[i]))
            g_strv_builder_add(fit, all[i]);
    return g_strv_builder_end(fit);
}

/* Who answers the guest: the site's servers, else those that this machine asks. */
static void take_names(VtDecision *decision, const VtSettings *settings)
{
    VtJob *job = decision->job;
    char *const domain[] = {job->domain, NULL};
    if (vt_settings_is_set(settings, VT_SETTING_NAME_SERVER))
        job->name_servers =
            g_strdupv((GStrv)vt_settings_get_list(settings, VT_SETTING_NAME_SERVER));
    else if (job->has_uplink)
        job->name_servers = vt_uplink_name_servers();
    if (vt_settings_is_set(settings, VT_SETTING_SEARCH_DOMAIN))
        job->search_domains =
            g_strdupv((GStrv)vt_settings_get_list(settings, VT_SETTING_SEARCH_DOMAIN));
    else if (job->domain)
        job->search_domains = g_strdupv((GStrv)domain);
    else if (job->has_uplink)
        job->search_domains = load_search_list();
}

static bool take_network(VtDecision *decision, const VtSettings *settings, GError **error)
{
    static const VtSetting time_servers[] = {VT_SETTING_NTP_SERVER_1, VT_SETTING_NTP_SERVER_2};
    g_autoptr(GStrvBuilder) servers = g_strv_builder_new();
    VtJob *job = decision->job;
    if (!find_uplink(decision, settings, error))
        return false;
    job->mac_prefix = (guint)vt_settings_get_number(settings, VT_SETTING_MAC_PREFIX);
    job->domain = g_strdup(vt_settings_get_text(settings, VT_SETTING_DOMAIN));
    take_names(decision, settings);
    for (gsize i = 0; i < G_N_ELEMENTS(time_servers); i++)
        if (vt_settings_is_set(settings, time_servers[i]))
            g_strv_builder_add(servers, vt_settings_get_text(settings, time_servers[i]));
    job->time_servers = g_strv_builder_end(servers);
    return true;
}

/* What follows from the RAM. */
static void take_ram(VtDecision *decision, const VtGiven *given)
{
    VtJob *job = decision->job;
    guint64 tmp_mib = vt_settings_get_number(given->settings, VT_SETTING_TMP_SIZE_DEFAULT);
    guint64 ramdisk_mib = vt_settings_get_number(given->settings, VT_SETTING_RAMDISK_SIZE);
    job->vms = decision->shape.vms;
    job->ram_mib = decision->shape.ram_mib;
    job->tmp_mib = tmp_mib ? tmp_mib : MAX(job->ram_mib / 2, 1);
    if (job->image == VT_IMAGE_DISK && !job->scratch_dir)
        job->scratch_mib = ramdisk_mib ? (guint)ramdisk_mib : job->ram_mib;
}

static bool resolve(VtDecision *decision, const VtGiven *given, GError **error)
{
    vt_shape_clear(&decision->shape);
    g_ptr_array_set_size(decision->request_notes, 0);
    return vt_request_resolve(given->option, given->directive, given->settings, &given->allocation,
                              &decision->shape, decision->request_notes, error);
}

/* Emulation is 20 to 100 times slower: a node of a batch system without KVM is a node's fault, unless
 * the site says otherwise. */
static VtAccel wanted_accel(const VtGiven *given)
{
    if (given->is_batch && !vt_settings_is_set(given->settings, VT_SETTING_ACCEL))
        return VT_ACCEL_KVM;
    return (VtAccel)vt_settings_get_number(given->settings, VT_SETTING_ACCEL);
}

bool vt_decision_resolve(VtDecision *decision, VtGiven *given, GError **error)
{
    const VtSettings *settings = given->settings;
    VtJob *job = decision->job;
    /* Emulation takes more memory, and whether KVM works is found out last. */
    given->allocation.accel = wanted_accel(given) == VT_ACCEL_TCG ? VT_ACCEL_TCG : VT_ACCEL_KVM;
    if (!resolve(decision, given, error))
        return false;
    if (!take_network(decision, settings, error))
        return false;
    take_disk(decision, given);
    take_ram(decision, given);
    job->locks = decision->shape.locks;
    job->file_server = (VtFileServer)vt_settings_get_number(settings, VT_SETTING_VIRTIOFSD);
    job->vcpus = decision->shape.vcpus;
    job->boot_timeout_s = decision->shape.boot_timeout_s;
    job->kill_grace_s = (guint)vt_settings_get_number(settings, VT_SETTING_KILL_GRACE);
    return vt_server_check(job->file_server, job->locks, error);
}

bool vt_decision_is_below(const char *path, const char *folder)
{
    gsize length = strlen(folder);
    return g_str_has_prefix(path, folder) && (path[length] == '\0' || path[length] == '/');
}

/* The guest has its own of these. */
bool vt_decision_is_shareable(const char *path)
{
    return !vt_decision_is_below(path, "/proc") && !vt_decision_is_below(path, "/sys") &&
           !vt_decision_is_below(path, "/dev");
}

bool vt_decision_load_mounts(VtDecision *decision, const VtGiven *given, GError **error)
{
    const char *origin = vt_settings_get_origin(given->settings, VT_SETTING_VM_MOUNTS);
    char *const *mounts = vt_settings_get_list(given->settings, VT_SETTING_VM_MOUNTS);
    for (char *const *mount = mounts; *mount; mount++)
        if (strcmp(*mount, "/") == 0 || !vt_decision_is_shareable(*mount) ||
            !g_file_test(*mount, G_FILE_TEST_IS_DIR))
            return vt_error_set_value(error, VT_ERROR_CONFIG, origin, "VM_MOUNTS", *mount,
                                      "must be directories that exist, not / and not in /proc, "
                                      "/sys or /dev");
    decision->job->mounts = g_strdupv((GStrv)mounts);
    return true;
}

/* Found wrong now rather than by the engine. */
static bool check_scratch(const VtDecision *decision, GError **error)
{
    const char *dir = decision->job->scratch_dir;
    if (!dir || (g_file_test(dir, G_FILE_TEST_IS_DIR) && access(dir, W_OK | X_OK) == 0))
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "fs_type '%s' (%s): '%s' is no directory that you may write to",
                        vt_choice_word(&vt_fs_type_choice, decision->job->fs_type),
                        decision->shape.origins[VT_REQUEST_FS_TYPE], dir);
}

/* An image is of one family and for one architecture; a job that names another is mistaken. */
static bool check_record(const VtRecord *record, const VtShape *shape, GError **error)
{
    if (shape->has_family && record->family != shape->family)
        return vt_error_set(error, VT_ERROR_USER, "%s: distro '%s': image '%s' is of family '%s'",
                            shape->origins[VT_REQUEST_DISTRO],
                            vt_choice_word(&vt_family_choice, shape->family), record->name,
                            vt_choice_word(&vt_family_choice, record->family));
    if (record->arch != shape->arch)
        return vt_error_set(error, VT_ERROR_USER, "%s: arch '%s': image '%s' is for '%s'",
                            shape->origins[VT_REQUEST_ARCH],
                            vt_choice_word(&vt_arch_choice, shape->arch), record->name,
                            vt_choice_word(&vt_arch_choice, record->arch));
    return record->has_init[shape->init] ||
           vt_error_set(error, VT_ERROR_USER, "%s: init '%s': image '%s' cannot be booted so",
                        shape->origins[VT_REQUEST_INIT],
                        vt_choice_word(&vt_init_choice, shape->init), record->name);
}

/* The record of the image, which must be of the family that was asked for. */
bool vt_decision_find_image(VtDecision *decision, const VtGiven *given, GError **error)
{
    const VtShape *shape = &decision->shape;
    g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
    if (decision->job->image != VT_IMAGE_DISK)
        return true;
    if (!vt_pool_open(decision->job->image_dir, decision->job->image_name, geteuid(), &image,
                      error) ||
        !check_record(image.record, shape, error))
        return false;
    decision->record = g_steal_pointer(&image.record);
    return check_scratch(decision, error);
}

static bool has_file(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) && access(path, R_OK) == 0;
}

bool vt_decision_find_kernel(VtDecision *decision, const VtGiven *given, GError **error)
{
    VtJob *job = decision->job;
    const char *folder = vt_settings_get_text(given->settings, VT_SETTING_GUEST_KERNEL);
    bool is_own = decision->record && decision->record->kernel;
    job->kernel_dir = folder ? g_strdup(folder)
                             : g_build_filename(g_get_user_cache_dir(), "vtorque", "guest", NULL);
    const char *initrd = job->image == VT_IMAGE_TINY ? "initramfs-tiny" : "initramfs";
    const char *kernel = has_file(job->kernel_dir, "vmlinux") ? "vmlinux" : "vmlinuz";
    if (!vt_job_path_is_valid(job->kernel_dir) ||
        (!is_own && (!has_file(job->kernel_dir, kernel) || !has_file(job->kernel_dir, initrd))))
        return vt_error_set(error, VT_ERROR_HOST,
                            "no guest kernel in '%s': run 'make run' or set GUEST_KERNEL",
                            job->kernel_dir);
    decision->kernel_file = g_strdup(kernel);
    return true;
}

/* Last: it is the one step that takes time. */
bool vt_decision_choose_accel(VtDecision *decision, const VtGiven *given, GError **error)
{
    const char *origin = vt_settings_get_origin(given->settings, VT_SETTING_ACCEL);
    VtAccel wanted = wanted_accel(given);
    char root[PATH_MAX];
    bool has_root = ctl_root_path(root, sizeof root) == 0;
    decision->accel_origin = g_strconcat(wanted == VT_ACCEL_AUTO ? "auto, " : "", origin, NULL);
    return vt_accel_choose(wanted, origin, &vt_probe_kernel, has_root ? root : NULL,
                           &decision->job->accel, decision->warnings, error);
}

/* An emulated processor takes memory of its own: where it came out as one, the RAM may have to be
 * less. */
static bool fit_memory(VtDecision *decision, VtGiven *given, GError **error)
{
    if (decision->job->accel != given->allocation.accel) {
        given->allocation.accel = decision->job->accel;
        if (!resolve(decision, given, error))
            return false;
        take_ram(decision, given);
    }
    for (guint i = 0; i < decision->request_notes->len; i++)
        g_ptr_array_add(decision->notes, g_strdup(decision->request_notes->pdata[i]));
    return true;
}

/* What the engine will check again: a value that it would refuse is refused here. */
static bool check_document(const VtDecision *decision, GError **error)
{
    g_autofree char *document = vt_job_save(decision->job);
    g_autoptr(VtJob) copy = vt_job_load(document, strlen(document), error);
    return copy != NULL;
}

bool vt_decision_finish(VtDecision *decision, VtGiven *given, GError **error)
{
    return vt_decision_choose_accel(decision, given, error) && fit_memory(decision, given, error) &&
           check_document(decision, error);
}
