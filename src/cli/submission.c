/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/submission.c - everything about a local job before it starts.
 *
 * Theory of operation: vt_submission_new() goes through the steps of one table, each of which
 * reads, decides or checks one thing and may use what those before it left. The first that fails
 * ends it.
 *
 * Runs as: the user. Trusts: the site's settings.
 */
#include "cli/submission.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/batch.h"
#include "batch/local.h"
#include "cli/accel.h"
#include "cli/output.h"
#include "cli/script.h"
#include "ctl/folder.h"
#include "image/pool.h"
#include "job/environment.h"
#include "job/owner.h"
#include "share/command.h"

#define EPOCH_2025 1735689600        /* s since 1970: numbers of jobs start small */
#define OPEN_FILES_MAX (1024 * 1024) /* fs.nr_open of a fresh kernel: more is EPERM there */

/* What the steps hand on. */
typedef struct {
    VtSubmission *submission; /* being filled */
    VtJob *job;               /* its job */
    VtOptions *options;
    const VtSettings *settings;
    int stdin_fd;
    VtAllocation allocation;
    GPtrArray *request_notes; /* of char *: what the request's resolution says, until it is final */
} Draft;

static bool check_local(Draft *draft, GError **error)
{
    const char *batch = vt_batch_find();
    if (draft->options->is_local || (!batch && !vt_settings_has_site()))
        return true;
    return vt_error_set(error, VT_ERROR_USER,
                        "submitting to %s is not built yet; vsub --local runs the job here",
                        batch ? batch : "a batch system");
}

static bool load_script(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    submission->is_stdin_script = draft->options->script == NULL;
    submission->script =
        vt_script_load(draft->options->script, draft->stdin_fd, submission->notes, error);
    return submission->script != NULL;
}

static bool load_directives(Draft *draft, GError **error)
{
    gsize size;
    const void *script = g_bytes_get_data(draft->submission->script, &size);
    g_autoptr(GPtrArray) directives = vt_directives_parse(script, size, error);
    return directives &&
           vt_options_add_directives(draft->options, directives, draft->submission->notes, error);
}

/* The short name, made of what a job id may carry. */
static char *load_host_name(void)
{
    char name[HOST_NAME_MAX + 1] = "";
    gethostname(name, sizeof name - 1);
    name[strcspn(name, ".")] = '\0';
    g_strcanon(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-", '-');
    return g_strdup(vt_job_host_is_valid(name) ? name : "localhost");
}

static bool check_host(Draft *draft, GError **error)
{
    draft->job->host = load_host_name();
    if (!vt_settings_is_disabled_host(draft->settings, draft->job->host))
        return true;
    return vt_error_set(error, VT_ERROR_HOST, "virtual machines are disabled on '%s' (%s: %s)",
                        draft->job->host,
                        vt_settings_get_origin(draft->settings, VT_SETTING_DISABLED_HOSTS_LIST),
                        vt_setting_key(VT_SETTING_DISABLED_HOSTS_LIST));
}

static bool load_owner(Draft *draft, GError **error)
{
    VtOwner *owner = &draft->job->owner;
    if (!vt_owner_load(owner, error))
        return false;
    if (!vt_job_path_is_valid(owner->shell)) {
        g_free(owner->shell);
        owner->shell = g_strdup("/bin/sh"); /* what an empty field of passwd means */
    }
    if (vt_job_path_is_valid(owner->home) && g_file_test(owner->home, G_FILE_TEST_IS_DIR))
        return true;
    g_ptr_array_add(draft->submission->notes,
                    g_strdup_printf("home directory '%s' does not exist: / is used", owner->home));
    g_free(owner->home);
    owner->home = g_strdup("/");
    return true;
}

/* A job's name from its script's: blanks and controls would end it for qsub's own tools. */
static char *name_from_script(const char *script)
{
    char *name = script ? g_path_get_basename(script) : g_strdup("STDIN");
    for (char *at = name; *at; at++)
        if ((guchar)*at <= ' ' || *at == 0x7f)
            *at = '_';
    return name;
}

static bool name_job(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    /* No two of one machine: a pid is not given twice in a second. */
    draft->job->id = g_strdup_printf("%" G_GINT64_FORMAT "%05d.%s", (gint64)time(NULL) - EPOCH_2025,
                                     (int)getpid(), draft->job->host);
    draft->job->name =
        options->name.text ? g_strdup(options->name.text) : name_from_script(options->script);
    return true;
}

/* The image, and where its disk keeps what is written to it. */
static void take_disk(Draft *draft)
{
    const VtShape *shape = &draft->submission->shape;
    const VtSettings *settings = draft->settings;
    VtJob *job = draft->job;
    job->image = shape->image;
    if (job->image != VT_IMAGE_DISK)
        return;
    VtSetting place = shape->fs_type == VT_FS_SHAREDFS ? VT_SETTING_WS_DIR : VT_SETTING_RAMDISK_DIR;
    job->image_name = g_strdup(shape->image_name);
    job->image_dir = vt_pool_find(settings);
    job->init = shape->init;
    job->fs_type = shape->fs_type;
    if (place == VT_SETTING_WS_DIR || vt_settings_is_set(settings, place))
        job->scratch_dir = g_strdup(vt_settings_get_text(settings, place));
}

/* What follows from the RAM. */
static void take_ram(Draft *draft)
{
    VtJob *job = draft->job;
    guint64 tmp_mib = vt_settings_get_number(draft->settings, VT_SETTING_TMP_SIZE_DEFAULT);
    guint64 ramdisk_mib = vt_settings_get_number(draft->settings, VT_SETTING_RAMDISK_SIZE);
    job->ram_mib = draft->submission->shape.ram_mib;
    job->tmp_mib = tmp_mib ? tmp_mib : MAX(job->ram_mib / 2, 1);
    if (job->image == VT_IMAGE_DISK && !job->scratch_dir)
        job->scratch_mib = ramdisk_mib ? (guint)ramdisk_mib : job->ram_mib;
}

static bool resolve(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    vt_shape_clear(&draft->submission->shape);
    g_ptr_array_set_size(draft->request_notes, 0);
    return vt_request_resolve(
        &options->requests[VT_PLACE_LINE], &options->requests[VT_PLACE_SCRIPT], draft->settings,
        &draft->allocation, &draft->submission->shape, draft->request_notes, error);
}

/* As if the best acceleration worked that the site allows: it takes the least memory, and whether
 * it works is found out last. */
static bool resolve_request(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    VtSubmission *submission = draft->submission;
    VtLocalRequest asked = {(guint)options->ppn.number, options->memory.number / VT_MIB};
    bool may_accelerate =
        vt_settings_get_number(draft->settings, VT_SETTING_ACCEL) != (guint64)VT_ACCEL_TCG;
    VtHost host;
    if (!vt_host_load(&host, error))
        return false;
    draft->allocation = vt_local_allocate(&host, &asked, draft->settings, submission->notes);
    draft->allocation.accel = may_accelerate ? VT_ACCEL_KVM : VT_ACCEL_TCG;
    if (!resolve(draft, error))
        return false;
    VtJob *job = draft->job;
    take_disk(draft);
    take_ram(draft);
    job->locks = submission->shape.locks;
    job->file_server = (VtFileServer)vt_settings_get_number(draft->settings, VT_SETTING_VIRTIOFSD);
    if (!vt_server_check(job->file_server, job->locks, error))
        return false;
    job->vcpus = submission->shape.vcpus;
    job->boot_timeout_s = submission->shape.boot_timeout_s;
    job->walltime_s = (guint)options->walltime_s.number;
    job->kill_grace_s = (guint)vt_settings_get_number(draft->settings, VT_SETTING_KILL_GRACE);
    return true;
}

static bool is_below(const char *path, const char *folder)
{
    gsize length = strlen(folder);
    return g_str_has_prefix(path, folder) && (path[length] == '\0' || path[length] == '/');
}

/* The guest has its own of these. */
static bool is_shareable(const char *path)
{
    return !is_below(path, "/proc") && !is_below(path, "/sys") && !is_below(path, "/dev");
}

static bool load_submit_dir(Draft *draft, GError **error)
{
    char *real = realpath(".", NULL);
    if (!real || !vt_job_path_is_valid(real)) {
        free(real);
        return vt_error_set(error, VT_ERROR_USER, "the submit directory does not exist any more");
    }
    draft->job->submit_dir = g_strdup(real);
    free(real);
    if (!is_shareable(draft->job->submit_dir))
        return vt_error_set(error, VT_ERROR_USER,
                            "the submit directory '%s' cannot be shared with a guest: /proc, /sys "
                            "and /dev are its own",
                            draft->job->submit_dir);
    return true;
}

static bool load_mounts(Draft *draft, GError **error)
{
    const char *origin = vt_settings_get_origin(draft->settings, VT_SETTING_VM_MOUNTS);
    char *const *mounts = vt_settings_get_list(draft->settings, VT_SETTING_VM_MOUNTS);
    for (char *const *mount = mounts; *mount; mount++)
        if (strcmp(*mount, "/") == 0 || !is_shareable(*mount) ||
            !g_file_test(*mount, G_FILE_TEST_IS_DIR))
            return vt_error_set_value(error, VT_ERROR_CONFIG, origin, "VM_MOUNTS", *mount,
                                      "must be directories that exist, not / and not in /proc, "
                                      "/sys or /dev");
    draft->job->mounts = g_strdupv((GStrv)mounts);
    return true;
}

static bool is_shared(const VtJob *job, const char *path)
{
    /* A home or submit directory of / is in the guest without being shared. */
    bool shared = is_below(path, job->submit_dir) || is_below(path, job->owner.home);
    for (char **mount = job->mounts; !shared && *mount; mount++)
        shared = is_below(path, *mount);
    return shared;
}

static void add_mount(VtJob *job, const char *path)
{
    guint n = g_strv_length(job->mounts);
    job->mounts = g_renew(char *, job->mounts, n + 2);
    job->mounts[n] = g_strdup(path);
    job->mounts[n + 1] = NULL;
}

static bool load_work_dir(Draft *draft, GError **error)
{
    const VtOptionText *option = &draft->options->directory;
    if (!option->text) {
        draft->submission->cwd = g_strdup(draft->job->submit_dir);
        return true;
    }
    char *real = realpath(option->text, NULL);
    bool ok = real && g_file_test(real, G_FILE_TEST_IS_DIR) && access(real, X_OK) == 0 &&
              is_shareable(real);
    draft->submission->cwd = g_strdup(real);
    free(real);
    if (!ok)
        return vt_error_set_value(error, VT_ERROR_USER, option->origin, "-d", option->text,
                                  "must be a directory that exists, not in /proc, /sys or /dev");
    if (strcmp(draft->submission->cwd, "/") != 0 && !is_shared(draft->job, draft->submission->cwd))
        add_mount(draft->job, draft->submission->cwd);
    return true;
}

/* Found wrong now rather than by the engine. */
static bool check_scratch(const Draft *draft, GError **error)
{
    const char *dir = draft->job->scratch_dir;
    if (!dir || (g_file_test(dir, G_FILE_TEST_IS_DIR) && access(dir, W_OK | X_OK) == 0))
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "fs_type '%s' (%s): '%s' is no directory that you may write to",
                        vt_choice_word(&vt_fs_type_choice, draft->job->fs_type),
                        draft->submission->shape.origins[VT_REQUEST_FS_TYPE], dir);
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
static bool find_image(Draft *draft, GError **error)
{
    const VtShape *shape = &draft->submission->shape;
    g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
    if (draft->job->image != VT_IMAGE_DISK)
        return true;
    if (!vt_pool_open(draft->job->image_dir, draft->job->image_name, geteuid(), &image, error) ||
        !check_record(image.record, shape, error))
        return false;
    draft->submission->record = g_steal_pointer(&image.record);
    return check_scratch(draft, error);
}

static bool has_file(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) && access(path, R_OK) == 0;
}

static bool find_kernel(Draft *draft, GError **error)
{
    VtJob *job = draft->job;
    const char *folder = vt_settings_get_text(draft->settings, VT_SETTING_GUEST_KERNEL);
    bool is_own = draft->submission->record && draft->submission->record->kernel;
    job->kernel_dir = folder ? g_strdup(folder)
                             : g_build_filename(g_get_user_cache_dir(), "vtorque", "guest", NULL);
    const char *initrd = job->image == VT_IMAGE_TINY ? "initramfs-tiny" : "initramfs";
    const char *kernel = has_file(job->kernel_dir, "vmlinux") ? "vmlinux" : "vmlinuz";
    if (!vt_job_path_is_valid(job->kernel_dir) ||
        (!is_own && (!has_file(job->kernel_dir, kernel) || !has_file(job->kernel_dir, initrd))))
        return vt_error_set(error, VT_ERROR_HOST,
                            "no guest kernel in '%s': run 'make run' or set GUEST_KERNEL",
                            job->kernel_dir);
    draft->submission->kernel_file = g_strdup(kernel);
    return true;
}

static bool load_command(Draft *draft, GError **error)
{
    return vt_login_load(&draft->submission->command, draft->job, &draft->options->shell,
                         &draft->options->arguments, draft->submission->notes, error);
}

static bool load_environment(Draft *draft, GError **error)
{
    g_autoptr(GStrvBuilder) variables = g_strv_builder_new();
    for (guint place = 0; place < VT_PLACES; place++) {
        const GPtrArray *list = draft->options->variables[place];
        for (guint i = 0; i < list->len; i++)
            g_strv_builder_add(variables, list->pdata[i]);
    }
    g_auto(GStrv) all = g_strv_builder_end(variables);
    g_auto(GStrv) own = g_get_environ();
    VtEnvironmentSource source = {
        .job = draft->job,
        .submit_environment = own,
        .work_dir = draft->submission->cwd,
        .is_all_exported = draft->options->is_all_exported,
        .variables = all,
    };
    draft->submission->environment = vt_environment_new(&source, draft->submission->notes, error);
    return draft->submission->environment != NULL;
}

static guint64 limit_value(rlim_t limit)
{
    return limit == RLIM_INFINITY ? G_MAXUINT64 : limit;
}

static bool load_limits(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    submission->umask = umask(0);
    umask(submission->umask);
    submission->limits = g_array_new(FALSE, FALSE, sizeof(VtLimit));
    for (int resource = 0; resource < (int)RLIM_NLIMITS; resource++) {
        struct rlimit own;
        if (getrlimit((__rlimit_resource_t)resource, &own) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot read own limits");
        VtLimit limit = {resource, limit_value(own.rlim_cur), limit_value(own.rlim_max)};
        if (resource == RLIMIT_NOFILE) {
            limit.soft = MIN(limit.soft, OPEN_FILES_MAX);
            limit.hard = MIN(limit.hard, OPEN_FILES_MAX);
        }
        g_array_append_val(submission->limits, limit);
    }
    return true;
}

static VtJoin find_join(const VtOptionText *option)
{
    if (!option->text || strcmp(option->text, "n") == 0)
        return VT_JOIN_NONE;
    return strcmp(option->text, "oe") == 0 ? VT_JOIN_OUTPUT : VT_JOIN_ERROR;
}

static bool find_outputs(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    VtSubmission *submission = draft->submission;
    GError *problem = NULL;
    submission->join = find_join(&options->join);
    submission->output_path =
        vt_output_find("-o", &options->output, draft->job->submit_dir, draft->job, 'o', &problem);
    if (!problem)
        submission->error_path = vt_output_find("-e", &options->error, draft->job->submit_dir,
                                                draft->job, 'e', &problem);
    if (!problem && options->report)
        submission->report_path = vt_output_check("--report", "command line", options->report,
                                                  draft->job->submit_dir, &problem);
    if (problem) {
        g_propagate_error(error, problem);
        return false;
    }
    /* Two writers of one file would overwrite each other. */
    if (submission->join == VT_JOIN_NONE && submission->output_path &&
        g_strcmp0(submission->output_path, submission->error_path) == 0)
        submission->join = VT_JOIN_OUTPUT;
    return true;
}

/* Last: it is the one step that takes time. */
static bool choose_accel(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    const char *origin = vt_settings_get_origin(draft->settings, VT_SETTING_ACCEL);
    bool is_auto =
        vt_settings_get_number(draft->settings, VT_SETTING_ACCEL) == (guint64)VT_ACCEL_AUTO;
    char root[PATH_MAX];
    bool has_root = ctl_root_path(root, sizeof root) == 0;
    submission->accel_origin = g_strconcat(is_auto ? "auto, " : "", origin, NULL);
    return vt_accel_choose(draft->settings, &vt_probe_kernel, has_root ? root : NULL,
                           &draft->job->accel, submission->warnings, error);
}

/* An emulated processor takes memory of its own: where it came out as one, the RAM may have to be
 * less. */
static bool fit_memory(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    if (draft->job->accel != draft->allocation.accel) {
        draft->allocation.accel = draft->job->accel;
        if (!resolve(draft, error))
            return false;
        take_ram(draft);
    }
    for (guint i = 0; i < draft->request_notes->len; i++)
        g_ptr_array_add(submission->notes, g_strdup(draft->request_notes->pdata[i]));
    return true;
}

/* What the engine will check again: a value that it would refuse is refused here. */
static bool check_document(Draft *draft, GError **error)
{
    g_autofree char *document = vt_job_save(draft->job);
    g_autoptr(VtJob) copy = vt_job_load(document, strlen(document), error);
    return copy != NULL;
}

typedef bool (*Step)(Draft *draft, GError **error);

static const Step steps[] = {
    check_local,  load_script,     load_directives, check_host,       load_owner,
    name_job,     resolve_request, load_submit_dir, load_mounts,      load_work_dir,
    find_image,   find_kernel,     load_command,    load_environment, load_limits,
    find_outputs, choose_accel,    fit_memory,      check_document,
};

static void take_warnings(VtSubmission *submission, const VtSettings *settings)
{
    const GPtrArray *warnings = vt_settings_get_warnings(settings);
    for (guint i = 0; i < warnings->len; i++)
        g_ptr_array_add(submission->warnings, g_strdup(warnings->pdata[i]));
}

VtSubmission *vt_submission_new(VtOptions *options, const VtSettings *settings, int stdin_fd,
                                GError **error)
{
    g_autoptr(VtSubmission) submission = g_new0(VtSubmission, 1);
    submission->job = g_new0(VtJob, 1);
    submission->notes = g_ptr_array_new_with_free_func(g_free);
    submission->warnings = g_ptr_array_new_with_free_func(g_free);
    submission->is_dry_run = options->is_dry_run;
    submission->is_verbose = options->is_verbose;
    take_warnings(submission, settings);
    g_autoptr(GPtrArray) request_notes = g_ptr_array_new_with_free_func(g_free);
    Draft draft = {.submission = submission,
                   .job = submission->job,
                   .options = options,
                   .settings = settings,
                   .stdin_fd = stdin_fd,
                   .request_notes = request_notes};
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!steps[i](&draft, error))
            return NULL;
    return g_steal_pointer(&submission);
}

void vt_submission_free(VtSubmission *submission)
{
    if (!submission)
        return;
    vt_job_free(submission->job);
    vt_shape_clear(&submission->shape);
    vt_record_free(submission->record);
    g_free(submission->accel_origin);
    g_free(submission->kernel_file);
    g_free(submission->cwd);
    vt_login_clear(&submission->command);
    g_strfreev(submission->environment);
    g_clear_pointer(&submission->limits, g_array_unref);
    g_clear_pointer(&submission->script, g_bytes_unref);
    g_free(submission->output_path);
    g_free(submission->error_path);
    g_free(submission->report_path);
    g_ptr_array_unref(submission->notes);
    g_ptr_array_unref(submission->warnings);
    g_free(submission);
}
