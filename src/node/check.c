/* SPDX-License-Identifier: Apache-2.0 */
/* node/check.c - whether this machine is a node of vTorque's. */
#include "node/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program.h"
#include "base/size.h"
#include "batch/local.h"
#include "conf/settings.h"
#include "ctl/door.h"
#include "ctl/mom.h"
#include "ctl/run.h"
#include "image/pool.h"
#include "image/scratch.h"
#include "image/trusted.h"
#include "net/uplink.h"
#include "node/credential.h"
#include "node/decision.h"
#include "node/hooks.h"
#include "node/peer.h"
#include "share/command.h"
#include "vm/machine.h"

#define CONFIG_MAX (1024 * 1024) /* bytes of mom's configuration */

typedef struct {
    const VtCheckOptions *options;
    VtSettings *settings;
    const char *home;
    GPtrArray *findings;
} Check;

static void finding_free(gpointer data)
{
    VtFinding *finding = data;
    g_free(finding->text);
    g_free(finding);
}

/* Takes `text`. */
static void add(Check *check, const char *what, VtCheckState state, char *text)
{
    VtFinding *finding = g_new(VtFinding, 1);
    *finding = (VtFinding){what, state, text};
    g_ptr_array_add(check->findings, finding);
}

const char *vt_check_word(VtCheckState state)
{
    static const char *const words[] = {"ok", "missing", "wrong", "unseen"};
    return words[state];
}

/* What is wrong is told with the built-in settings. */
static void check_settings(Check *check)
{
    g_autoptr(GError) error = NULL;
    const char *file = check->options->settings_file;
    check->settings = vt_settings_load(file, &error);
    if (error)
        add(check, "settings", VT_CHECK_WRONG, g_strdup(error->message));
    else if (!g_file_test(file, G_FILE_TEST_EXISTS))
        add(check, "settings", VT_CHECK_MISSING, g_strdup_printf("there is no %s", file));
    else
        add(check, "settings", VT_CHECK_OK, g_strdup(file));
    if (!check->settings)
        check->settings = vt_settings_parse("", 0, file, NULL);
    check->home = check->options->torque_home
                      ? check->options->torque_home
                      : vt_settings_get_text(check->settings, VT_SETTING_TORQUE_HOME);
}

/* Root runs most of them, and users vtorque-run where root put it. */
static VtCheckState judge_program(const char *path, char **text)
{
    g_autofree char *directory = g_path_get_dirname(path), *name = g_path_get_basename(path);
    g_autoptr(GError) error = NULL;
    vt_autofd folder = -1, file = -1;
    if (!vt_trusted_open_folder(directory, 0, &folder, &error) ||
        !vt_trusted_open_file(folder, name, 0, &file, &error)) {
        *text = g_strdup(error->message);
        return VT_CHECK_WRONG;
    }
    *text = g_canonicalize_filename(directory, NULL);
    return VT_CHECK_OK;
}

static void check_programs(Check *check)
{
    static const char *const names[] = {
        "vtorqued",      "vtorque-keeper", "vtorque-engine", "vtorque-engine-nodes",
        "vtorque-reach", "vtorque-run",    VT_HOOK_PROGRAM};
    g_autofree char *text = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = vt_program_find_below(check->options->prefix, names[i], &error);
        g_free(g_steal_pointer(&text));
        VtCheckState state = path ? judge_program(path, &text) : VT_CHECK_MISSING;
        if (state != VT_CHECK_OK) {
            add(check, "programs", state, path ? g_steal_pointer(&text) : g_strdup(error->message));
            return;
        }
    }
    add(check, "programs", VT_CHECK_OK, g_steal_pointer(&text));
}

static VtCheckState judge_site(const VtHook *hook, char **text)
{
    const VtHookFile *site = &hook->site;
    const char *version = hook->hook.version;
    if (vt_hook_is_ours(site)) {
        *text = g_strdup_printf("%s" CTL_MOM_SITE " is a copy of it", hook->name);
        return VT_CHECK_WRONG;
    }
    if (site->problem) {
        *text = g_strdup_printf("%s" CTL_MOM_SITE " %s", hook->name, site->problem);
        return VT_CHECK_WRONG;
    }
    *text = site->kind == VT_HOOK_NONE ? g_strdup(version)
                                       : g_strdup_printf("%s, and the site's own", version);
    return VT_CHECK_OK;
}

static VtCheckState judge_hook(const VtHooks *hooks, const VtHook *hook, char **text)
{
    switch (hook->hook.kind) {
    case VT_HOOK_NONE:
        *text = g_strdup("not installed");
        return VT_CHECK_MISSING;
    case VT_HOOK_UNSEEN:
        *text = g_strdup("may not be read by this user");
        return VT_CHECK_UNSEEN;
    case VT_HOOK_SITE:
        *text = g_strdup(hook->is_one ? "not vTorque's yet: an installation was interrupted"
                                      : "not vTorque's");
        return VT_CHECK_WRONG;
    default:
        break;
    }
    if (hook->hook.problem) {
        *text = g_strdup(hook->hook.problem);
        return VT_CHECK_WRONG;
    }
    if (hook->hook.kind == VT_HOOK_OTHER) {
        *text = g_strdup_printf(
            hooks->program ? "%s, which is not the " VT_HOOK_PROGRAM " of this installation"
                           : "%s, and no " VT_HOOK_PROGRAM " to compare it with",
            hook->hook.version);
        return hooks->program ? VT_CHECK_WRONG : VT_CHECK_UNSEEN;
    }
    return judge_site(hook, text);
}

/* The folder's own mode: whoever runs the hook of users must come through. */
static void check_folder(Check *check, const VtHooks *hooks)
{
    struct stat st;
    if (hooks->is_noexec)
        add(check, CTL_MOM_FOLDER, VT_CHECK_WRONG,
            g_strdup_printf("%s is mounted with noexec", hooks->path));
    else if (fstat(hooks->folder, &st) == 0 && !(st.st_mode & S_IXOTH))
        add(check, CTL_MOM_FOLDER, VT_CHECK_WRONG,
            g_strdup_printf("%s has mode %04o: users must come through, for epilogue.precancel",
                            hooks->path, st.st_mode & 07777));
    else
        add(check, CTL_MOM_FOLDER, VT_CHECK_OK, g_strdup(hooks->path));
}

/* How long a guest has, as the hook reads it, against what the settings promise. */
static void check_limit(Check *check, const VtHooks *hooks)
{
    const VtSettings *settings = check->settings;
    bool is_set = vt_settings_is_set(settings, VT_SETTING_PROLOGUE_TIMEOUT);
    VtSetting promise = is_set ? VT_SETTING_PROLOGUE_TIMEOUT : VT_SETTING_TIMEOUT;
    guint64 need_s = vt_settings_get_number(settings, promise) + CTL_MOM_RESERVE_S;
    guint64 wait_s = vt_settings_get_number(settings, VT_SETTING_RUN_WAIT);
    vt_autofd fd = openat(hooks->folder, CTL_MOM_CONFIG, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) {
        add(check, "prologalarm", VT_CHECK_UNSEEN,
            g_strdup_printf("%s/" CTL_MOM_CONFIG " may not be read by this user", hooks->path));
        return;
    }
    g_autoptr(GBytes) text = fd < 0 ? NULL : vt_fd_read_all(fd, CONFIG_MAX, CTL_MOM_CONFIG, NULL);
    guint64 limit_s = (guint64)ctl_mom_limit_s(text ? g_bytes_get_data(text, NULL) : "");
    if (limit_s < need_s)
        add(check, "prologalarm", VT_CHECK_WRONG,
            g_strdup_printf("$prologalarm %" G_GUINT64_FORMAT ": must be %" G_GUINT64_FORMAT
                            " or more for %s",
                            limit_s, need_s, vt_setting_key(promise)));
    else if (wait_s < 2 * limit_s + 60)
        add(check, "prologalarm", VT_CHECK_WRONG,
            g_strdup_printf("$prologalarm %" G_GUINT64_FORMAT
                            ": RUN_WAIT must be %" G_GUINT64_FORMAT " or more",
                            limit_s, 2 * limit_s + 60));
    else
        add(check, "prologalarm", VT_CHECK_OK, g_strdup_printf("%" G_GUINT64_FORMAT " s", limit_s));
}

static void check_hooks(Check *check)
{
    g_autofree char *program = vt_program_find_below(check->options->prefix, VT_HOOK_PROGRAM, NULL);
    g_auto(VtHooks) hooks = VT_HOOKS_NONE;
    g_autoptr(GError) error = NULL;
    /* What is wrong with the program was told before. */
    if (!vt_hooks_open(check->home, program, false, &hooks, NULL) &&
        !vt_hooks_open(check->home, NULL, false, &hooks, &error)) {
        g_autofree char *path = g_build_filename(check->home, CTL_MOM_FOLDER, NULL);
        bool is_there = g_file_test(path, G_FILE_TEST_EXISTS);
        add(check, CTL_MOM_FOLDER, is_there ? VT_CHECK_WRONG : VT_CHECK_MISSING,
            g_strdup(error->message));
        return;
    }
    check_folder(check, &hooks);
    for (gsize i = 0; i < VT_HOOKS_N; i++) {
        char *text = NULL;
        VtCheckState state = judge_hook(&hooks, &hooks.hooks[i], &text);
        add(check, hooks.hooks[i].name, state, text);
    }
    check_limit(check, &hooks);
}

/* Asked for a job that there is not: a process of its own has to answer. */
static void check_daemon(Check *check)
{
    static guint8 payload[WIRE_PAYLOAD_MAX];
    WireHeader header = {0};
    vt_autofd door = ctl_door_connect(CTL_DOOR_USER, 0);
    if (door < 0) {
        add(check, "daemon", VT_CHECK_MISSING, g_strdup("vtorqued does not run"));
        return;
    }
    int err = ctl_door_send_text(door, CTL_DOOR_RUN, 0, "vmgr-setup");
    if (err == 0)
        err = ctl_door_receive(door, &header, payload, CTL_DOOR_SPEAK_MS);
    if (err == 0 && header.type == CTL_OUTCOME)
        add(check, "daemon", VT_CHECK_OK, g_strdup("vtorqued answers"));
    else
        add(check, "daemon", VT_CHECK_WRONG,
            g_strdup_printf("vtorqued does not answer: %s",
                            err < 0 ? g_strerror(-err) : "it says something else"));
}

static void check_qemu(Check *check)
{
    VtFileServer server =
        (VtFileServer)vt_settings_get_number(check->settings, VT_SETTING_VIRTIOFSD);
    const VtServerKind *kind = vt_server_kind(server);
    if (!g_file_test(VT_QEMU_PROGRAM, G_FILE_TEST_IS_EXECUTABLE))
        add(check, "qemu", VT_CHECK_MISSING, g_strdup_printf("there is no %s", VT_QEMU_PROGRAM));
    else if (!vt_server_find(kind))
        add(check, "qemu", VT_CHECK_MISSING, g_strdup_printf("%s is not installed", kind->name));
    else
        add(check, "qemu", VT_CHECK_OK, g_strdup(VT_QEMU_PROGRAM));
}

/* Where the site does not say that guests have a way out, they may have none. */
static void check_uplink(Check *check)
{
    const char *missing = vt_uplink_missing();
    bool is_wanted = vt_settings_is_set(check->settings, VT_SETTING_NET_DEFAULT) &&
                     vt_settings_get_number(check->settings, VT_SETTING_NET_DEFAULT) == VT_NET_USER;
    add(check, "uplink", missing && is_wanted ? VT_CHECK_MISSING : VT_CHECK_OK,
        g_strdup_printf("%s%s", missing ? "none: " : "", missing ? missing : VT_UPLINK_PROGRAM));
}

/* The kernel's directory decides what runs in everybody's guests. */
static VtCheckState judge_kernel(const VtDecision *decision, char **text)
{
    g_autoptr(GError) error = NULL;
    vt_autofd folder = -1;
    if (geteuid() == 0 && !vt_trusted_open_folder(decision->job->kernel_dir, 0, &folder, &error)) {
        *text = g_strdup_printf("GUEST_KERNEL: %s", error->message);
        return VT_CHECK_WRONG;
    }
    *text = g_strdup(decision->job->kernel_dir);
    return VT_CHECK_OK;
}

/* The daemon is root, whose cache and whose rights count where the settings name nothing. */
static void check_guest(Check *check)
{
    const VtRequest none = {0};
    const VtGiven given = {
        .settings = check->settings, .option = &none, .directive = &none, .is_batch = true};
    VtDecision decision;
    char *text = NULL;
    g_autoptr(GError) error = NULL;
    vt_decision_init(&decision, check->settings);
    if (geteuid() != 0 && !vt_settings_get_text(check->settings, VT_SETTING_GUEST_KERNEL))
        add(check, "guest-kernel", VT_CHECK_UNSEEN,
            g_strdup("GUEST_KERNEL is not set: it is root's own"));
    else if (!vt_decision_find_kernel(&decision, &given, &error))
        add(check, "guest-kernel", VT_CHECK_MISSING, g_strdup(error->message));
    else {
        VtCheckState state = judge_kernel(&decision, &text);
        add(check, "guest-kernel", state, text);
    }
    g_clear_error(&error);
    if (geteuid() != 0)
        add(check, "accel", VT_CHECK_UNSEEN, g_strdup("what works for root, only root can try"));
    else if (!vt_decision_choose_accel(&decision, &given, &error))
        add(check, "accel", VT_CHECK_WRONG, g_strdup(error->message));
    else
        add(check, "accel", VT_CHECK_OK,
            g_strdup(decision.job->accel == VT_ACCEL_KVM ? "kvm" : "tcg: guests are emulated"));
    vt_decision_clear(&decision);
}

/* An image as root's daemon opens it. */
static VtCheckState judge_image(const char *pool, const char *name, VtSetting setting, char **text)
{
    g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
    g_autoptr(GError) error = NULL;
    if (vt_pool_open(pool, name, 0, &image, &error))
        return VT_CHECK_OK;
    *text = g_strdup_printf("%s: %s", vt_setting_key(setting), error->message);
    return g_error_matches(error, VT_ERROR, VT_ERROR_USER) ? VT_CHECK_MISSING : VT_CHECK_WRONG;
}

/* A site may do without images, if its jobs may run with the machine's own root. */
static VtCheckState judge_no_images(const Check *check, const char *pool, char **text)
{
    g_autoptr(GError) error = NULL;
    vt_autofd folder = -1;
    if (!vt_trusted_open_folder(pool, 0, &folder, &error)) {
        *text = g_strdup_printf("VM_IMG_DIR: %s", error->message);
        return VT_CHECK_WRONG;
    }
    bool has_host = vt_settings_get_number(check->settings, VT_SETTING_HOST_IMAGE);
    *text = g_strdup_printf("no images in '%s'%s", pool,
                            has_host ? ": jobs run with img=host"
                                     : ": set VM_IMG_DIR, or HOST_IMAGE for img=host");
    return has_host ? VT_CHECK_OK : VT_CHECK_MISSING;
}

static VtCheckState judge_images(const Check *check, char **text)
{
    const char *standard = vt_settings_get_text(check->settings, VT_SETTING_IMG_DEFAULT);
    bool is_disk = !g_str_equal(standard, "host") && !g_str_equal(standard, "tiny");
    g_autofree char *pool = vt_pool_find(check->settings);
    g_auto(GStrv) names = vt_pool_list(pool);
    VtCheckState state = VT_CHECK_OK;
    if (!*names && !is_disk)
        return judge_no_images(check, pool, text);
    if (is_disk)
        state = judge_image(pool, standard, VT_SETTING_IMG_DEFAULT, text);
    for (char **name = names; *name && state == VT_CHECK_OK; name++)
        state = judge_image(pool, *name, VT_SETTING_VM_IMG_DIR, text);
    if (state == VT_CHECK_OK)
        *text = g_strdup_printf("%u in '%s'", g_strv_length(names), pool);
    return state;
}

static void check_images(Check *check)
{
    char *text = NULL;
    if (geteuid() == 0) {
        VtCheckState state = judge_images(check, &text);
        add(check, "images", state, text);
    } else {
        add(check, "images", VT_CHECK_UNSEEN, g_strdup("what root may open, only root can try"));
    }
}

/* Guests' disks are made with their owners' rights. */
static VtCheckState judge_directory(const char *key, const char *dir, char **text)
{
    g_autoptr(GError) error = NULL;
    struct stat st;
    if (access(dir, W_OK | X_OK) < 0 && errno == EACCES) {
        *text = g_strdup_printf("%s: '%s' may not be written to by this user", key, dir);
        return VT_CHECK_UNSEEN;
    }
    vt_autofd fd = vt_scratch_new(dir, VT_MIB, &error);
    if (fd < 0) {
        *text = g_strdup_printf("%s: %s", key, error->message);
        return g_file_test(dir, G_FILE_TEST_IS_DIR) ? VT_CHECK_WRONG : VT_CHECK_MISSING;
    }
    if (stat(dir, &st) == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH))) {
        *text = g_strdup_printf("%s: '%s' has mode %04o: jobs' owners must be able to write to it",
                                key, dir, st.st_mode & 07777);
        return VT_CHECK_WRONG;
    }
    return VT_CHECK_OK;
}

/* The directories that the settings name or that disks are in by default. */
static void check_disks(Check *check)
{
    const VtSettings *settings = check->settings;
    bool is_set = vt_settings_is_set(settings, VT_SETTING_FILESYSTEM_TYPE);
    VtFsType type = is_set ? (VtFsType)vt_settings_get_number(settings, VT_SETTING_FILESYSTEM_TYPE)
                           : VT_FS_RAMDISK;
    const char *memory = vt_decision_scratch_dir(settings, VT_FS_RAMDISK);
    bool is_shared = type == VT_FS_SHAREDFS || vt_settings_is_set(settings, VT_SETTING_WS_DIR);
    const char *shared = is_shared ? vt_decision_scratch_dir(settings, VT_FS_SHAREDFS) : NULL;
    const char *standard = type == VT_FS_SHAREDFS ? shared : memory;
    VtCheckState state = VT_CHECK_OK;
    char *text = NULL;
    if (shared)
        state = judge_directory("WS_DIR", shared, &text);
    if (memory && state == VT_CHECK_OK)
        state = judge_directory("RAMDISK_DIR", memory, &text);
    if (state == VT_CHECK_OK)
        text = g_strdup(standard ? standard : "what guests write is kept in memory");
    add(check, "disks", state, text);
}

/* This node seals what it says itself, and its name leads others to it. */
static VtCheckState judge_peers(const Check *check, char **text)
{
    static const char said[] = "vmgr setup check";
    const char *socket = vt_settings_get_text(check->settings, VT_SETTING_MUNGE_SOCKET);
    g_autoptr(GError) error = NULL;
    g_autofree char *host = vt_host_name();
    g_autofree char *credential = vt_credential_seal(socket, said, &error);
    g_autofree char *opened = credential ? vt_credential_open(socket, credential, &error) : NULL;
    g_auto(GStrv) addresses = opened ? vt_peer_lookup(host, &error) : NULL;
    if (error) {
        *text = g_strdup(error->message);
        return VT_CHECK_WRONG;
    }
    if (!addresses[0] || g_str_has_prefix(addresses[0], "127.")) {
        *text = g_strdup_printf("'%s' is '%s' here, which other nodes do not reach", host,
                                addresses[0] ? addresses[0] : "none");
        return VT_CHECK_WRONG;
    }
    *text = g_strdup_printf("%s, munged answers", addresses[0]);
    return VT_CHECK_OK;
}

/* Only where the site has jobs of several nodes. */
static void check_peers(Check *check)
{
    char *text = NULL;
    if (vt_settings_get_number(check->settings, VT_SETTING_PEER_PORT) == 0)
        return;
    if (geteuid() == 0) {
        VtCheckState state = judge_peers(check, &text);
        add(check, "other nodes", state, text);
    } else {
        add(check, "other nodes", VT_CHECK_UNSEEN, g_strdup("only root's credentials count"));
    }
}

GPtrArray *vt_check_node(const VtCheckOptions *options)
{
    Check check = {.options = options, .findings = g_ptr_array_new_with_free_func(finding_free)};
    check_settings(&check);
    check_programs(&check);
    check_hooks(&check);
    check_daemon(&check);
    check_qemu(&check);
    check_uplink(&check);
    check_guest(&check);
    check_images(&check);
    check_disks(&check);
    check_peers(&check);
    vt_settings_free(check.settings);
    return check.findings;
}
