/* The sequences of a batch and the paged cache, read from the small i32 tensors of an op. */
#ifndef NLM_CPU_BATCH_H
#define NLM_CPU_BATCH_H

#include <nlm/plugin_kit.h>

typedef struct nlm_cpu_batch {
    const int32_t *seq_start; /* [n_seqs + 1], ascending */
    const int32_t *slot;      /* [n_seqs], each in [0, n_slots); NULL: there are none */
    int64_t n_seqs;
    int64_t n_tokens; /* rows from here on are padding */
} nlm_cpu_batch;

/* Errors INVALID_ARGUMENT: seq_start descends or passes `rows`, a slot outside [0, n_slots). */
nlm_status nlm_cpu_batch_read(const nlm_exec_v1 *x, const char *where, const nlm_tensor *seq_start,
                              const nlm_tensor *slot, int64_t rows, int64_t n_slots, nlm_cpu_batch *out);

/* As nlm_cpu_batch_read for a batch without slots, each of whose sequences begins with its first row. */
nlm_status nlm_cpu_packed_read(const nlm_exec_v1 *x, const char *where, const nlm_tensor *seq_start, int64_t rows,
                               nlm_cpu_batch *out);

/* The sequence of token t, t < n_tokens; the search starts at sequence `hint`, which is not past it. */
static inline int64_t nlm_cpu_sequence_of(const nlm_cpu_batch *batch, int64_t t, int64_t hint) {
    while (batch->seq_start[hint + 1] <= t) hint++;
    return hint;
}

/* Copies the slots of the batch from `state` to `state_out`, unless they are one: an op then works in place on the
 * latter. A slot is `rows` rows; of each this copies the elements of [columns.from, columns.to), the worker's own. */
void nlm_cpu_carry_state(const nlm_tensor *state, const nlm_tensor *state_out, const nlm_cpu_batch *batch,
                         int64_t rows, nlm_kit_range columns);

/* Where the tiles of channels [from, to) stand in a slot of an SSM state; `from` begins a tile. */
static inline nlm_kit_range nlm_cpu_scan_floats(nlm_kit_range channels, int64_t n_states) {
    const int64_t end = (channels.to + NLM_SSM_TILE - 1) / NLM_SSM_TILE * NLM_SSM_TILE;
    if (channels.from >= channels.to) return (nlm_kit_range){0, 0};
    return (nlm_kit_range){channels.from * n_states, end * n_states};
}

/* The page that holds position `pos` of `slot`. Errors INVALID_ARGUMENT: a negative position, one past
 * the block table, a page outside [0, n_pages). */
nlm_status nlm_cpu_page(const nlm_exec_v1 *x, const char *where, const nlm_tensor *block_table, int32_t slot,
                        int64_t pos, int64_t page_tokens, int64_t n_pages, int64_t *out_page);

#endif
