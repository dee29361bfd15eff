/* Shapes: the op table's dimensions matched against a node's arguments, and results inferred. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "graph/graph_impl.h"
#include "tensor/dtype.h"

#define LETTERS 26
#define NO_SIZE (-1)

/* What is known of each letter after some fields were matched. */
typedef struct dims {
    int64_t size[LETTERS]; /* NO_SIZE: not met yet */
    uint32_t row_kind[LETTERS];
    const char *from[LETTERS]; /* the field that gave it */
    nlm_tensor any;            /* "*"; rank 0: not met yet */
} dims;

/* One dimension of a spec: "T", "S+1", "C/16" or "16". */
typedef struct term {
    int letter; /* -1: a number */
    char relation;
    int64_t number;
} term;

static const char *next_term(const char *text, term *out) {
    text += strspn(text, " ");
    *out = (term){-1, 0, 0};
    if (*text >= 'A' && *text <= 'Z') {
        out->letter = *text++ - 'A';
        if (*text == '+' || *text == '-' || *text == '/') out->relation = *text++;
    }
    while (*text >= '0' && *text <= '9') out->number = out->number * 10 + (*text++ - '0');
    return text;
}

static bool at_end(const char *text) {
    return *text == '\0' || *text == '|';
}

static int64_t term_size(const term *t, const dims *known) {
    if (t->letter < 0) return t->number;
    const int64_t size = known->size[t->letter];
    if (size == NO_SIZE) return NO_SIZE;
    switch (t->relation) {
        case '+': return size + t->number;
        case '-': return size - t->number;
        case '/': return (size + t->number - 1) / t->number;
        default: return size;
    }
}

/* Learns an unknown letter from a size; a "/16" cannot be undone. */
static bool learn(const term *t, int64_t size, const char *field, dims *known) {
    if (t->relation == '/') return false;
    if (t->relation == '+') size -= t->number;
    if (t->relation == '-') size += t->number;
    if (size < 0) return false;
    known->size[t->letter] = size;
    known->from[t->letter] = field;
    return true;
}

static bool match_alternative(const char *text, const nlm_op_field *field, const nlm_tensor *tensor, dims *known) {
    int rank = 0;
    for (; !at_end(text); rank++) {
        term t;
        text = next_term(text, &t);
        if (rank >= tensor->rank) return false;
        const int64_t expected = term_size(&t, known);
        const int64_t actual = tensor->shape[rank];
        if (expected == NO_SIZE && !learn(&t, actual, field->name, known)) return false;
        if (expected != NO_SIZE && expected != actual) return false;
    }
    return rank == tensor->rank;
}

static bool same_shape(const nlm_tensor *a, const nlm_tensor *b) {
    return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static bool match_shape(const nlm_op_field *field, const nlm_tensor *tensor, dims *known) {
    const char *text = field->shape;
    if (*text == '*') {
        if (known->any.rank == 0) known->any = *tensor;
        return same_shape(&known->any, tensor);
    }
    for (;;) {
        dims trial = *known;
        if (match_alternative(text, field, tensor, &trial)) {
            *known = trial;
            return true;
        }
        text = strchr(text, '|');
        if (!text) return false;
        text++;
    }
}

/* The letter whose rows these are, or -1. */
static int row_letter(const nlm_op_field *field) {
    term t;
    next_term(field->shape, &t);
    return t.relation ? -1 : t.letter;
}

static const char *row_kind_text(uint32_t kind) {
    static const char *const names[NLM_ROWS_KINDS] = {"fixed", "tokens", "outputs", "sequences"};
    return kind < NLM_ROWS_KINDS ? names[kind] : "unknown";
}

/* Rows counted by two different live counts cannot meet in one op. */
static nlm_status match_rows(const nlm_node *node, const nlm_op_field *field, const nlm_tensor *tensor, dims *known,
                             nlm_error *err) {
    const int letter = row_letter(field);
    /* A [N] broadcast over rows begins with a column. */
    if (letter < 0 || tensor->row_kind == NLM_ROWS_FIXED || known->size[letter] != tensor->shape[0]) return NLM_OK;
    if (known->row_kind[letter] == NLM_ROWS_FIXED) known->row_kind[letter] = tensor->row_kind;
    if (known->row_kind[letter] == tensor->row_kind) return NLM_OK;
    char title[64];
    nlm_node_title(node, title, sizeof title);
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_graph", "%s: the rows of %s are %s, those of %s are %s", title,
                    field->name, row_kind_text(tensor->row_kind), known->from[letter],
                    row_kind_text(known->row_kind[letter]));
}

static void describe_expected(const nlm_op_field *field, const dims *known, nlm_str *out) {
    nlm_str_printf(out, "[%s]", field->shape);
    const char *join = " with ";
    for (const char *c = field->shape; *c; c++) {
        if (*c < 'A' || *c > 'Z' || known->size[*c - 'A'] == NO_SIZE) continue;
        nlm_str_printf(out, "%s%c=%" PRId64 " (from %s)", join, *c, known->size[*c - 'A'], known->from[*c - 'A']);
        join = ", ";
    }
    if (*field->shape != '*') return;
    char shape[96];
    nlm_tensor_describe(&known->any, shape, sizeof shape);
    nlm_str_printf(out, " equal to %s", shape);
}

static nlm_status fail_shape(const nlm_node *node, const nlm_op_field *field, const nlm_tensor *tensor,
                             const dims *known, nlm_error *err) {
    char title[64], actual[96];
    nlm_node_title(node, title, sizeof title);
    nlm_tensor_describe(tensor, actual, sizeof actual);
    nlm_str expected = {0};
    describe_expected(field, known, &expected);
    nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_graph", "%s: %s is %s, expected %s", title, field->name, actual,
             expected.data ? expected.data : field->shape);
    nlm_str_release(&expected);
    return NLM_INVALID_ARGUMENT;
}

static nlm_status match_field(const nlm_node *node, const nlm_op_field *field, const nlm_tensor *tensor, dims *known,
                              nlm_error *err) {
    if (!nlm_field_accepts(field->types, tensor->dtype)) {
        char title[64], actual[96];
        nlm_node_title(node, title, sizeof title);
        nlm_tensor_describe(tensor, actual, sizeof actual);
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_graph", "%s: %s is %s, expected type %s", title, field->name,
                        actual, nlm_field_types_text(field->types));
    }
    if (!match_shape(field, tensor, known)) return fail_shape(node, field, tensor, known, err);
    return match_rows(node, field, tensor, known, err);
}

/* ---- rules the table has no words for ------------------------------------------------------ */

static int64_t size_of(const dims *known, char letter) {
    return known->size[letter - 'A'];
}

static nlm_status require(bool holds, const nlm_node *node, nlm_error *err, const char *rule, int64_t a, int64_t b) {
    if (holds) return NLM_OK;
    char title[64];
    nlm_node_title(node, title, sizeof title);
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_graph", "%s: %s; got %" PRId64 " and %" PRId64, title, rule, a,
                    b);
}

static nlm_status check_rotation(const nlm_node *node, const dims *known, int32_t n_rot, nlm_error *err) {
    const int64_t head = size_of(known, 'D');
    NLM_TRY(require(n_rot >= 2 && n_rot % 2 == 0 && n_rot <= head, node, err,
                    "n_rot must be even and from 2 to the head size", n_rot, head));
    const int64_t factors = size_of(known, 'F');
    return require(factors == NO_SIZE || factors == n_rot / 2, node, err, "freq_factors must have n_rot/2 elements",
                   factors, n_rot);
}

static nlm_status check_attention(const nlm_node *node, const dims *known, nlm_error *err) {
    const int64_t heads = size_of(known, 'H'), groups = size_of(known, 'G');
    NLM_TRY(require(groups > 0 && heads % groups == 0, node, err,
                    "the query heads must be a multiple of the key heads", heads, groups));
    return require(node->args.attention.window >= 0, node, err, "the window must not be negative",
                   node->args.attention.window, 0);
}

static nlm_status check_qkv(const nlm_node *node, const dims *known, nlm_error *err) {
    const int64_t head = size_of(known, 'D');
    NLM_TRY(require(size_of(known, 'Q') == size_of(known, 'H') * head, node, err,
                    "w_q must have heads times head size rows", size_of(known, 'Q'), head));
    NLM_TRY(require(size_of(known, 'U') == size_of(known, 'G') * head, node, err,
                    "w_k must have key heads times head size rows", size_of(known, 'U'), head));
    return check_rotation(node, known, node->args.qkv_rope_append.n_rot, err);
}

static nlm_status check_taps(const nlm_node *node, int64_t taps, nlm_error *err) {
    return require(taps >= 2 && taps <= 8, node, err, "a convolution has from 2 to 8 taps", taps, 8);
}

static nlm_status check_states(const nlm_node *node, int64_t states, nlm_error *err) {
    return require(states >= 1 && states <= 256, node, err, "N must be from 1 to 256", states, 256);
}

static nlm_status check_norm_xz_conv(const nlm_node *node, const dims *known, nlm_error *err) {
    NLM_TRY(require(size_of(known, 'U') == 2 * size_of(known, 'C'), node, err, "w must have a row for each x and z",
                    size_of(known, 'U'), size_of(known, 'C')));
    return check_taps(node, size_of(known, 'J'), err);
}

static nlm_status check_dt_bc_scan(const nlm_node *node, const dims *known, nlm_error *err) {
    const int64_t rows = size_of(known, 'R') + 2 * size_of(known, 'N');
    NLM_TRY(require(size_of(known, 'U') == rows, node, err, "w_x must have a row for each dt, b and c",
                    size_of(known, 'U'), rows));
    return check_states(node, size_of(known, 'N'), err);
}

static nlm_status check_copy(const nlm_value_info *values, const nlm_node *node, nlm_error *err) {
    if (node->fields[1] == NLM_VALUE_NEW) return NLM_OK;
    const nlm_dtype from = values[node->fields[0]].tensor.dtype, to = values[node->fields[1]].tensor.dtype;
    return require((from == NLM_I32) == (to == NLM_I32), node, err, "i32 copies to i32 alone (types)", from, to);
}

static nlm_status check_rules(const nlm_value_info *values, const nlm_node *node, const dims *known, nlm_error *err) {
    switch (node->op) {
        case NLM_OP_rope: return check_rotation(node, known, node->args.rope.n_rot, err);
        case NLM_OP_attention: return check_attention(node, known, err);
        case NLM_OP_conv1d_causal: return check_taps(node, size_of(known, 'K'), err);
        case NLM_OP_ssm_scan: return check_states(node, size_of(known, 'N'), err);
        case NLM_OP_copy: return check_copy(values, node, err);
        case NLM_OP_gate_up_silu_mul: {
            const nlm_dtype gate = values[node->fields[1]].tensor.dtype, up = values[node->fields[2]].tensor.dtype;
            return require(gate == up, node, err, "w_gate and w_up must have one type", gate, up);
        }
        case NLM_OP_qkv_rope_append: return check_qkv(node, known, err);
        case NLM_OP_norm_xz_conv: return check_norm_xz_conv(node, known, err);
        case NLM_OP_dt_bc_scan: return check_dt_bc_scan(node, known, err);
        default: return NLM_OK;
    }
}

/* ---- results -------------------------------------------------------------------------------- */

static nlm_status infer(const nlm_node *node, const nlm_op_field *field, const dims *known, nlm_tensor *out,
                        nlm_error *err) {
    const nlm_dtype dtype = field->types == NLM_TYPES_I32 ? NLM_I32 : NLM_F32;
    if (*field->shape == '*') {
        NLM_TRY(nlm_tensor_init(out, dtype, known->any.rank, known->any.shape, NULL, err));
        out->row_kind = known->any.row_kind;
        return NLM_OK;
    }
    int64_t shape[NLM_MAX_RANK];
    int rank = 0;
    for (const char *text = field->shape; !at_end(text) && rank < NLM_MAX_RANK; rank++) {
        term t;
        text = next_term(text, &t);
        shape[rank] = term_size(&t, known);
        if (shape[rank] == NO_SIZE) {
            return nlm_fail(err, NLM_INTERNAL, "nlm_graph", "%s: nothing gives the shape of %s",
                            nlm_op_spec_of(node->op)->name, field->name);
        }
    }
    NLM_TRY(nlm_tensor_init(out, dtype, rank, shape, NULL, err));
    const int letter = row_letter(field);
    if (letter >= 0) out->row_kind = known->row_kind[letter];
    return NLM_OK;
}

nlm_status nlm_shape_check(const nlm_value_info *values, const nlm_node *node, nlm_tensor *results, nlm_error *err) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    dims known = {.any = {.rank = 0}};
    for (int i = 0; i < LETTERS; i++) known.size[i] = NO_SIZE;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0) continue;
        NLM_TRY(match_field(node, &spec->fields[i], &values[node->fields[i]].tensor, &known, err));
    }
    NLM_TRY(check_rules(values, node, &known, err));
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] != NLM_VALUE_NEW) continue;
        NLM_TRY(infer(node, &spec->fields[i], &known, &results[i], err));
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
    size_t used = 0;
    for (int i = 0; i < tensor->rank && used < capacity; i++) {
        const int n = snprintf(out + used, capacity - used, "%s%" PRId64, i ? "," : "[", tensor->shape[i]);
        if (n > 0) used += (size_t)n;
    }
    if (used < capacity) snprintf(out + used, capacity - used, "] %s", nlm_dtype_name(tensor->dtype));
}
