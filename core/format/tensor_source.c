/* Writing a tensor piece by piece. */
#include "format/tensor_source.h"

#include <stdlib.h>
#include "base/status.h"
#include "tensor/dtype.h"

static nlm_status write_pieces(nlm_tensor_source source, const nlm_tensor *announced, void *piece,
                               nlm_file_writer *file, nlm_error *err) {
    int64_t elements = 1;
    for (int d = 0; d < announced->rank; d++) elements *= announced->shape[d];
    for (int64_t at = 0; at < elements; at += NLM_SOURCE_ELEMENTS) {
        const int64_t count = elements - at < NLM_SOURCE_ELEMENTS ? elements - at : NLM_SOURCE_ELEMENTS;
        NLM_TRY(source.read(source.user, at, count, piece, err));
        const uint64_t bytes = nlm_dtype_row_bytes(announced->dtype, (uint64_t)count);
        NLM_TRY(nlm_file_writer_write(file, piece, (size_t)bytes, err));
    }
    return NLM_OK;
}

nlm_status nlm_tensor_source_write(nlm_tensor_source source, const nlm_tensor *announced, nlm_file_writer *file,
                                   nlm_error *err) {
    void *piece = malloc((size_t)nlm_dtype_row_bytes(announced->dtype, NLM_SOURCE_ELEMENTS));
    if (!piece) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    const nlm_status status = write_pieces(source, announced, piece, file, err);
    free(piece);
    return status;
}
