/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/start.c - from an order to a keeper.
 *
 * Theory of operation. The steps of one table, as for vsub's own jobs; the first that fails ends it,
 * with a line for the hook. /run/vtorque/starting/ID is locked from before the first step until
 * the keeper holds the run folder's lock, so that who ends the job (and takes that lock first) finds
 * either nothing that will start, or a run folder.
 */
#include "node/start.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/wireguard.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "batch/local.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/live.h"
#include "ctl/registration.h"
#include "ctl/starting.h"
#include "job/owner.h"
#include "job/word.h"
#include "net/netlink.h"
#include "node/decision.h"
#include "node/launch.h"
#include "node/lead.h"
#include "node/order.h"
#include "node/peer.h"

#define TEXT_MAX 1023  /* bytes of what another node says */
#define PHASE_MS 20000 /* for the keeper to take a slot, and for the engine to come to its cage */

typedef struct {
    VtOrder order;
    bool is_follower;
    const VtSettings *settings;
    VtRequest request, directive; /* the second stays empty */
    VtGiven given;
    VtDecision decision;
} Start;

static bool read_request(Start *start, GError **error)
{
    return vt_word_parse(&start->request, start->order.request, "request", error);
}

/* A batch system's user; root's jobs are refused as the batch system itself refuses them. */
static bool load_owner(Start *start, GError **error)
{
    struct passwd *found = getpwnam(start->order.user);
    if (!found)
        return vt_error_set(error, VT_ERROR_HOST, "there is no user '%s' on this node",
                            start->order.user);
    if (found->pw_uid == 0)
        return vt_error_set(error, VT_ERROR_USER, "root has no jobs in virtual machines");
    VtOwner *owner = &start->decision.job->owner;
    if (!vt_owner_find(owner, found->pw_uid, error))
        return false;
    return vt_job_path_is_valid(owner->home) ||
           vt_error_set(error, VT_ERROR_HOST, "the home directory of '%s' is no absolute path",
                        start->order.user);
}

static bool name_job(Start *start, GError **error)
{
    VtJob *job = start->decision.job;
    job->id = g_strdup(start->order.id);
    job->name = g_strdup(start->order.name);
    job->submit_dir = g_strdup(start->order.work_dir);
    job->node_file = g_strdup(start->order.node_file);
    job->cput_s = start->order.cput_s;
    job->run_wait_s = (guint)vt_settings_get_number(start->settings, VT_SETTING_RUN_WAIT);
    return vt_decision_is_shareable(job->submit_dir) ||
           vt_error_set(error, VT_ERROR_USER,
                        "the submit directory '%s' cannot be shared with a guest: /proc, /sys and "
                        "/dev are its own",
                        job->submit_dir);
}

/* A request that vsub has not seen is refused here. */
static bool check_enabled(Start *start, GError **error)
{
    const char *message = vt_settings_get_text(start->settings, VT_SETTING_DISABLED_MESSAGE);
    return vt_settings_get_number(start->settings, VT_SETTING_VTORQUE_ENABLED) ||
           vt_error_set(error, VT_ERROR_CONFIG,
                        "this site takes no new jobs with virtual machines%s%s",
                        message ? ": " : "", message ? message : "");
}

/* On several nodes a node is called as the batch system calls it, in all their names. */
static bool check_host(Start *start, GError **error)
{
    guint cores;
    char **host = &start->decision.job->host;
    if (!vt_decision_check_host(&start->decision, &start->given, error))
        return false;
    if (start->order.host || start->order.hosts) {
        g_free(*host);
        *host = start->order.host ? g_strdup(start->order.host)
                                  : vt_order_host(&start->order, 0, &cores);
    }
    return true;
}

/* vsub has asked for what the host keeps besides what the guest needs (batch/torque.h). */
static VtLocalRequest granted_of(const Start *start)
{
    guint64 cores = vt_settings_get_number(start->settings, VT_SETTING_HOST_OS_CORE_COUNT);
    guint64 memory_mib = vt_settings_get_number(start->settings, VT_SETTING_HOST_OS_RAM_MB);
    const VtOrder *order = &start->order;
    guint64 all_mib = order->memory_mib, cores_mib = order->core_memory_mib * order->cores;
    if (all_mib == 0 || (cores_mib > 0 && cores_mib < all_mib))
        all_mib = cores_mib;
    return (VtLocalRequest){
        .ppn = order->cores > cores ? order->cores - (guint)cores : 1,
        .memory_mib = all_mib == 0           ? 0
                      : all_mib > memory_mib ? all_mib - memory_mib
                                             : 1,
    };
}

static bool resolve(Start *start, GError **error)
{
    const VtLocalRequest granted = granted_of(start);
    VtDecision *decision = &start->decision;
    guint longest = (guint)vt_settings_get_number(start->settings, VT_SETTING_PROLOGUE_TIMEOUT);
    VtHost host;
    if (!vt_host_load(&host, error))
        return false;
    start->given.allocation = vt_local_allocate(&host, &granted, start->settings, decision->notes);
    start->given.allocation.nodes = start->order.nodes;
    if (!vt_decision_resolve(decision, &start->given, error))
        return false;
    decision->job->boot_timeout_s = MIN(decision->job->boot_timeout_s, longest);
    if (decision->job->image == VT_IMAGE_HOST &&
        !vt_settings_get_number(start->settings, VT_SETTING_HOST_IMAGE))
        return vt_error_set(error, VT_ERROR_USER,
                            "img=host is not allowed here: the site's HOST_IMAGE is false");
    return true;
}

/* Before anything of the job is there, on this node or on others. */
static bool check_wireguard(const Start *start, GError **error)
{
    const VtSetting transport = VT_SETTING_NET_TRANSPORT;
    return vt_netlink_has_generic(WG_GENL_NAME) ||
           vt_error_set(
               error, VT_ERROR_HOST,
               "no private network between nodes (%s: %s): the kernel of '%s' has no "
               "WireGuard; where the nodes' own network is trusted the site may set vxlan; "
               "-vm net=none and net=user go without",
               vt_settings_get_origin(start->settings, transport), vt_setting_key(transport),
               start->decision.job->host);
}

/* The first node says what all have in common; a further one has been told. */
static bool join_nodes(Start *start, GError **error)
{
    VtOrder *order = &start->order;
    VtJob *job = start->decision.job;
    bool is_private = job->net == VT_NET_PRIVATE;
    VtTransport transport =
        is_private ? vt_settings_get_transport(start->settings) : VT_TRANSPORT_NONE;
    job->nodes = MAX(order->nodes, 1);
    if (job->nodes == 1)
        return true;
    if (vt_settings_get_number(start->settings, VT_SETTING_PEER_PORT) == 0)
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "this site's nodes do not speak to each other: PEER_PORT is 0");
    if (transport == VT_TRANSPORT_WIREGUARD && !check_wireguard(start, error))
        return false;
    if (!start->is_follower && !vt_lead_prepare(order, transport, error))
        return false;
    if (order->transport != transport)
        return vt_error_set(
            error, VT_ERROR_CONFIG,
            "the job's nodes have different settings: NET_DEFAULT or NET_TRANSPORT");
    if (start->is_follower && is_private && !vt_lead_check_mtu(order, error))
        return false;
    job->node = order->node;
    job->net_mtu = order->mtu;
    job->transport = order->transport;
    job->vni = order->vni;
    job->addresses = g_strdupv(order->addresses);
    job->peer_key = g_strdup(order->key);
    return true;
}

static bool load_mounts(Start *start, GError **error)
{
    return vt_decision_load_mounts(&start->decision, &start->given, error);
}

static bool find_image(Start *start, GError **error)
{
    return vt_decision_find_image(&start->decision, &start->given, error);
}

static bool find_kernel(Start *start, GError **error)
{
    return vt_decision_find_kernel(&start->decision, &start->given, error);
}

static bool finish(Start *start, GError **error)
{
    return vt_decision_finish(&start->decision, &start->given, error);
}

typedef bool (*Step)(Start *start, GError **error);

static const Step steps[] = {
    check_enabled, read_request, load_owner, name_job,    check_host, resolve,
    join_nodes,    load_mounts,  find_image, find_kernel, finish,
};

static bool decide(Start *start, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!steps[i](start, error))
            return false;
    return true;
}

/* A hook that was called twice, or a job that came back: there is one virtual machine for it. */
static bool end_former(const char *id, GError **error)
{
    CtlLive live;
    vt_autofd root = ctl_root_find();
    if (root < 0 || ctl_live_find(root, id, &live) < 0)
        return true;
    int err = ctl_live_end(root, &live, CTL_END_NOW, 0);
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, -err,
                                          "what an earlier run of the job left does not end");
}

/* Waits at the gate until `phase` is reached. False: the keeper or the engine has failed, and said
 * why. */
static bool wait_for_phase(int gate, CtlPhase phase)
{
    for (guint8 byte = 0; vt_fd_wait(gate, PHASE_MS) && read(gate, &byte, 1) == 1;) {
        if (byte >= phase)
            return true;
        if (write(gate, &byte, 1) != 1)
            break;
    }
    return false;
}

/* The gate's first phase is the run folder's lock: only a job of several nodes is watched beyond that. */
static bool launch(const Start *start, int connection, int *gate, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the keeper's gate");
    vt_autofd ours = pair[0], theirs = pair[1];
    const VtLaunchOptions options = {.job = start->decision.job,
                                     .cgroup = start->order.cgroup,
                                     .gate = theirs,
                                     .run = connection};
    VtLaunch launched;
    if (!vt_launch_start(&options, &launched, error))
        return false;
    vt_fd_clear(&theirs);
    vt_fd_clear(&launched.pidfd);
    if (wait_for_phase(ours, CTL_PHASE_LOCKED))
        *gate = vt_fd_steal(&ours);
    return true;
}

/* The batch system lets a prologue go on whose job was ended meanwhile. */
static bool check_ticket(const Start *start, int lock, GError **error)
{
    return !start->order.ticket || ctl_starting_is_announced(lock, start->order.ticket) ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the job was ended before its virtual machine was started");
}

/* Lets the keeper, or the engine, go on from the phase that it waits at. */
static void open_gate(int gate)
{
    (void)!write(gate, "", 1);
}

/* Between the two the job's engine gets here: what it has said is what is told. */
static int connect_engine(const char *id)
{
    CtlLive live;
    vt_autofd root = ctl_root_find();
    return root < 0 || ctl_live_find(root, id, &live) < 0 ? -1 : ctl_live_connect(root, live.slot);
}

/* The other engines' connections become our own engine's, or it learns why there are none. */
static void join(Start *start, VtLead *lead)
{
    g_autoptr(GError) error = NULL;
    bool ok = vt_lead_wait(lead, &error);
    vt_autofd engine = connect_engine(start->order.id);
    if (engine < 0)
        return;
    g_unix_set_fd_nonblocking(engine, FALSE, NULL);
    for (guint node = 1; ok && node < start->order.nodes; node++) {
        guint8 number[4];
        WireWriter writer = wire_writer(number, sizeof number);
        vt_autofd connection = vt_lead_take(lead, node);
        wire_put_u32(&writer, node);
        ok = ctl_door_send(engine, CTL_HAND, CTL_HAND_FOLLOWER, number, sizeof number, &connection,
                           1) == 0;
    }
    if (ok)
        return;
    g_autofree char *text =
        g_strndup(error ? error->message : "the job's engine takes no connections", TEXT_MAX);
    ctl_door_send_text(engine, CTL_FAIL, 0, text);
}

/* The orders go out while our own engine comes to the phase in which it has its socket. */
static void gather(Start *start, int *gate)
{
    if (start->order.nodes < 2)
        return;
    g_autoptr(VtLead) lead = vt_lead_start(&start->order, start->settings);
    open_gate(*gate);
    if (!wait_for_phase(*gate, CTL_PHASE_PREPARED))
        return;
    vt_fd_clear(gate);
    join(start, lead);
}

/* A further node's epilogue may have come between. */
static bool check_registration(const Start *start, GError **error)
{
    g_autofree char *text = g_malloc(CTL_REGISTRATION_MAX);
    return !start->is_follower || ctl_registration_read(start->order.id, text) == 0 ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the job was ended before its virtual machine was started");
}

static bool start_locked(Start *start, int connection, int *gate, GError **error)
{
    vt_autofd lock = ctl_starting_lock(start->order.id);
    if (lock < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -lock, "cannot lock the job's start");
    bool ok = check_ticket(start, lock, error) && check_registration(start, error) &&
              end_former(start->order.id, error) && decide(start, error) &&
              launch(start, connection, gate, error);
    ctl_starting_unlock(start->order.id, vt_fd_steal(&lock));
    return ok;
}

static bool start_job(Start *start, int connection, const char *text, gsize size, GError **error)
{
    vt_autofd gate = -1;
    if (!vt_order_parse(&start->order, VT_ORDER_START, text, size, error) ||
        !start_locked(start, connection, &gate, error))
        return false;
    if (gate >= 0)
        gather(start, &gate);
    return true;
}

static bool start_follower(Start *start, int connection, GError **error)
{
    vt_autofd gate = -1;
    if (!start_locked(start, connection, &gate, error))
        return false;
    if (gate < 0)
        return true;
    open_gate(gate);
    if (wait_for_phase(gate, CTL_PHASE_CAGED))
        ctl_door_send(connection, VT_PEER_TAKEN, 0, NULL, 0, NULL, 0);
    return true;
}

static void tell_notes(int connection, const GPtrArray *notes)
{
    for (guint i = 0; i < notes->len; i++)
        ctl_run_send_text(connection, CTL_NOTE, CTL_NOTE_VERBOSE, notes->pdata[i]);
}

/* The program's exit status; the connection learns of a failure. */
static int tell(const Start *start, int connection, const GError *error)
{
    const VtOrder *order = &start->order;
    if (!error) {
        g_printerr("vtorqued: job '%s' of '%s' is started\n", order->id, order->user);
        return 0;
    }
    g_autofree char *printable = g_strescape(error->message, NULL);
    g_printerr("vtorqued: job '%s' is not started: %s\n", order->id ? order->id : "?", printable);
    ctl_run_send_text(connection, CTL_OUTCOME, CTL_REASON_HOST, error->message);
    return vt_error_exit_status(error);
}

static void start_init(Start *start, const VtSettings *settings)
{
    start->settings = settings;
    start->given = (VtGiven){.settings = settings,
                             .option = &start->request,
                             .directive = &start->directive,
                             .is_batch = true};
    vt_decision_init(&start->decision, settings);
}

int vt_start_job(int connection, const char *text, gsize size, const char *settings_file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_load(settings_file, &error);
    Start start = {0};
    if (settings) {
        start_init(&start, settings);
        if (start_job(&start, connection, text, size, &error))
            tell_notes(connection, start.decision.notes);
    }
    return tell(&start, connection, error);
}

int vt_start_follower(int connection, VtOrder *order, const char *settings_file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_load(settings_file, &error);
    Start start = {.order = *order, .is_follower = true};
    *order = (VtOrder){0};
    if (settings) {
        start_init(&start, settings);
        start_follower(&start, connection, &error);
    }
    return tell(&start, connection, error);
}
