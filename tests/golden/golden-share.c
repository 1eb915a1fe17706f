/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/golden-share.c - job documents to the command lines of their file servers: each kind
 * of server, each kind of locks, with many descriptors and with few. */
#include "golden.h"
#include "share/command.h"

#define MANY (1024 * 1024)
#define FEW 4096

static void add_command(GString *out, const VtPlan *plan, bool is_root, guint64 files)
{
    const VtServerKind *kind = vt_server_kind(plan->file_server);
    g_autofree const char **argv = vt_server_command(plan, is_root, files);

    g_string_append_printf(
        out, "%s, %s, locks %s, %s files\n ",
        vt_choice_word(&vt_file_server_choice, plan->file_server), is_root ? "root" : "writable",
        vt_choice_word(&vt_locks_choice, plan->locks), files == MANY ? "many" : "few");
    for (const char *const *word = kind->environment; *word; word++)
        g_string_append_printf(out, " %s", *word);
    for (const char **word = argv; *word; word++)
        g_string_append_printf(out, " %s", *word);
    g_string_append_c(out, '\n');
}

static char *make(const VtJob *job, const VtPlan *plan)
{
    GString *out = g_string_new(NULL);
    VtPlan variant = *plan;

    for (int server = VT_FILE_SERVER_QEMU; server <= VT_FILE_SERVER_RUST; server++)
        for (int locks = VT_LOCKS_LOCAL; locks <= VT_LOCKS_REMOTE; locks++) {
            variant.file_server = (VtFileServer)server;
            variant.locks = (VtLocks)locks;
            if (locks == VT_LOCKS_REMOTE && !vt_server_kind(variant.file_server)->has_remote_locks)
                continue;
            for (int is_root = 0; is_root < 2; is_root++) {
                if (!vt_plan_has_share(plan, is_root))
                    continue;
                add_command(out, &variant, is_root, MANY);
                add_command(out, &variant, is_root, FEW);
            }
        }
    return g_string_free(out, FALSE);
}

int main(int argc, char **argv)
{
    return golden_main(argc, argv, "share", make);
}
