/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cluster.c - settings, and one child for each connection. */
#include "cli/cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/program.h"
#include "batch/batch.h"
#include "batch/local.h"
#include "cli/terminal.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "node/caller.h"

#define WAIT_MS 95000 /* the child gives up before */

struct VtCluster {
    VtSettings *settings;
    VtBatch batch;
    char *submit; /* the batch system's command */
    char *host;   /* this machine's short name */
};

void vt_cluster_free(VtCluster *cluster)
{
    if (!cluster)
        return;
    g_clear_pointer(&cluster->settings, vt_settings_free);
    g_free(cluster->submit);
    g_free(cluster->host);
    g_free(cluster);
}

VtCluster *vt_cluster_load(GError **error)
{
    if (geteuid() == 0)
        return NULL;
    g_autofree char *file = vt_settings_find_file(false);
    g_autoptr(VtCluster) cluster = g_new0(VtCluster, 1);
    cluster->settings = vt_settings_load(file, error);
    cluster->host = vt_host_name();
    if (!cluster->settings ||
        !vt_batch_choose(cluster->settings, cluster->host, vt_settings_has_site(), &cluster->batch,
                         &cluster->submit, error))
        return NULL;
    if (cluster->batch == VT_BATCH_LOCAL)
        return NULL;
    if (vt_settings_get_number(cluster->settings, VT_SETTING_PEER_PORT) == 0)
        vt_error_set(error, VT_ERROR_CONFIG, "PEER_PORT is not set in '%s'", file);
    else
        return g_steal_pointer(&cluster);
    return NULL;
}

GPtrArray *vt_cluster_find(const VtCluster *cluster, const char *id, GError **error)
{
    return vt_places_load(cluster->batch, cluster->submit, id, error);
}

bool vt_cluster_is_here(const VtCluster *cluster, const char *node)
{
    gsize length = strcspn(node, ".");
    return strlen(cluster->host) == length && strncmp(cluster->host, node, length) == 0;
}

/* The child. What the terminal's keys send to vmgr is not for it: it ends with its socket. */
static _Noreturn void be_child(int fd, char *const *argv)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing >= 0 && setsid() >= 0 && dup2(fd, STDIN_FILENO) >= 0 &&
        dup2(nothing, STDOUT_FILENO) >= 0 && dup2(nothing, STDERR_FILENO) >= 0)
        execv(argv[0], argv);
    _exit(VT_EXIT_FAILED);
}

int vt_cluster_start(const VtCluster *cluster, const char *node, GError **error)
{
    int pair[2];
    guint port = (guint)vt_settings_get_number(cluster->settings, VT_SETTING_PEER_PORT);
    const char *munge_socket = vt_settings_get_text(cluster->settings, VT_SETTING_MUNGE_SOCKET);
    g_autofree char *path = vt_program_find(VT_REACH_PROGRAM, error);
    g_autofree char *text = g_strdup_printf("%u", port);
    char *const argv[] = {path, (char *)node, text, (char *)munge_socket, NULL};
    if (!path)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a socket");
        return -1;
    }
    vt_autofd ours = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid == 0)
        be_child(theirs, argv);
    if (pid < 0)
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork");
    return pid < 0 ? -1 : vt_fd_steal(&ours);
}

bool vt_cluster_wait(int fd, const char *node, GError **error)
{
    WireHeader header;
    char why[WIRE_STRING_MAX + 1] = "the way there has ended";
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    bool is_said = ctl_door_receive(fd, &header, payload, WAIT_MS) == 0;
    if (is_said && header.type == CTL_ANSWER)
        return true;
    if (is_said) {
        WireReader reader = wire_reader(payload, header.length);
        wire_get_string(&reader, why, sizeof why);
        vt_terminal_make_printable(why, strlen(why));
    }
    return vt_error_set(error,
                        is_said && header.aux == VT_PEER_NO_JOB ? VT_ERROR_USER : VT_ERROR_HOST,
                        "node '%s': %s", node, why);
}
