/* Shapes: a node's arguments checked against the op table, and results inferred. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph_impl.h"
#include "tensor/dtype.h"

#define WHERE "nlm_graph"

static const char *row_kind_text(uint32_t kind) {
    static const char *const names[NLM_ROWS_KINDS] = {"fixed", "tokens", "outputs", "sequences"};
    return kind < NLM_ROWS_KINDS ? names[kind] : "unknown";
}

/* The letter whose rows these are, or 0. */
static char row_letter(const nlm_op_field *field) {
    nlm_shape_term term;
    nlm_shape_next(field->shape, &term);
    return term.relation ? 0 : term.letter;
}

/* What dimension 0 of each letter counts. Rows counted by two different live counts cannot meet in one op. */
static nlm_status match_rows(const nlm_node *node, const nlm_op_call *call, uint32_t *kinds, nlm_error *err) {
    for (uint32_t i = 0; i < call->spec->n_fields; i++) {
        const nlm_op_field *field = &call->spec->fields[i];
        const nlm_tensor *tensor = call->tensors[i];
        const char letter = row_letter(field);
        /* A [N] broadcast over rows begins with a column. */
        if (!letter || !tensor || tensor->row_kind == NLM_ROWS_FIXED || (field->use & NLM_FIELD_ANY_ROWS)) continue;
        if (nlm_dim(call->dims, letter) != tensor->shape[0]) continue;
        uint32_t *kind = &kinds[letter - 'A'];
        if (*kind == NLM_ROWS_FIXED) *kind = tensor->row_kind;
        if (*kind == tensor->row_kind) continue;
        char title[64];
        nlm_node_title(node, title, sizeof title);
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s: the rows of %s are %s, those of %s are %s", title,
                        field->name, row_kind_text(tensor->row_kind), call->dims->from[letter - 'A'],
                        row_kind_text(*kind));
    }
    return NLM_OK;
}

static nlm_status infer(const nlm_op_call *call, const nlm_op_field *field, const uint32_t *kinds, nlm_tensor *out,
                        nlm_error *err) {
    int64_t shape[NLM_MAX_RANK];
    const int rank = nlm_shape_infer(field, call->dims, shape);
    if (rank == 0) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "%s: nothing gives the shape of %s", call->spec->name, field->name);
    }
    const nlm_dtype activation = call->dims->activation < 0 ? NLM_F32 : call->dims->activation;
    const nlm_dtype dtype = field->types == NLM_TYPES_I32          ? NLM_I32
                            : field->types == NLM_TYPES_ACTIVATION ? activation
                                                                   : NLM_F32;
    NLM_TRY(nlm_tensor_init(out, dtype, rank, shape, NULL, err));
    const char letter = row_letter(field);
    if (letter) out->row_kind = kinds[letter - 'A'];
    if (*field->shape == '*') out->row_kind = call->dims->any->row_kind;
    return NLM_OK;
}

nlm_status nlm_shape_check(const nlm_value_info *values, const nlm_node *node, nlm_tensor *results, nlm_error *err) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    const nlm_tensor *tensors[NLM_OP_MAX_FIELDS];
    uint32_t kinds[26] = {NLM_ROWS_FIXED};
    nlm_dims dims;
    const nlm_op_call call = {spec, &node->args, tensors, &dims};
    for (uint32_t i = 0; i < spec->n_fields; i++)
        tensors[i] = node->fields[i] < 0 ? NULL : &values[node->fields[i]].tensor;
    char clause[256] = "";
    if (!nlm_check_call(&call, &(nlm_reason){clause, sizeof clause, 0})) {
        char title[64];
        nlm_node_title(node, title, sizeof title);
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s: %s", title, clause);
    }
    NLM_TRY(match_rows(node, &call, kinds, err));
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] == NLM_VALUE_NEW) NLM_TRY(infer(&call, &spec->fields[i], kinds, &results[i], err));
    }
    return NLM_OK;
}

void nlm_node_title(const nlm_node *node, char *out, size_t capacity) {
    const char *name = nlm_op_spec_of(node->op)->name;
    if (node->layer < 0)
        snprintf(out, capacity, "%s", name);
    else
        snprintf(out, capacity, "%s, layer %" PRId32, name, node->layer);
}

void nlm_tensor_describe(const nlm_tensor *tensor, char *out, size_t capacity) {
    nlm_reason_add_tensor(&(nlm_reason){out, capacity, 0}, tensor);
}
