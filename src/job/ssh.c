/* SPDX-License-Identifier: Apache-2.0 */
/* job/ssh.c - the ssh files of a job's guests. */
#include "job/ssh.h"

#include <string.h>

#define PATTERN "*?!,\"'=\\#" /* what a name in sshd_config may not have, to mean itself */

bool vt_ssh_is_wanted(const VtJob *job, const VtPlan *plan)
{
    return plan->net == VT_NET_PRIVATE && job->image != VT_IMAGE_TINY &&
           !strpbrk(job->owner.user, PATTERN);
}

/* The owner's key is the only way in, and only to the owner: AllowUsers would take a name with an
 * '@' for something else. No PAM: its modules may ask for what the guest does not have. No
 * StrictModes: the host's root, as a guest sees it, is nobody's, and the files are ours. */
char *vt_ssh_server_config(const VtJob *job, const VtPlan *plan, guint index)
{
    g_autofree char *address = vt_address_format(plan->vms[index].address);
    return g_strdup_printf("ListenAddress %s\n"
                           "HostKey " VT_SSH_FOLDER "/host_key\n"
                           "AuthorizedKeysFile none\n"
                           "PermitRootLogin %s\n"
                           "PasswordAuthentication no\n"
                           "KbdInteractiveAuthentication no\n"
                           "HostbasedAuthentication no\n"
                           "UsePAM no\n"
                           "StrictModes no\n"
                           "UseDNS no\n"
                           "PrintMotd no\n"
                           "PidFile none\n"
                           "AcceptEnv LANG LC_* PBS_* OMPI_* PMIX_* HYDRA_* PMI_*\n"
                           "MaxStartups 1024\n"
                           "MaxSessions 1024\n"
                           "Subsystem sftp internal-sftp\n"
                           "Match User %s\n"
                           "    AuthorizedKeysFile " VT_SSH_FOLDER "/authorized_keys\n",
                           address, job->owner.uid == 0 ? "prohibit-password" : "no",
                           job->owner.user);
}

static void append_hosts(GString *out, const VtPlan *plan, char between)
{
    for (guint i = 0; i < plan->n_names; i++) {
        g_autofree char *address = vt_address_format(plan->names[i].address);
        g_string_append_printf(out, "%s%c%s", plan->names[i].name, between, address);
        if (i + 1 < plan->n_names)
            g_string_append_c(out, between);
    }
}

/* A server that has just been started may not listen yet. The last line ends what is meant for the
 * guests alone. */
char *vt_ssh_client_config(const VtPlan *plan)
{
    GString *out = g_string_new("Host ");
    append_hosts(out, plan, ' ');
    g_string_append(out, "\n"
                         "    IdentityFile " VT_SSH_FOLDER "/id\n"
                         "    IdentitiesOnly yes\n"
                         "    IdentityAgent none\n"
                         "    GlobalKnownHostsFile " VT_SSH_FOLDER "/known_hosts\n"
                         "    UserKnownHostsFile none\n"
                         "    StrictHostKeyChecking yes\n"
                         "    PreferredAuthentications publickey\n"
                         "    CheckHostIP no\n"
                         "    ConnectionAttempts 60\n"
                         "    LogLevel ERROR\n"
                         "Host *\n");
    return g_string_free(out, FALSE);
}

char *vt_ssh_known_hosts(const VtPlan *plan, const VtSshKeys *keys)
{
    GString *out = g_string_new(NULL);
    append_hosts(out, plan, ',');
    g_string_append_printf(out, " %s\n", keys->host.public_key);
    return g_string_free(out, FALSE);
}
