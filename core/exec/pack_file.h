/* Packed weights in a file, so that later processes map them instead of packing.
 *
 * Version 2; numbers are little-endian, what a backend packed is as it wrote it:
 *   0   8 bytes   "nlmpack\n"
 *   8   u32       version, 2
 *   12  u32       n_entries
 *   16  u64       bytes of the file
 *   24  u32       key_bytes
 *   28  u32       table_bytes, of the key and the entries together
 *   32  u64       XXH64 of all bytes before, and of the table
 *   40  text      the key: what was packed and by what
 *       entries   u64 offset, u64 bytes, i64 rows, i64 columns,
 *                 u32 dtype, layout, layout_version, roles, name_bytes,
 *                 u64 XXH64 of what was packed, then the name
 *       packed weights, each at its offset, a multiple of NLM_PACK_ALIGNMENT */
#ifndef NLM_EXEC_PACK_FILE_H
#define NLM_EXEC_PACK_FILE_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NLM_PACK_ALIGNMENT 4096u /* the greatest that a device may ask for */

/* A packed weight, and what tells it from others of the same model and backend. */
typedef struct nlm_packed {
    const char *name; /* not terminated */
    size_t name_bytes;
    uint32_t dtype, layout, layout_version, roles;
    int64_t rows, columns;
    uint64_t bytes;
    const void *data;
    uint64_t checksum; /* of data, as a file has it: not checked, and not asked for when one is written */
} nlm_packed;

/* A checked file: points into the given memory. */
typedef struct nlm_pack_view {
    const unsigned char *file, *entries;
    uint32_t n_entries;
} nlm_pack_view;

/* Checks data[0..size); `name` stands for the path in errors. Errors BAD_FORMAT (no such file, truncated,
 * changed: where), UNSUPPORTED (another version, or another key). */
nlm_status nlm_pack_file_parse(const char *name, const void *data, size_t size, const char *key, nlm_pack_view *out,
                               nlm_error *err);

/* The entry at *at, an offset from view->entries that begins at 0 and is moved to the next one. Call it n_entries
 * times at most. */
void nlm_pack_view_next(const nlm_pack_view *view, size_t *at, nlm_packed *out);

/* Writes a file that only its owner can read, to a temporary beside it that is then renamed.
 * Errors as nlm_file_writer_*; LIMIT (a table of 4 GiB). */
nlm_status nlm_pack_file_write(const char *path, const char *key, const nlm_packed *entries, uint32_t n_entries,
                               nlm_error *err);

#endif
