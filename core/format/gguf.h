/* GGUF v2 and v3, read through mmap and written.
 *
 * Every length, offset, alignment and type is checked against what is left of the file before it is
 * used; unknown metadata is kept and unknown tensor types are listed but have no data.
 * Source: the GGUF specification (ggml docs/gguf.md). */
#ifndef NLM_FORMAT_GGUF_H
#define NLM_FORMAT_GGUF_H

#include <nlm/status.h>
#include <nlm/tensor.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"
#include "format/tensor_source.h"

typedef enum nlm_gguf_type {
    NLM_GGUF_U8 = 0,
    NLM_GGUF_I8 = 1,
    NLM_GGUF_U16 = 2,
    NLM_GGUF_I16 = 3,
    NLM_GGUF_U32 = 4,
    NLM_GGUF_I32 = 5,
    NLM_GGUF_F32 = 6,
    NLM_GGUF_BOOL = 7,
    NLM_GGUF_STRING = 8,
    NLM_GGUF_ARRAY = 9,
    NLM_GGUF_U64 = 10,
    NLM_GGUF_I64 = 11,
    NLM_GGUF_F64 = 12
} nlm_gguf_type;

/* A byte string inside the mapping: not terminated. */
typedef struct nlm_gguf_string {
    const char *data;
    uint64_t length;
} nlm_gguf_string;

/* One metadata entry. For an array `element_type` and `count` describe it and `data` points at its
 * raw elements (unaligned; those of an array of strings are also in `strings`). A scalar is one element
 * of its own type: count 1, element_type as type. */
typedef struct nlm_gguf_entry {
    nlm_gguf_string key;
    nlm_gguf_type type;
    nlm_gguf_type element_type;
    uint64_t count;
    const void *data;
    uint64_t bytes;                 /* of data */
    const nlm_gguf_string *strings; /* array of strings: count of them; else NULL */
} nlm_gguf_entry;

typedef struct nlm_gguf_tensor {
    nlm_gguf_string name;
    uint32_t type;     /* the file's number, maybe not in NLM_DTYPE_LIST */
    bool is_supported; /* `tensor` is filled in */
    uint64_t dims[4];  /* as in the file: dims[0] innermost */
    uint32_t n_dims;
    uint64_t offset;   /* of the data in the file, absolute */
    uint64_t bytes;    /* 0 if the type is not even known by name */
    nlm_tensor tensor; /* shape outermost first, data in the mapping */
} nlm_gguf_tensor;

typedef struct nlm_gguf nlm_gguf;

/* Maps and checks the file. What it allocates is bounded by a small multiple of the bytes parsed. The
 * file must not shrink while it is open: reading pages that are gone raises SIGBUS (nlm_gguf_check_size).
 * Errors   NOT_FOUND, PERMISSION, IO, BAD_FORMAT (file:offset, what, what was expected), UNSUPPORTED
 *          (version 1, big-endian), OUT_OF_MEMORY.
 * Threads  an open file is immutable: any number of threads may read it. */
nlm_status nlm_gguf_open(const char *path, nlm_gguf **out, nlm_error *err);
/* The same of a copy in memory, which nothing that happens to the file changes. */
nlm_status nlm_gguf_open_copy(const char *path, nlm_gguf **out, nlm_error *err);
/* The same over memory, which is borrowed and aligned as malloc aligns; `name` stands for the path in
 * errors. For tests and fuzzing. */
nlm_status nlm_gguf_parse(const char *name, const void *data, size_t size, nlm_gguf **out, nlm_error *err);
void nlm_gguf_close(nlm_gguf *gguf);

/* As nlm_file_map_check and nlm_file_map_check_size of what is mapped. */
nlm_status nlm_gguf_check_file(const nlm_gguf *gguf, nlm_error *err);
nlm_status nlm_gguf_check_size(const nlm_gguf *gguf, nlm_error *err);
/* Whether it is a copy of a file, in memory. */
bool nlm_gguf_is_copy(const nlm_gguf *gguf);

const char *nlm_gguf_path(const nlm_gguf *gguf);
uint32_t nlm_gguf_version(const nlm_gguf *gguf);
uint64_t nlm_gguf_file_bytes(const nlm_gguf *gguf);
/* Writes the file as it is in memory to a temporary beside `path`, and renames it. Errors as
 * nlm_file_writer_*. */
nlm_status nlm_gguf_save(const nlm_gguf *gguf, const char *path, nlm_error *err);
uint64_t nlm_gguf_alignment(const nlm_gguf *gguf);

size_t nlm_gguf_entry_count(const nlm_gguf *gguf);
const nlm_gguf_entry *nlm_gguf_entry_at(const nlm_gguf *gguf, size_t index);
const nlm_gguf_entry *nlm_gguf_find(const nlm_gguf *gguf, const char *key);
size_t nlm_gguf_tensor_count(const nlm_gguf *gguf);
const nlm_gguf_tensor *nlm_gguf_tensor_at(const nlm_gguf *gguf, size_t index);
const nlm_gguf_tensor *nlm_gguf_find_tensor(const nlm_gguf *gguf, const char *name);

/* Typed readers: any integer type that holds the value serves (also bool for u64), f32 or f64 for
 * floats, which must be finite. NOT_FOUND if the key is absent (out untouched), BAD_FORMAT if it has
 * another type or range. */
nlm_status nlm_gguf_get_u64(const nlm_gguf *gguf, const char *key, uint64_t *out, nlm_error *err);
nlm_status nlm_gguf_get_f32(const nlm_gguf *gguf, const char *key, float *out, nlm_error *err);
nlm_status nlm_gguf_get_bool(const nlm_gguf *gguf, const char *key, bool *out, nlm_error *err);
nlm_status nlm_gguf_get_string(const nlm_gguf *gguf, const char *key, nlm_gguf_string *out, nlm_error *err);
/* Element `index` of an array of integers, bools or floats, or a scalar as element 0 (bounds: the
 * caller's). Out of int64's range is its nearest end; strings give 0. */
int64_t nlm_gguf_array_i64(const nlm_gguf_entry *entry, uint64_t index);
double nlm_gguf_array_f64(const nlm_gguf_entry *entry, uint64_t index);

/* The spelling of a metadata type ("u32", "string"); "unknown" if there is none. */
const char *nlm_gguf_type_name(nlm_gguf_type type);

/* Item `index` of an entry of strings, a scalar's 0 included. */
static inline nlm_gguf_string nlm_gguf_string_at(const nlm_gguf_entry *entry, uint64_t index) {
    return entry->strings ? entry->strings[index] : (nlm_gguf_string){(const char *)entry->data, entry->bytes};
}
/* Appends item `index` of an entry of numbers or truth values: "12", "true", the fewest digits that give the number
 * back.
 */
void nlm_gguf_spell(nlm_str *out, const nlm_gguf_entry *entry, uint64_t index);

/* Puts a value in place of the file's, or beside them: "KEY=int:N", "KEY=float:X", "KEY=bool:true", "KEY=str:TEXT".
 * Before anything else looks at the file. Errors INVALID_ARGUMENT (what was expected), OUT_OF_MEMORY. */
nlm_status nlm_gguf_override(nlm_gguf *gguf, const char *text, nlm_error *err);
/* Tells overrides from others; 0 without any. */
uint64_t nlm_gguf_overrides_sum(const nlm_gguf *gguf);

/* The name of a tensor's type ("q2_k"), of those not supported too; NULL if there is none. */
const char *nlm_gguf_tensor_type_name(uint32_t type);
/* The bytes of a tensor of a type that is not supported; 0 for one that is not known, and for rows that are no
 * whole blocks. */
uint64_t nlm_gguf_foreign_bytes(uint32_t type, const uint64_t dims[4]);

/* Tells the content from another's without reading it whole: XXH64 of all that stands before the tensors' data, and
 * of 64 samples of 4 KiB of that. */
uint64_t nlm_gguf_checksum(const nlm_gguf *gguf);

/* What tells a file from others, and from itself after a change, without reading it whole. */
typedef struct nlm_gguf_identity {
    uint64_t bytes;
    int64_t modified_s, modified_ns;
    uint64_t checksum; /* nlm_gguf_checksum */
} nlm_gguf_identity;

/* False for one that is no file. Drops the pages of the tensors. */
bool nlm_gguf_identify(const nlm_gguf *gguf, nlm_gguf_identity *out);

/* Tells the system that a tensor's pages will not be read again soon (they were packed). The data stays
 * valid. */
void nlm_gguf_drop_pages(const nlm_gguf *gguf, const void *data, uint64_t bytes);

/* Frees the tables of arrays of strings, whose entries then have a count of 0: for a holder that copied what it
 * needs. Not thread-safe. */
void nlm_gguf_drop_strings(nlm_gguf *gguf);

/* Writing: collect metadata (copied) and tensors (their data is borrowed until finish), then write to a
 * temporary beside `path`, fsync and rename. Errors are sticky and returned by finish: INVALID_ARGUMENT
 * (an empty or repeated key or name, a tensor that is not contiguous), OUT_OF_MEMORY, IO. The alignment
 * is 32 unless the key general.alignment is written as a u32. */
typedef struct nlm_gguf_writer nlm_gguf_writer;
nlm_status nlm_gguf_writer_create(nlm_gguf_writer **out, nlm_error *err);
void nlm_gguf_writer_u32(nlm_gguf_writer *w, const char *key, uint32_t value);
void nlm_gguf_writer_f32(nlm_gguf_writer *w, const char *key, float value);
void nlm_gguf_writer_bool(nlm_gguf_writer *w, const char *key, bool value);
void nlm_gguf_writer_string(nlm_gguf_writer *w, const char *key, const char *data, size_t length);
void nlm_gguf_writer_array(nlm_gguf_writer *w, const char *key, nlm_gguf_type element_type, const void *data,
                           uint64_t count); /* numbers, little-endian */
void nlm_gguf_writer_strings(nlm_gguf_writer *w, const char *key, const nlm_gguf_string *strings, uint64_t count);
/* An entry of another file as it is. */
void nlm_gguf_writer_entry(nlm_gguf_writer *w, const nlm_gguf_entry *entry);
void nlm_gguf_writer_tensor(nlm_gguf_writer *w, const char *name, const nlm_tensor *tensor);
/* Of elements that are made when they are written; `shape` has `rank` sizes. What the source returns, finish does. */
void nlm_gguf_writer_source(nlm_gguf_writer *w, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                            nlm_tensor_source source);
nlm_status nlm_gguf_writer_finish(nlm_gguf_writer *w, const char *path, nlm_error *err);
/* In place of finish, or before it: the file in private memory of this process, open. The tensors' data is not asked
 * for: it reads as zeros, may be written through nlm_gguf_tensor.tensor.data before the file is used, and what
 * nlm_gguf_drop_pages is told of is lost: it is zeros again, and its memory free. */
nlm_status nlm_gguf_writer_map(nlm_gguf_writer *w, const char *name, nlm_gguf **out, nlm_error *err);
void nlm_gguf_writer_destroy(nlm_gguf_writer *w);

#endif
