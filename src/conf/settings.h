/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf/settings.h - the site's settings: every parameter there is, its value, and where that came
 * from.
 *
 * A file (conf/syntax.h) overrides built-in defaults; the one table of parameters is conf/table.c.
 *
 * Runs as: whoever starts a program. Trusts: the site's file, once it is seen to be root's and
 * nobody else's to write.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"

#define VT_SETTINGS_SITE_FILE "/etc/vtorque/vtorque.conf"
#define VT_SETTINGS_FILE_MAX (1024 * 1024) /* bytes */

/* Parameters with an effect; the table has the others too. */
typedef enum {
    VT_SETTING_VCPUS_DEFAULT,       /* count */
    VT_SETTING_RAM_DEFAULT,         /* MiB */
    VT_SETTING_TMP_SIZE_DEFAULT,    /* MiB; not set: half of the guest's RAM */
    VT_SETTING_IMG_DEFAULT,         /* text: "host", "tiny" or an image's name */
    VT_SETTING_TIMEOUT,             /* seconds */
    VT_SETTING_KILL_GRACE,          /* seconds */
    VT_SETTING_HOST_OS_CORE_COUNT,  /* count */
    VT_SETTING_HOST_OS_RAM_MB,      /* MiB */
    VT_SETTING_GUEST_KERNEL,        /* path; not set: the user's cache */
    VT_SETTING_VM_MOUNTS,           /* list of paths */
    VT_SETTING_DISABLED_HOSTS_LIST, /* regular expression */
    VT_SETTING_VM_IMG_DIR,          /* path; not set by a file: see vt_pool_find() */
    VT_SETTING_WS_DIR,              /* path */
    VT_SETTING_RAMDISK_DIR,         /* path; not set by a file: the job's own memory */
    VT_SETTING_RAMDISK_SIZE,        /* MiB; not set: as much as the guest's RAM */
    VT_SETTING_FILESYSTEM_TYPE,     /* VtFsType; not set by a file: in memory for local jobs */
    VT_SETTING_DISTRO_DEFAULT,      /* VtFamily; not set: any */
    VT_SETTING_ARCH_DEFAULT,        /* VtArch */
    VT_SETTING_INIT_DEFAULT,        /* VtInit */
    VT_SETTING_ACCEL,               /* VtAccel */
    VT_SETTING_SHARE_LOCKS,         /* VtLocks */
    VT_SETTING_VIRTIOFSD,           /* VtFileServer */
    VT_SETTING_PROLOGUE_TIMEOUT,    /* seconds */
    VT_SETTING_RUN_WAIT,            /* seconds */
    VT_SETTING_BATCH,               /* VtBatch */
    VT_SETTING_VM_CHANNEL,          /* VtRequestChannel; not set: nobody may submit a VM job */
    VT_SETTING_VM_BY_DEFAULT,       /* truth */
    VT_SETTING_VTORQUE_ENABLED,     /* truth */
    VT_SETTING_DISABLED_MESSAGE,    /* text; not set: none */
    VT_SETTING_HOST_IMAGE,          /* truth */
    VT_SETTING_REGEX_FE,            /* regular expression */
    VT_SETTING_QSUB_ON_FE,          /* path */
    VT_SETTING_QSUB_ON_NODES,       /* path */
    VT_SETTING_EXCLUSIVE_NODES,     /* truth */
    VT_SETTING_KILL_USER,           /* truth */
    VT_SETTING_LARGEST_NODE_CORES,  /* count; not set: not known */
    VT_SETTING_LARGEST_NODE_RAM,    /* MiB; not set: not known */
    VT_SETTING_TORQUE_HOME,         /* path */
    VT_SETTING_VMS_PER_NODE,        /* count */
    VT_SETTING_NET_DEFAULT,         /* VtNet */
    VT_SETTING_MAC_PREFIX,          /* three bytes */
    VT_SETTING_DOMAIN,              /* text; not set: none */
    VT_SETTING_NAME_SERVER,         /* list of addresses */
    VT_SETTING_SEARCH_DOMAIN,       /* list of domains */
    VT_SETTING_NTP_SERVER_1,        /* text; not set: none */
    VT_SETTING_NTP_SERVER_2,        /* text; not set: none */
    VT_SETTING_PEER_PORT,           /* TCP port of the daemons; 0: none */
    VT_SETTING_MUNGE_SOCKET,        /* path; not set: libmunge's own */
    VT_SETTING_NET_TRANSPORT,       /* VtTransport */
    VT_SETTING_COUNT,
} VtSetting;

typedef struct VtSettings VtSettings;

/* What carries a job's private network between nodes: NET_TRANSPORT, auto decided. */
VtTransport vt_settings_get_transport(const VtSettings *settings);

/* One parameter as `vmgr show config` prints it; everything is borrowed. */
typedef struct {
    const char *key;
    const char *value;  /* "" if it is not set and has no built-in value; lists as ( 'a' 'b' ) */
    const char *unit;   /* "MiB", "s", ...; "" for none */
    const char *range;  /* what is allowed */
    const char *origin; /* "FILE:LINE" or "default" */
    const char *help;
    bool has_effect; /* false: taken, but not built yet */
} VtSettingRow;

/* The file that a program reads: the site's; but BUILD/etc/vtorque.conf, where there is one, for a
 * program that is run as BUILD/bin/NAME by an ordinary user or (`local`) for vsub --local.
 * (transfer full) */
char *vt_settings_find_file(bool local);

/* True if there is a site's file. */
bool vt_settings_has_site(void);

/* Built-in values, with those of `file` over them; a file that does not exist has none.
 * VT_ERROR_CONFIG, with file and line: text that is no assignment, an unknown key, a key twice, a
 * bad value. (transfer full) */
VtSettings *vt_settings_load(const char *file, GError **error);

/* The same of a text; `file` names it in messages. */
VtSettings *vt_settings_parse(const char *text, gsize size, const char *file, GError **error);

void vt_settings_free(VtSettings *settings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtSettings, vt_settings_free)

/* Values; all borrowed. */
guint64 vt_settings_get_number(const VtSettings *settings, VtSetting setting);
const char *vt_settings_get_text(const VtSettings *settings, VtSetting setting); /* NULL: not set */
char *const *vt_settings_get_list(const VtSettings *settings, VtSetting setting); /* never NULL */
/* "FILE:LINE", or "default" for a built-in value. */
const char *vt_settings_get_origin(const VtSettings *settings, VtSetting setting);
const char *vt_setting_key(VtSetting setting);
/* True if a file set it. */
bool vt_settings_is_set(const VtSettings *settings, VtSetting setting);

/* True if the expression of `setting` (VT_SETTING_DISABLED_HOSTS_LIST, VT_SETTING_REGEX_FE) is set
 * and matches the whole of `host`. */
bool vt_settings_has_host(const VtSettings *settings, VtSetting setting, const char *host);

/* VT_ERROR_HOST if DISABLED_HOSTS_LIST has `host`. */
bool vt_settings_check_host(const VtSettings *settings, const char *host, GError **error);

/* One line for each parameter that a file sets and that has no effect yet. (borrowed) array of char
 * *. */
const GPtrArray *vt_settings_get_warnings(const VtSettings *settings);

/* Row `index` of all parameters, in the order of the table; false past the last. */
bool vt_settings_get_row(const VtSettings *settings, guint index, VtSettingRow *row);
