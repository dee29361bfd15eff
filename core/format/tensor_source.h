/* Elements of a tensor that are made while a file is written, so that no second copy of a model is ever in memory. */
#ifndef NLM_FORMAT_TENSOR_SOURCE_H
#define NLM_FORMAT_TENSOR_SOURCE_H

#include <nlm/status.h>
#include <nlm/tensor.h>
#include <stdint.h>
#include "base/file.h"

typedef struct nlm_tensor_source {
    /* Writes elements [first, first + count), row-major, of the type the tensor was announced with. Called in order,
     * from the first to the last; all but the last count are NLM_SOURCE_ELEMENTS. */
    nlm_status (*read)(void *user, int64_t first, int64_t count, void *out, nlm_error *err);
    void *user;
} nlm_tensor_source;

#define NLM_SOURCE_ELEMENTS 65536 /* whole blocks of every type */

/* Writes the tensor that `announced` describes. Errors OUT_OF_MEMORY, and those of the source and the writer. */
nlm_status nlm_tensor_source_write(nlm_tensor_source source, const nlm_tensor *announced, nlm_file_writer *file,
                                   nlm_error *err);

#endif
