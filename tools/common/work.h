/* What a model's work comes to in bytes and operations, from its shape alone. */
#ifndef NLM_COMMON_WORK_H
#define NLM_COMMON_WORK_H

#include "model/model.h"

typedef struct work {
    uint64_t weight_bytes;     /* read by a step, whatever the number of sequences */
    uint64_t position_bytes;   /* of the KV cache, a position; 0 for Mamba */
    uint64_t state_bytes;      /* of Mamba, a sequence; 0 for Llama */
    uint64_t token_flop;       /* 2 an element of every matrix but embedding and head; scan and convolution */
    uint64_t logits_flop;      /* of one row of logits */
    uint64_t pair_flop;        /* attention, a pair of query and key, all layers */
    int32_t window;            /* positions attention looks back, 0: all */
    uint64_t parameters;       /* elements of all tensors */
    uint32_t n_other_matrices; /* matrices of another type */
} work;

/* dtype: what the matrices should be of; NULL: the largest one's type. */
work work_of(const nlm_model *model, const nlm_dtype *dtype, nlm_dtype kv_dtype);

/* Of a step that decodes one token for each of n_seqs sequences that hold n_context before. */
uint64_t work_step_bytes(const work *w, uint64_t n_seqs, uint64_t n_context);
/* Of n_tokens after n_context, with n_outputs rows of logits. */
double work_prefill_flop(const work *w, uint64_t n_tokens, uint64_t n_context, uint64_t n_outputs);

#endif
