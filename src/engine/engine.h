/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/engine.h - one job on one node: what all files of this room share.
 *
 * The engine is process 1 of its namespaces; whatever ends it ends the job, and the kernel cleans
 * up. Specification of its life: doc/contracts/job-life.md.
 */
#pragma once

#include "ctl/run.h"
#include "engine/oom.h"
#include "guest/channel.h"
#include "image/pool.h"
#include "job/plan.h"
#include "share/server.h"
#include "vm/console.h"
#include "vm/machine.h"
#include "vm/qmp.h"

/* What the session is opened with, as the run connection said it. */
typedef struct {
    guint8 flags; /* WIRE_OPEN_* */
    guint32 umask_bits;
    guint16 rows, columns;
    char *cwd;
    GPtrArray *words; /* GBytes: one byte WireWordKind, then the word */
    gsize words_size;
    GPtrArray *limits; /* GBytes: one byte RLIMIT_*, then 16 bytes */
    GByteArray *script;
    bool complete; /* WIRE_START has come */
} VtOpening;

/* One output stream of the job, between agent and client. */
typedef struct {
    GByteArray *held;      /* from the agent, not yet sent on */
    gint64 agent_credit;   /* bytes that the agent may still send; down to -WIRE_TAIL_MAX */
    guint64 client_credit; /* bytes that the client still takes */
    bool ended;            /* the agent has closed it */
    bool told;             /* ... and the client knows */
    bool discarded;        /* nobody reads it any more */
    int given;             /* the hook's file for it, or -1 */
    int file;              /* where it is written in place of the client; -1: nowhere */
} VtStream;

typedef enum {
    VT_STATE_BOOT,    /* QEMU runs; the agent has not said anything */
    VT_STATE_PLAN,    /* the guest plan is being applied */
    VT_STATE_READY,   /* waiting for the run connection's START */
    VT_STATE_SCRIPT,  /* the script is being written to the guest */
    VT_STATE_RUNNING, /* session 0 lives */
    VT_STATE_CLOSING, /* the agent kills, syncs and says goodbye */
    VT_STATE_DONE,    /* outcome queued; what is left is the client's to read */
} VtState;

typedef struct {
    int slot;
    VtJob *job;
    VtPlan *plan;
    /* From birth (ctl/birth.h). */
    int run, keeper, gate, folder;
    int control;         /* the listening socket */
    int kernel, initrd;  /* until the cage shows them */
    VtServer servers[2]; /* of the owner's directories, and of the root */
    int disk, scratch;   /* QEMU's: the image's file, and what is written above it */
    VtMachine machine;
    VtOom oom;

    VtState state;
    guint64 phase_us[CTL_PHASES]; /* 0: not reached */
    VtChannel *client; /* the run connection, before that the starter's; NULL once gone */
    bool has_run;      /* the run connection has come */
    VtChannel *agent;
    VtQmp *qmp;
    bool is_qmp_ready;  /* QEMU has come as far as to listen: it ends well only by its guest */
    VtConsole *console; /* serial */
    VtConsole *qemu_log;
    VtConsole *server_log;
    GPtrArray *controls; /* VtControl */
    VtOpening opening;
    VtStream streams[3];  /* index WireStream; [0] is unused */
    guint64 input_credit; /* bytes of stdin that the client may still send */
    bool input_ended;     /* nobody in the guest reads stdin any more */
    bool exited;          /* the session's process has */
    bool stopping;        /* the session has been told to end */
    guint missing;        /* seconds for which the run connection has not answered */
    bool is_paused;       /* the guest's processors stand still, since nobody answers */
    guint late_plans;     /* plans after the first that the agent has not applied yet */
    CtlReason reason;
    char *message;
    char *qmp_failure;     /* what was wrong with the monitor, or NULL */
    guint64 cput_start_us; /* processor time that was used before the script */
    guint boot_timer, wall_timer, cput_timer, ping_timer, grace_timer, close_timer, reader_timer,
        run_timer; /* runs while the guest is ready and waits for its run connection */
    GMainLoop *loop;
    int exit_status; /* this process's own, once the loop is left */
} VtEngine;

/* stages.c: everything with rights. Each undoes nothing: the process ends where one fails. */
bool vt_stages_run(VtEngine *engine, GError **error);

/* kernel.c: makes the plan and opens its kernel and initramfs: those of `image` (none: nothing in it),
 * if its record names some. A site's guest takes root's own files alone; any other takes those too, or
 * what the owner may read. */
bool vt_kernel_open(VtEngine *engine, VtPoolImage *image, GError **error);

/* Says to the client that `phase` is reached, after the gate. */
void vt_engine_reach(VtEngine *engine, CtlPhase phase);

/* life.c: the state machine. */

/* Makes an engine that has nothing yet: no job, no plan, no descriptor. */
void vt_engine_init(VtEngine *engine);
void vt_life_start(VtEngine *engine);
/* The job ends at once because of `reason`, with the end of the console quoted; the first reason
 * counts. The message is for the owner. */
void vt_life_fail(VtEngine *engine, CtlReason reason, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Ends the job as CTL_END says; a job that is over, and waits to tell it, waits no longer. */
void vt_life_stop(VtEngine *engine, CtlReason reason, CtlEnd how);
/* The run connection's opening is complete, or the guest became ready. */
void vt_life_may_start(VtEngine *engine);
/* A buffer became smaller, a stream ended: is the job over? */
void vt_life_check_done(VtEngine *engine);

/* client.c: the run connection. */
void vt_client_start(VtEngine *engine);
/* A run connection that came later, from the owner. False if there is or was one, or nobody waits
 * for one; `fd` is then still the caller's. */
bool vt_client_take(VtEngine *engine, int fd);
void vt_client_phase(VtEngine *engine, CtlPhase phase);

/* pause.c: the guest stands still while a batch job's vtorque-run is stopped. */
/* The script runs: from now on the run connection is asked, if it came later. */
void vt_pause_start(VtEngine *engine);
void vt_pause_answered(VtEngine *engine);

/* session.c: session 0 in the agent. */
void vt_session_send_script(VtEngine *engine);
void vt_session_open(VtEngine *engine);
void vt_opening_init(VtOpening *opening);
/* A frame of the opening. False if it is malformed or over a limit. */
bool vt_opening_add(VtOpening *opening, const WireHeader *header, const guint8 *payload);

/* stream.c */
void vt_stream_start(VtEngine *engine, WireStream which);
/* Bytes from the agent. False if there are more than it was allowed. */
bool vt_stream_add(VtEngine *engine, WireStream which, const guint8 *data, gsize size);
/* The agent has closed it. False if it had done so before. */
bool vt_stream_end(VtEngine *engine, WireStream which);
void vt_stream_credit(VtEngine *engine, WireStream which, guint32 bytes);
void vt_stream_discard(VtEngine *engine, WireStream which);
/* The batch system's file for it, which is taken over. */
void vt_stream_give(VtEngine *engine, WireStream which, int file);
/* From now on it is written to that file, if it is the one that the client names. */
void vt_stream_use_file(VtEngine *engine, WireStream which, guint64 device, guint64 inode);
bool vt_stream_is_done(const VtEngine *engine, WireStream which);

/* control.c: vmgr's and the daemon's socket. */
/* The job in lines key=value (ctl/control.h, CTL_QUERY). (transfer full) */
char *vt_control_describe(const VtEngine *engine);
bool vt_control_listen(VtEngine *engine, GError **error);
void vt_control_start(VtEngine *engine);
