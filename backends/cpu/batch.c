/* What seq_start, slot and block tables say, with bad numbers found before anything is read through them. */
#include "cpu/batch.h"

#include "cpu/view.h"

#include <string.h>

/* Fills n_tokens of a batch whose sequences are known. */
static nlm_status read_starts(const nlm_exec_v1 *x, const char *where, int64_t rows, nlm_cpu_batch *batch) {
    int64_t previous = 0;
    for (int64_t s = 0; s <= batch->n_seqs; s++) {
        const int64_t start = batch->seq_start[s], limit = s == 0 ? 0 : rows;
        if (start < previous || start > limit) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, where,
                                "seq_start[%lld] is %lld, expected %lld to %lld", (long long)s, (long long)start,
                                (long long)previous, (long long)limit);
        }
        previous = start;
    }
    batch->n_tokens = previous;
    return NLM_OK;
}

nlm_status nlm_cpu_packed_read(const nlm_exec_v1 *x, const char *where, const nlm_tensor *seq_start, int64_t rows,
                               nlm_cpu_batch *out) {
    *out = (nlm_cpu_batch){nlm_cpu_i32(seq_start), NULL, seq_start->shape[0] - 1, 0};
    return read_starts(x, where, rows, out);
}

nlm_status nlm_cpu_batch_read(const nlm_exec_v1 *x, const char *where, const nlm_tensor *seq_start,
                              const nlm_tensor *slot, int64_t rows, int64_t n_slots, nlm_cpu_batch *out) {
    *out = (nlm_cpu_batch){nlm_cpu_i32(seq_start), nlm_cpu_i32(slot), nlm_live_rows(x, slot), 0};
    NLM_KIT_TRY(read_starts(x, where, rows, out));
    for (int64_t s = 0; s < out->n_seqs; s++) {
        if (out->slot[s] >= 0 && out->slot[s] < n_slots) continue;
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, where, "slot[%lld] is %d, expected 0 to %lld",
                            (long long)s, out->slot[s], (long long)n_slots - 1);
    }
    return NLM_OK;
}

void nlm_cpu_carry_state(const nlm_tensor *state, const nlm_tensor *state_out, const nlm_cpu_batch *batch,
                         int64_t rows, nlm_kit_range columns) {
    if (state->data == state_out->data || columns.from >= columns.to) return;
    int64_t row_floats = 1;
    for (int i = 1; i < state->rank; i++) row_floats *= state->shape[i];
    row_floats /= rows;
    for (int64_t s = 0; s < batch->n_seqs; s++) {
        const float *from = (const float *)nlm_kit_at(state, batch->slot[s]) + columns.from;
        float *to = (float *)nlm_kit_at(state_out, batch->slot[s]) + columns.from;
        for (int64_t r = 0; r < rows; r++) {
            memcpy(to + r * row_floats, from + r * row_floats, (size_t)(columns.to - columns.from) * sizeof *to);
        }
    }
}

nlm_status nlm_cpu_page(const nlm_exec_v1 *x, const char *where, const nlm_tensor *block_table, int32_t slot,
                        int64_t pos, int64_t page_tokens, int64_t n_pages, int64_t *out_page) {
    const int64_t capacity = block_table->shape[1] * page_tokens;
    if (pos < 0 || pos >= capacity) {
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, where, "position %lld is outside a slot's 0 to %lld",
                            (long long)pos, (long long)capacity - 1);
    }
    const int64_t block = pos / page_tokens;
    const int32_t page = ((const int32_t *)nlm_kit_at(block_table, slot))[block];
    if (page < 0 || page >= n_pages) {
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, where,
                            "block_table[%d, %lld] is page %d, expected 0 to %lld", slot, (long long)block, page,
                            (long long)n_pages - 1);
    }
    *out_page = page;
    return NLM_OK;
}
