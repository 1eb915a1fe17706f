/* SPDX-License-Identifier: Apache-2.0 */
/* cli/attach.c - the user's end of a run connection, or of a shell's. */
#include "cli/attach.h"

#include <errno.h>
#include <glib-unix.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/channel.h"

#define NOW_PATIENCE_S 2       /* for the engine to obey an order to end at once */
#define BACKGROUND_STEP_MS 250 /* from one look to the next whether we are in the foreground */

#define REPEAT_US 100000 /* within which a batch system's signal is the same one */

/* One of our outputs. */
typedef struct {
    struct Attach *attach;
    WireStream which;
    int fd;
    GByteArray *held;
    gsize piece; /* bytes that can be written without blocking when it is ready */
    guint watch;
    guint32 owed;   /* written, not yet credited */
    gint64 granted; /* what the engine may still send */
    bool broken;    /* nobody reads it */
} Output;

typedef struct Attach {
    const VtAttachment *what;
    VtResult *result;
    VtChannel *channel;
    Output outputs[3];
    guint input_watch, signal_watch;
    guint64 input_credit;
    int signals; /* signalfd */
    guint interrupts;
    gint64 newest_us[WIRE_SIGNAL_MAX + 1]; /* when each signal was passed on; 0: never */
    bool is_running;                       /* the program in the guest */
    bool progress_shown;
    bool finished; /* nothing more comes from the engine */
    GMainLoop *loop;
} Attach;

static guint64 now_us(void)
{
    return (guint64)g_get_monotonic_time();
}

static void show_progress(Attach *attach, const char *text)
{
    if (!attach->what->progress)
        return;
    g_printerr("\r\033[K%s: %s", attach->what->program_name, text);
    attach->progress_shown = true;
}

static void clear_progress(Attach *attach)
{
    if (attach->progress_shown)
        g_printerr("\r\033[K");
    attach->progress_shown = false;
}

/* A pipe or terminal that poll() calls ready takes PIPE_BUF bytes; a regular file takes all. */
static gsize piece_size(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? WIRE_PAYLOAD_MAX : PIPE_BUF;
}

static void credit(Output *output, bool all)
{
    if (output->owed == 0 || (!all && output->owed < CTL_OUTPUT_WINDOW / 4))
        return;
    vt_channel_send_u32(output->attach->channel, WIRE_CREDIT, output->which, output->owed);
    output->granted += output->owed;
    output->owed = 0;
}

static void maybe_quit(Attach *attach)
{
    if (!attach->finished)
        return;
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++)
        if (attach->outputs[which].held->len > 0)
            return;
    g_main_loop_quit(attach->loop);
}

/* A reader that went away is no failure, nor is a descriptor that was never open; a full disk
 * is. */
static void break_output(Output *output, int errnum)
{
    g_autofree char *what =
        g_strdup_printf("cannot write %s: %s", output->which == WIRE_STDOUT ? "stdout" : "stderr",
                        g_strerror(errnum));
    if (errnum != EPIPE)
        g_printerr("%s: %s\n", output->attach->what->program_name, what);
    if (errnum != EPIPE && errnum != EBADF && !output->attach->result->lost)
        output->attach->result->lost = g_steal_pointer(&what);
    output->broken = true;
    output->owed += output->held->len;
    g_byte_array_set_size(output->held, 0);
    vt_channel_send(output->attach->channel, WIRE_CLOSE, output->which, "", 1);
    credit(output, true);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    Output *output = data;
    ssize_t n = write(fd, output->held->data, MIN(output->held->len, output->piece));
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        break_output(output, errno);
    } else if (n > 0) {
        g_byte_array_remove_range(output->held, 0, (guint)n);
        output->owed += (guint32)n;
        credit(output, output->held->len == 0);
    }
    if (output->held->len > 0)
        return G_SOURCE_CONTINUE;
    output->watch = 0;
    maybe_quit(output->attach);
    return G_SOURCE_REMOVE;
}

static void take_output(Output *output, const guint8 *payload, gsize size)
{
    /* Of a session beside the job's the engine keeps nothing: the tail comes as the agent sends it. */
    gint64 beyond = output->attach->what->is_shell ? WIRE_TAIL_MAX : 0;
    output->granted -= (gint64)size;
    /* An engine that breaks the rules is not listened to, and ended. */
    if (output->granted < -beyond) {
        g_clear_pointer(&output->attach->channel, vt_channel_free);
        g_main_loop_quit(output->attach->loop);
        return;
    }
    if (output->broken) {
        output->owed += (guint32)size;
        credit(output, true);
        return;
    }
    g_byte_array_append(output->held, payload, (guint)size);
    if (output->fd == output->attach->what->errors && output->attach->what->are_errors_quoted)
        vt_terminal_make_printable((char *)output->held->data + output->held->len - size, size);
    if (output->watch == 0)
        output->watch = g_unix_fd_add(output->fd, G_IO_OUT | G_IO_ERR, on_writable, output);
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer data);

static void send_size(Attach *attach)
{
    guint8 payload[4];
    guint16 rows, columns;
    WireWriter writer = wire_writer(payload, sizeof payload);
    vt_terminal_get_size(attach->what->terminal, &rows, &columns);
    wire_put_u16(&writer, rows);
    wire_put_u16(&writer, columns);
    vt_channel_send(attach->channel, WIRE_WINSIZE, 0, payload, sizeof payload);
}

/* The program in the guest runs, and our terminal is its. */
static void enter_terminal(Attach *attach)
{
    VtTerminal *terminal = attach->what->terminal;
    if (!terminal || terminal->is_raw || !attach->is_running)
        return;
    vt_terminal_set_raw(terminal);
    send_size(attach);
}

/* Nobody sits at our terminal any more: neither does anybody at the guest's. */
static void hang_up(Attach *attach)
{
    vt_terminal_restore(attach->what->terminal);
    vt_channel_send(attach->channel, WIRE_CLOSE, WIRE_STDOUT, "", 1);
    if (!attach->what->is_shell) {
        vt_channel_send(attach->channel, CTL_END, CTL_END_TERM, NULL, 0);
        return;
    }
    attach->result->has_outcome = true;
    attach->result->reason = CTL_REASON_ENDED;
    attach->result->message = g_strdup("hung up");
    g_main_loop_quit(attach->loop);
}

static void watch_input(Attach *attach)
{
    attach->input_watch =
        g_unix_fd_add(attach->what->input, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, attach);
}

static gboolean on_input_again(gpointer data)
{
    watch_input(data);
    return G_SOURCE_REMOVE;
}

/* In the background of a terminal what is typed is another's, and to read it would stop us. */
static bool is_anothers(int fd)
{
    pid_t foreground = tcgetpgrp(fd);
    return foreground >= 0 && foreground != getpgrp();
}

/* What was typed, without the escapes; one may make one byte more. -1 where nobody types any
 * more. */
static ssize_t read_terminal(Attach *attach, guint8 *bytes, gsize size)
{
    bool is_left = false;
    ssize_t n = read(attach->what->input, bytes, size - 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0)
        n = (ssize_t)vt_terminal_filter(attach->what->terminal, bytes, (gsize)n, &is_left);
    else
        is_left = true;
    return is_left ? -1 : n;
}

static ssize_t read_input(Attach *attach, guint8 *bytes, gsize size)
{
    ssize_t n = read(attach->what->input, bytes, size);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n > 0 ? n : -1;
}

static gboolean stop_input(Attach *attach)
{
    attach->input_watch = 0;
    attach->input_credit = 0;
    if (attach->what->terminal)
        hang_up(attach);
    else
        vt_channel_send(attach->channel, WIRE_CLOSE, WIRE_STDIN, "", 1);
    return G_SOURCE_REMOVE;
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer data)
{
    Attach *attach = data;
    guint8 bytes[WIRE_PAYLOAD_MAX];
    gsize size = MIN(sizeof bytes, attach->input_credit);
    if (is_anothers(fd)) {
        attach->input_watch = g_timeout_add(BACKGROUND_STEP_MS, on_input_again, attach);
        return G_SOURCE_REMOVE;
    }
    enter_terminal(attach);
    /* More comes when the guest has read what it holds. */
    if (attach->what->terminal && size < 2) {
        attach->input_watch = 0;
        return G_SOURCE_REMOVE;
    }
    ssize_t n = attach->what->terminal ? read_terminal(attach, bytes, size)
                                       : read_input(attach, bytes, size);
    if (n < 0)
        return stop_input(attach);
    if (n > 0)
        vt_channel_send(attach->channel, WIRE_DATA, WIRE_STDIN, bytes, (gsize)n);
    attach->input_credit -= (guint64)n;
    if (attach->input_credit > 0)
        return G_SOURCE_CONTINUE;
    attach->input_watch = 0;
    return G_SOURCE_REMOVE;
}

static void take_credit(Attach *attach, guint32 bytes)
{
    if (attach->what->input < 0)
        return;
    attach->input_credit += bytes;
    if (attach->input_watch == 0 && attach->input_credit > 0)
        watch_input(attach);
}

static void take_started(Attach *attach)
{
    clear_progress(attach);
    attach->is_running = true;
    enter_terminal(attach);
    if (attach->what->input < 0)
        vt_channel_send(attach->channel, WIRE_CLOSE, WIRE_STDIN, "", 1);
}

static void take_phase(Attach *attach, unsigned phase, guint64 at)
{
    if (phase >= CTL_PHASES)
        return;
    attach->result->phase_us[phase] = at;
    if (phase == CTL_PHASE_STARTING)
        show_progress(attach, "starting the virtual machine ...");
    else if (phase == CTL_PHASE_READY)
        show_progress(attach, "starting the job ...");
    else if (phase == CTL_PHASE_RUNNING)
        take_started(attach);
}

/* An engine that was taken over must not speak to the terminal. (transfer full) */
static char *make_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);
    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        g_string_append_unichar(out, g_unichar_iscntrl(c) && c != '\n' ? '?' : c);
    }
    return g_string_free(out, FALSE);
}

static void take_text(Attach *attach, const WireHeader *header, const guint8 *payload)
{
    char text[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, text, sizeof text);
    g_autofree char *shown = make_printable(text);
    if (header->type == CTL_NOTE && header->aux == CTL_NOTE_VERBOSE && !attach->what->verbose)
        return;
    if (header->type == CTL_NOTE) {
        clear_progress(attach);
        g_printerr("%s: note: %s%s\n", attach->what->program_name, shown,
                   attach->what->terminal && attach->what->terminal->is_raw ? "\r" : "");
        return;
    }
    if (attach->result->has_outcome)
        return;
    attach->result->has_outcome = true;
    attach->result->reason = header->aux;
    attach->result->message = g_steal_pointer(&shown);
    attach->result->ended_us = now_us();
    attach->finished = true;
    maybe_quit(attach);
}

static void take_exit(Attach *attach, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    attach->result->has_exit = true;
    attach->result->exit_kind = header->aux;
    attach->result->exit_value = wire_get_u32(&reader);
    attach->result->exit_us = now_us();
    /* A slow reader is ours to wait for now, not the engine's. */
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        attach->outputs[which].owed += CTL_OUTPUT_WINDOW + WIRE_TAIL_MAX;
        credit(&attach->outputs[which], true);
    }
}

static void on_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    Attach *attach = data;
    WireReader reader = wire_reader(payload, header->length);
    bool is_output = header->aux == WIRE_STDOUT || header->aux == WIRE_STDERR;
    switch (header->type) {
    case CTL_PHASE:
        take_phase(attach, header->aux, wire_get_u64(&reader));
        break;
    case WIRE_DATA:
        if (is_output)
            take_output(&attach->outputs[header->aux], payload, header->length);
        break;
    case WIRE_CREDIT:
        if (header->aux == WIRE_STDIN)
            take_credit(attach, wire_get_u32(&reader));
        break;
    case WIRE_CLOSE:
        if (header->aux == WIRE_STDIN) {
            g_clear_handle_id(&attach->input_watch, g_source_remove);
            attach->input_credit = 0;
        }
        break;
    case WIRE_STARTED:
        take_started(attach);
        break;
    case WIRE_EXIT:
        take_exit(attach, header, payload);
        break;
    case CTL_PING:
        vt_channel_send(attach->channel, CTL_PONG, 0, NULL, 0);
        break;
    case CTL_NOTE:
    case CTL_OUTCOME:
        take_text(attach, header, payload);
        break;
    default:
        break; /* of a newer engine */
    }
}

static void on_closed(const char *reason, gpointer data)
{
    Attach *attach = data;
    g_clear_handle_id(&attach->input_watch, g_source_remove);
    attach->finished = true;
    maybe_quit(attach);
}

static gboolean on_patience_over(gpointer data)
{
    Attach *attach = data;
    g_main_loop_quit(attach->loop);
    return G_SOURCE_REMOVE;
}

static void interrupt(Attach *attach)
{
    if (++attach->interrupts < 2 || attach->what->is_batch || attach->what->is_shell) {
        vt_channel_send(attach->channel, WIRE_SIGNAL, SIGINT, NULL, 0);
        return;
    }
    attach->result->interrupted = true;
    vt_channel_send(attach->channel, CTL_END, CTL_END_NOW, NULL, 0);
    g_timeout_add_seconds(NOW_PATIENCE_S, on_patience_over, attach);
}

/* Torque's qsig sends each signal but TERM four times, 1.2 ms apart. */
static bool is_repeated(Attach *attach, guint32 number)
{
    gint64 now_us = g_get_monotonic_time(), *newest = &attach->newest_us[number];
    bool is_repeated = *newest > 0 && now_us - *newest < REPEAT_US;
    *newest = now_us;
    return is_repeated;
}

/* What is the terminal's, not the guest's. False: it is the guest's. */
static bool take_terminal_signal(Attach *attach, guint32 number)
{
    VtTerminal *terminal = attach->what->terminal;
    if (number == SIGTSTP) {
        vt_terminal_restore(terminal);
        kill(getpid(), SIGSTOP);
    } else if (number == SIGHUP || number == SIGTERM) {
        hang_up(attach);
    } else if (number == SIGWINCH && attach->is_running) {
        send_size(attach);
    } else if (number == SIGCONT) {
        terminal->is_raw = false;
        enter_terminal(attach);
    }
    return number == SIGTSTP || number == SIGHUP || number == SIGTERM || number == SIGWINCH ||
           number == SIGCONT;
}

static gboolean on_signal(gint fd, GIOCondition condition, gpointer data)
{
    Attach *attach = data;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == sizeof info) {
        if (attach->what->is_batch && is_repeated(attach, info.ssi_signo))
            continue;
        if (attach->what->terminal && take_terminal_signal(attach, info.ssi_signo))
            continue;
        attach->result->terminated |= info.ssi_signo == SIGTERM;
        if (info.ssi_signo == SIGINT)
            interrupt(attach);
        else
            vt_channel_send(attach->channel, WIRE_SIGNAL, (guint8)info.ssi_signo, NULL, 0);
        /* The shell that waits for us must see us stop. */
        if (info.ssi_signo == SIGTSTP) {
            vt_channel_flush(attach->channel);
            kill(getpid(), SIGSTOP);
        }
    }
    return G_SOURCE_CONTINUE;
}

static bool watch_signals(Attach *attach)
{
    static const int forwarded[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
                                    SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};
    struct sigaction starters;
    sigset_t set;
    sigemptyset(&set);
    /* What the starter ignores (nohup; a script's background jobs), a job of this machine's own
     * would ignore. */
    for (gsize i = 0; i < G_N_ELEMENTS(forwarded); i++)
        if (sigaction(forwarded[i], NULL, &starters) == 0 && starters.sa_handler != SIG_IGN &&
            (forwarded[i] != SIGWINCH || attach->what->terminal))
            sigaddset(&set, forwarded[i]);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return false;
    sigprocmask(SIG_BLOCK, &set, NULL);
    attach->signals = fd;
    attach->signal_watch = g_unix_fd_add(fd, G_IO_IN, on_signal, attach);
    return true;
}

/* There is no job without somebody who hears the user's signals: its connection ends here. */
static void refuse(VtResult *result, int run, const char *what, int errnum)
{
    result->has_outcome = true;
    result->reason = CTL_REASON_HOST;
    result->message = g_strdup_printf("%s: %s", what, g_strerror(errnum));
    close(run);
}

static void send_words(VtChannel *channel, WireWordKind kind, const char *const *words)
{
    for (; words && *words; words++)
        vt_channel_send(channel, WIRE_WORD, kind, *words, strlen(*words));
}

/* True if both outputs are the same file, or the same terminal: what the script prints on either then
 * stays in its order. */
static bool is_joined(const VtAttachment *what)
{
    struct stat output, errors;
    return fstat(what->output, &output) == 0 && fstat(what->errors, &errors) == 0 &&
           output.st_dev == errors.st_dev && output.st_ino == errors.st_ino;
}

static void send_opening(Attach *attach)
{
    const VtAttachment *what = attach->what;
    VtChannel *channel = attach->channel;
    guint8 payload[64 + WIRE_STRING_MAX];
    WireWriter writer = wire_writer(payload, sizeof payload);
    guint16 rows = 0, columns = 0;
    guint8 flags = what->terminal ? WIRE_OPEN_PTY : is_joined(what) ? WIRE_OPEN_JOINED : 0;
    if (what->terminal)
        vt_terminal_get_size(what->terminal, &rows, &columns);
    for (int i = 0; i < 2; i++)
        wire_put_u32(&writer, 0);
    wire_put_u32(&writer, what->umask_bits);
    wire_put_u16(&writer, rows);
    wire_put_u16(&writer, columns);
    wire_put_string(&writer, what->cwd);
    vt_channel_send(channel, WIRE_OPEN, flags, payload, writer.used);
    vt_channel_send(channel, WIRE_WORD, WIRE_WORD_PROGRAM, what->program, strlen(what->program));
    send_words(channel, WIRE_WORD_ARG, what->argv);
    send_words(channel, WIRE_WORD_ENV, what->env);
    for (gsize i = 0; i < what->n_limits; i++) {
        WireWriter limit = wire_writer(payload, sizeof payload);
        wire_put_u64(&limit, what->limits[i].soft);
        wire_put_u64(&limit, what->limits[i].hard);
        vt_channel_send(channel, WIRE_LIMIT, (guint8)what->limits[i].resource, payload, limit.used);
    }
    gsize size = 0;
    const guint8 *script = what->script ? g_bytes_get_data(what->script, &size) : NULL;
    for (gsize at = 0; at < size; at += WIRE_PAYLOAD_MAX)
        vt_channel_send(channel, CTL_SCRIPT, 0, script + at, MIN(size - at, WIRE_PAYLOAD_MAX));
    vt_channel_send(channel, WIRE_START, 0, NULL, 0);
}

static void start_outputs(Attach *attach)
{
    const int fds[] = {-1, attach->what->output, attach->what->errors};
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        Output *output = &attach->outputs[which];
        *output = (Output){
            .attach = attach, .which = which, .fd = fds[which], .held = g_byte_array_new()};
        output->piece = piece_size(output->fd);
        output->owed = CTL_OUTPUT_WINDOW;
    }
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++)
        credit(&attach->outputs[which], true);
}

void vt_attach(const VtAttachment *attachment, int run, VtResult *result)
{
    const VtChannelHandlers handlers = {.frame = on_frame, .closed = on_closed};
    Attach attach = {.what = attachment, .result = result, .loop = g_main_loop_new(NULL, FALSE)};
    signal(SIGPIPE, SIG_IGN);
    if (!watch_signals(&attach)) {
        refuse(result, run, "cannot watch for signals", errno);
        g_main_loop_unref(attach.loop);
        return;
    }
    attach.channel = vt_channel_new(run, &handlers, &attach);
    send_opening(&attach);
    start_outputs(&attach);
    g_main_loop_run(attach.loop);
    clear_progress(&attach);
    if (attachment->terminal)
        vt_terminal_restore(attachment->terminal);
    vt_channel_free(attach.channel);
    g_clear_handle_id(&attach.input_watch, g_source_remove);
    g_clear_handle_id(&attach.signal_watch, g_source_remove);
    vt_fd_clear(&attach.signals);
    for (int which = WIRE_STDOUT; which <= WIRE_STDERR; which++) {
        g_clear_handle_id(&attach.outputs[which].watch, g_source_remove);
        g_byte_array_unref(attach.outputs[which].held);
    }
    g_main_loop_unref(attach.loop);
}

void vt_result_clear(VtResult *result)
{
    g_clear_pointer(&result->message, g_free);
    g_clear_pointer(&result->lost, g_free);
}
