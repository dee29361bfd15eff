/* Making a run's batch the next one's, the same code for every CPU backend. */
#include "cpu/plain.h"

#include <stdbool.h>

#include "cpu/view.h"

static bool is_stop(const nlm_tensor *stops, int32_t slot, int32_t token) {
    const int32_t *ids = nlm_kit_at(stops, slot);
    for (int64_t i = 0; i < stops->shape[1]; i++) {
        if (ids[i] == token) return true;
    }
    return false;
}

/* Writes the token down; whether its sequence goes on. */
static bool take(const nlm_advance_args *args, int32_t slot, int32_t token) {
    int32_t *row = nlm_kit_at(args->tokens, slot);
    const int32_t room = (int32_t)args->tokens->shape[1] - 1, used = row[0];
    if (used < 0 || used >= room) return false;
    row[1 + used] = token;
    row[0] = used + 1;
    return token >= 0 && !is_stop(args->stops, slot, token);
}

/* One worker does it: there is little to do, and where a row goes depends on those before it. */
nlm_status nlm_cpu_advance(const nlm_exec_v1 *x, const nlm_advance_args *args) {
    const int32_t *next = args->next->data;
    int32_t *ids = args->ids->data, *pos = args->pos->data, *slot = args->slot->data;
    int32_t *starts = args->seq_start->data, *live = args->live->data;
    const int64_t rows = nlm_live_rows(x, args->next), n_slots = args->tokens->shape[0];
    int32_t m = 0;
    if (x->ith > 0 || rows == 0) return NLM_OK;
    for (int64_t s = 0; s < rows; s++) {
        if (slot[s] < 0 || slot[s] >= n_slots) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "advance", "slot[%lld] is %d, expected 0 to %lld",
                                (long long)s, slot[s], (long long)n_slots - 1);
        }
    }
    for (int64_t s = 0; s < rows; s++) {
        if (!take(args, slot[s], next[s])) continue;
        ids[m] = next[s];
        pos[m] = pos[s] + 1;
        slot[m] = slot[s];
        m++;
    }
    for (int64_t i = 0; i < args->seq_start->shape[0]; i++) starts[i] = i < m ? (int32_t)i : m;
    for (int kind = NLM_ROWS_FIXED + 1; kind < NLM_ROWS_KINDS; kind++) live[kind] = m;
    return NLM_OK;
}
