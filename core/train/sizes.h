/* The shape of a new model from a few sizes. */
#ifndef NLM_TRAIN_SIZES_H
#define NLM_TRAIN_SIZES_H

#include "model/presets.h"

/* A zero is the default that stands in brackets; a size of the other architecture is not looked at. */
typedef struct nlm_sizes {
    const char *architecture; /* "llama" or "mamba" */
    int64_t n_embd, n_layer;  /* needed */
    int64_t n_head;           /* llama: (n_embd / 64, at least 1) */
    int64_t n_head_kv;        /* (n_head) */
    int64_t n_ff;             /* (8/3 n_embd, up to a multiple of 32) */
    int64_t d_state;          /* mamba: 1 to 256 (16) */
    int64_t d_conv;           /* 2 to 8 (4) */
    int64_t dt_rank;          /* (n_embd / 16, rounded up) */
    int64_t n_ctx;            /* that the file names; needed */
    bool is_untied;           /* a head of its own beside the embedding */
} nlm_sizes;

/* Errors   INVALID_ARGUMENT (an architecture that is neither, a size out of range, sizes that do not fit together:
 * all named). */
nlm_status nlm_sizes_describe(const nlm_sizes *sizes, nlm_preset *out, nlm_error *err);

#endif
