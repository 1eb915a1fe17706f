/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/life.c - a job's life, from QEMU's first byte to the engine's exit.
 *
 * Theory of operation. BOOT -hello-> PLAN -ready-> READY -start-> SCRIPT -ready-> RUNNING -session
 * ended-> CLOSING -bye-> DONE. From every state a failure goes straight to DONE (QEMU killed), and
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
#include <stdarg.h>
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
#include "job/guest_plan.h"
#include "wire/frame.h"

/* To the greeting, and for each command: an emulated guest may keep QEMU busy. */
#define QMP_DEADLINE_MS 30000
#define CLOSE_DEADLINE_MS 5000  /* for the agent to kill, sync and say goodbye */
#define KILLED_DEADLINE_MS 5000 /* for the session to end after its KILL */
#define READER_PATIENCE_S 60
#define CPUTIME_THREADS 2 /* of QEMU and the file servers that are busy beside the vCPUs */
#define DRAIN_READS 16    /* a guest that writes without end keeps nothing else waiting */
#define TAIL_LINES 12
#define TAIL_PREFIX "  | "

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

static void kill_machine(VtEngine *engine)
{
    if (engine->machine.pid > 0)
        kill(engine->machine.pid, SIGKILL);
    g_clear_pointer(&engine->qmp, vt_qmp_free);
    g_clear_pointer(&engine->agent, vt_channel_free);
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
    engine->state = VT_STATE_DONE;
    clear_timers(engine);
    kill_machine(engine);
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

/* Brings the guest down in order: what is left of the job is killed and the share is synced. */
static void close_guest(VtEngine *engine)
{
    if (engine->state >= VT_STATE_CLOSING)
        return;
    vt_engine_reach(engine, CTL_PHASE_ENDING);
    if (engine->state == VT_STATE_BOOT || !engine->agent) {
        finish(engine);
        return;
    }
    engine->state = VT_STATE_CLOSING;
    clear_timers(engine);
    engine->close_timer = g_timeout_add(CLOSE_DEADLINE_MS, on_close_deadline, engine);
    vt_channel_send(engine->agent, WIRE_SHUTDOWN, WIRE_SHUTDOWN_STAY, NULL, 0);
}

void vt_life_fail(VtEngine *engine, CtlReason reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *serial = vt_console_tail(engine->console, TAIL_LINES, TAIL_PREFIX);
    g_autofree char *qemu = vt_console_tail(engine->qemu_log, TAIL_LINES, TAIL_PREFIX "qemu: ");
    g_autofree char *server =
        vt_console_tail(engine->server_log, TAIL_LINES, TAIL_PREFIX "virtiofsd: ");
    bool any = *serial || *qemu || *server;
    g_autofree char *message = g_strdup_printf(
        "%s%s%s%s%s", what, any ? "; the end of the guest's console:\n" : "", serial, qemu, server);
    if (any)
        message[strlen(message) - 1] = '\0';
    set_reason(engine, reason, message);
    finish(engine);
}

static gboolean on_killed_deadline(gpointer data)
{
    VtEngine *engine = data;
    engine->grace_timer = 0;
    close_guest(engine);
    return G_SOURCE_REMOVE;
}

static gboolean on_grace_over(gpointer data)
{
    VtEngine *engine = data;
    if (engine->agent)
        vt_channel_send(engine->agent, WIRE_SIGNAL, SIGKILL, NULL, 0);
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
    if (how == CTL_END_NOW || engine->state < VT_STATE_PLAN || engine->is_paused) {
        finish(engine);
    } else if (engine->state != VT_STATE_RUNNING) {
        close_guest(engine);
    } else if (!engine->stopping) {
        engine->stopping = true;
        vt_channel_send(engine->agent, WIRE_SIGNAL, SIGTERM, NULL, 0);
        /* A stopped process takes no TERM. */
        vt_channel_send(engine->agent, WIRE_SIGNAL, SIGCONT, NULL, 0);
        engine->grace_timer =
            g_timeout_add_seconds(engine->job->kill_grace_s, on_grace_over, engine);
    }
}

static gboolean on_boot_timeout(gpointer data)
{
    VtEngine *engine = data;
    engine->boot_timer = 0;
    vt_life_fail(engine, CTL_REASON_BOOT_TIMEOUT, "the guest %s after %u s (boot_timeout)",
                 engine->state < VT_STATE_SCRIPT ? "was not ready" : "did not start the script",
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
    const pid_t pids[] = {engine->machine.pid, engine->servers[0].pid, engine->servers[1].pid};
    return vt_cputime_used(pids, G_N_ELEMENTS(pids));
}

/* Looks again when the limit can be reached at the earliest. */
static gboolean on_cputime(gpointer data)
{
    VtEngine *engine = data;
    guint64 used_us = cputime_used(engine) - engine->cput_start_us;
    guint wait_ms =
        vt_cputime_wait_ms(engine->job->cput_s, used_us, engine->job->vcpus + CPUTIME_THREADS);
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

static void send_plan(VtEngine *engine)
{
    guint8 seed[VT_GUEST_RANDOM_SIZE];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
        vt_life_fail(engine, CTL_REASON_HOST, "no random bytes");
        return;
    }
    g_autoptr(GPtrArray) steps = vt_guest_plan_new(
        engine->job, engine->plan, (guint64)g_get_real_time() * 1000, seed, sizeof seed);
    for (guint i = 0; i < steps->len; i++) {
        const VtGuestStep *step = g_ptr_array_index(steps, i);
        gsize size;
        const void *payload = g_bytes_get_data(step->payload, &size);
        vt_channel_send(engine->agent, WIRE_STEP, (guint8)step->kind, payload, size);
    }
    vt_channel_send(engine->agent, WIRE_PLAN_END, 0, NULL, 0);
}

static void take_hello(VtEngine *engine, const guint8 *payload, gsize size)
{
    guint8 answer[8];
    WireReader reader = wire_reader(payload, size);
    guint32 magic = wire_get_u32(&reader);
    guint16 lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);
    if (engine->state != VT_STATE_BOOT || !reader.ok || magic != WIRE_MAGIC) {
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
                     "the guest's agent did not introduce itself");
        return;
    }
    if (highest < WIRE_VERSION_MIN || lowest > WIRE_VERSION) {
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
                     "the guest's agent speaks versions %u to %u of the protocol, this vTorque %u "
                     "to %u: rebuild the guest",
                     lowest, highest, WIRE_VERSION_MIN, WIRE_VERSION);
        return;
    }
    WireWriter writer = wire_writer(answer, sizeof answer);
    wire_put_u32(&writer, WIRE_MAGIC);
    wire_put_u16(&writer, WIRE_VERSION_MIN);
    wire_put_u16(&writer, WIRE_VERSION);
    vt_channel_send(engine->agent, WIRE_HELLO, 0, answer, writer.used);
    engine->state = VT_STATE_PLAN;
    vt_engine_reach(engine, CTL_PHASE_BOOTED);
    send_plan(engine);
}

static void take_ready(VtEngine *engine)
{
    if (engine->state == VT_STATE_PLAN) {
        g_clear_handle_id(&engine->boot_timer, g_source_remove);
        engine->state = VT_STATE_READY;
        if (!engine->has_run)
            engine->run_timer =
                g_timeout_add_seconds(engine->job->run_wait_s, on_run_wait_over, engine);
        vt_engine_reach(engine, CTL_PHASE_READY);
        vt_life_may_start(engine);
    } else if (engine->state == VT_STATE_SCRIPT) {
        engine->state = VT_STATE_RUNNING;
        vt_session_open(engine);
    } else if (engine->late_plans > 0) {
        engine->late_plans--;
    } else if (engine->state < VT_STATE_CLOSING) {
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent was ready out of turn");
    }
}

static void take_step_fail(VtEngine *engine, const guint8 *payload, gsize size)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, size);
    guint32 index = wire_get_u32(&reader), errnum = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    g_autofree char *printable = g_strescape(what, NULL);
    vt_life_fail(engine, CTL_REASON_GUEST_PLAN, "the guest could not be prepared: step %u, %s: %s",
                 index, printable, g_strerror((int)(errnum & 0xffff)));
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
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent gave two exit statuses");
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
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
                     "the guest's agent sent what it may not send");
}

static void take_session_frame(VtEngine *engine, const WireHeader *header, const guint8 *payload)
{
    if (header->session != 0 || engine->state < VT_STATE_RUNNING) {
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
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
        close_guest(engine);
        break;
    default:
        take_stream_frame(engine, header, payload);
    }
}

static void take_error(VtEngine *engine, const guint8 *payload, gsize size)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, size);
    guint32 code = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    g_autofree char *printable = g_strescape(what, NULL);
    vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent gave up: error %u: %s", code,
                 printable);
}

static void on_agent_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    VtEngine *engine = data;
    if (engine->state == VT_STATE_DONE)
        return;
    if (wire_frame_check(header, payload, WIRE_AGENT) < 0) {
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
                     "the guest's agent sent a bad frame (%s, %u)", wire_type_name(header->type),
                     header->type);
        return;
    }
    switch (header->type) {
    case WIRE_HELLO:
        take_hello(engine, payload, header->length);
        break;
    case WIRE_READY:
        take_ready(engine);
        break;
    case WIRE_STEP_FAIL:
        take_step_fail(engine, payload, header->length);
        break;
    case WIRE_STARTED:
    case WIRE_EXIT:
    case WIRE_ENDED:
    case WIRE_DATA:
    case WIRE_CREDIT:
    case WIRE_CLOSE:
        take_session_frame(engine, header, payload);
        break;
    case WIRE_PING:
        /* Who asks without reading the answers gets none. */
        if (vt_channel_queued(engine->agent) < WIRE_PAYLOAD_MAX)
            vt_channel_send(engine->agent, WIRE_PONG, 0, payload, header->length);
        break;
    case WIRE_PONG:
        break;
    case WIRE_BYE:
        if (engine->state == VT_STATE_CLOSING)
            finish(engine);
        else
            vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL,
                         "the guest's agent said goodbye too early");
        break;
    case WIRE_ERROR:
        take_error(engine, payload, header->length);
        break;
    default: /* RESTED: nobody asked */
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent sent %s out of turn",
                     wire_type_name(header->type));
    }
}

static void on_agent_closed(const char *reason, gpointer data)
{
    VtEngine *engine = data;
    /* QEMU's end of it goes when QEMU does: that story is told better by its events and its
     * exit. */
    if (*reason && engine->state != VT_STATE_DONE)
        vt_life_fail(engine, CTL_REASON_GUEST_PROTOCOL, "the guest's agent: %s", reason);
}

/* Reads what is there, up to a limit. False at the end of the stream. */
static bool drain(int fd, VtConsole *console)
{
    guint8 bytes[16384];
    ssize_t n = 0;
    for (int reads = 0; fd >= 0 && reads < DRAIN_READS && (n = read(fd, bytes, sizeof bytes)) > 0;
         reads++)
        vt_console_add(console, bytes, (gsize)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void end_by_guest(VtEngine *engine, const char *how)
{
    drain(engine->machine.serial, engine->console);
    g_autofree char *panic = vt_console_find_panic(engine->console);
    if (engine->state == VT_STATE_CLOSING)
        finish(engine);
    else if (panic)
        vt_life_fail(engine, CTL_REASON_GUEST_PANIC, "the guest's kernel panicked: %s", panic);
    else
        vt_life_fail(engine, CTL_REASON_GUEST_POWEROFF, "the guest %s before the script had ended",
                     how);
}

static void on_qmp_ready(gpointer data)
{
    VtEngine *engine = data;
    engine->is_qmp_ready = true;
}

/* QEMU has stopped the guest; what it reported to the guest instead is the guest's. */
static void take_disk_error(VtEngine *engine, const json_t *event_data)
{
    const char *action = json_string_value(json_object_get(event_data, "action"));
    const VtDisk *disk = engine->plan->disk;
    if (g_strcmp0(action, "stop") != 0 || !disk)
        return;
    if (disk->scratch_dir)
        vt_life_fail(engine, CTL_REASON_DISK,
                     "no space is left in '%s' for what the guest writes to its disk",
                     disk->scratch_dir);
    else
        vt_life_fail(engine, CTL_REASON_DISK,
                     "the guest has written more than %u MiB to its disk in memory (RAMDISK_SIZE)",
                     disk->scratch_mib);
}

static void on_qmp_event(const char *name, json_t *event_data, gpointer data)
{
    VtEngine *engine = data;
    const char *reason = json_string_value(json_object_get(event_data, "reason"));
    if (g_str_equal(name, "BLOCK_IO_ERROR"))
        take_disk_error(engine, event_data);
    else if (g_str_equal(name, "GUEST_PANICKED"))
        vt_life_fail(engine, CTL_REASON_GUEST_PANIC, "the guest's kernel panicked");
    else if (g_str_equal(name, "SHUTDOWN"))
        end_by_guest(engine,
                     g_strcmp0(reason, "guest-reset") == 0 ? "restarted" : "was switched off");
}

/* Whatever is wrong with the monitor, QEMU is of no use any more; its death tells the story. */
static void on_qmp_failed(const GError *error, gpointer data)
{
    VtEngine *engine = data;
    g_free(engine->qmp_failure);
    engine->qmp_failure = g_strdup(error->message);
    if (engine->machine.pid > 0)
        kill(engine->machine.pid, SIGKILL);
}

/* The kernel killed a process of the job because there was no memory for it. */
static void fail_for_memory(VtEngine *engine)
{
    const VtMemory *memory = &engine->plan->memory;
    if (engine->oom.memory_mib > 0)
        vt_life_fail(engine, CTL_REASON_MEMORY,
                     "the job used more than its %u MiB of memory: %u MiB of RAM for the guest and "
                     "%" G_GUINT64_FORMAT " MiB for QEMU, file servers and disk",
                     engine->oom.memory_mib, memory->ram, memory->total - memory->ram);
    else
        vt_life_fail(engine, CTL_REASON_MEMORY,
                     "the machine, or what the job was started in, ran out of memory");
}

/* A child died: QEMU, the file server, or something that was handed to process 1. */
static void take_death(VtEngine *engine, pid_t pid, int status)
{
    g_autofree char *how = WIFSIGNALED(status) ? g_strdup_printf("signal %d", WTERMSIG(status))
                                               : g_strdup_printf("status %d", WEXITSTATUS(status));
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (pid == engine->machine.pid) {
        engine->machine.pid = -1;
        if (engine->state == VT_STATE_DONE)
            return;
        if (is_killed && vt_oom_has_killed(&engine->oom))
            fail_for_memory(engine);
        else if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && engine->is_qmp_ready)
            end_by_guest(engine, "was switched off");
        else
            vt_life_fail(engine, CTL_REASON_QEMU, "QEMU died (%s)%s%s", how,
                         engine->qmp_failure ? ", its monitor: " : "",
                         engine->qmp_failure ? engine->qmp_failure : "");
    } else if (pid == engine->servers[0].pid || pid == engine->servers[1].pid) {
        /* It ends in good order only because QEMU has left it: QEMU's own end tells more. */
        bool is_left = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (engine->state == VT_STATE_DONE || is_left)
            return;
        /* The guest has not said yet that everything is written: the script's status is no good
         * news any more. */
        if (engine->reason == CTL_REASON_DONE)
            g_clear_pointer(&engine->message, g_free);
        if (is_killed && vt_oom_has_killed(&engine->oom))
            fail_for_memory(engine);
        else
            vt_life_fail(engine, CTL_REASON_SHARE, "the file server of the guest died (%s)%s", how,
                         engine->exited ? ", before all was written that the script had mapped"
                                        : "");
    }
}

/* A file server has its owner's ids, so the owner can stop it, and with it the guest. Whoever is of
 * its session may let it go on, whatever the ids; where the owner is the one who started the job, it
 * is theirs to stop. */
static void take_stop(VtEngine *engine, pid_t pid)
{
    bool is_server = pid == engine->servers[0].pid || pid == engine->servers[1].pid;
    bool is_for_another = engine->job->owner.uid != 0 && getuid() != engine->job->owner.uid;
    if (is_server && is_for_another && kill(pid, SIGCONT) < 0)
        vt_life_fail(engine, CTL_REASON_SHARE, "the file server of the guest was stopped");
}

static void drain_all(VtEngine *engine)
{
    drain(engine->machine.serial, engine->console);
    drain(engine->machine.log, engine->qemu_log);
    for (int i = 0; i < 2; i++)
        drain(engine->servers[i].log, engine->server_log);
}

static gboolean on_sigchld(gint fd, GIOCondition condition, gpointer data)
{
    VtEngine *engine = data;
    struct signalfd_siginfo info;
    int status;
    if (read(fd, &info, sizeof info) < 0)
        return G_SOURCE_CONTINUE;
    /* What was written last says why. */
    drain_all(engine);
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;)
        if (WIFSTOPPED(status))
            take_stop(engine, pid);
        else
            take_death(engine, pid, status);
    return G_SOURCE_CONTINUE;
}

static gboolean on_console(gint fd, GIOCondition condition, gpointer data)
{
    VtEngine *engine = data;
    VtConsole *console = fd == engine->machine.serial ? engine->console
                         : fd == engine->machine.log  ? engine->qemu_log
                                                      : engine->server_log;
    return drain(fd, console) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean on_keeper_gone(gint fd, GIOCondition condition, gpointer data)
{
    _exit(VT_EXIT_FAILED);
}

static void watch_consoles(VtEngine *engine)
{
    const int fds[] = {engine->machine.serial, engine->machine.log, engine->servers[0].log,
                       engine->servers[1].log};
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] < 0)
            continue;
        g_unix_set_fd_nonblocking(fds[i], TRUE, NULL);
        g_unix_fd_add(fds[i], G_IO_IN | G_IO_HUP | G_IO_ERR, on_console, engine);
    }
}

void vt_engine_init(VtEngine *engine)
{
    *engine = (VtEngine){
        .run = -1,
        .keeper = -1,
        .gate = -1,
        .folder = -1,
        .control = -1,
        .disk = -1,
        .scratch = -1,
        .kernel = -1,
        .initrd = -1,
        .servers = {VT_SERVER_NONE, VT_SERVER_NONE},
        .machine = VT_MACHINE_NONE,
        .oom = VT_OOM_NONE,
        .console = vt_console_new(),
        .qemu_log = vt_console_new(),
        .server_log = vt_console_new(),
        .loop = g_main_loop_new(NULL, FALSE),
    };
    vt_opening_init(&engine->opening);
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        engine->streams[which].held = g_byte_array_new();
        engine->streams[which].given = engine->streams[which].file = -1;
    }
}

void vt_life_start(VtEngine *engine)
{
    const VtChannelHandlers agent = {.frame = on_agent_frame, .closed = on_agent_closed};
    const VtQmpHandlers qmp = {
        .ready = on_qmp_ready, .event = on_qmp_event, .failed = on_qmp_failed};
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int deaths = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    int errnum = errno;
    g_unix_fd_add(deaths, G_IO_IN, on_sigchld, engine);
    g_unix_fd_add(engine->keeper, G_IO_IN | G_IO_HUP | G_IO_ERR, on_keeper_gone, engine);
    watch_consoles(engine);
    engine->agent = vt_channel_new(vt_fd_steal(&engine->machine.agent), &agent, engine);
    engine->qmp = vt_qmp_new(vt_fd_steal(&engine->machine.qmp), QMP_DEADLINE_MS, &qmp, engine);
    start_boot_timer(engine);
    /* Without it the death of QEMU would never be known. */
    if (deaths < 0)
        vt_life_fail(engine, CTL_REASON_HOST, "cannot watch the job's processes: %s",
                     g_strerror(errnum));
    /* A child that died before the signal was listened to. */
    kill(getpid(), SIGCHLD);
}
