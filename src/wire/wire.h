/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/wire.h - the protocol between host and guest: constants and a pure codec.
 *
 * doc/contracts/wire.md is the specification; this header names what it defines. What a frame of
 * each type may look like is checked by wire/frame.h. Libc only: linked by engine and agent.
 * Nothing here reads, writes or allocates.
 *
 * Trusts: nothing. Every length is checked before the bytes behind it are looked at.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 1 /* what this release speaks, down to WIRE_VERSION_MIN */
#define WIRE_VERSION_MIN 1
#define WIRE_MAGIC 0x78577476u /* "vtWx" */

#define WIRE_HEADER_SIZE 8
#define WIRE_PAYLOAD_MAX 65536 /* bytes in one frame; a pipe's capacity: one read fills one */
#define WIRE_SESSIONS_MAX 32   /* sessions 0 .. 31; session 0 is the job */
#define WIRE_STRING_MAX 4095   /* bytes of a path or name, as PATH_MAX less its NUL */
#define WIRE_WORD_MAX 65535    /* bytes of one argument or environment entry */
#define WIRE_WORDS_MAX 4096    /* arguments and environment entries of one session */
#define WIRE_ARENA_MAX 1048576 /* bytes of all of them, each with its NUL */
#define WIRE_GROUPS_MAX 1024   /* supplementary groups of one session */
#define WIRE_LIMITS_MAX 16     /* RLIMIT_* numbers 0 .. 15 */
#define WIRE_SIGNAL_MAX 64
#define WIRE_COPY_MAX (1024 * 1024)
#define WIRE_RANDOM_MAX 512     /* bytes of one RANDOM step */
#define WIRE_INPUT_WINDOW 65536 /* bytes of stdin that the agent holds at most */
#define WIRE_TAIL_MAX 65536 /* bytes of each output beyond its credit, after the process's end */

/* A frame: u32 length of the payload, u8 type, u8 aux, u16 session; then the payload.
 * Little-endian. `aux` is the stream, the signal or the kind, as the type says; 0 elsewhere. */
typedef enum {
    /* Both ways, before anything else: the agent's first. Payload: u32 magic, u16 lowest, u16
     * highest version; agent: string kernel release. */
    WIRE_HELLO = 1,
    /* Engine: the guest plan, one step a frame, applied as it comes; aux = WireStep. After READY
     * more may follow (a script that arrives late), ended by another PLAN_END, answered by another
     * READY. */
    WIRE_STEP = 2,
    WIRE_PLAN_END = 3,  /* engine: no more steps */
    WIRE_READY = 4,     /* agent: all steps done */
    WIRE_STEP_FAIL = 5, /* agent: u32 index of the step, u32 errno, string what. The plan is over */

    /* Sessions, engine to agent. The order is OPEN, (GROUPS WORD LIMIT)*, START. */
    WIRE_OPEN = 16,   /* aux = WIRE_OPEN_*; u32 uid, gid, umask, u16 rows, columns, string cwd */
    WIRE_GROUPS = 17, /* u32 gid ... */
    WIRE_WORD = 18,   /* aux = WireWordKind; the bytes, no NUL */
    WIRE_LIMIT = 19,  /* aux = RLIMIT_* number; u64 soft, u64 hard; UINT64_MAX = unlimited */
    WIRE_START = 20,
    WIRE_SIGNAL = 21,  /* aux = number: to the process group of the session (of its terminal) */
    WIRE_WINSIZE = 22, /* u16 rows, u16 columns */
    /* Agent to engine. */
    WIRE_STARTED = 32, /* u32 pid in the guest */
    WIRE_EXIT = 33,    /* aux = WireExitKind; u32 value, string what. The process has ended. */
    WIRE_ENDED = 34,   /* nothing more comes for this session; its number is free */
    /* Both ways. */
    WIRE_DATA = 48,   /* aux = WireStream; bytes, at most what CREDIT allows */
    WIRE_CREDIT = 49, /* aux = WireStream; u32 further bytes that its sender will take */
    WIRE_CLOSE = 50,  /* aux = WireStream; u8 WireCloseReason. Writer: no more. Reader: send none */

    WIRE_PING = 64,     /* u64 token, either way */
    WIRE_PONG = 65,     /* the same token */
    WIRE_REST = 66,     /* engine: bring all sessions to rest before a freeze */
    WIRE_RESTED = 67,   /* agent: no byte is under way; it sends nothing until RESUME */
    WIRE_RESUME = 68,   /* engine */
    WIRE_SHUTDOWN = 69, /* engine: end all sessions, sync, answer; aux = WireShutdown */
    WIRE_BYE = 70,      /* agent: synced, all sessions are over */
    WIRE_FAULT = 71,    /* engine, for tests of our own: aux = WireFault */
    WIRE_ERROR = 72,    /* either: u32 WireError, string; the sender then stops talking */
} WireType;

typedef enum { WIRE_STDIN = 0, WIRE_STDOUT = 1, WIRE_STDERR = 2 } WireStream;

/* PROGRAM: path of what is executed, never searched for; without it the first ARG is that too. */
typedef enum { WIRE_WORD_ARG = 0, WIRE_WORD_ENV = 1, WIRE_WORD_PROGRAM = 2 } WireWordKind;

typedef enum {
    WIRE_EXIT_STATUS = 0,
    WIRE_EXIT_SIGNAL = 1,
    WIRE_EXIT_FAILED = 2, /* the process could not be started: value = errno, `what` the act */
} WireExitKind;

typedef enum { WIRE_CLOSE_EOF = 0, WIRE_CLOSE_ERROR = 1 } WireCloseReason;
typedef enum { WIRE_SHUTDOWN_STAY = 0, WIRE_SHUTDOWN_POWEROFF = 1 } WireShutdown;

typedef enum {
    WIRE_FAULT_EXIT = 0,
    WIRE_FAULT_HANG = 1,
    WIRE_FAULT_PANIC = 2,
    WIRE_FAULT_POWEROFF = 3,
} WireFault;

typedef enum {
    WIRE_ERROR_FRAME = 1,   /* a frame that may never be */
    WIRE_ERROR_VERSION = 2, /* no common version */
    WIRE_ERROR_STATE = 3,   /* a frame that may not be now */
    WIRE_ERROR_LIMIT = 4,   /* more than a window or a limit allows */
} WireError;

#define WIRE_OPEN_PTY 1    /* a terminal in place of three pipes */
#define WIRE_OPEN_JOINED 2 /* stdout and stderr are one pipe, all is stdout */

/* A step of the guest plan. A string is u16 length and bytes without NUL. */
typedef enum {
    /* u32 uid, gid, mode; string path. Parents are made root's, 0755. One that exists stays as it
       is. */
    WIRE_STEP_MKDIR = 1,
    WIRE_STEP_FILE = 2,    /* u32 uid, gid, mode; string path: an empty file, replacing another */
    WIRE_STEP_APPEND = 3,  /* bytes: added to the newest FILE */
    WIRE_STEP_SYMLINK = 4, /* string path, string target */
    WIRE_STEP_MOUNT = 5,   /* u64 mount flags; string type, source, target, data */
    /* u64 mount flags (MS_RDONLY, MS_NOSUID... are set by a remount); string source, target. A
     * missing target is made as the source is: directory or empty file; a file that cannot be made
     * (read-only root, link to nowhere) is left out. */
    WIRE_STEP_BIND = 6,
    /* string path of a mount: becomes the root; /proc, /sys, /dev, /run and what is below them move
     * along, so the path may not lie below one of them */
    WIRE_STEP_ROOT = 7,
    WIRE_STEP_HOSTNAME = 8, /* string */
    WIRE_STEP_CLOCK = 9,    /* u64 seconds, u32 nanoseconds since 1970 */
    WIRE_STEP_RANDOM = 10,  /* bytes: credited to the kernel's random pool, which then reseeds */
    WIRE_STEP_LINK_UP = 11, /* string interface */
    /* string path of a file, of WIRE_COPY_MAX bytes at most: its content is added to the newest
     * FILE; none is there: nothing */
    WIRE_STEP_COPY = 12,
    /* u64 hardware address of the interface that is meant, its first byte the highest of six; u32 IPv4
     * address, u32 length of its prefix, u32 gateway of the default route (0: none): it gets them, and
     * is brought up */
    WIRE_STEP_ADDRESS = 13,
} WireStep;

typedef struct {
    uint32_t length;
    uint8_t type;
    uint8_t aux;
    uint16_t session;
} WireHeader;

/* Bytes to be read, with everything that a bad length could do kept inside `ok`. */
typedef struct {
    const uint8_t *at;
    size_t left;
    bool ok;
} WireReader;

/* Writes the header's 8 bytes to `out`. */
void wire_header_format(const WireHeader *header, uint8_t out[WIRE_HEADER_SIZE]);

/* Reads 8 bytes. Returns 0; -EMSGSIZE: length over WIRE_PAYLOAD_MAX; -EPROTO: session number too
 * high. `header` is filled in any case. */
int wire_header_parse(const uint8_t in[WIRE_HEADER_SIZE], WireHeader *header);

WireReader wire_reader(const void *data, size_t size);
/* Each returns 0 and clears `ok` when too few bytes are left. */
uint8_t wire_get_u8(WireReader *reader);
uint16_t wire_get_u16(WireReader *reader);
uint32_t wire_get_u32(WireReader *reader);
uint64_t wire_get_u64(WireReader *reader);
/* A string into `out` of `size` bytes, NUL added. Too long for it or for WIRE_STRING_MAX, or a NUL
 * inside: clears `ok`, `out` is "". */
void wire_get_string(WireReader *reader, char *out, size_t size);
/* True if nothing failed and nothing is left. */
bool wire_reader_done(const WireReader *reader);

/* Bytes being written into a buffer of fixed size; too many clear `ok`, nothing is written past it.
 */
typedef struct {
    uint8_t *start;
    size_t used, size;
    bool ok;
} WireWriter;

WireWriter wire_writer(void *buffer, size_t size);
void wire_put_u8(WireWriter *writer, uint8_t value);
void wire_put_u16(WireWriter *writer, uint16_t value);
void wire_put_u32(WireWriter *writer, uint32_t value);
void wire_put_u64(WireWriter *writer, uint64_t value);
/* NULL counts as "". Over WIRE_STRING_MAX clears `ok`. */
void wire_put_string(WireWriter *writer, const char *text);
void wire_put_bytes(WireWriter *writer, const void *data, size_t size);
