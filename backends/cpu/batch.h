/* The sequences of a batch and the paged cache, read from the small i32 tensors of an op. */
#ifndef NLM_CPU_BATCH_H
#define NLM_CPU_BATCH_H

#include <nlm/plugin.h>

typedef struct nlm_cpu_batch {
    const int32_t *seq_start; /* [n_seqs + 1], ascending */
    const int32_t *slot;      /* [n_seqs], each in [0, n_slots) */
    int64_t n_seqs;
    int64_t n_tokens; /* rows from here on are padding */
} nlm_cpu_batch;

/* Errors INVALID_ARGUMENT: seq_start descends or passes `rows`, a slot outside [0, n_slots). */
nlm_status nlm_cpu_batch_read(const nlm_exec_v1 *x, const char *where, const nlm_tensor *seq_start,
                              const nlm_tensor *slot, int64_t rows, int64_t n_slots, nlm_cpu_batch *out);

/* The sequence of token t, t < n_tokens; the search starts at sequence `hint`, which is not past it. */
static inline int64_t nlm_cpu_sequence_of(const nlm_cpu_batch *batch, int64_t t, int64_t hint) {
    while (batch->seq_start[hint + 1] <= t) hint++;
    return hint;
}

/* The page that holds position `pos` of `slot`. Errors INVALID_ARGUMENT: a negative position, one past
 * the block table, a page outside [0, n_pages). */
nlm_status nlm_cpu_page(const nlm_exec_v1 *x, const char *where, const nlm_tensor *block_table, int32_t slot,
                        int64_t pos, int64_t page_tokens, int64_t n_pages, int64_t *out_page);

#endif
