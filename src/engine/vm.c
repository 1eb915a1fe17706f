/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/vm.c - one virtual machine of the job: its agent, its monitor, its processes.
 *
 * Reads from: agent, QEMU, file servers. Trusts: nothing.
 */
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "job/guest_plan.h"
#include "wire/frame.h"

#define DRAIN_READS 16 /* a guest that writes without end keeps nothing else waiting */
#define TAIL_LINES 12
#define TAIL_PREFIX "  | "

const char *vt_vm_name(const VtVm *vm)
{
    return vm->engine->plan->vms[vm->index].name;
}

void vt_vm_fail(VtVm *vm, CtlReason reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    bool is_one = vm->engine->job->vms == 1 && vm->engine->job->nodes == 1;
    g_autofree char *serial = vt_console_tail(vm->console, TAIL_LINES, TAIL_PREFIX);
    g_autofree char *qemu = vt_console_tail(vm->qemu_log, TAIL_LINES, TAIL_PREFIX "qemu: ");
    g_autofree char *server =
        vt_console_tail(vm->server_log, TAIL_LINES, TAIL_PREFIX "virtiofsd: ");
    bool any = *serial || *qemu || *server;
    g_autofree char *message =
        g_strdup_printf("%s%s%s%s%s%s%s", is_one ? "" : vt_vm_name(vm), is_one ? "" : ": ", what,
                        any ? "; the end of the guest's console:\n" : "", serial, qemu, server);
    if (any)
        message[strlen(message) - 1] = '\0';
    vt_life_fail(vm->engine, reason, message);
}

static void send_plan(VtVm *vm)
{
    guint8 seed[VT_GUEST_RANDOM_SIZE];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
        vt_vm_fail(vm, CTL_REASON_HOST, "no random bytes");
        return;
    }
    g_autoptr(GPtrArray) steps =
        vt_guest_plan_new(vm->engine->job, vm->engine->plan, vm->index, &vm->engine->keys,
                          (guint64)g_get_real_time() * 1000, seed, sizeof seed);
    for (guint i = 0; i < steps->len; i++) {
        const VtGuestStep *step = g_ptr_array_index(steps, i);
        gsize size;
        const void *payload = g_bytes_get_data(step->payload, &size);
        vt_channel_send(vm->agent, WIRE_STEP, (guint8)step->kind, payload, size);
    }
    vt_channel_send(vm->agent, WIRE_PLAN_END, 0, NULL, 0);
}

static void take_hello(VtVm *vm, const guint8 *payload, gsize size)
{
    guint8 answer[8];
    WireReader reader = wire_reader(payload, size);
    guint32 magic = wire_get_u32(&reader);
    guint16 lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);
    if (vm->state != VT_VM_BOOT || !reader.ok || magic != WIRE_MAGIC) {
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent did not introduce itself");
        return;
    }
    if (highest < WIRE_VERSION_MIN || lowest > WIRE_VERSION) {
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL,
                   "the guest's agent speaks versions %u to %u of the protocol, this vTorque %u "
                   "to %u: rebuild the guest",
                   lowest, highest, WIRE_VERSION_MIN, WIRE_VERSION);
        return;
    }
    WireWriter writer = wire_writer(answer, sizeof answer);
    wire_put_u32(&writer, WIRE_MAGIC);
    wire_put_u16(&writer, WIRE_VERSION_MIN);
    wire_put_u16(&writer, WIRE_VERSION);
    vt_channel_send(vm->agent, WIRE_HELLO, 0, answer, writer.used);
    vm->state = VT_VM_PLAN;
    vt_life_take_booted(vm);
    send_plan(vm);
}

/* READY answers each plan: the first, one that sets the clock, the first machine's script. */
static void take_ready(VtVm *vm)
{
    if (vm->state == VT_VM_PLAN) {
        vm->state = VT_VM_READY;
        vt_sshd_start(vm);
        vt_life_take_ready(vm);
    } else if (vm->late_plans > 0) {
        vm->late_plans--;
    } else if (vm->index == 0 && vm->engine->state == VT_STATE_SCRIPT) {
        vt_life_take_ready(vm);
    } else if (vm->engine->state < VT_STATE_CLOSING) {
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent was ready out of turn");
    }
}

static void take_step_fail(VtVm *vm, const guint8 *payload, gsize size)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, size);
    guint32 index = wire_get_u32(&reader), errnum = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    g_autofree char *printable = g_strescape(what, NULL);
    vt_vm_fail(vm, CTL_REASON_GUEST_PLAN, "the guest could not be prepared: step %u, %s: %s", index,
               printable, g_strerror((int)(errnum & 0xffff)));
}

static void take_error(VtVm *vm, const guint8 *payload, gsize size)
{
    char what[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, size);
    guint32 code = wire_get_u32(&reader);
    wire_get_string(&reader, what, sizeof what);
    g_autofree char *printable = g_strescape(what, NULL);
    vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent gave up: error %u: %s", code,
               printable);
}

static void on_agent_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    VtVm *vm = data;
    if (vm->engine->state == VT_STATE_DONE)
        return;
    if (wire_frame_check(header, payload, WIRE_AGENT) < 0) {
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent sent a bad frame (%s, %u)",
                   wire_type_name(header->type), header->type);
        return;
    }
    switch (header->type) {
    case WIRE_HELLO:
        take_hello(vm, payload, header->length);
        break;
    case WIRE_READY:
        take_ready(vm);
        break;
    case WIRE_STEP_FAIL:
        take_step_fail(vm, payload, header->length);
        break;
    case WIRE_STARTED:
    case WIRE_EXIT:
    case WIRE_ENDED:
    case WIRE_DATA:
    case WIRE_CREDIT:
    case WIRE_CLOSE:
        if (header->session == VT_SESSION_SSHD && vm->has_sshd)
            vt_sshd_take(vm, header, payload);
        else if (vm->shells[header->session])
            vt_shell_take_session(vm->shells[header->session], header, payload);
        else
            vt_life_take_session(vm, header, payload);
        break;
    case WIRE_PING:
        /* Who asks without reading the answers gets none. */
        if (vt_channel_queued(vm->agent) < WIRE_PAYLOAD_MAX)
            vt_channel_send(vm->agent, WIRE_PONG, 0, payload, header->length);
        break;
    case WIRE_PONG:
        break;
    case WIRE_BYE:
        if (vm->engine->state == VT_STATE_CLOSING)
            vt_life_take_down(vm);
        else
            vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent said goodbye too early");
        break;
    case WIRE_ERROR:
        take_error(vm, payload, header->length);
        break;
    default: /* RESTED: nobody asked */
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent sent %s out of turn",
                   wire_type_name(header->type));
    }
}

static void on_agent_closed(const char *reason, gpointer data)
{
    VtVm *vm = data;
    /* QEMU's end of it goes when QEMU does: that story is told better by its events and its
     * exit. */
    if (*reason && vm->engine->state != VT_STATE_DONE)
        vt_vm_fail(vm, CTL_REASON_GUEST_PROTOCOL, "the guest's agent: %s", reason);
}

static void take_log(VtVm *vm, VtConsole *console, const guint8 *bytes, gsize size)
{
    vt_console_add(console, bytes, size);
    if (console == vm->console)
        vt_follower_show_all(vm, bytes, size);
}

/* Reads what is there, up to a limit. False at the end of the stream. */
static bool drain(VtVm *vm, int fd, VtConsole *console)
{
    guint8 bytes[16384];
    ssize_t n = 0;
    for (int reads = 0; fd >= 0 && reads < DRAIN_READS && (n = read(fd, bytes, sizeof bytes)) > 0;
         reads++)
        take_log(vm, console, bytes, (gsize)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void end_by_guest(VtVm *vm, const char *how)
{
    drain(vm, vm->machine.serial, vm->console);
    g_autofree char *panic = vt_console_find_panic(vm->console);
    if (vm->engine->state == VT_STATE_CLOSING)
        vt_life_take_down(vm);
    else if (panic)
        vt_vm_fail(vm, CTL_REASON_GUEST_PANIC, "the guest's kernel panicked: %s", panic);
    else
        vt_vm_fail(vm, CTL_REASON_GUEST_POWEROFF, "the guest %s before the script had ended", how);
}

static void on_qmp_ready(gpointer data)
{
    VtVm *vm = data;
    vm->is_qmp_ready = true;
}

/* QEMU has stopped the guest; what it reported to the guest instead is the guest's. */
static void take_disk_error(VtVm *vm, const json_t *event_data)
{
    const char *action = json_string_value(json_object_get(event_data, "action"));
    const VtDisk *disk = vm->engine->plan->disk;
    if (g_strcmp0(action, "stop") != 0 || !disk)
        return;
    if (disk->scratch_dir)
        vt_vm_fail(vm, CTL_REASON_DISK,
                   "no space is left in '%s' for what the guest writes to its disk",
                   disk->scratch_dir);
    else
        vt_vm_fail(vm, CTL_REASON_DISK,
                   "the guest has written more than %u MiB to its disk in memory (RAMDISK_SIZE)",
                   disk->scratch_mib);
}

static void on_qmp_event(const char *name, json_t *event_data, gpointer data)
{
    VtVm *vm = data;
    const char *reason = json_string_value(json_object_get(event_data, "reason"));
    if (g_str_equal(name, "BLOCK_IO_ERROR"))
        take_disk_error(vm, event_data);
    else if (g_str_equal(name, "GUEST_PANICKED"))
        vt_vm_fail(vm, CTL_REASON_GUEST_PANIC, "the guest's kernel panicked");
    else if (g_str_equal(name, "SHUTDOWN"))
        end_by_guest(vm, g_strcmp0(reason, "guest-reset") == 0 ? "restarted" : "was switched off");
}

/* Whatever is wrong with the monitor, QEMU is of no use any more; its death tells the story. */
static void on_qmp_failed(const GError *error, gpointer data)
{
    VtVm *vm = data;
    g_free(vm->qmp_failure);
    vm->qmp_failure = g_strdup(error->message);
    if (vm->machine.pid > 0)
        kill(vm->machine.pid, SIGKILL);
}

static bool is_by_memory(const VtVm *vm, int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
           vt_oom_has_killed(&vm->engine->oom);
}

/* The kernel killed a process of the job because there was no memory for it. */
static void fail_for_memory(VtVm *vm)
{
    const VtMemory *memory = &vm->engine->plan->memory;
    if (vm->engine->oom.memory_mib > 0)
        vt_vm_fail(vm, CTL_REASON_MEMORY,
                   "the job used more than its %u MiB of memory: %" G_GUINT64_FORMAT
                   " MiB of RAM for the guest%s and "
                   "%" G_GUINT64_FORMAT " MiB for QEMU, file servers and disk",
                   vm->engine->oom.memory_mib, memory->ram, vm->engine->job->vms == 1 ? "" : "s",
                   memory->total - memory->ram);
    else
        vt_vm_fail(vm, CTL_REASON_MEMORY,
                   "the machine, or what the job was started in, ran out of memory");
}

static bool is_server(const VtVm *vm, pid_t pid)
{
    return pid == vm->servers[0].pid || pid == vm->servers[1].pid;
}

static void take_machine_death(VtVm *vm, int status, const char *how)
{
    vm->machine.pid = -1;
    if (vm->engine->state == VT_STATE_DONE)
        return;
    if (is_by_memory(vm, status))
        fail_for_memory(vm);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && vm->is_qmp_ready)
        end_by_guest(vm, "was switched off");
    else
        vt_vm_fail(vm, CTL_REASON_QEMU, "QEMU died (%s)%s%s", how,
                   vm->qmp_failure ? ", its monitor: " : "",
                   vm->qmp_failure ? vm->qmp_failure : "");
}

static void take_server_death(VtVm *vm, int status, const char *how)
{
    VtEngine *engine = vm->engine;
    /* It ends in good order only because QEMU has left it: QEMU's own end tells more. */
    bool is_left = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (engine->state == VT_STATE_DONE || is_left)
        return;
    /* The guest has not said yet that everything is written: the script's status is no good news any
     * more. */
    if (engine->reason == CTL_REASON_DONE)
        g_clear_pointer(&engine->message, g_free);
    if (is_by_memory(vm, status))
        fail_for_memory(vm);
    else
        vt_vm_fail(vm, CTL_REASON_SHARE, "the file server of the guest died (%s)%s", how,
                   engine->exited ? ", before all was written that the script had mapped" : "");
}

bool vt_vm_take_death(VtVm *vm, pid_t pid, int status)
{
    g_autofree char *how = WIFSIGNALED(status) ? g_strdup_printf("signal %d", WTERMSIG(status))
                                               : g_strdup_printf("status %d", WEXITSTATUS(status));
    if (pid == vm->machine.pid)
        take_machine_death(vm, status, how);
    else if (is_server(vm, pid))
        take_server_death(vm, status, how);
    else
        return false;
    return true;
}
/* A file server has its owner's ids, so the owner can stop it, and with it the guest. Whoever is of
 * its session may let it go on, whatever the ids; where the owner is the one who started the job, it
 * is theirs to stop. */
bool vt_vm_take_stop(VtVm *vm, pid_t pid)
{
    const VtOwner *owner = &vm->engine->job->owner;
    bool is_for_another = owner->uid != 0 && getuid() != owner->uid;
    if (!is_server(vm, pid))
        return false;
    if (is_for_another && kill(pid, SIGCONT) < 0)
        vt_vm_fail(vm, CTL_REASON_SHARE, "the file server of the guest was stopped");
    return true;
}

void vt_vm_drain(VtVm *vm)
{
    drain(vm, vm->machine.serial, vm->console);
    drain(vm, vm->machine.log, vm->qemu_log);
    for (int i = 0; i < 2; i++)
        drain(vm, vm->servers[i].log, vm->server_log);
}

static gboolean on_console(gint fd, GIOCondition condition, gpointer data)
{
    VtVm *vm = data;
    VtConsole *console = fd == vm->machine.serial ? vm->console
                         : fd == vm->machine.log  ? vm->qemu_log
                                                  : vm->server_log;
    return drain(vm, fd, console) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void watch_console(VtVm *vm, int fd)
{
    if (fd < 0)
        return;
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_console, vm);
}

void vt_vm_init(VtVm *vm, VtEngine *engine, guint index)
{
    *vm = (VtVm){
        .engine = engine,
        .index = index,
        .disk = -1,
        .scratch = -1,
        .servers = {VT_SERVER_NONE, VT_SERVER_NONE},
        .machine = VT_MACHINE_NONE,
        .followers = g_ptr_array_new(),
        .console = vt_console_new(),
        .qemu_log = vt_console_new(),
        .server_log = vt_console_new(),
    };
}

void vt_vm_listen(VtVm *vm)
{
    for (int i = 0; i < 2; i++)
        watch_console(vm, vm->servers[i].log);
}

void vt_vm_start(VtVm *vm)
{
    const VtChannelHandlers agent = {.frame = on_agent_frame, .closed = on_agent_closed};
    const VtQmpHandlers qmp = {
        .ready = on_qmp_ready, .event = on_qmp_event, .failed = on_qmp_failed};
    watch_console(vm, vm->machine.serial);
    watch_console(vm, vm->machine.log);
    vm->agent = vt_channel_new(vt_fd_steal(&vm->machine.agent), &agent, vm);
    vm->qmp = vt_qmp_new(vt_fd_steal(&vm->machine.qmp), VT_QMP_DEADLINE_MS, &qmp, vm);
}

void vt_vm_close(VtVm *vm)
{
    if (vm->agent)
        vt_channel_send(vm->agent, WIRE_SHUTDOWN, WIRE_SHUTDOWN_STAY, NULL, 0);
}

void vt_vm_kill(VtVm *vm)
{
    if (vm->machine.pid > 0)
        kill(vm->machine.pid, SIGKILL);
    g_clear_pointer(&vm->qmp, vt_qmp_free);
    g_clear_pointer(&vm->agent, vt_channel_free);
}

void vt_vm_set_clock(VtVm *vm)
{
    gsize size;
    g_autoptr(GBytes) clock = vt_guest_clock((guint64)g_get_real_time() * 1000);
    const void *payload = g_bytes_get_data(clock, &size);
    vm->late_plans++;
    vt_channel_send(vm->agent, WIRE_STEP, WIRE_STEP_CLOCK, payload, size);
    vt_channel_send(vm->agent, WIRE_PLAN_END, 0, NULL, 0);
}

void vt_vm_unplug(VtVm *vm)
{
    if (vm->qmp)
        vt_qmp_command(vm->qmp, "set_link", json_pack("{s:s,s:b}", "name", "net", "up", 0),
                       VT_QMP_DEADLINE_MS, NULL, NULL);
}
