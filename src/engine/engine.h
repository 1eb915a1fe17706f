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
#include "engine/team.h"
#include "guest/channel.h"
#include "image/pool.h"
#include "job/plan.h"
#include "job/ssh.h"
#include "net/network.h"
#include "net/tunnel.h"
#include "share/server.h"
#include "vm/console.h"
#include "vm/machine.h"
#include "vm/qmp.h"

#define VT_QMP_DEADLINE_MS 30000 /* to the greeting, and for each command: emulation is slow */

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
    VT_STATE_BOOT,    /* not all guests are ready */
    VT_STATE_READY,   /* waiting for the run connection's START */
    VT_STATE_SCRIPT,  /* the script is being written to the guest */
    VT_STATE_RUNNING, /* session 0 lives */
    VT_STATE_CLOSING, /* the agents kill, sync and say goodbye */
    VT_STATE_DONE,    /* outcome queued; what is left is the client's to read */
} VtState;

typedef enum {
    VT_VM_BOOT,  /* QEMU runs; the agent has not said anything */
    VT_VM_PLAN,  /* the guest plan is being applied */
    VT_VM_READY, /* waiting for orders */
    VT_VM_DOWN,  /* the agent has said goodbye, or QEMU is gone, as it was told to */
} VtVmState;

typedef struct VtShell VtShell;
typedef struct VtFollower VtFollower;

/* One virtual machine of the job. */
typedef struct {
    VtEngine *engine;
    guint index;         /* in the plan */
    VtServer servers[2]; /* of the owner's directories, and of the root */
    int disk, scratch;   /* QEMU's: the image's file, and what is written above it */
    VtMachine machine;
    VtVmState state;
    VtChannel *agent;
    VtQmp *qmp;
    bool is_qmp_ready;  /* QEMU has come as far as to listen: it ends well only by its guest */
    char *qmp_failure;  /* what was wrong with the monitor, or NULL */
    VtConsole *console; /* serial */
    VtConsole *qemu_log;
    VtConsole *server_log;
    bool has_sshd;        /* its session lives, as far as the agent has said */
    bool is_sshd_over;    /* the program has ended, and that was said */
    guint late_plans;     /* plans after the first that the agent has not applied yet */
    GPtrArray *followers; /* VtFollower: of the serial console */
    VtShell *shells[WIRE_SESSIONS_MAX]; /* by session of the agent; NULL: none */
} VtVm;

struct VtEngine {
    guint slots[VT_VMS_MAX]; /* one for each virtual machine */
    VtJob *job;
    VtPlan *plan;
    /* From birth (ctl/birth.h). */
    int run, keeper, gate, folder;
    int control;        /* the listening socket */
    int kernel, initrd; /* until the cage shows them */
    VtOom oom;
    VtNetwork network;
    const VtNodesPart *nodes_part; /* NULL: this program is for jobs of one node */
    VtTunnel *tunnel;              /* NULL: the private network is this node's alone */
    VtTunnelPeer *peers;           /* each node's, as far as they have been told; NULL: no tunnel */
    VtTeam *team;                  /* NULL: the job has one node */
    void (*go)(VtEngine *engine); /* all nodes of the job are in their cages: starts the machines */
    guint8 seed[2 * VT_SSH_SEED_SIZE]; /* of the keys, the same on all nodes */
    VtSshKeys keys;
    VtVm *vms; /* job->vms of them; the script runs in the first */

    VtState state;
    guint64 phase_us[CTL_PHASES]; /* 0: not reached */
    VtChannel *client;   /* the run connection, before that the starter's; NULL once gone */
    bool has_run;        /* the run connection has come */
    GPtrArray *controls; /* VtControl */
    GPtrArray *notes;    /* of char *, the newest: lines of CTL_LOG */
    VtOpening opening;
    VtStream streams[3];  /* index WireStream; [0] is unused */
    guint64 input_credit; /* bytes of stdin that the client may still send */
    bool input_ended;     /* nobody in the guest reads stdin any more */
    bool exited;          /* the session's process has */
    bool stopping;        /* the session has been told to end */
    guint missing;        /* seconds for which the run connection has not answered */
    bool is_paused;       /* the guest's processors stand still, since nobody answers */
    CtlReason reason;
    char *message;
    guint64 cput_start_us; /* processor time that was used before the script */
    guint boot_timer, wall_timer, cput_timer, ping_timer, grace_timer, close_timer, reader_timer,
        run_timer; /* runs while the guest is ready and waits for its run connection */
    GMainLoop *loop;
    int exit_status; /* this process's own, once the loop is left */
};

/* run.c: both programs. Returns the exit status. */
int vt_engine_main(int argc, char **argv, const VtNodesPart *part);

/* stages.c: everything with rights. Each undoes nothing: the process ends where one fails. */
/* Stages 1 to 4: up to the cage, where nothing is read yet that a guest could have said. */
bool vt_stages_prepare(VtEngine *engine, GError **error);
/* Stage 5: the machines. */
bool vt_stages_start(VtEngine *engine, GError **error);

/* kernel.c: makes the plan and opens its kernel and initramfs: those of `image` (none: nothing in it),
 * if its record names some. A site's guest takes root's own files alone; any other takes those too, or
 * what the owner may read. */
bool vt_kernel_open(VtEngine *engine, VtPoolImage *image, GError **error);

/* Says to the client that `phase` is reached, after the gate. */
void vt_engine_reach(VtEngine *engine, CtlPhase phase);

/* life.c: the state machine. */

/* Makes an engine that has nothing yet: no job, no plan, no descriptor. */
void vt_engine_init(VtEngine *engine);
/* ... and now a job, which says how many virtual machines there are. */
void vt_engine_take_job(VtEngine *engine, VtJob *job);
/* The loop may run: deaths are seen, and there is a deadline. */
void vt_life_start(VtEngine *engine);
/* The machines run, and are listened to. */
void vt_life_go(VtEngine *engine);
/* After the end: runs the loop until `is_done`, for those that have not read everything; 1 s at most. */
void vt_life_linger(VtEngine *engine, bool (*is_done)(const VtEngine *engine));
/* The guests here, or on other nodes, have come as far: is the job ready, are all down? */
void vt_life_check_ready(VtEngine *engine);
void vt_life_check_down(VtEngine *engine);
/* Brings the guests down in order. */
void vt_life_close(VtEngine *engine);
/* The job ends at once because of `reason`; the first reason counts. The message is for the owner. */
void vt_life_fail(VtEngine *engine, CtlReason reason, const char *message);
/* The agent of `vm` has introduced itself; has applied its plan. */
void vt_life_take_booted(VtVm *vm);
void vt_life_take_ready(VtVm *vm);
/* A frame of a session, from the agent of `vm`. */
void vt_life_take_session(VtVm *vm, const WireHeader *header, const guint8 *payload);
/* The guest is down in good order, or its QEMU has ended while it was on its way there. */
void vt_life_take_down(VtVm *vm);
/* Ends the job as CTL_END says; a job that is over, and waits to tell it, waits no longer. */
void vt_life_stop(VtEngine *engine, CtlReason reason, CtlEnd how);
/* The run connection's opening is complete, or the guest became ready. */
void vt_life_may_start(VtEngine *engine);
/* A buffer became smaller, a stream ended: is the job over? */
void vt_life_check_done(VtEngine *engine);

/* vm.c: one virtual machine, from QEMU's first byte to its end. */
void vt_vm_init(VtVm *vm, VtEngine *engine, guint index);
/* From now on what its file servers say is listened to. Before any vt_vm_drain(). */
void vt_vm_listen(VtVm *vm);
/* ... and what the machine says. */
void vt_vm_start(VtVm *vm);
/* Its name, also the guest's host name. (borrowed) */
const char *vt_vm_name(const VtVm *vm);
/* Ends the job as vt_life_fail() does, with the end of the guest's console quoted, and with the
 * machine's name where the job has several. */
void vt_vm_fail(VtVm *vm, CtlReason reason, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* What is left of the job in the guest is killed, and its shares are synced. */
void vt_vm_close(VtVm *vm);
/* Nothing of it is listened to any more. */
void vt_vm_kill(VtVm *vm);
/* Reads what its console and logs hold. */
void vt_vm_drain(VtVm *vm);
/* A process died, or was stopped. False if it is none of this machine's. */
bool vt_vm_take_death(VtVm *vm, pid_t pid, int status);
bool vt_vm_take_stop(VtVm *vm, pid_t pid);
/* Its card on the private network has no link any more. */
void vt_vm_unplug(VtVm *vm);
/* Its clock is this node's. */
void vt_vm_set_clock(VtVm *vm);

/* sshd.c: the guest's ssh server. */
#define VT_SESSION_SSHD 1 /* in the agent */
/* Starts it, where guests let their owner in. */
void vt_sshd_start(VtVm *vm);
/* A frame of its session. */
void vt_sshd_take(VtVm *vm, const WireHeader *header, const guint8 *payload);

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
/* The guests here stand still, or go on. */
void vt_pause_set(VtEngine *engine, bool is_paused);

/* session.c: what a session in an agent is opened with; session 0. */
void vt_session_send_script(VtEngine *engine);
void vt_session_open(VtEngine *engine);
void vt_opening_init(VtOpening *opening);
void vt_opening_clear(VtOpening *opening);
/* A frame of the opening. False if it is malformed or over a limit. */
bool vt_opening_add(VtOpening *opening, const WireHeader *header, const guint8 *payload);
/* Opens `session` in the agent of `vm`, as the job's owner. */
void vt_opening_send(const VtOpening *opening, VtVm *vm, guint16 session);

/* shell.c: sessions beside the job's, each a control connection's. */
/* A session of machine number `vm` for whoever is at the other end of `client`, which must
 * outlive it. NULL where there is none to have; `why` then says so in one line. (transfer full):
 * it ends with vt_shell_leave(). */
VtShell *vt_shell_new(VtEngine *engine, guint vm, VtChannel *client, const char **why);
/* A frame from the connection. False: it is of no use any more. */
bool vt_shell_take(VtShell *shell, const WireHeader *header, const guint8 *payload);
/* The connection is gone: its session gets HUP and, if that does not end it, KILL. */
void vt_shell_leave(VtShell *shell);
/* A frame of the session, from its agent. */
void vt_shell_take_session(VtShell *shell, const WireHeader *header, const guint8 *payload);
/* The job is over: tells it to all who have a session in `vm`. */
void vt_shell_end_all(VtVm *vm, CtlReason reason);

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

/* follow.c: those who watch a serial console. */
/* For whoever is at the other end of `client`, which must outlive it. (transfer full): it ends with
 * vt_follower_leave(). */
VtFollower *vt_follower_new(VtVm *vm, VtChannel *client);
/* A frame from the connection. False: it is of no use any more. */
bool vt_follower_take(VtFollower *follower, const WireHeader *header, const guint8 *payload);
void vt_follower_leave(VtFollower *follower);
/* The machine's console has said `bytes`, at most WIRE_PAYLOAD_MAX of them; will say nothing any
 * more. */
void vt_follower_show_all(VtVm *vm, const guint8 *bytes, gsize size);
void vt_follower_end_all(VtVm *vm);

/* log.c: what the engine has said of the job. */
/* Tells it to the run connection, and keeps it. */
void vt_log_note(VtEngine *engine, CtlNote kind, const char *text);
/* For CTL_LOG. (transfer full) */
char *vt_log_describe(const VtEngine *engine);

/* control.c: vmgr's and the daemon's socket. */
/* The job in lines key=value (ctl/control.h, CTL_QUERY). (transfer full) */
char *vt_control_describe(const VtEngine *engine);
bool vt_control_listen(VtEngine *engine, GError **error);
void vt_control_start(VtEngine *engine);
/* Closes all connections. Who has not yet read what was sent has a second for it. */
void vt_control_end(VtEngine *engine);
