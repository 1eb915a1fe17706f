/* SPDX-License-Identifier: Apache-2.0 */
/* image/qcow2.c - one table of rules for headers that are read, one layout for disks that are made. */
#include "image/qcow2.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"

#define MAGIC 0x514649fbu
#define V2_LENGTH 72u
#define V3_LENGTH 104u          /* at least */
#define COMPRESSION_OFFSET 104u /* of the field behind it */
#define ZSTD 1u
#define PIECE 65536u /* most that is read at once */

#define INCOMPATIBLE_DIRTY (1u << 0)
#define INCOMPATIBLE_CORRUPT (1u << 1)
#define INCOMPATIBLE_DATA_FILE (1u << 2)
#define INCOMPATIBLE_COMPRESSION (1u << 3)

#define EXTENSION_DATA_FILE 0x44415441u
#define EXTENSION_ENCRYPTION 0x0537be77u

/* QEMU's limits. */
#define L1_MAX (32 * VT_MIB)
#define TABLE_MAX (8 * VT_MIB)

typedef struct {
    guint32 magic, version;
    guint64 backing;
    guint32 backing_size, cluster_bits;
    guint64 size;
    guint32 crypt, l1_size;
    guint64 l1, table;
    guint32 table_clusters, snapshots;
    guint64 incompatible;
    guint32 order; /* of a reference count's bits */
    guint32 length;
    guint8 compression;
} Header;

/* What of a file is at hand: its first piece, and its length. */
typedef struct {
    int fd;
    guint64 file_size;
    guint8 data[PIECE];
    gsize used;
} Source;

static guint32 get32(const guint8 *at)
{
    guint32 value;
    memcpy(&value, at, sizeof value);
    return GUINT32_FROM_BE(value);
}

static guint64 get64(const guint8 *at)
{
    guint64 value;
    memcpy(&value, at, sizeof value);
    return GUINT64_FROM_BE(value);
}

static bool refuse(GError **error, const char *why)
{
    return vt_error_set(error, VT_ERROR_HOST, "the qcow2 header %s", why);
}

/* False too where the file ends before. */
static bool read_exactly(int fd, guint8 *data, gsize size, guint64 offset)
{
    while (size > 0) {
        ssize_t n = pread(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (gsize)n;
        offset += (guint64)n;
    }
    return true;
}

static bool read_source(Source *source, GError **error)
{
    struct stat st;
    if (fstat(source->fd, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot read the qcow2 header");
    source->file_size = (guint64)MAX(st.st_size, 0);
    source->used = (gsize)MIN(source->file_size, PIECE);
    return read_exactly(source->fd, source->data, source->used, 0) ||
           refuse(error, "cannot be read");
}

/* Fields that the file is too short for, or its version does not have, stay what they mean then. */
static void decode(const Source *source, Header *header)
{
    const guint8 *at = source->data;
    *header = (Header){.order = 4, .length = V2_LENGTH};
    if (source->used < V2_LENGTH)
        return;
    header->magic = get32(at);
    header->version = get32(at + 4);
    header->backing = get64(at + 8);
    header->backing_size = get32(at + 16);
    header->cluster_bits = get32(at + 20);
    header->size = get64(at + 24);
    header->crypt = get32(at + 32);
    header->l1_size = get32(at + 36);
    header->l1 = get64(at + 40);
    header->table = get64(at + 48);
    header->table_clusters = get32(at + 56);
    header->snapshots = get32(at + 60);
    if (header->version != 3)
        return;
    header->length = source->used < V3_LENGTH ? 0 : get32(at + 100);
    if (header->length < V3_LENGTH)
        return;
    header->incompatible = get64(at + 72);
    header->order = get32(at + 96);
    if (header->length > COMPRESSION_OFFSET && source->used > COMPRESSION_OFFSET)
        header->compression = at[COMPRESSION_OFFSET];
}

typedef struct {
    bool is_bad;
    const char *why;
} Rule;

static bool obey(const Rule *rules, gsize n, GError **error)
{
    for (gsize i = 0; i < n; i++)
        if (rules[i].is_bad)
            return refuse(error, rules[i].why);
    return true;
}

/* All numbers with which others are computed. */
static bool check_shape(const Source *source, const Header *h, GError **error)
{
    guint64 cluster = G_GUINT64_CONSTANT(1) << MIN(h->cluster_bits, 21);
    const Rule rules[] = {
        {h->magic != MAGIC, "is missing"},
        {h->version != 2 && h->version != 3, "has a version that is not 2 or 3"},
        {h->cluster_bits < 9 || h->cluster_bits > 21,
         "has clusters of a size that QEMU cannot use"},
        {h->version == 3 && (h->length < V3_LENGTH || h->length % 8 != 0 || h->length > cluster ||
                             h->length > source->used),
         "has a wrong length"},
        {h->order > 6, "has reference counts of more than 64 bits"},
        {h->size == 0 || h->size > G_MAXINT64, "has no size, or too large a one"},
    };
    return obey(rules, G_N_ELEMENTS(rules), error);
}

static bool check_meaning(const Header *h, GError **error)
{
    bool is_compressed_otherwise = h->incompatible & INCOMPATIBLE_COMPRESSION;
    const Rule rules[] = {
        {h->backing != 0 || h->backing_size != 0, "names a backing file"},
        {h->incompatible & INCOMPATIBLE_DATA_FILE, "names a data file"},
        {h->crypt != 0, "says that the disk is encrypted"},
        {h->snapshots != 0, "has saved states"},
        {h->incompatible & INCOMPATIBLE_DIRTY, "says that the file was not closed (dirty)"},
        {h->incompatible & INCOMPATIBLE_CORRUPT, "says that the file is corrupt"},
        {h->incompatible & ~(guint64)INCOMPATIBLE_COMPRESSION, "has a feature that we do not know"},
        {h->compression != (is_compressed_otherwise ? ZSTD : 0),
         "names a compression that is not zlib or zstd"},
    };
    return obey(rules, G_N_ELEMENTS(rules), error);
}

/* Whether a table of `size` bytes at `offset` is where one can be. */
static bool is_inside(const Source *source, const Header *h, guint64 offset, guint64 size)
{
    guint64 cluster = G_GUINT64_CONSTANT(1) << h->cluster_bits;
    return offset >= cluster && offset % cluster == 0 && offset <= source->file_size &&
           size <= source->file_size - offset;
}

static bool check_tables(const Source *source, const Header *h, GError **error)
{
    /* An entry of the first table stands for a cluster of entries of 8 bytes. */
    guint reach = 2 * h->cluster_bits - 3;
    guint64 entries = (h->size - 1) / (G_GUINT64_CONSTANT(1) << reach) + 1;
    guint64 l1_bytes = (guint64)h->l1_size * 8;
    guint64 table_bytes = (guint64)h->table_clusters << h->cluster_bits;
    const Rule rules[] = {
        {h->l1_size < entries || l1_bytes > L1_MAX, "has a table that does not fit its size"},
        {!is_inside(source, h, h->l1, l1_bytes), "has a table that is not in the file"},
        {table_bytes > TABLE_MAX, "has too many reference counts"},
        {!is_inside(source, h, h->table, table_bytes),
         "has reference counts that are not in the file"},
    };
    return obey(rules, G_N_ELEMENTS(rules), error);
}

/* Extensions may name a file or an encryption even where no field says so. */
static bool check_extensions(const Source *source, const Header *h, GError **error)
{
    guint64 cluster = G_GUINT64_CONSTANT(1) << h->cluster_bits;
    gsize at = h->length, end = (gsize)MIN(cluster, source->used);
    while (at + 8 <= end) {
        guint32 type = get32(source->data + at), size = get32(source->data + at + 4);
        at += 8;
        if (type == 0)
            return true;
        if (type == EXTENSION_DATA_FILE || type == EXTENSION_ENCRYPTION)
            return refuse(error, "names a data file or a key");
        if (size > end - at)
            return refuse(error, "has an extension that is longer than itself");
        at += (size + 7) / 8 * 8;
    }
    return true;
}

/* Sets `at` to the place, from `offset` on, of the last byte of `size` that is not 0. */
static bool find_last(const Source *source, guint64 offset, guint64 size, guint64 *at)
{
    guint8 piece[PIECE];
    while (size > 0) {
        gsize part = (gsize)(size % PIECE ? size % PIECE : PIECE);
        size -= part;
        if (!read_exactly(source->fd, piece, part, offset + size))
            return false;
        while (part > 0 && piece[part - 1] == 0)
            part--;
        if (part > 0) {
            *at = size + part - 1;
            return true;
        }
    }
    return false;
}

/* A file that lost its end is one that QEMU reads as zeros, without a word. The last cluster that is
 * counted must be there. */
static bool check_end(const Source *source, const Header *h, GError **error)
{
    guint64 cluster = G_GUINT64_CONSTANT(1) << h->cluster_bits, at, last;
    guint8 entry[8];
    if (!find_last(source, h->table, (guint64)h->table_clusters << h->cluster_bits, &at) ||
        !read_exactly(source->fd, entry, sizeof entry, h->table + at / 8 * 8))
        return refuse(error, "has no reference counts");
    guint64 block = get64(entry) & ~(guint64)511, per_block = cluster * 8 >> h->order;
    if (!is_inside(source, h, block, cluster))
        return vt_error_set(error, VT_ERROR_HOST, "the qcow2 file is cut off");
    if (!find_last(source, block, cluster, &last))
        return true;
    guint64 index = at / 8 * per_block + (last * 8 >> h->order);
    return index <= (source->file_size - 1) >> h->cluster_bits ||
           vt_error_set(error, VT_ERROR_HOST, "the qcow2 file is cut off");
}

bool vt_qcow2_check(int fd, guint64 *size, GError **error)
{
    g_autofree Source *source = g_new0(Source, 1);
    Header header;
    source->fd = fd;
    if (!read_source(source, error))
        return false;
    decode(source, &header);
    if (!check_shape(source, &header, error) || !check_meaning(&header, error) ||
        !check_extensions(source, &header, error) || !check_tables(source, &header, error) ||
        !check_end(source, &header, error))
        return false;
    *size = header.size;
    return true;
}

/* Of the disks that we make, in clusters: the header, the table of reference counts, its one block,
 * and from L1_AT on the first table of the disk, all of it zeros: a hole. */
enum { CLUSTER_BITS = 16, TABLE_AT = 1, BLOCK_AT = 2, L1_AT = 3 };

#define CLUSTER ((guint64)1 << CLUSTER_BITS)
#define ENTRY_REACH (CLUSTER * (CLUSTER / 8)) /* bytes of the disk for each entry of the table */
#define MADE_MAX (L1_MAX / 8 * ENTRY_REACH)
/* 16 bits for each cluster of header and tables, however large the disk: 512 of 32768. */
#define MADE_CLUSTERS_MAX (L1_AT + L1_MAX / CLUSTER)

static void put32(guint8 *at, guint32 value)
{
    value = GUINT32_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

static void put64(guint8 *at, guint64 value)
{
    value = GUINT64_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

static bool write_at(int fd, const guint8 *data, gsize size, guint64 offset, GError **error)
{
    ssize_t n;
    while ((n = pwrite(fd, data, size, (off_t)offset)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)size)
        return true;
    return vt_error_set_errno(error, VT_ERROR_HOST, n < 0 ? errno : ENOSPC,
                              "cannot write a disk's header");
}

bool vt_qcow2_make(int fd, guint64 size, GError **error)
{
    if (size == 0 || size % 512 != 0 || size > MADE_MAX)
        return vt_error_set(error, VT_ERROR_INTERNAL, "a disk of %" G_GUINT64_FORMAT " bytes",
                            size);
    guint64 entries = (size - 1) / ENTRY_REACH + 1;
    guint64 clusters = L1_AT + (entries * 8 - 1) / CLUSTER + 1;
    /* What stands behind the header says that there are no extensions. */
    guint8 header[V3_LENGTH + 8] = {0}, table[8], counts[MADE_CLUSTERS_MAX * 2] = {0};
    put32(header, MAGIC);
    put32(header + 4, 3);
    put32(header + 20, CLUSTER_BITS);
    put64(header + 24, size);
    put32(header + 36, (guint32)entries);
    put64(header + 40, L1_AT * CLUSTER);
    put64(header + 48, TABLE_AT * CLUSTER);
    put32(header + 56, 1);
    put32(header + 96, 4);
    put32(header + 100, V3_LENGTH);
    put64(table, BLOCK_AT * CLUSTER);
    for (guint64 i = 0; i < clusters; i++)
        counts[2 * i + 1] = 1;
    if (ftruncate(fd, (off_t)(clusters * CLUSTER)) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot write a disk's header");
    return write_at(fd, header, sizeof header, 0, error) &&
           write_at(fd, table, sizeof table, TABLE_AT * CLUSTER, error) &&
           write_at(fd, counts, clusters * 2, BLOCK_AT * CLUSTER, error);
}
