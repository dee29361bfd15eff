/* What a GGUF file says about its model, gathered for both ways of printing it. */
#ifndef NLM_MODEL_SUMMARY_H
#define NLM_MODEL_SUMMARY_H

#include "format/gguf.h"

#include <stdbool.h>
#include <stdint.h>

#define SUMMARY_TYPES 64

typedef struct type_use {
    uint32_t type;
    bool is_supported;
    uint64_t tensors, parameters, bytes;
} type_use;

/* Numbers that the file does not give are 0, strings empty. */
typedef struct model_summary {
    nlm_gguf_string architecture, name, tokenizer;
    uint64_t parameters, weight_bytes;
    uint64_t sized_parameters;     /* of tensors whose bytes are known */
    type_use types[SUMMARY_TYPES]; /* most bytes first; kinds beyond the last share it */
    size_t type_count;
    uint64_t context_length, vocabulary, layers, embedding;
    uint64_t heads, heads_kv, head_dim;
    uint64_t d_inner, d_state, d_conv;
    uint64_t kv_bytes_per_token;       /* all layers, keys and values, f16 */
    uint64_t state_bytes_per_sequence; /* Mamba's states, f32 */
} model_summary;

void summarize(const nlm_gguf *gguf, model_summary *out);

#endif
