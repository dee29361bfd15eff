/* The layout of a pack cache's file, and what makes one stale or damaged. */
#include "exec/pack_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/little_endian.h"
#include "base/status.h"

#define VERSION        2u
#define HEADER_BYTES   40u
#define CHECKSUM_AT    32u
#define ENTRY_BYTES    60u /* and the name */
#define MAX_NAME_BYTES 4096u

static const unsigned char magic[8] = {'n', 'l', 'm', 'p', 'a', 'c', 'k', '\n'};

typedef struct header {
    uint32_t version, n_entries, key_bytes, table_bytes;
    uint64_t file_bytes, checksum;
} header;

static header get_header(const unsigned char *at) {
    return (header){.version = (uint32_t)nlm_get_le(at + 8, 4),
                    .n_entries = (uint32_t)nlm_get_le(at + 12, 4),
                    .file_bytes = nlm_get_le(at + 16, 8),
                    .key_bytes = (uint32_t)nlm_get_le(at + 24, 4),
                    .table_bytes = (uint32_t)nlm_get_le(at + 28, 4),
                    .checksum = nlm_get_le(at + CHECKSUM_AT, 8)};
}

/* Of a file's beginning: all but the checksum itself. */
static uint64_t checksum_of(const unsigned char *file, uint64_t table_bytes) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, file, CHECKSUM_AT);
    nlm_checksum_update(&sum, file + HEADER_BYTES, (size_t)table_bytes);
    return nlm_checksum_value(&sum);
}

/* ---- reading -------------------------------------------------------------------------------- */

static nlm_status check_header(const char *name, const unsigned char *data, size_t size, header *out,
                               nlm_error *err) {
    if (size < sizeof magic || memcmp(data, magic, sizeof magic) != 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "this is not a file of packed weights (it does not begin with 'nlmpack')");
    }
    if (size < HEADER_BYTES) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the file ends inside its header, at %zu of %u bytes", size,
                        HEADER_BYTES);
    }
    *out = get_header(data);
    if (out->version != VERSION) {
        return nlm_fail(err, NLM_UNSUPPORTED, name, "version %" PRIu32 " of packed weights; this program has %u",
                        out->version, VERSION);
    }
    if (out->file_bytes != size) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the file has %zu bytes, its header says %" PRIu64 ": truncated",
                        size, out->file_bytes);
    }
    if (out->table_bytes > size - HEADER_BYTES || out->key_bytes > out->table_bytes) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "a key of %" PRIu32 " bytes and a table of %" PRIu32 " do not fit the file of %zu",
                        out->key_bytes, out->table_bytes, size);
    }
    if (checksum_of(data, out->table_bytes) == out->checksum) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, name, "the checksum at offset %u does not match: the file was changed",
                    CHECKSUM_AT);
}

static nlm_status check_key(const char *name, const char *key, const char *found, uint32_t found_bytes,
                            nlm_error *err) {
    if (strlen(key) == found_bytes && memcmp(key, found, found_bytes) == 0) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, name, "it is stale: made of '%.*s', wanted are '%s'",
                    found_bytes < 250 ? (int)found_bytes : 250, found, key);
}

/* Checks the entry at data[at..end) and moves *at behind it. */
static nlm_status check_entry(const char *name, const unsigned char *data, const header *h, uint32_t index,
                              uint64_t *at, nlm_error *err) {
    const uint64_t end = HEADER_BYTES + (uint64_t)h->table_bytes;
    if (end - *at < ENTRY_BYTES) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the table ends inside entry %" PRIu32 " of %" PRIu32, index,
                        h->n_entries);
    }
    const unsigned char *entry = data + *at;
    const uint64_t offset = nlm_get_le(entry, 8), bytes = nlm_get_le(entry + 8, 8);
    const uint64_t name_bytes = nlm_get_le(entry + 48, 4);
    *at += ENTRY_BYTES;
    if (name_bytes > end - *at || name_bytes > MAX_NAME_BYTES) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "entry %" PRIu32 " has a name of %" PRIu64 " bytes", index,
                        name_bytes);
    }
    *at += name_bytes;
    if (offset % NLM_PACK_ALIGNMENT == 0 && offset >= end && offset <= h->file_bytes && bytes > 0 &&
        bytes <= h->file_bytes - offset) {
        return NLM_OK;
    }
    return nlm_fail(err, NLM_BAD_FORMAT, name,
                    "entry %" PRIu32 " has %" PRIu64 " bytes at offset %" PRIu64
                    "; expected a multiple of %u behind the table, and all within the file's %" PRIu64,
                    index, bytes, offset, NLM_PACK_ALIGNMENT, h->file_bytes);
}

nlm_status nlm_pack_file_parse(const char *name, const void *data, size_t size, const char *key, nlm_pack_view *out,
                               nlm_error *err) {
    const unsigned char *file = data;
    header h = {0};
    NLM_TRY(check_header(name, file, size, &h, err));
    NLM_TRY(check_key(name, key, (const char *)file + HEADER_BYTES, h.key_bytes, err));
    uint64_t at = HEADER_BYTES + (uint64_t)h.key_bytes;
    for (uint32_t i = 0; i < h.n_entries; i++) NLM_TRY(check_entry(name, file, &h, i, &at, err));
    if (at != HEADER_BYTES + (uint64_t)h.table_bytes) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the table goes on behind its %" PRIu32 " entries", h.n_entries);
    }
    *out = (nlm_pack_view){.file = file, .entries = file + HEADER_BYTES + h.key_bytes, .n_entries = h.n_entries};
    return NLM_OK;
}

void nlm_pack_view_next(const nlm_pack_view *view, size_t *at, nlm_packed *out) {
    const unsigned char *entry = view->entries + *at;
    *out = (nlm_packed){.name = (const char *)entry + ENTRY_BYTES,
                        .name_bytes = (size_t)nlm_get_le(entry + 48, 4),
                        .dtype = (uint32_t)nlm_get_le(entry + 32, 4),
                        .layout = (uint32_t)nlm_get_le(entry + 36, 4),
                        .layout_version = (uint32_t)nlm_get_le(entry + 40, 4),
                        .roles = (uint32_t)nlm_get_le(entry + 44, 4),
                        .rows = (int64_t)nlm_get_le(entry + 16, 8),
                        .columns = (int64_t)nlm_get_le(entry + 24, 8),
                        .bytes = nlm_get_le(entry + 8, 8),
                        .checksum = nlm_get_le(entry + 52, 8),
                        .data = view->file + nlm_get_le(entry, 8)};
    *at += ENTRY_BYTES + out->name_bytes;
}

/* ---- writing -------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t at) {
    return (at + NLM_PACK_ALIGNMENT - 1) / NLM_PACK_ALIGNMENT * NLM_PACK_ALIGNMENT;
}

static void put_entry(unsigned char *at, const nlm_packed *entry, uint64_t offset) {
    nlm_put_le(at, offset, 8);
    nlm_put_le(at + 8, entry->bytes, 8);
    nlm_put_le(at + 16, (uint64_t)entry->rows, 8);
    nlm_put_le(at + 24, (uint64_t)entry->columns, 8);
    nlm_put_le(at + 32, entry->dtype, 4);
    nlm_put_le(at + 36, entry->layout, 4);
    nlm_put_le(at + 40, entry->layout_version, 4);
    nlm_put_le(at + 44, entry->roles, 4);
    nlm_put_le(at + 48, entry->name_bytes, 4);
    nlm_put_le(at + 52, nlm_checksum_of(entry->data, (size_t)entry->bytes), 8);
    memcpy(at + ENTRY_BYTES, entry->name, entry->name_bytes);
}

/* Header, key and entries: `bytes` of them at `file`. */
static void put_table(unsigned char *file, uint64_t bytes, const char *key, size_t key_bytes,
                      const nlm_packed *entries, uint32_t n_entries) {
    unsigned char *at = file + HEADER_BYTES + key_bytes;
    uint64_t end = bytes;
    memcpy(file + HEADER_BYTES, key, key_bytes);
    for (uint32_t i = 0; i < n_entries; i++) {
        const uint64_t offset = aligned(end);
        put_entry(at, &entries[i], offset);
        at += ENTRY_BYTES + entries[i].name_bytes;
        end = offset + entries[i].bytes;
    }
    memcpy(file, magic, sizeof magic);
    nlm_put_le(file + 8, VERSION, 4);
    nlm_put_le(file + 12, n_entries, 4);
    nlm_put_le(file + 16, end, 8);
    nlm_put_le(file + 24, key_bytes, 4);
    nlm_put_le(file + 28, bytes - HEADER_BYTES, 4);
    nlm_put_le(file + CHECKSUM_AT, checksum_of(file, bytes - HEADER_BYTES), 8);
}

static nlm_status write_all(nlm_file_writer *file, const unsigned char *table, uint64_t table_bytes,
                            const nlm_packed *entries, uint32_t n_entries, nlm_error *err) {
    NLM_TRY(nlm_file_writer_write(file, table, (size_t)table_bytes, err));
    for (uint32_t i = 0; i < n_entries; i++) {
        const uint64_t at = nlm_file_writer_position(file);
        NLM_TRY(nlm_file_writer_pad(file, aligned(at) - at, err));
        NLM_TRY(nlm_file_writer_write(file, entries[i].data, (size_t)entries[i].bytes, err));
    }
    return nlm_file_writer_commit(file, err);
}

nlm_status nlm_pack_file_write(const char *path, const char *key, const nlm_packed *entries, uint32_t n_entries,
                               nlm_error *err) {
    const size_t key_bytes = strlen(key);
    uint64_t bytes = HEADER_BYTES + key_bytes;
    for (uint32_t i = 0; i < n_entries; i++) bytes += ENTRY_BYTES + entries[i].name_bytes;
    if (bytes > UINT32_MAX) return nlm_fail(err, NLM_LIMIT, path, "a table of %" PRIu64 " bytes", bytes);
    unsigned char *table = malloc((size_t)bytes);
    if (!table) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for a table of %" PRIu64 " bytes", bytes);
    put_table(table, bytes, key, key_bytes, entries, n_entries);
    nlm_file_writer *file = NULL;
    nlm_status status = nlm_file_writer_create_private(path, &file, err);
    if (status == NLM_OK) status = write_all(file, table, bytes, entries, n_entries, err);
    nlm_file_writer_destroy(file);
    free(table);
    return status;
}
