/* The backward of each op, as ops: what its gradients are is said in nlm/op_args.h. */
#include "graph/autodiff.h"

#define NEW         NLM_VALUE_NEW
#define NONE        NLM_NO_VALUE
#define FIELDS(...) (const nlm_value[]){__VA_ARGS__}, sizeof((const nlm_value[]){__VA_ARGS__}) / sizeof(nlm_value)
#define EMIT(op, params, ...) \
    nlm_graph_emit(nlm_autodiff_graph(a), NLM_OP_##op, params, NLM_INFERRED_DTYPE, FIELDS(__VA_ARGS__))
#define RULE(op)    static void op##_backward(nlm_autodiff *a, const nlm_node *node)
#define FIELD(name) nlm_autodiff_field(node, #name)
#define READ(name)  nlm_autodiff_read(a, FIELD(name))

/* What the last op gave in a field. */
static nlm_value given(const nlm_autodiff *a, uint32_t field) {
    const nlm_graph *g = nlm_autodiff_graph(a);
    return g->error.code == NLM_OK ? g->nodes[g->n_nodes - 1].fields[field] : NONE;
}

static bool is_missing_or_sum(nlm_autodiff *a, nlm_value value) {
    return value == NONE || nlm_autodiff_sum_of(a, value) != NONE;
}

/* Adds to the memory of parameters' gradients, if all of them are such; else the ops give new values. */
static uint32_t add_flag(nlm_autodiff *a, nlm_value x, nlm_value y) {
    return is_missing_or_sum(a, x) && is_missing_or_sum(a, y) ? NLM_GRADIENT_ADD : 0;
}

static nlm_value sum_or_new(nlm_autodiff *a, nlm_value value, uint32_t flags) {
    if (value == NONE) return NONE;
    return flags & NLM_GRADIENT_ADD ? nlm_autodiff_sum_of(a, value) : NEW;
}

static void give_unless_added(nlm_autodiff *a, nlm_value value, uint32_t field, uint32_t flags) {
    if (!(flags & NLM_GRADIENT_ADD)) nlm_autodiff_give(a, value, given(a, field));
}

/* ---- products and tables --------------------------------------------------------------------------- */

static void matmul_weight(nlm_autodiff *a, const nlm_node *node, nlm_value dy) {
    const nlm_value w = FIELD(w), bias = nlm_autodiff_needs(a, FIELD(bias)) ? FIELD(bias) : NONE;
    const uint32_t flags = add_flag(a, w, bias);
    const nlm_matmul_dw_args params = {.flags = flags};
    EMIT(matmul_dw, &params, dy, READ(x), sum_or_new(a, w, flags), sum_or_new(a, bias, flags));
    give_unless_added(a, w, 2, flags);
    if (bias != NONE) give_unless_added(a, bias, 3, flags);
}

static void matmul_bias(nlm_autodiff *a, const nlm_node *node, nlm_value dy) {
    const nlm_value bias = FIELD(bias);
    const nlm_sum_rows_args params = {.flags = add_flag(a, bias, NONE)};
    EMIT(sum_rows, &params, dy, NONE, sum_or_new(a, bias, params.flags));
    give_unless_added(a, bias, 2, params.flags);
}

RULE(matmul) {
    const nlm_value dy = nlm_autodiff_of(a, FIELD(y)), x = FIELD(x);
    nlm_autodiff_give(a, FIELD(residual), dy);
    if (nlm_autodiff_needs(a, FIELD(w)))
        matmul_weight(a, node, dy);
    else if (nlm_autodiff_needs(a, FIELD(bias)))
        matmul_bias(a, node, dy);
    if (!nlm_autodiff_needs(a, x)) return;
    const nlm_value residual = nlm_autodiff_take(a, x), place = nlm_autodiff_place(a, x);
    EMIT(matmul_dx, NULL, dy, READ(w), residual, place);
    nlm_autodiff_give(a, x, given(a, 3));
}

RULE(embed) {
    const nlm_value sum = nlm_autodiff_sum_of(a, FIELD(w));
    if (sum == NONE) {
        nlm_autodiff_refuse(a, node, "rows of a value that is no parameter have no backward");
        return;
    }
    EMIT(embed_bwd, NULL, FIELD(ids), nlm_autodiff_of(a, FIELD(y)), sum);
}

/* ---- norms and rotations ---------------------------------------------------------------------------- */

RULE(rms_norm) {
    const nlm_value dy = nlm_autodiff_of(a, FIELD(y)), dsum = nlm_autodiff_of(a, FIELD(sum));
    const nlm_value x = FIELD(x), other = FIELD(residual), w = FIELD(w);
    if (dy == NONE) {
        nlm_autodiff_give(a, x, dsum);
        nlm_autodiff_give(a, other, dsum);
        return;
    }
    if (other != NONE && FIELD(sum) == NONE) {
        nlm_autodiff_refuse(a, node, "with a residual has no backward without its sum");
        return;
    }
    const bool is_alone = other == NONE && FIELD(sum) == NONE;
    const nlm_value trained = nlm_autodiff_needs(a, w) ? w : NONE;
    const nlm_rms_norm_bwd_args params = {.flags = add_flag(a, trained, NONE), .eps = node->args.rms_norm.eps};
    const nlm_value known = is_alone ? nlm_autodiff_take(a, x) : dsum;
    const nlm_value normed = FIELD(sum) == NONE ? READ(x) : READ(sum);
    nlm_value place = is_alone ? nlm_autodiff_place(a, x) : NEW;
    if (place == NONE) place = NEW;
    EMIT(rms_norm_bwd, &params, normed, READ(w), dy, known, place, sum_or_new(a, trained, params.flags));
    const nlm_value dx = given(a, 4);
    if (trained != NONE) give_unless_added(a, trained, 5, params.flags);
    nlm_autodiff_give(a, x, dx);
    nlm_autodiff_give(a, other, dx);
}

RULE(rope) {
    nlm_rope_args params = node->args.rope;
    params.flags ^= NLM_ROPE_INVERSE;
    EMIT(rope, &params, nlm_autodiff_of(a, FIELD(y)), FIELD(pos), FIELD(freq_factors), NEW);
    nlm_autodiff_give(a, FIELD(x), given(a, 3));
}

/* ---- attention --------------------------------------------------------------------------------------- */

RULE(attention_plain) {
    const nlm_attention_plain_bwd_args params = {.scale = node->args.attention_plain.scale,
                                                 .window = node->args.attention_plain.window};
    if (FIELD(lse) == NONE) {
        nlm_autodiff_refuse(a, node, "has no backward without lse");
        return;
    }
    EMIT(attention_plain_bwd, &params, READ(q), READ(k), READ(v), FIELD(seq_start), READ(y), READ(lse),
         nlm_autodiff_of(a, FIELD(y)), NEW, NEW, NEW);
    const nlm_value dq = given(a, 7), dk = given(a, 8), dv = given(a, 9);
    nlm_autodiff_give(a, FIELD(q), dq);
    nlm_autodiff_give(a, FIELD(k), dk);
    nlm_autodiff_give(a, FIELD(v), dv);
}

/* ---- element by element -------------------------------------------------------------------------------- */

RULE(silu_mul) {
    EMIT(silu_mul_bwd, NULL, READ(gate), READ(up), nlm_autodiff_of(a, FIELD(y)), NEW, NEW);
    const nlm_value dgate = given(a, 3), dup = given(a, 4);
    nlm_autodiff_give(a, FIELD(gate), dgate);
    nlm_autodiff_give(a, FIELD(up), dup);
}

/* A row that stands for all rows gets the sum of what they would get: of dy, or of dy times `factor`. */
static void give_row(nlm_autodiff *a, nlm_value row, nlm_value dy, nlm_value factor) {
    const nlm_sum_rows_args params = {.flags = add_flag(a, row, NONE)};
    EMIT(sum_rows, &params, dy, factor, sum_or_new(a, row, params.flags));
    give_unless_added(a, row, 2, params.flags);
}

static bool is_row(const nlm_autodiff *a, nlm_value value) {
    return nlm_autodiff_graph(a)->values[value].tensor.rank == 1;
}

RULE(add) {
    const nlm_value dy = nlm_autodiff_of(a, FIELD(y)), b = FIELD(b);
    nlm_autodiff_give(a, FIELD(a), dy);
    if (!nlm_autodiff_needs(a, b)) return;
    if (is_row(a, b))
        give_row(a, b, dy, NONE);
    else
        nlm_autodiff_give(a, b, dy);
}

RULE(mul) {
    const nlm_value dy = nlm_autodiff_of(a, FIELD(y)), x = FIELD(a), b = FIELD(b);
    if (nlm_autodiff_needs(a, x)) nlm_autodiff_give(a, x, EMIT(mul, NULL, dy, READ(b), NEW));
    if (!nlm_autodiff_needs(a, b)) return;
    if (is_row(a, b))
        give_row(a, b, dy, READ(a));
    else
        nlm_autodiff_give(a, b, EMIT(mul, NULL, dy, READ(a), NEW));
}

RULE(scale) {
    const nlm_scale_args params = {.factor = node->args.scale.factor};
    nlm_autodiff_give(a, FIELD(x), EMIT(scale, &params, nlm_autodiff_of(a, FIELD(y)), NEW));
}

RULE(exp) {
    nlm_autodiff_give(a, FIELD(x), EMIT(mul, NULL, nlm_autodiff_of(a, FIELD(y)), READ(y), NEW));
}

/* ---- Mamba -------------------------------------------------------------------------------------------- */

RULE(conv1d_causal) {
    const nlm_value w = FIELD(w), bias = FIELD(bias), x = FIELD(x), state = FIELD(state);
    const uint32_t add = add_flag(a, w, bias);
    const nlm_conv1d_causal_bwd_args params = {.flags = node->args.conv1d_causal.flags | add};
    const nlm_value dstate = nlm_autodiff_needs(a, state) ? NEW : NONE;
    const nlm_value place = nlm_autodiff_place(a, x);
    EMIT(conv1d_causal_bwd, &params, READ(x), READ(w), READ(bias), READ(state), FIELD(seq_start), FIELD(slot),
         nlm_autodiff_of(a, FIELD(y)), nlm_autodiff_of(a, FIELD(state_out)), place == NONE ? NEW : place,
         sum_or_new(a, w, add), sum_or_new(a, bias, add), dstate);
    const nlm_value dx = given(a, 8), dw = given(a, 9), db = given(a, 10), before = given(a, 11);
    nlm_autodiff_give(a, x, dx);
    if (!add) {
        nlm_autodiff_give(a, w, dw);
        nlm_autodiff_give(a, bias, db);
    }
    if (dstate != NONE) nlm_autodiff_give(a, state, before);
}

/* Columns that other ops have not written, or a new value. */
static nlm_value place_or_new(nlm_autodiff *a, nlm_value value) {
    const nlm_value place = nlm_autodiff_place(a, value);
    return place == NONE ? NEW : place;
}

RULE(ssm_scan) {
    static const char *const names[] = {"x", "dt", "a", "b", "c", "d", "z", "state"};
    const nlm_value d = FIELD(d), z = FIELD(z), state = FIELD(state);
    const nlm_value dstate = nlm_autodiff_needs(a, state) ? NEW : NONE;
    const nlm_value dx = place_or_new(a, FIELD(x)), ddt = place_or_new(a, FIELD(dt));
    const nlm_value db = place_or_new(a, FIELD(b)), dc = place_or_new(a, FIELD(c));
    EMIT(ssm_scan_bwd, NULL, READ(x), READ(dt), READ(a), READ(b), READ(c), READ(d), READ(z), READ(state),
         FIELD(seq_start), FIELD(slot), nlm_autodiff_of(a, FIELD(y)), nlm_autodiff_of(a, FIELD(state_out)), dx, ddt,
         NEW, db, dc, d == NONE ? NONE : NEW, z == NONE ? NONE : place_or_new(a, z), dstate);
    nlm_value gradients[8];
    for (uint32_t i = 0; i < 8; i++) gradients[i] = given(a, 12 + i);
    for (uint32_t i = 0; i < 8; i++) nlm_autodiff_give(a, nlm_autodiff_field(node, names[i]), gradients[i]);
}

/* ---- the table ------------------------------------------------------------------------------------------ */

static const nlm_backward_rule rules[NLM_OP_END] = {
    [NLM_OP_matmul] = matmul_backward,
    [NLM_OP_embed] = embed_backward,
    [NLM_OP_rms_norm] = rms_norm_backward,
    [NLM_OP_rope] = rope_backward,
    [NLM_OP_attention_plain] = attention_plain_backward,
    [NLM_OP_silu_mul] = silu_mul_backward,
    [NLM_OP_add] = add_backward,
    [NLM_OP_mul] = mul_backward,
    [NLM_OP_scale] = scale_backward,
    [NLM_OP_exp] = exp_backward,
    [NLM_OP_conv1d_causal] = conv1d_causal_backward,
    [NLM_OP_ssm_scan] = ssm_scan_backward,
};

nlm_backward_rule nlm_backward_rule_of(nlm_op op) {
    return op < NLM_OP_END ? rules[op] : NULL;
}
