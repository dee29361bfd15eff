/* What is inside a dataset. */
#ifndef NLM_TRAIN_DATASET_IMPL_H
#define NLM_TRAIN_DATASET_IMPL_H

#include "train/dataset.h"
#include "train/token_file.h"

/* The documents of a split, one after the other. */
typedef struct nlm_split {
    uint64_t *first; /* [n_documents] the token of the file that each begins with */
    uint64_t *at;    /* [n_documents + 1] where each begins in the split; the last: its tokens */
    uint64_t n_documents;
} nlm_split;

struct nlm_dataset {
    nlm_token_file file;
    nlm_split splits[2];
    uint64_t seed, fingerprint;
};

static inline uint64_t nlm_split_tokens(const nlm_split *split) {
    return split->at[split->n_documents];
}

#endif
