/* Safetensors: named tensors with metadata, read through mmap and written; one file, or a folder whose index says
 * which of several files ("shards") has which tensor.
 *
 * A file is the length of a JSON header (u64), the header, and the tensors' bytes, which fill the rest of it without
 * holes. All of that is checked before a tensor is handed out.
 * Source: the format's description in the repository of the Python package safetensors. */
#ifndef NLM_FORMAT_SAFETENSORS_H
#define NLM_FORMAT_SAFETENSORS_H

#include <nlm/status.h>
#include <nlm/tensor.h>
#include <stdbool.h>
#include <stddef.h>
#include "format/tensor_source.h"

typedef struct nlm_safetensors_tensor {
    const char *name; /* UTF-8, not empty */
    const char *type; /* as the format spells it: "BF16" */
    uint64_t bytes;
    const void *data;  /* in the mapping, aligned as the file has it; what has no bytes has a pointer too */
    int32_t rank;      /* 0 to 4 */
    int64_t shape[4];  /* outermost first; 1 beyond the rank */
    bool is_supported; /* nlm has the type, and the tensor has elements: `tensor` is filled in; a scalar is [1] */
    nlm_tensor tensor;
} nlm_safetensors_tensor;

typedef struct nlm_safetensors nlm_safetensors;

/* Maps and checks a file, or a folder: its model.safetensors, else the files of its model.safetensors.index.json.
 * What is allocated is bounded by a multiple of the headers' bytes, of which a file has at most 100 million. No file
 * may shrink while it is open: reading pages that are gone raises SIGBUS (nlm_safetensors_check). Errors   NOT_FOUND,
 * PERMISSION, IO, BAD_FORMAT (the file, what, what was expected), OUT_OF_MEMORY. Threads  what is open is immutable:
 * any number of threads may read it. */
nlm_status nlm_safetensors_open(const char *path, nlm_safetensors **out, nlm_error *err);
/* The same of one file in memory, which is borrowed; `name` stands for the path in errors. */
nlm_status nlm_safetensors_parse(const char *name, const void *data, size_t size, nlm_safetensors **out,
                                 nlm_error *err);
void nlm_safetensors_close(nlm_safetensors *st);

/* Whether none of the files was changed since. Errors IO. */
nlm_status nlm_safetensors_check(const nlm_safetensors *st, nlm_error *err);

const char *nlm_safetensors_path(const nlm_safetensors *st);
size_t nlm_safetensors_count(const nlm_safetensors *st);
const nlm_safetensors_tensor *nlm_safetensors_at(const nlm_safetensors *st, size_t index); /* NULL beyond the last */
const nlm_safetensors_tensor *nlm_safetensors_find(const nlm_safetensors *st, const char *name);
/* The text that stands for `key` in the first file that has one; or NULL. */
const char *nlm_safetensors_metadata(const nlm_safetensors *st, const char *key);

/* Tells the system that a tensor's pages will not be read again soon. The data stays valid. */
void nlm_safetensors_drop_pages(const nlm_safetensors *st, const nlm_safetensors_tensor *tensor);

/* Writing: collect metadata (copied) and tensors (names are copied; what their sources point at is borrowed), then
 * write to a temporary beside the target, fsync and rename. Tensors of large elements come first, so that each is
 * aligned to its own. Errors are sticky and returned by the finishing call: INVALID_ARGUMENT (a name that is empty,
 * repeated or no UTF-8, a type that the format has not), OUT_OF_MEMORY, IO, and what a source returns.
 * Memory   a megabyte beside the names, whatever the tensors' size. */
typedef struct nlm_safetensors_writer nlm_safetensors_writer;
nlm_status nlm_safetensors_writer_create(nlm_safetensors_writer **out, nlm_error *err);
void nlm_safetensors_writer_metadata(nlm_safetensors_writer *w, const char *key, const char *value);
/* Contiguous; f32, f16, bf16 or i32. */
void nlm_safetensors_writer_tensor(nlm_safetensors_writer *w, const char *name, const nlm_tensor *tensor);
/* The same of elements that are made when they are written; `shape` has `rank` sizes. */
void nlm_safetensors_writer_source(nlm_safetensors_writer *w, const char *name, nlm_dtype dtype, int rank,
                                   const int64_t *shape, nlm_tensor_source source);
/* One file. */
nlm_status nlm_safetensors_writer_finish(nlm_safetensors_writer *w, const char *path, nlm_error *err);
/* In a folder that is there: model.safetensors if its tensors have at most `most_bytes`; else as many files as that
 * takes (a larger tensor has one for itself), and the index, last. */
nlm_status nlm_safetensors_writer_finish_folder(nlm_safetensors_writer *w, const char *folder, uint64_t most_bytes,
                                                nlm_error *err);
void nlm_safetensors_writer_destroy(nlm_safetensors_writer *w);

#endif
