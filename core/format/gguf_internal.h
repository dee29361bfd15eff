/* What the reader (gguf_read.c) fills in and the accessors (gguf.c) look at. */
#ifndef NLM_FORMAT_GGUF_INTERNAL_H
#define NLM_FORMAT_GGUF_INTERNAL_H

#include "base/arena.h"
#include "base/file.h"
#include "format/gguf.h"

#define GGUF_DEFAULT_ALIGNMENT 32u
#define GGUF_ALIGNMENT_KEY     "general.alignment"

struct nlm_gguf {
    char *path;
    const unsigned char *data;
    size_t size;
    nlm_file_map map; /* empty if `data` is borrowed */
    uint32_t version;
    uint64_t alignment;
    uint64_t data_start; /* where the tensors' data begins; the size without tensors */
    nlm_gguf_entry *entries;
    size_t entry_count;
    nlm_gguf_tensor *tensors;
    size_t tensor_count;
    /* Both sorted by name; a name is the first member of what it names. */
    const nlm_gguf_string **entry_index;
    const nlm_gguf_string **tensor_index;
    nlm_arena arena;        /* arrays of strings */
    nlm_arena overrides;    /* keys and values that are not the file's */
    uint64_t overrides_sum; /* 0: there are none */
};

/* gguf_read.c: fills *gguf, whose path, data and size are set, from its bytes. On an error what was
 * allocated so far stays in *gguf. */
nlm_status nlm_gguf_read(nlm_gguf *gguf, nlm_error *err);

/* Reads and checks a map, which is taken also when this fails. Errors as nlm_gguf_open. */
nlm_status nlm_gguf_take_map(const char *name, nlm_file_map *map, nlm_gguf **out, nlm_error *err);

/* Bytes of one element of a fixed-size type; 0 for strings, arrays and unknown types. */
size_t nlm_gguf_type_bytes(nlm_gguf_type type);

/* By length-first byte order; 0 only for the same bytes. */
int nlm_gguf_string_compare(const nlm_gguf_string *a, const nlm_gguf_string *b);

#endif
