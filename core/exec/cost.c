/* What each op moves and computes, for the profile. */
#include <stdlib.h>
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

/* Keys or values of one position, all heads of them, in a cache [P, G, B, D]. */
static uint64_t position_bytes(const nlm_tensor *cache) {
    return (uint64_t)cache->shape[1] * nlm_dtype_row_bytes(cache->dtype, (uint64_t)cache->shape[3]);
}

static const nlm_tensor *find_tensor(const nlm_step *step, const char *name) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    const int field = nlm_op_spec_find(spec, name, strlen(name));
    return field < 0 ? NULL : nlm_args_tensor(&step->args, &spec->fields[field]);
}

/* What an op that reads a cache does, which depends on the batch: pairs of a query row and a position that it
 * sees, and the positions read at least once, each sequence's longest. */
typedef struct seen {
    uint64_t pairs, positions;
} seen;

static seen count_seen(const nlm_step *step, const int32_t *live_rows) {
    seen count = {0, 0};
    const nlm_tensor *pos = find_tensor(step, "pos"), *seq_start = find_tensor(step, "seq_start");
    const nlm_tensor *slot = find_tensor(step, "slot");
    if (step->op != NLM_OP_attention || !nlm_device_has_host_memory(step->device)) return count;
    const int32_t *at = pos->data, *start = seq_start->data, window = step->args.attention.window;
    const int64_t n_seqs = nlm_rows_of(slot, live_rows), n_tokens = nlm_rows_of(pos, live_rows);
    for (int64_t s = 0; s < n_seqs; s++) {
        uint64_t longest = 0;
        for (int64_t t = start[s]; t >= 0 && t < start[s + 1] && t < n_tokens; t++) {
            uint64_t length = (uint64_t)at[t] + 1;
            if (window > 0 && length > (uint64_t)window) length = (uint64_t)window;
            count.pairs += length;
            if (length > longest) longest = length;
        }
        count.positions += longest;
    }
    return count;
}

/* Of a state: one slot for each sequence, read, written or both; of a cache the positions that are appended, or read.
 */
static uint64_t state_bytes(const nlm_step *step, const nlm_op_field *field, const nlm_tensor *state,
                            const int32_t *live_rows, const seen *count) {
    const uint64_t slots = live(find_tensor(step, "slot"), live_rows) * row_bytes(state);
    if (field->use & (NLM_FIELD_IN | NLM_FIELD_OUT)) return slots;
    switch (field->use & NLM_FIELD_STATE) {
        case NLM_FIELD_WRITES: return live(find_tensor(step, "pos"), live_rows) * position_bytes(state);
        case NLM_FIELD_READS: return count->positions * position_bytes(state);
        default: return 2 * slots;
    }
}

/* Rows of a weight that are looked up, or added to; else all that is live. */
static uint64_t live_bytes(const nlm_step *step, const nlm_op_field *field, const nlm_tensor *tensor,
                           const int32_t *live_rows) {
    if (field->shape[0] == 'V')
        return live(nlm_args_tensor(&step->args, &nlm_op_spec_of(step->op)->fields[0]), live_rows) *
               row_bytes(tensor);
    if (tensor->rank == 1 && tensor->row_kind == NLM_ROWS_FIXED)
        return nlm_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->shape[0]);
    return live(tensor, live_rows) * row_bytes(tensor);
}

/* Is what the op writes read before? The moments of an optimizer are, and a gradient that is added to. */
static bool is_updated(const nlm_step *step, const nlm_op_field *field) {
    if (!(field->use & NLM_FIELD_WRITES)) return false;
    return !(field->use & NLM_FIELD_OUT) || (step->args.head.flags & NLM_GRADIENT_ADD);
}

/* Every argument read or written once, or both; of states the slots and positions of the batch. */
static uint64_t argument_bytes(const nlm_step *step, const int32_t *live_rows, const seen *count) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_op_field *field = &spec->fields[i];
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, field);
        if (!tensor) continue;
        const bool has_parts = field->shape[0] == 'L' || field->shape[0] == 'P'; /* slots or pages */
        if (has_parts && (field->use & NLM_FIELD_STATE))
            bytes += state_bytes(step, field, tensor, live_rows, count);
        else
            bytes += live_bytes(step, field, tensor, live_rows) * (is_updated(step, field) ? 2 : 1);
    }
    return bytes;
}

/* The op's letters, those of rows as live counts. */
static void live_dims(const nlm_step *step, const int32_t *live_rows, nlm_dims *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    nlm_dims_clear(out);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, &spec->fields[i]);
        if (tensor) nlm_shape_match(&spec->fields[i], tensor, out);
    }
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, &spec->fields[i]);
        const char first = spec->fields[i].shape[0];
        if (tensor && tensor->row_kind != NLM_ROWS_FIXED && first >= 'A' && first <= 'Z')
            out->of[first - 'A'] = nlm_rows_of(tensor, live_rows);
    }
}

/* "2 T Q K + 12 T U K"; p: the pairs. */
static uint64_t flop_of(const char *cost, const nlm_dims *dims, const seen *count) {
    uint64_t sum = 0, product = 1;
    for (; *cost; cost++) {
        if (*cost >= 'A' && *cost <= 'Z' && nlm_dim(dims, *cost) >= 0) product *= (uint64_t)nlm_dim(dims, *cost);
        if (*cost == 'p') product *= count->pairs;
        if (*cost >= '1' && *cost <= '9') {
            char *end;
            product *= strtoull(cost, &end, 10);
            cost = end - 1;
        }
        if (*cost != '+' && cost[1]) continue;
        sum += product;
        product = 1;
    }
    return sum;
}

nlm_cost nlm_step_cost(const nlm_step *step, const int32_t *live_rows) {
    const seen count = count_seen(step, live_rows);
    nlm_dims dims;
    live_dims(step, live_rows, &dims);
    return (nlm_cost){argument_bytes(step, live_rows, &count),
                      flop_of(nlm_op_spec_of(step->op)->cost, &dims, &count)};
}
