/* SPDX-License-Identifier: Apache-2.0 */
/* cli/explain.c - a submission as text for people. */
#include "cli/submission.h"

#include <string.h>

static void add(GString *text, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void add(GString *text, const char *name, const char *format, ...)
{
    va_list args;
    g_string_append_printf(text, "  %-13s ", name);
    va_start(args, format);
    g_string_append_vprintf(text, format, args);
    va_end(args);
    g_string_append_c(text, '\n');
}

static void add_owner(GString *text, const VtOwner *owner)
{
    add(text, "owner", "%s (%u), group %s (%u), %" G_GSIZE_FORMAT " further groups", owner->user,
        owner->uid, owner->group, owner->gid, owner->n_groups);
}

static void add_shape(GString *text, const VtShape *shape)
{
    add(text, "img", "%s (%s)",
        shape->image_name ? shape->image_name : vt_choice_word(&vt_image_choice, shape->image),
        shape->origins[VT_REQUEST_IMG]);
    add(text, "ram", "%u MiB (%s)", shape->ram_mib, shape->origins[VT_REQUEST_RAM]);
    add(text, "vcpus", "%u (%s)", shape->vcpus, shape->origins[VT_REQUEST_VCPUS]);
    add(text, "vms_per_node", "%u (%s)", shape->vms, shape->origins[VT_REQUEST_VMS_PER_NODE]);
    add(text, "net", "%s (%s)", vt_choice_word(&vt_net_choice, shape->net),
        shape->origins[VT_REQUEST_NET]);
    add(text, "boot_timeout", "%u s (%s)", shape->boot_timeout_s,
        shape->origins[VT_REQUEST_BOOT_TIMEOUT]);
    add(text, "share_locks", "%s (%s)", vt_choice_word(&vt_locks_choice, shape->locks),
        shape->origins[VT_REQUEST_SHARE_LOCKS]);
    if (shape->image != VT_IMAGE_DISK)
        return;
    add(text, "fs_type", "%s (%s)", vt_choice_word(&vt_fs_type_choice, shape->fs_type),
        shape->origins[VT_REQUEST_FS_TYPE]);
    add(text, "init", "%s (%s)", vt_choice_word(&vt_init_choice, shape->init),
        shape->origins[VT_REQUEST_INIT]);
}

static void add_command(GString *text, const VtSubmission *submission)
{
    g_autoptr(GString) words = g_string_new(NULL);
    for (char **word = submission->command.argv; *word; word++) {
        g_autofree char *quoted = g_shell_quote(*word);
        g_string_append_printf(words, "%s%s", words->len ? " " : "", quoted);
    }
    add(text, "program", "%s", submission->command.program);
    add(text, "arguments", "%s", words->str);
}

static void add_streams(GString *text, const VtSubmission *submission)
{
    const char *output = submission->output_path ? submission->output_path : "vsub's own";
    const char *errors = submission->error_path ? submission->error_path : "vsub's own";
    bool joins_output = submission->join == VT_JOIN_ERROR;
    bool joins_error = submission->join == VT_JOIN_OUTPUT;
    add(text, "stdin", "%s", submission->is_stdin_script ? "empty" : "vsub's own");
    add(text, "stdout", "%s", joins_output ? "as stderr" : output);
    add(text, "stderr", "%s", joins_error ? "as stdout" : errors);
    if (submission->report_path)
        add(text, "report", "%s", submission->report_path);
}

char *vt_submission_explain(const VtSubmission *submission)
{
    const VtJob *job = submission->decided.job;
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "job %s\n", job->id);
    add(text, "name", "%s", job->name);
    add_owner(text, &job->owner);
    add_shape(text, &submission->decided.shape);
    add(text, "accel", "%s (%s)", vt_choice_word(&vt_accel_choice, job->accel),
        submission->decided.accel_origin);
    if (job->walltime_s > 0)
        add(text, "walltime", "%u s, then TERM and after %u s KILL", job->walltime_s,
            job->kill_grace_s);
    if (job->cput_s > 0)
        add(text, "cput", "%u s of processor time, then the same", job->cput_s);
    add(text, "kernel", "%s/%s", job->kernel_dir, submission->decided.kernel_file);
    add(text, "submit dir", "%s", job->submit_dir);
    add(text, "home", "%s", job->owner.home);
    for (char **mount = job->mounts; *mount; mount++)
        add(text, "mount", "%s", *mount);
    add(text, "starts in", "%s", submission->cwd);
    add(text, "script", "%" G_GSIZE_FORMAT " bytes", g_bytes_get_size(submission->script));
    add_command(text, submission);
    add_streams(text, submission);
    for (char **entry = submission->environment; *entry; entry++)
        add(text, "environment", "%s", *entry);
    return g_string_free(g_steal_pointer(&text), FALSE);
}
