/* What each op moves and computes, for the profile. */
#include <string.h>

#include "exec/program_impl.h"
#include "tensor/dtype.h"

static uint64_t elements_from(const nlm_tensor *tensor, int from) {
    uint64_t product = 1;
    for (int i = from; i < tensor->rank; i++) product *= (uint64_t)tensor->shape[i];
    return product;
}

static uint64_t live(const nlm_tensor *tensor, const int32_t *live_rows) {
    return (uint64_t)nlm_rows_of(tensor, live_rows);
}

/* Bytes of one row, whatever is stored between rows. */
static uint64_t row_bytes(const nlm_tensor *tensor) {
    if (tensor->rank > 1) return nlm_dtype_row_bytes(tensor->dtype, elements_from(tensor, 1));
    return nlm_dtype_row_bytes(tensor->dtype, 1);
}

/* Every argument read or written once; states are the op's own matter. */
static uint64_t argument_bytes(const nlm_step *step, const int32_t *live_rows) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, &spec->fields[i]);
        if (!tensor || (spec->fields[i].use & NLM_FIELD_STATE)) continue;
        bytes += tensor->rank == 1 && tensor->row_kind == NLM_ROWS_FIXED
                     ? nlm_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->shape[0])
                     : live(tensor, live_rows) * row_bytes(tensor);
    }
    return bytes;
}

/* Keys or values of one position, all heads of them, in a cache [P, G, B, D]. */
static uint64_t position_bytes(const nlm_tensor *cache) {
    return (uint64_t)cache->shape[1] * nlm_dtype_row_bytes(cache->dtype, (uint64_t)cache->shape[3]);
}

/* Pairs of query row and position, and the positions read at least once: each sequence's longest. */
static void count_positions(const nlm_attention_args *args, const int32_t *live_rows, uint64_t *pairs,
                            uint64_t *positions) {
    *pairs = *positions = 0;
    const int32_t *pos = args->pos->data;
    const int32_t *start = args->seq_start->data;
    const int64_t n_seqs = nlm_rows_of(args->slot, live_rows);
    const int64_t n_tokens = nlm_rows_of(args->pos, live_rows);
    for (int64_t s = 0; s < n_seqs; s++) {
        uint64_t longest = 0;
        for (int64_t t = start[s]; t >= 0 && t < start[s + 1] && t < n_tokens; t++) {
            uint64_t length = (uint64_t)pos[t] + 1;
            if (args->window > 0 && length > (uint64_t)args->window) length = (uint64_t)args->window;
            *pairs += length;
            if (length > longest) longest = length;
        }
        *positions += longest;
    }
}

static nlm_cost attention_cost(const nlm_step *step, uint64_t bytes, const int32_t *live_rows) {
    const nlm_attention_args *args = &step->args.attention;
    uint64_t pairs = 0, positions = 0;
    if (nlm_device_has_host_memory(step->device)) count_positions(args, live_rows, &pairs, &positions);
    return (nlm_cost){bytes + positions * (position_bytes(args->k_cache) + position_bytes(args->v_cache)),
                      4 * pairs * elements_from(args->q, 1)};
}

static uint64_t matmul_flop(const nlm_tensor *x, const nlm_tensor *w, const int32_t *live_rows) {
    return 2 * live(x, live_rows) * (uint64_t)w->shape[0] * (uint64_t)w->shape[1];
}

static uint64_t append_bytes(const nlm_tensor *pos, const nlm_tensor *k, const nlm_tensor *v,
                             const int32_t *live_rows) {
    return live(pos, live_rows) * (position_bytes(k) + position_bytes(v));
}

/* One slot of a state, read and written for each sequence. */
static uint64_t slot_bytes(const nlm_tensor *state, const nlm_tensor *slot, const int32_t *live_rows) {
    return 2 * live(slot, live_rows) * row_bytes(state);
}

static uint64_t live_elements(const nlm_tensor *tensor, const int32_t *live_rows) {
    return live(tensor, live_rows) * elements_from(tensor, 1);
}

/* Operations an element of the first argument; an exponential counts as one. */
static uint64_t flop_per_element(nlm_op op) {
    switch (op) {
        case NLM_OP_rms_norm: return 4;
        case NLM_OP_rope: return 3;
        case NLM_OP_silu_mul: return 4;
        case NLM_OP_add:
        case NLM_OP_mul: return 1;
        case NLM_OP_scale: return 2;
        case NLM_OP_softmax: return 4;
        default: return 0;
    }
}

nlm_cost nlm_step_cost(const nlm_step *step, const int32_t *live_rows) {
    const nlm_any_args *a = &step->args;
    const uint64_t bytes = argument_bytes(step, live_rows);
    switch (step->op) {
        case NLM_OP_embed: {
            const uint64_t rows = live(a->embed.ids, live_rows);
            const uint64_t unread = (uint64_t)a->embed.w->shape[0] * row_bytes(a->embed.w);
            return (nlm_cost){bytes - unread + rows * row_bytes(a->embed.w), 0};
        }
        case NLM_OP_matmul: return (nlm_cost){bytes, matmul_flop(a->matmul.x, a->matmul.w, live_rows)};
        case NLM_OP_kv_append:
            return (nlm_cost){
                bytes + append_bytes(a->kv_append.pos, a->kv_append.k_cache, a->kv_append.v_cache, live_rows), 0};
        case NLM_OP_attention: return attention_cost(step, bytes, live_rows);
        case NLM_OP_conv1d_causal:
            return (nlm_cost){
                bytes + slot_bytes(a->conv1d_causal.state, a->conv1d_causal.slot, live_rows),
                2 * live_elements(a->conv1d_causal.x, live_rows) * (uint64_t)a->conv1d_causal.w->shape[1]};
        case NLM_OP_ssm_scan:
            return (nlm_cost){bytes + slot_bytes(a->ssm_scan.state, a->ssm_scan.slot, live_rows),
                              7 * live_elements(a->ssm_scan.x, live_rows) * (uint64_t)a->ssm_scan.a->shape[1]};
        case NLM_OP_gate_up_silu_mul:
            return (nlm_cost){bytes, 2 * matmul_flop(a->gate_up_silu_mul.x, a->gate_up_silu_mul.w_gate, live_rows)};
        case NLM_OP_qkv_rope_append: {
            const nlm_qkv_rope_append_args *q = &a->qkv_rope_append;
            return (nlm_cost){bytes + append_bytes(q->pos, q->k_cache, q->v_cache, live_rows),
                              matmul_flop(q->x, q->w_q, live_rows) + 2 * matmul_flop(q->x, q->w_k, live_rows)};
        }
        case NLM_OP_norm_xz_conv: {
            const nlm_norm_xz_conv_args *n = &a->norm_xz_conv;
            return (nlm_cost){bytes + slot_bytes(n->state, n->slot, live_rows),
                              matmul_flop(n->x, n->w, live_rows) +
                                  2 * live_elements(n->y, live_rows) * (uint64_t)n->conv_w->shape[1]};
        }
        case NLM_OP_dt_bc_scan: {
            const nlm_dt_bc_scan_args *s = &a->dt_bc_scan;
            return (nlm_cost){bytes + slot_bytes(s->state, s->slot, live_rows),
                              matmul_flop(s->x, s->w_x, live_rows) + matmul_flop(s->x, s->w_dt, live_rows) +
                                  7 * live_elements(s->x, live_rows) * (uint64_t)s->a->shape[1]};
        }
        case NLM_OP_norm_matmul: return (nlm_cost){bytes, matmul_flop(a->norm_matmul.x, a->norm_matmul.w, live_rows)};
        default: {
            const nlm_op_spec *spec = nlm_op_spec_of(step->op);
            const nlm_tensor *first = nlm_args_tensor(a, &spec->fields[0]);
            return (nlm_cost){bytes, flop_per_element(step->op) * live_elements(first, live_rows)};
        }
    }
}
