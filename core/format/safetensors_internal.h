/* What the reader of safetensors fills in, and the table of element types. */
#ifndef NLM_FORMAT_SAFETENSORS_INTERNAL_H
#define NLM_FORMAT_SAFETENSORS_INTERNAL_H

#include "base/arena.h"
#include "base/file.h"
#include "format/safetensors.h"

#define SAFETENSORS_FILE         "model.safetensors"
#define SAFETENSORS_INDEX        "model.safetensors.index.json"
#define SAFETENSORS_METADATA     "__metadata__"
#define SAFETENSORS_HEADER_BYTES 100000000u /* at most: the limit of the Python package */

typedef struct nlm_safetensors_type {
    const char *name;
    uint32_t bits;
    nlm_dtype dtype; /* NLM_SAFETENSORS_FOREIGN: nlm does not compute with it */
} nlm_safetensors_type;

#define NLM_SAFETENSORS_FOREIGN (-1)

/* NULL if there is none. */
const nlm_safetensors_type *nlm_safetensors_type_named(const char *name);
const nlm_safetensors_type *nlm_safetensors_type_of(nlm_dtype dtype);

/* One file of those that are open. */
typedef struct nlm_safetensors_file {
    const char *path;
    nlm_file_map map; /* empty if the data is borrowed */
    const unsigned char *data;
    size_t size;
} nlm_safetensors_file;

typedef struct nlm_safetensors_pair {
    const char *key, *value;
} nlm_safetensors_pair;

struct nlm_safetensors {
    nlm_arena arena; /* names, metadata and paths */
    const char *path;
    nlm_safetensors_file *files;
    size_t file_count;
    nlm_safetensors_tensor *tensors;
    size_t tensor_count;
    const nlm_safetensors_tensor **index; /* sorted by name */
    nlm_safetensors_pair *metadata;
    size_t metadata_count;
};

/* safetensors_read.c: adds what the header of a file says to *st. On an error what was allocated stays there. */
nlm_status nlm_safetensors_read(nlm_safetensors *st, const nlm_safetensors_file *file, nlm_error *err);

/* Makes room for one more of `count` elements; false without memory. */
bool nlm_safetensors_grow(void **array, size_t count, size_t element_bytes);

#endif
