/* SPDX-License-Identifier: Apache-2.0 */
/* conf/choice.c - the closed lists of words. */
#include "conf/choice.h"

#include <arpa/inet.h>
#include <string.h>

#define IMAGE_NAME_MAX 64    /* bytes; with ".json" behind it, it is a file's name */
#define NETWORK_NAME_MAX 253 /* bytes of a domain name */
#define MAC_PREFIX_CHARS 8

#define CHOICE(...)                                                                                \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

const VtChoice vt_image_choice = {CHOICE("host", "tiny", "disk"),
                                  "must be host, tiny, or the name of an image"};
const VtChoice vt_init_choice = {CHOICE("agent", "system"), "must be agent or system"};
const VtChoice vt_fs_type_choice = {CHOICE("sharedfs", "ramdisk"), "must be sharedfs or ramdisk"};
const VtChoice vt_accel_choice = {CHOICE("tcg", "kvm", "auto"), "must be auto, kvm or tcg"};
const VtChoice vt_locks_choice = {CHOICE("local", "remote"), "must be local or remote"};
const VtChoice vt_file_server_choice = {CHOICE("qemu", "rust"), "must be qemu or rust"};
const VtChoice vt_family_choice = {CHOICE("debian", "ubuntu", "redhat", "centos", "osv"),
                                   "must be debian, ubuntu, redhat, centos or osv"};
const VtChoice vt_arch_choice = {CHOICE("x86_64"), "must be x86_64"};
const VtChoice vt_format_choice = {CHOICE("qcow2", "raw"), "must be qcow2 or raw"};
const VtChoice vt_batch_choice = {CHOICE("auto", "torque", "openpbs", "slurm", "local"),
                                  "must be auto, torque, openpbs, slurm or local"};
const VtChoice vt_net_choice = {CHOICE("none", "private", "user"), "must be private, user or none"};
const VtChoice vt_transport_choice = {CHOICE("auto", "wireguard", "vxlan"),
                                      "must be auto, wireguard or vxlan"};
/* The same, of a job: it is decided. */
const VtChoice vt_carrier_choice = {CHOICE("none", "wireguard", "vxlan"),
                                    "must be none, wireguard or vxlan"};
const VtChoice vt_channel_choice = {CHOICE("gres", "other"), "must be gres or other"};
const VtChoice vt_truth_choice = {CHOICE("false", "true"), "must be true or false"};

const char *vt_choice_word(const VtChoice *choice, guint number)
{
    return choice->words[number];
}

bool vt_choice_find(const VtChoice *choice, const char *word, guint *number)
{
    for (guint i = 0; choice->words[i]; i++)
        if (g_ascii_strcasecmp(word, choice->words[i]) == 0) {
            *number = i;
            return true;
        }
    return false;
}

bool vt_image_name_is_valid(const char *name)
{
    return strlen(name) <= IMAGE_NAME_MAX && g_ascii_isalnum(name[0]) &&
           strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._+-") == strlen(name);
}

bool vt_network_name_is_valid(const char *name)
{
    return strlen(name) <= NETWORK_NAME_MAX && (g_ascii_isalnum(name[0]) || name[0] == ':') &&
           strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._:-") == strlen(name);
}

bool vt_address_is_ipv4(const char *address)
{
    struct in_addr bytes;
    return inet_pton(AF_INET, address, &bytes) == 1;
}

bool vt_address_is_valid(const char *address)
{
    struct in6_addr bytes;
    return vt_address_is_ipv4(address) || inet_pton(AF_INET6, address, &bytes) == 1;
}

bool vt_mac_prefix_parse(const char *text, guint64 *prefix)
{
    guint64 number = 0;
    for (guint i = 0; i < MAC_PREFIX_CHARS; i++) {
        bool is_colon = i % 3 == 2;
        if (is_colon ? text[i] != ':' : !g_ascii_isxdigit(text[i]))
            return false;
        if (!is_colon)
            number = number << 4 | (guint64)g_ascii_xdigit_value(text[i]);
    }
    *prefix = number;
    return text[MAC_PREFIX_CHARS] == '\0' && !(number >> 16 & 1);
}
