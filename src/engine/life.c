/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/life.c - a job's life, from QEMU's first byte to the engine's exit.
 *
 * Theory of operation. BOOT -all guests are ready-> READY -start-> SCRIPT -ready-> RUNNING -session
 * ended-> CLOSING -all are down-> DONE. From every state a failure goes straight to DONE (QEMU killed), and
 * an order to end goes to CLOSING, by way of TERM, the grace and KILL where the session lives.
 * Invariants:
 *   1. The first reason is the one that is told.
 *   2. Every state but READY and RUNNING has a deadline, and RUNNING has one until the script runs;
 *      those two end by the run connection, the walltime or the processor time, and READY by
 *      RUN_WAIT where that connection is still to come.
 *   3. In DONE nothing of the guest is listened to; the engine exits when the client has read all,
 *      is gone, or has taken nothing for READER_PATIENCE_S.
 *
 * Reads from: the agent and QEMU. Trusts: nothing.
 */
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/birth.h"
#include "ctl/gate.h"
#include "engine/cputime.h"
#include "engine/engine.h"

#define CLOSE_DEADLINE_MS 5000  /* for the agent to kill, sync and say goodbye */
#define KILLED_DEADLINE_MS 5000 /* for the session to end after its KILL */
#define READER_PATIENCE_S 60
#define LINGER_MS 1000      /* at the end, for those that have not read everything */
#define UPLINK_TEXT_MAX 500 /* bytes of what passt says at its end */
#define CPUTIME_THREADS 2   /* of QEMU and the file servers that are busy beside the vCPUs */

void vt_engine_reach(VtEngine *engine, CtlPhase phase)
{
    if (engine->phase_us[phase] > 0)
        return;
    ctl_gate_pass(engine->gate, phase);
    engine->phase_us[phase] = (guint64)g_get_monotonic_time();
    vt_client_phase(engine, phase);
}

static void set_reason(VtEngine *engine, CtlReason reason, const char *message)
{
    if (engine->message)
        return;
    engine->reason = reason;
    engine->message = g_strdup(message ? message : "");
}

static gboolean on_reader_gone(gpointer data)
{
    VtEngine *engine = data;
    engine->reader_timer = 0;
    engine->exit_status = ENGINE_EXIT_UNREAD;
    g_main_loop_quit(engine->loop);
    return G_SOURCE_REMOVE;
}

static void clear_timers(VtEngine *engine)
{
    g_clear_handle_id(&engine->boot_timer, g_source_remove);
    g_clear_handle_id(&engine->wall_timer, g_source_remove);
    g_clear_handle_id(&engine->cput_timer, g_source_remove);
    g_clear_handle_id(&engine->ping_timer, g_source_remove);
    g_clear_handle_id(&engine->grace_timer, g_source_remove);
    g_clear_handle_id(&engine->close_timer, g_source_remove);
}

/* The guest is over; what is left is the client's to read. */
static void finish(VtEngine *engine)
{
    if (engine->state == VT_STATE_DONE)
        return;
    vt_engine_reach(engine, CTL_PHASE_ENDING);
    if (engine->message && engine->reason != CTL_REASON_DONE)
        vt_team_tell_failed(engine);
    engine->state = VT_STATE_DONE;
    vt_team_leave(engine);
    clear_timers(engine);
    for (guint i = 0; i < engine->job->vms; i++) {
        vt_shell_end_all(&engine->vms[i], engine->reason);
        vt_vm_kill(&engine->vms[i]);
        vt_follower_end_all(&engine->vms[i]);
    }
    vt_life_check_done(engine);
}

static bool everything_is_sent(VtEngine *engine)
{
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++)
        if (!vt_stream_is_done(engine, which))
            return false;
    return true;
}

void vt_life_check_done(VtEngine *engine)
{
    if (engine->state != VT_STATE_DONE)
        return;
    if (!engine->client) {
        /* Who comes for the script will want to know why there is none. */
        if (engine->run_timer == 0)
            g_main_loop_quit(engine->loop);
        return;
    }
    /* Every progress renews the reader's time. */
    g_clear_handle_id(&engine->reader_timer, g_source_remove);
    engine->reader_timer = g_timeout_add_seconds(READER_PATIENCE_S, on_reader_gone, engine);
    if (!everything_is_sent(engine))
        return;
    if (engine->message) {
        vt_channel_send_text(engine->client, CTL_OUTCOME, (guint8)engine->reason, engine->message);
        g_clear_pointer(&engine->message, g_free);
    }
    if (engine->client && vt_channel_queued(engine->client) == 0)
        g_main_loop_quit(engine->loop);
}

static gboolean on_close_deadline(gpointer data)
{
    VtEngine *engine = data;
    engine->close_timer = 0;
    finish(engine);
    return G_SOURCE_REMOVE;
}

/* Brings the guests down in order: what is left of the job is killed and the shares are synced. */
void vt_life_close(VtEngine *engine)
{
    if (engine->state >= VT_STATE_CLOSING)
        return;
    vt_engine_reach(engine, CTL_PHASE_ENDING);
    vt_team_tell_end(engine);
    if (engine->state == VT_STATE_BOOT) {
        finish(engine);
        return;
    }
    engine->state = VT_STATE_CLOSING;
    clear_timers(engine);
    engine->close_timer = g_timeout_add(CLOSE_DEADLINE_MS, on_close_deadline, engine);
    for (guint i = 0; i < engine->job->vms; i++)
        vt_vm_close(&engine->vms[i]);
}

void vt_life_take_down(VtVm *vm)
{
    vm->state = VT_VM_DOWN;
    vt_life_check_down(vm->engine);
}

void vt_life_check_down(VtEngine *engine)
{
    for (guint i = 0; i < engine->job->vms; i++)
        if (engine->vms[i].state != VT_VM_DOWN)
            return;
    if (engine->state != VT_STATE_CLOSING || !vt_team_is_down(engine))
        return;
    if (!engine->message)
        vt_team_tell_down(engine);
    finish(engine);
}

void vt_life_fail(VtEngine *engine, CtlReason reason, const char *message)
{
    set_reason(engine, reason, message);
    finish(engine);
}

static gboolean on_killed_deadline(gpointer data)
{
    VtEngine *engine = data;
    engine->grace_timer = 0;
    vt_life_close(engine);
    return G_SOURCE_REMOVE;
}

static gboolean on_grace_over(gpointer data)
{
    VtEngine *engine = data;
    vt_channel_send(engine->vms[0].agent, WIRE_SIGNAL, SIGKILL, NULL, 0);
    engine->grace_timer = g_timeout_add(KILLED_DEADLINE_MS, on_killed_deadline, engine);
    return G_SOURCE_REMOVE;
}

void vt_life_stop(VtEngine *engine, CtlReason reason, CtlEnd how)
{
    const char *message = reason == CTL_REASON_WALLTIME ? "the walltime is over"
                          : reason == CTL_REASON_CPUT   ? "the processor time (cput) is used up"
                                                        : "the job was ended";
    /* Nobody will come for the script any more. */
    g_clear_handle_id(&engine->run_timer, g_source_remove);
    if (engine->state == VT_STATE_DONE) {
        if (!engine->client)
            vt_life_check_done(engine);
        return;
    }
    set_reason(engine, reason, message);
    if (how == CTL_END_NOW || engine->state == VT_STATE_BOOT || engine->is_paused) {
        finish(engine);
    } else if (engine->state != VT_STATE_RUNNING) {
        vt_life_close(engine);
    } else if (!engine->stopping) {
        engine->stopping = true;
        vt_channel_send(engine->vms[0].agent, WIRE_SIGNAL, SIGTERM, NULL, 0);
        /* A stopped process takes no TERM. */
        vt_channel_send(engine->vms[0].agent, WIRE_SIGNAL, SIGCONT, NULL, 0);
        engine->grace_timer =
            g_timeout_add_seconds(engine->job->kill_grace_s, on_grace_over, engine);
    }
}

static gboolean on_boot_timeout(gpointer data)
{
    VtEngine *engine = data;
    engine->boot_timer = 0;
    guint late = 0;
    g_autofree char *missing = vt_team_missing(engine);
    if (*missing) {
        g_autofree char *message =
            g_strdup_printf("nodes %s were not ready within the boot_timeout of %u s", missing,
                            engine->plan->boot_timeout_s);
        vt_life_fail(engine, CTL_REASON_BOOT_TIMEOUT, message);
        return G_SOURCE_REMOVE;
    }
    for (guint i = 0; i < engine->job->vms; i++)
        if (engine->vms[i].state < VT_VM_READY)
            late = i;
    if (vt_team_is_waiting(engine)) {
        vt_life_fail(engine, CTL_REASON_BOOT_TIMEOUT,
                     "the job's first node did not say go within the boot_timeout");
        return G_SOURCE_REMOVE;
    }
    vt_vm_fail(&engine->vms[late], CTL_REASON_BOOT_TIMEOUT,
               "the guest %s after %u s (boot_timeout)",
               engine->state == VT_STATE_BOOT ? "was not ready" : "did not start the script",
               engine->plan->boot_timeout_s);
    return G_SOURCE_REMOVE;
}

static void start_boot_timer(VtEngine *engine)
{
    engine->boot_timer =
        g_timeout_add_seconds(engine->plan->boot_timeout_s, on_boot_timeout, engine);
}

static gboolean on_run_wait_over(gpointer data)
{
    VtEngine *engine = data;
    engine->run_timer = 0;
    vt_life_stop(engine, CTL_REASON_ENDED, CTL_END_NOW);
    return G_SOURCE_REMOVE;
}

static gboolean on_walltime(gpointer data)
{
    VtEngine *engine = data;
    engine->wall_timer = 0;
    vt_life_stop(engine, CTL_REASON_WALLTIME, CTL_END_TERM);
    return G_SOURCE_REMOVE;
}

static guint64 cputime_used(const VtEngine *engine)
{
    const VtNetwork *network = &engine->network;
    pid_t pids[4 * VT_VMS_MAX + 2] = {network->switch_pid, network->relay_pid};
    guint n = 2;
    for (guint i = 0; i < engine->job->vms; i++) {
        const VtVm *vm = &engine->vms[i];
        pids[n++] = vm->machine.pid;
        pids[n++] = vm->servers[0].pid;
        pids[n++] = vm->servers[1].pid;
        if (network->uplinks)
            pids[n++] = network->uplinks[i].pid;
    }
    return vt_cputime_used(pids, n);
}

/* Looks again when the limit can be reached at the earliest. */
static gboolean on_cputime(gpointer data)
{
    VtEngine *engine = data;
    guint64 used_us = cputime_used(engine) - engine->cput_start_us;
    guint threads = (engine->job->vcpus + CPUTIME_THREADS) * engine->job->vms;
    guint wait_ms = vt_cputime_wait_ms(engine->job->cput_s, used_us, threads);
    engine->cput_timer = wait_ms > 0 ? g_timeout_add(wait_ms, on_cputime, engine) : 0;
    if (wait_ms == 0)
        vt_life_stop(engine, CTL_REASON_CPUT, CTL_END_TERM);
    return G_SOURCE_REMOVE;
}

void vt_life_may_start(VtEngine *engine)
{
    if (engine->state != VT_STATE_READY || !engine->opening.complete)
        return;
    engine->state = VT_STATE_SCRIPT;
    start_boot_timer(engine);
    vt_session_send_script(engine);
}

static bool all_have(const VtEngine *engine, VtVmState state)
{
    for (guint i = 0; i < engine->job->vms; i++)
        if (engine->vms[i].state < state)
            return false;
    return true;
}

void vt_life_take_booted(VtVm *vm)
{
    if (all_have(vm->engine, VT_VM_PLAN))
        vt_engine_reach(vm->engine, CTL_PHASE_BOOTED);
}

void vt_life_take_ready(VtVm *vm)
{
    VtEngine *engine = vm->engine;
    if (engine->state == VT_STATE_SCRIPT) {
        engine->state = VT_STATE_RUNNING;
        vt_session_open(engine);
    } else {
        vt_life_check_ready(engine);
    }
}

void vt_life_check_ready(VtEngine *engine)
{
    bool is_follower = vt_team_is_follower(engine);
    if (engine->state != VT_STATE_BOOT || !all_have(engine, VT_VM_READY) ||
        !vt_team_is_ready(engine))
        return;
    g_clear_handle_id(&engine->boot_timer, g_source_remove);
    engine->state = VT_STATE_READY;
    if (!engine->has_run && !is_follower)
        engine->run_timer =
            g_timeout_add_seconds(engine->job->run_wait_s, on_run_wait_over, engine);
    vt_engine_reach(engine, CTL_PHASE_READY);
    vt_team_tell_ready(engine);
    vt_life_may_start(engine);
}

static void take_started(VtEngine *engine)
{
    if (engine->state != VT_STATE_RUNNING || engine->phase_us[CTL_PHASE_RUNNING] > 0)
        return;
    g_clear_handle_id(&engine->boot_timer, g_source_remove);
    vt_engine_reach(engine, CTL_PHASE_RUNNING);
    if (engine->job->walltime_s > 0)
        engine->wall_timer = g_timeout_add_seconds(engine->job->walltime_s, on_walltime, engine);
    vt_pause_start(engine);
    if (engine->job->cput_s > 0) {
        engine->cput_start_us = cputime_used(engine);
        on_cputime(engine);
    }
}

static void take_exit(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    guint32 value = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    if (engine->exited) {
        vt_vm_fail(&engine->vms[0], CTL_REASON_GUEST_PROTOCOL,
                   "the guest's agent gave two exit statuses");
        return;
    }
    engine->exited = true;
    if (header->aux == WIRE_EXIT_FAILED) {
        g_autofree char *printable = g_strescape(what, NULL);
        g_autofree char *message = g_strdup_printf("cannot start the script in the guest: %s: %s",
                                                   printable, g_strerror((int)(value & 0xffff)));
        set_reason(engine, CTL_REASON_START, message);
    } else if (engine->client) {
        set_reason(engine, CTL_REASON_DONE, NULL);
        vt_channel_send(engine->client, WIRE_EXIT, header->aux, payload, header->length);
    }
}

/* CREDIT or CLOSE of stdin, for the client. False if the agent would take more than a window, or
 * goes on after its CLOSE. */
static bool take_input_frame(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    if (engine->input_ended)
        return false;
    if (header->type == WIRE_CLOSE)
        engine->input_ended = true;
    else
        engine->input_credit += wire_get_u32(&reader);
    if (engine->input_credit > WIRE_INPUT_WINDOW)
        return false;
    if (engine->client)
        vt_channel_send(engine->client, header->type, WIRE_STDIN, payload, header->length);
    return true;
}

static void take_stream_frame(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    bool ok = true;
    if (header->aux == WIRE_STDIN)
        ok = take_input_frame(engine, header, payload);
    else if (header->type == WIRE_DATA)
        ok = vt_stream_add(engine, header->aux, payload, header->length);
    else
        ok = vt_stream_end(engine, header->aux);
    if (!ok)
        vt_vm_fail(&engine->vms[0], CTL_REASON_GUEST_PROTOCOL,
                   "the guest's agent sent what it may not send");
}

void vt_life_take_session(VtVm *vm, const WireHeader *header, const guint8 *payload)
{
    VtEngine *engine = vm->engine;
    if (vm->index != 0 || header->session != 0 || engine->state < VT_STATE_RUNNING) {
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL,
                   "the guest's agent spoke of a session that is not there");
        return;
    }
    switch (header->type) {
    case WIRE_STARTED:
        take_started(engine);
        break;
    case WIRE_EXIT:
        take_exit(engine, header, payload);
        break;
    case WIRE_ENDED:
        set_reason(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent gave no exit status");
        vt_life_close(engine);
        break;
    default:
        take_stream_frame(engine, header, payload);
    }
}

/* The job may go on without a way out, as it may when the machine loses its own. */
static void take_uplink_death(VtEngine *engine, guint index)
{
    VtUplink *uplink = &engine->network.uplinks[index];
    char said[UPLINK_TEXT_MAX + 1];
    ssize_t n = read(uplink->log, said, UPLINK_TEXT_MAX);
    said[MAX(n, 0)] = '\0';
    uplink->pid = -1;
    if (engine->state >= VT_STATE_CLOSING)
        return;
    g_autofree char *printable = g_strescape(g_strchomp(said), NULL);
    g_autofree char *text =
        g_strdup_printf("%s: its way out of the job (passt) has ended%s%s",
                        engine->plan->vms[index].name, *printable ? ": " : "", printable);
    vt_log_note(engine, CTL_NOTE_ALWAYS, text);
}

/* The relay ends in good order only because everybody else has. */
static void take_network_death(VtEngine *engine, pid_t pid, int status)
{
    const VtNetwork *network = &engine->network;
    bool is_relays = pid == network->relay_pid && status != 0;
    if (pid == network->switch_pid || is_relays)
        vt_life_fail(engine, CTL_REASON_HOST, "a switch of the job's network died");
    for (guint i = 0; network->uplinks && i < network->n; i++)
        if (pid == network->uplinks[i].pid)
            take_uplink_death(engine, i);
}

static void take_child(VtEngine *engine, pid_t pid, int status)
{
    for (guint i = 0; i < engine->job->vms; i++)
        if (WIFSTOPPED(status) ? vt_vm_take_stop(&engine->vms[i], pid)
                               : vt_vm_take_death(&engine->vms[i], pid, status))
            return;
    if (!WIFSTOPPED(status))
        take_network_death(engine, pid, status);
}

static gboolean on_sigchld(gint fd, GIOCondition condition, gpointer data)
{
    VtEngine *engine = data;
    struct signalfd_siginfo info;
    int status;
    if (read(fd, &info, sizeof info) < 0)
        return G_SOURCE_CONTINUE;
    /* What was written last says why. */
    for (guint i = 0; i < engine->job->vms; i++)
        vt_vm_drain(&engine->vms[i]);
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;)
        take_child(engine, pid, status);
    return G_SOURCE_CONTINUE;
}

static gboolean on_keeper_gone(gint fd, GIOCondition condition, gpointer data)
{
    _exit(VT_EXIT_FAILED);
}

void vt_engine_init(VtEngine *engine)
{
    *engine = (VtEngine){
        .run = -1,
        .keeper = -1,
        .gate = -1,
        .folder = -1,
        .control = -1,
        .kernel = -1,
        .initrd = -1,
        .oom = VT_OOM_NONE,
        .network = VT_NETWORK_NONE,
        .loop = g_main_loop_new(NULL, FALSE),
    };
    engine->notes = g_ptr_array_new_with_free_func(g_free);
    vt_opening_init(&engine->opening);
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        engine->streams[which].held = g_byte_array_new();
        engine->streams[which].given = engine->streams[which].file = -1;
    }
}

void vt_engine_take_job(VtEngine *engine, VtJob *job)
{
    engine->job = job;
    engine->vms = g_new0(VtVm, job->vms);
    for (guint i = 0; i < job->vms; i++)
        vt_vm_init(&engine->vms[i], engine, i);
}

static void make_keys(VtEngine *engine)
{
    if (!vt_ssh_is_wanted(engine->job, engine->plan))
        return;
    if (!engine->team && getrandom(engine->seed, sizeof engine->seed, 0) != sizeof engine->seed) {
        vt_life_fail(engine, CTL_REASON_HOST, "no random bytes");
        return;
    }
    vt_ssh_keys_make(&engine->keys, engine->seed);
    explicit_bzero(engine->seed, sizeof engine->seed);
}

void vt_life_start(VtEngine *engine)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int deaths = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    int errnum = errno;
    g_unix_fd_add(deaths, G_IO_IN, on_sigchld, engine);
    g_unix_fd_add(engine->keeper, G_IO_IN | G_IO_HUP | G_IO_ERR, on_keeper_gone, engine);
    for (guint i = 0; i < engine->job->vms; i++)
        vt_vm_listen(&engine->vms[i]);
    start_boot_timer(engine);
    /* Without it the death of QEMU would never be known. */
    if (deaths < 0) {
        g_autofree char *message =
            g_strdup_printf("cannot watch the job's processes: %s", g_strerror(errnum));
        vt_life_fail(engine, CTL_REASON_HOST, message);
    }
    /* A child that died before the signal was listened to. */
    kill(getpid(), SIGCHLD);
}

void vt_life_go(VtEngine *engine)
{
    if (engine->state != VT_STATE_BOOT)
        return;
    make_keys(engine);
    for (guint i = 0; i < engine->job->vms; i++)
        vt_vm_start(&engine->vms[i]);
    g_clear_handle_id(&engine->boot_timer, g_source_remove);
    start_boot_timer(engine);
}

static gboolean on_lingered(gpointer data)
{
    guint *timer = data;
    *timer = 0;
    return G_SOURCE_REMOVE;
}

void vt_life_linger(VtEngine *engine, bool (*is_done)(const VtEngine *engine))
{
    guint timer = g_timeout_add(LINGER_MS, on_lingered, &timer);
    while (timer != 0 && !is_done(engine))
        g_main_context_iteration(NULL, TRUE);
    g_clear_handle_id(&timer, g_source_remove);
}
