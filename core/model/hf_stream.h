/* A weight on its way between a GGUF and Hugging Face's files: another type, another order of rows, another number.
 */
#ifndef NLM_MODEL_HF_STREAM_H
#define NLM_MODEL_HF_STREAM_H

#include "format/tensor_source.h"
#include "model/weights.h"

typedef struct nlm_hf_stream {
    const char *name; /* for errors */
    const void *data;
    nlm_dtype from, to; /* `to`: f32, f16 or bf16 */
    int64_t rows, cols;
    int64_t head_rows; /* of the heads whose rows change order; 0: none do */
    uint32_t form;     /* NLM_WEIGHT_HF_*: how it is there */
    bool is_import;    /* from Hugging Face */
    float *scratch;    /* [NLM_SOURCE_ELEMENTS], shared by streams that follow one another */
    /* Before it is read, whether its file is as it was; after that, that its pages are done with. */
    nlm_status (*check)(const void *owner, nlm_error *err);
    void (*drop)(const void *owner, const void *data);
    const void *owner, *dropped;
} nlm_hf_stream;

/* Rows and columns of a shape: the rows of a vector have one element. */
void nlm_hf_stream_shape(nlm_hf_stream *stream, int rank, const int64_t *shape);
nlm_tensor_source nlm_hf_stream_source(nlm_hf_stream *stream);

#endif
