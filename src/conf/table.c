/* SPDX-License-Identifier: Apache-2.0 */
/* conf/table.c - every parameter of vtorque.conf. */
#include "conf/table.h"

#include "conf/settings.h"

#define LATER(name, value, text) \
    {.key = name, .type = VT_VALUE_TEXT, .state = VT_STATE_LATER, .fallback = value, .range = "", .help = text}

const VtSettingInfo vt_setting_table[] = {
    [VT_SETTING_VCPUS_DEFAULT] =
        {"VCPUS_DEFAULT", VT_VALUE_COUNT, VT_STATE_ACTIVE, 1, 255, "vCPUs", "7",
         "must be a number from 1 to 255",
         "vCPUs of a guest without vcpus=; cut to what the job was given"},
    [VT_SETTING_RAM_DEFAULT] =
        {"RAM_DEFAULT", VT_VALUE_SIZE, VT_STATE_ACTIVE, 64, 16 * 1024 * 1024, "MiB", "1024",
         "must be 64M to 16T in K, M, G or T, or a plain number of MiB",
         "RAM of a guest without ram=; cut to what the job was given"},
    [VT_SETTING_TMP_SIZE_DEFAULT] =
        {"TMP_SIZE_DEFAULT", VT_VALUE_SIZE, VT_STATE_ACTIVE, 1, 16 * 1024 * 1024, "MiB", NULL,
         "must be 1M to 16T in K, M, G or T, or a plain number of MiB",
         "limit of each of the guest's file systems in memory (/tmp, /var/tmp, /run); "
         "not set: half of the guest's RAM"},
    [VT_SETTING_IMG_DEFAULT] =
        {"IMG_DEFAULT", VT_VALUE_IMAGE, VT_STATE_ACTIVE, 0, 0, NULL, "host",
         "must be host or tiny; images with a disk are not built yet",
         "image of a guest without img="},
    [VT_SETTING_TIMEOUT] =
        {"TIMEOUT", VT_VALUE_SECONDS, VT_STATE_ACTIVE, 1, 86400, "s", "120",
         "must be a number of seconds from 1 to 86400",
         "time a guest without boot_timeout= has until it is ready"},
    [VT_SETTING_KILL_GRACE] =
        {"KILL_GRACE", VT_VALUE_SECONDS, VT_STATE_ACTIVE, 0, 3600, "s", "10",
         "must be a number of seconds from 0 to 3600",
         "time between TERM and KILL for a job that must end"},
    [VT_SETTING_HOST_OS_CORE_COUNT] =
        {"HOST_OS_CORE_COUNT", VT_VALUE_COUNT, VT_STATE_ACTIVE, 0, 4096, "cores", "1",
         "must be a number from 0 to 4096",
         "cores that guests leave to the machine; a guest gets at least one"},
    [VT_SETTING_HOST_OS_RAM_MB] =
        {"HOST_OS_RAM_MB", VT_VALUE_COUNT, VT_STATE_ACTIVE, 0, 16 * 1024 * 1024, "MiB", "2048",
         "must be a number of MiB from 0 to 16777216",
         "memory that guests leave to the machine, at most half of it"},
    [VT_SETTING_GUEST_KERNEL] =
        {"GUEST_KERNEL", VT_VALUE_PATH, VT_STATE_ACTIVE, 0, 0, NULL, NULL,
         "must be an absolute path without . and .. in it",
         "directory of the guests' kernel and initramfs; not set: "
         "$XDG_CACHE_HOME/vtorque/guest"},
    [VT_SETTING_VM_MOUNTS] =
        {"VM_MOUNTS", VT_VALUE_PATHS, VT_STATE_ACTIVE, 0, 0, NULL, NULL,
         "must be a list of absolute paths without . and .. in them",
         "further directories that every guest sees, with the owner's rights"},
    [VT_SETTING_DISABLED_HOSTS_LIST] =
        {"DISABLED_HOSTS_LIST", VT_VALUE_REGEX, VT_STATE_ACTIVE, 0, 0, NULL, NULL,
         "must be a regular expression, or * for every host",
         "short names of hosts on which no guest may start"},

    {.key = "VM_IMG_DIR", .type = VT_VALUE_TEXT, .state = VT_STATE_REFUSED,
     .range = "images with a disk are not built yet", .fallback = "/opt/vm-images",
     .help = "directory of authorised images"},
    LATER("SUSPENDED_IMAGE_DIR", "/opt/vm-images-suspended", "directory of suspended images"),
    LATER("REGEX_FE", "*", "front ends, where paths differ from the nodes'"),
    LATER("TORQUE_HOME", "/var/spool/torque", "Torque's home directory"),
    LATER("PBS_QSUB_ON_FE", "/usr/bin/qsub", "qsub on front ends"),
    LATER("PBS_QSUB_ON_NODES", "/usr/bin/qsub", "qsub on compute nodes"),
    LATER("WS_DIR", "/workspace/.vtorque", "fast shared file system for job files"),
    LATER("RAMDISK_DIR", "/ramdisk", "where images in memory live"),
    LATER("VM_NFS_HOME", NULL, "NFS export for the guests' /home"),
    LATER("VM_NFS_WS", NULL, "NFS export for the guests' /workspace"),
    LATER("VM_NFS_OPT", NULL, "NFS export for the guests' /opt"),
    LATER("ARP_BIN", "/usr/sbin/arp", "path of arp"),
    LATER("MAC_PREFIX", "52:54:00", "first bytes of the guests' MAC addresses"),
    LATER("PBS_EXCLUSIVE_NODE_ALLOC", "true", "give nodes to one user alone"),
    LATER("KILL_USER_PROCESSES_AFTER_JOB", "true", "kill the user's processes in the epilogue"),
    LATER("MEASURE_TIME", "false", "log run times"),
    LATER("SSH_TIMEOUT", "5", "time for an SSH connection, in s"),
    LATER("PROLOGUE_TIMEOUT", "600", "time for root's prologue, in s"),
    LATER("NFS_TIMEOUT", "3", "time to wait for shared files, in s"),
    LATER("CUSTOM_IP_MAPPING", "false", "addresses from a script instead of DHCP"),
    LATER("IP_TO_MAC_SCRIPT", NULL, "the script for CUSTOM_IP_MAPPING"),
    LATER("DOMAIN", NULL, "the guests' domain"),
    LATER("NAME_SERVER", NULL, "the guests' name server"),
    LATER("SEARCH_DOMAIN", NULL, "the guests' search domain"),
    LATER("NTP_SERVER_1", NULL, "the guests' first time server"),
    LATER("NTP_SERVER_2", NULL, "the guests' second time server"),
    LATER("SW_PACKAGES_DEBIAN",
          "( 'nfs-common' 'libnfs1' 'openmpi-bin' 'libopenmpi-dev' 'libmetis5' 'libmetis-dev' '9mount' )",
          "packages for plain Debian cloud images"),
    LATER("SW_PACKAGES_REDHAT",
          "( 'nfs-common' 'libnfs1' 'nfs-utils' 'openmpi' 'openmpi-devel' 'metis' 'metis-devel' "
          "'nfs-ganesha-mount-9P' )",
          "packages for plain Red Hat cloud images"),
    LATER("FILESYSTEM_TYPE_DEFAULT", "sharedfs", "where disks live: sharedfs or ramdisk"),
    LATER("DISTRO_DEFAULT", NULL, "distribution of the default image"),
    LATER("ARCH_DEFAULT", "x86_64", "the guests' CPU architecture"),
    LATER("VCPU_PINNING_DEFAULT", "true", "pin vCPUs to cores"),
    LATER("VMS_PER_NODE_DEFAULT", "1", "guests on each node"),
    LATER("DISK_DEFAULT", NULL, "persistent disk of the first guest"),
    LATER("VRDMA_ENABLED_DEFAULT", "false", "vRDMA for jobs that do not say"),
    LATER("UNCLOT_ENABLED_DEFAULT", "false", "UNCLOT for jobs that do not say"),
    LATER("UNCLOT_SHMEM_DEFAULT", "1024M", "UNCLOT's memory for jobs that do not say"),
    LATER("IOCM_ENABLED_DEFAULT", "false", "IOcm for jobs that do not say"),
    LATER("IOCM_MIN_CORES_DEFAULT", "1", "least cores for IOcm"),
    LATER("IOCM_MAX_CORES_DEFAULT", "4", "most cores for IOcm"),
    LATER("ENABLE_DEV_MODE", "false", "development mode"),
    LATER("PARALLEL", "true", "prologue steps side by side"),
    LATER("ALLOW_USER_IMAGES", "false", "let users bring images"),
    LATER("ABORT_ON_ERROR", "true", "end at the first error"),
    LATER("DEBUG_DEFAULT", "false", "debug messages"),
    LATER("TRACE_DEFAULT", "false", "trace messages"),
    LATER("SHOW_LOG_DEFAULT", "false", "show the log on the screen"),
    LATER("PRINT_TO_STDOUT", "false", "print what is logged"),
    LATER("LOG_ROTATE", "true", "limit the log's size"),
    LATER("LOG_FILE", "$VM_JOB_DIR/debug.log", "where to log"),
    LATER("IOCM_ENABLED", "false", "IOcm on this site"),
    LATER("IOCM_MIN_CORES", "1", "least cores a job may ask of IOcm"),
    LATER("IOCM_MAX_CORES", "12", "most cores a job may ask of IOcm"),
    LATER("IOCM_NODES", "*", "hosts with IOcm"),
    LATER("VRDMA_ENABLED", "false", "vRDMA on this site"),
    LATER("VRDMA_NODES", "*", "hosts with vRDMA"),
    LATER("UNCLOT_ENABLED", "false", "UNCLOT on this site"),
    LATER("UNCLOT_SHMEM", "1024M", "UNCLOT's memory"),
    LATER("SNAP_MONITORING_ENABLED", "false", "Snap telemetry"),
    LATER("SNAP_BIN_DIR", "/usr/local/bin/", "Snap's programs"),
    LATER("SNAP_TAG_FORMAT", "snapTask-[username]-[jobid]", "names of Snap tasks"),
};
const guint vt_setting_table_size = G_N_ELEMENTS(vt_setting_table);
