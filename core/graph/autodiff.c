/* The backward pass: ops in reverse, each by its rule, and the gradients of values between them. */
#include "graph/autodiff.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WHERE  "nlm_graph_backward"
#define PIECES 4

/* Columns [from, to) of a gradient that were written. */
typedef struct piece {
    int64_t from, to;
} piece;

/* Of a base. */
typedef struct slot {
    nlm_value gradient; /* NLM_NO_VALUE: none yet */
    nlm_value again;    /* the base computed again, NLM_NO_VALUE: not */
    int32_t producer;   /* the node that gives it, -1: none */
    bool needs;
    bool is_kept; /* read in place by the backward pass */
    bool is_cut;  /* the gradient is written piece by piece */
    uint32_t n_pieces;
    piece pieces[PIECES];
} slot;

struct nlm_autodiff {
    nlm_graph *graph;
    slot *slots; /* [n_forward], by value */
    uint32_t n_forward, n_nodes;
    nlm_recompute recompute;
};

nlm_graph *nlm_autodiff_graph(const nlm_autodiff *a) {
    return a->graph;
}

static bool has_failed(const nlm_autodiff *a) {
    return a->graph->error.code != NLM_OK;
}

static const nlm_value_info *info_of(const nlm_autodiff *a, nlm_value value) {
    return &a->graph->values[value];
}

static slot *slot_of(const nlm_autodiff *a, nlm_value value) {
    return &a->slots[info_of(a, value)->base];
}

nlm_value nlm_autodiff_field(const nlm_node *node, const char *field) {
    const int index = nlm_op_spec_find(nlm_op_spec_of(node->op), field, strlen(field));
    return index < 0 ? NLM_NO_VALUE : node->fields[index];
}

void nlm_autodiff_refuse(nlm_autodiff *a, const nlm_node *node, const char *why) {
    char title[64];
    if (has_failed(a)) return;
    nlm_node_title(node, title, sizeof title);
    nlm_fail(&a->graph->error, NLM_UNSUPPORTED, WHERE, "%s: %s", title, why);
}

bool nlm_autodiff_needs(const nlm_autodiff *a, nlm_value value) {
    return value >= 0 && slot_of(a, value)->needs;
}

/* ---- views --------------------------------------------------------------------------------------- */

/* Is the value some columns of its base, and not all? */
static bool is_columns(const nlm_autodiff *a, nlm_value value) {
    return !nlm_value_is_whole(a->graph->values, value);
}

static piece columns_of(const nlm_autodiff *a, nlm_value value) {
    const nlm_value_info *info = info_of(a, value);
    int64_t count = 1;
    for (int i = 1; i < info->tensor.rank; i++) count *= info->tensor.shape[i];
    const int64_t from = (int64_t)(info->offset_bytes / sizeof(float));
    return (piece){from, from + count};
}

/* A value of the shape of `like`, on the memory of `x`, which has as many rows and elements. */
static nlm_value shaped_as(nlm_autodiff *a, nlm_value x, nlm_value like) {
    const nlm_tensor *to = &info_of(a, like)->tensor, *from = &info_of(a, x)->tensor;
    if (from->rank == to->rank && memcmp(from->shape, to->shape, sizeof to->shape) == 0) return x;
    return nlm_graph_reshape(a->graph, x, to->rank, to->shape);
}

static bool is_written(const slot *s, piece columns) {
    for (uint32_t i = 0; i < s->n_pieces; i++) {
        if (s->pieces[i].from < columns.to && columns.from < s->pieces[i].to) return true;
    }
    return false;
}

/* The columns of the base's gradient, in the shape of the view. Makes room for it when the first share comes. */
static nlm_value gradient_columns(nlm_autodiff *a, nlm_value view) {
    slot *s = slot_of(a, view);
    const piece columns = columns_of(a, view);
    if (s->gradient == NLM_NO_VALUE) {
        s->gradient = nlm_graph_empty_like(a->graph, info_of(a, view)->base);
        s->is_cut = true;
    }
    if (s->gradient == NLM_NO_VALUE) return NLM_NO_VALUE;
    const nlm_value part = nlm_graph_columns(a->graph, s->gradient, columns.from, columns.to - columns.from);
    return part == NLM_NO_VALUE ? NLM_NO_VALUE : shaped_as(a, part, view);
}

static void mark_written(nlm_autodiff *a, nlm_value view) {
    slot *s = slot_of(a, view);
    if (s->n_pieces == PIECES) {
        nlm_fail(&a->graph->error, NLM_LIMIT, WHERE, "a value is read in more than %d parts", PIECES);
        return;
    }
    s->pieces[s->n_pieces++] = columns_of(a, view);
}

/* ---- shares -------------------------------------------------------------------------------------- */

nlm_value nlm_autodiff_place(nlm_autodiff *a, nlm_value value) {
    if (!nlm_autodiff_needs(a, value)) return NLM_NO_VALUE;
    const slot *s = slot_of(a, value);
    if (!is_columns(a, value) || is_written(s, columns_of(a, value))) return NLM_VALUE_NEW;
    if (s->gradient != NLM_NO_VALUE && !s->is_cut) return NLM_VALUE_NEW;
    return gradient_columns(a, value);
}

nlm_value nlm_autodiff_take(nlm_autodiff *a, nlm_value value) {
    if (!nlm_autodiff_needs(a, value) || is_columns(a, value)) return NLM_NO_VALUE;
    slot *s = slot_of(a, value);
    if (s->gradient == NLM_NO_VALUE || s->is_cut || info_of(a, value)->kind == NLM_VALUE_PARAMETER)
        return NLM_NO_VALUE;
    const nlm_value taken = shaped_as(a, s->gradient, value);
    s->gradient = NLM_NO_VALUE;
    return taken;
}

static nlm_value emit(nlm_autodiff *a, nlm_op op, nlm_value x, nlm_value y, nlm_value z, size_t count) {
    return nlm_graph_emit(a->graph, op, NULL, NLM_INFERRED_DTYPE, (const nlm_value[]){x, y, z}, count);
}

/* Rows as a matrix, which is what add takes. */
static nlm_value as_matrix(nlm_autodiff *a, nlm_value value) {
    const nlm_tensor *t = &info_of(a, value)->tensor;
    int64_t shape[2] = {t->shape[0], 1};
    for (int i = 1; i < t->rank; i++) shape[1] *= t->shape[i];
    return t->rank == 2 ? value : nlm_graph_reshape(a->graph, value, 2, shape);
}

static nlm_value add(nlm_autodiff *a, nlm_value x, nlm_value y, nlm_value out) {
    return emit(a, NLM_OP_add, as_matrix(a, x), as_matrix(a, y), out, 3);
}

/* A share of columns: where it was computed, moved there, or added to what is there. */
static void give_columns(nlm_autodiff *a, nlm_value value, nlm_value gradient) {
    slot *s = slot_of(a, value);
    if (s->gradient != NLM_NO_VALUE && info_of(a, gradient)->base == s->gradient) {
        mark_written(a, value);
        return;
    }
    if (s->gradient != NLM_NO_VALUE && !s->is_cut) { /* a share of the whole came first */
        const nlm_value whole = s->gradient;
        s->gradient = nlm_graph_empty_like(a->graph, info_of(a, value)->base);
        s->is_cut = true;
        if (s->gradient == NLM_NO_VALUE) return;
        s->pieces[s->n_pieces++] = columns_of(a, s->gradient);
        emit(a, NLM_OP_copy, whole, s->gradient, NLM_NO_VALUE, 2);
    }
    const nlm_value part = gradient_columns(a, value);
    if (part == NLM_NO_VALUE) return;
    if (is_written(s, columns_of(a, value))) {
        add(a, part, gradient, as_matrix(a, part));
        return;
    }
    emit(a, NLM_OP_copy, gradient, part, NLM_NO_VALUE, 2);
    mark_written(a, value);
}

void nlm_autodiff_give(nlm_autodiff *a, nlm_value value, nlm_value gradient) {
    if (has_failed(a) || gradient < 0 || !nlm_autodiff_needs(a, value)) return;
    slot *s = slot_of(a, value);
    const nlm_value base = info_of(a, value)->base;
    if (info_of(a, base)->kind == NLM_VALUE_PARAMETER) {
        emit(a, NLM_OP_accumulate, gradient, nlm_graph_gradient(a->graph, base), NLM_NO_VALUE, 2);
        return;
    }
    if (is_columns(a, value)) {
        give_columns(a, value, gradient);
        return;
    }
    const nlm_value whole = shaped_as(a, gradient, base);
    if (s->gradient == NLM_NO_VALUE) {
        s->gradient = whole;
        return;
    }
    const nlm_value sum = add(a, s->gradient, whole, s->is_cut ? as_matrix(a, s->gradient) : NLM_VALUE_NEW);
    if (sum != NLM_NO_VALUE && !s->is_cut) s->gradient = shaped_as(a, sum, base);
}

nlm_value nlm_autodiff_sum_of(nlm_autodiff *a, nlm_value value) {
    if (value < 0 || info_of(a, value)->kind != NLM_VALUE_PARAMETER) return NLM_NO_VALUE;
    return nlm_graph_gradient(a->graph, value);
}

static bool is_covered(const slot *s, int64_t columns) {
    int64_t covered = 0;
    for (uint32_t i = 0; i < s->n_pieces; i++) covered += s->pieces[i].to - s->pieces[i].from;
    return !s->is_cut || covered == columns;
}

nlm_value nlm_autodiff_of(nlm_autodiff *a, nlm_value result) {
    if (result < 0) return NLM_NO_VALUE;
    const slot *s = slot_of(a, result);
    const piece all = columns_of(a, info_of(a, result)->base);
    if (s->gradient == NLM_NO_VALUE || is_covered(s, all.to)) return s->gradient;
    nlm_fail(&a->graph->error, NLM_UNSUPPORTED, WHERE,
             "of a value of %" PRId64 " columns some do not reach the loss: read it whole, or every part of it",
             all.to);
    return NLM_NO_VALUE;
}

/* ---- forward values, computed again ---------------------------------------------------------------- */

static nlm_value read_base(nlm_autodiff *a, nlm_value base);

/* The node once more, with its inputs as they are read now. */
static void compute_again(nlm_autodiff *a, uint32_t index) {
    nlm_node node = a->graph->nodes[index];
    const nlm_op_spec *spec = nlm_op_spec_of(node.op);
    nlm_value fields[NLM_OP_MAX_FIELDS];
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const bool is_result = (spec->fields[i].use & NLM_FIELD_OUT) != 0;
        fields[i] = node.fields[i];
        if (fields[i] >= 0) fields[i] = is_result ? NLM_VALUE_NEW : nlm_autodiff_read(a, fields[i]);
    }
    const nlm_dtype dtype = node.op == NLM_OP_copy ? info_of(a, node.fields[1])->tensor.dtype : NLM_INFERRED_DTYPE;
    nlm_graph_set_layer(a->graph, node.layer);
    nlm_graph_emit(a->graph, node.op, &node.args, dtype, fields, spec->n_fields);
    if (has_failed(a)) return;
    const nlm_node *clone = &a->graph->nodes[a->graph->n_nodes - 1];
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if ((spec->fields[i].use & NLM_FIELD_OUT) && node.fields[i] >= 0)
            slot_of(a, node.fields[i])->again = clone->fields[i];
    }
}

static nlm_value read_base(nlm_autodiff *a, nlm_value base) {
    slot *s = &a->slots[base];
    if (s->is_kept || s->producer < 0) return base;
    if (s->again == NLM_NO_VALUE) compute_again(a, (uint32_t)s->producer);
    return s->again;
}

nlm_value nlm_autodiff_read(nlm_autodiff *a, nlm_value value) {
    if (value < 0 || has_failed(a)) return NLM_NO_VALUE;
    const nlm_value_info view = *info_of(a, value);
    const nlm_value base = read_base(a, view.base);
    if (base == view.base || base < 0) return has_failed(a) ? NLM_NO_VALUE : value;
    if (!is_columns(a, value)) return shaped_as(a, base, value);
    const piece columns = columns_of(a, value);
    const nlm_value part = nlm_graph_columns(a->graph, base, columns.from, columns.to - columns.from);
    return part == NLM_NO_VALUE ? NLM_NO_VALUE : shaped_as(a, part, value);
}

/* ---- the walk -------------------------------------------------------------------------------------- */

static bool reads_field(const nlm_op_field *field) {
    return (field->use & (NLM_FIELD_IN | NLM_FIELD_READS)) != 0;
}

/* A value depends on what is trained if its op reads one that does. */
static void find_needs(nlm_autodiff *a, const nlm_backward *how) {
    for (uint32_t v = 0; v < a->n_forward; v++) {
        a->slots[v] = (slot){.gradient = NLM_NO_VALUE, .again = NLM_NO_VALUE, .producer = -1};
        a->slots[v].needs = a->graph->values[v].kind == NLM_VALUE_PARAMETER;
        a->slots[v].is_kept = a->recompute != NLM_RECOMPUTE_LAYERS;
    }
    for (uint32_t i = 0; i < how->n_wanted; i++) slot_of(a, how->wanted[i])->needs = true;
    for (uint32_t n = 0; n < a->n_nodes; n++) {
        const nlm_node *node = &a->graph->nodes[n];
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        bool needs = false;
        for (uint32_t i = 0; i < spec->n_fields; i++)
            needs = needs || (reads_field(&spec->fields[i]) && nlm_autodiff_needs(a, node->fields[i]));
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            if (!(spec->fields[i].use & NLM_FIELD_OUT) || node->fields[i] < 0) continue;
            slot *s = slot_of(a, node->fields[i]);
            if (info_of(a, node->fields[i])->kind == NLM_VALUE_STATE) continue;
            s->producer = (int32_t)n;
            s->needs = needs && info_of(a, node->fields[i])->tensor.dtype != NLM_I32;
        }
    }
}

/* Costs little beside the products around it, and nothing but its result would be kept for the backward pass. */
static bool is_cheap(const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    uint32_t n_results = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++)
        n_results += (spec->fields[i].use & NLM_FIELD_OUT) && node->fields[i] >= 0;
    return n_results == 1 && (node->op == NLM_OP_rms_norm || node->op == NLM_OP_silu_mul);
}

/* The product that a gate is multiplied with: of what a layer keeps the largest but for the gate itself. */
static void drop_up(nlm_autodiff *a, const nlm_node *node) {
    if (node->op != NLM_OP_silu_mul) return;
    slot *s = slot_of(a, nlm_autodiff_field(node, "up"));
    if (s->producer >= 0 && a->graph->nodes[s->producer].op == NLM_OP_matmul) s->is_kept = false;
}

/* Results of such ops are computed again just before they are read. */
static void drop_some(nlm_autodiff *a) {
    for (uint32_t n = 0; n < a->n_nodes; n++) {
        const nlm_node *node = &a->graph->nodes[n];
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        if (a->recompute == NLM_RECOMPUTE_UP) drop_up(a, node);
        for (uint32_t i = 0; is_cheap(node) && i < spec->n_fields; i++) {
            if ((spec->fields[i].use & NLM_FIELD_OUT) && node->fields[i] >= 0)
                slot_of(a, node->fields[i])->is_kept = false;
        }
    }
}

/* What stands between layers is kept, and what is outside of them. */
static void find_kept(nlm_autodiff *a) {
    for (uint32_t n = 0; n < a->n_nodes; n++) {
        const nlm_node *node = &a->graph->nodes[n];
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            if (node->fields[i] < 0) continue;
            slot *s = slot_of(a, node->fields[i]);
            const int32_t from = s->producer < 0 ? -1 : a->graph->nodes[s->producer].layer;
            if (from < 0 || from != node->layer) s->is_kept = true;
        }
    }
}

static bool has_gradient(const nlm_autodiff *a, const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!(spec->fields[i].use & NLM_FIELD_OUT) || node->fields[i] < 0) continue;
        if (slot_of(a, node->fields[i])->gradient != NLM_NO_VALUE) return true;
    }
    return false;
}

static bool reads_what_needs(const nlm_autodiff *a, const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (reads_field(&spec->fields[i]) && nlm_autodiff_needs(a, node->fields[i])) return true;
    }
    return false;
}

static void walk(nlm_autodiff *a) {
    for (uint32_t n = a->n_nodes; n-- > 0 && !has_failed(a);) {
        const nlm_node node = a->graph->nodes[n]; /* the list moves as it grows */
        if (!has_gradient(a, &node) || !reads_what_needs(a, &node)) continue;
        const nlm_backward_rule rule = nlm_backward_rule_of(node.op);
        nlm_graph_set_layer(a->graph, node.layer);
        if (rule)
            rule(a, &node);
        else
            nlm_autodiff_refuse(a, &node, "has no backward");
    }
}

void nlm_graph_backward(nlm_graph *graph, const nlm_backward *how) {
    nlm_autodiff a = {
        .graph = graph, .n_forward = graph->n_values, .n_nodes = graph->n_nodes, .recompute = how->recompute};
    for (uint32_t i = 0; i < how->n_wanted; i++) how->out_gradients[i] = NLM_NO_VALUE;
    if (has_failed(&a)) return;
    a.slots = calloc((size_t)a.n_forward + 1, sizeof *a.slots);
    if (!a.slots) {
        nlm_fail(&graph->error, NLM_OUT_OF_MEMORY, WHERE, "no memory for a graph of %" PRIu32 " values", a.n_forward);
        return;
    }
    find_needs(&a, how);
    if (a.recompute == NLM_RECOMPUTE_LAYERS)
        find_kept(&a);
    else
        drop_some(&a);
    nlm_graph_begin_backward(graph);
    graph->pauses = how->pauses;
    graph->begins_gradients = how->begins_gradients;
    for (uint32_t i = 0; i < how->n_seeds; i++) nlm_autodiff_give(&a, how->seeds[i].of, how->seeds[i].gradient);
    walk(&a);
    for (uint32_t i = 0; i < how->n_wanted && !has_failed(&a); i++)
        how->out_gradients[i] = nlm_autodiff_of(&a, how->wanted[i]);
    free(a.slots);
}
