/* Fused ops. Each equals a sequence of primitive ones, spelled out in nlm/op_table.h: builders emit the
 * primitives, and where the device takes the fused op for them the planner puts it in their place. A
 * device without it runs the primitives, so that each fused op is its own decomposition. Values between the
 * parts that the backward pass reads do not keep them apart: the parts that give those are kept beside the fused
 * op, see again.c. */
#include <string.h>

#include "exec/op_parts.h"
#include "graph/plan_impl.h"

#define WHERE "nlm_graph_plan"

#define WINDOW 64 /* nodes before the last part in which the others are looked for */

typedef struct pattern {
    nlm_op op;
    uint32_t n_parts;
    nlm_op_part parts[NLM_OP_MAX_PARTS];
} pattern;

/* All fused ops, those of many parts first: a smaller one may be a part of them. */
static nlm_status read_patterns(nlm_plan *plan, pattern **out, uint32_t *out_count, nlm_error *err) {
    uint32_t count = 0;
    NLM_TRY(nlm_plan_array(plan, NLM_OP_END, sizeof **out, out, err));
    for (uint32_t wanted = NLM_OP_MAX_PARTS; wanted > 0; wanted--) {
        for (nlm_op op = 1; op < NLM_OP_END; op++) {
            pattern *p = &(*out)[count];
            p->op = op;
            p->n_parts = nlm_op_parts_read(op, p->parts);
            count += p->n_parts == wanted;
        }
    }
    *out_count = count;
    return NLM_OK;
}

/* ---- matching ---------------------------------------------------------------------------------- */

#define UNBOUND (-3)

typedef struct match {
    const nlm_plan *plan;
    const pattern *pattern;
    uint32_t *const *uses; /* [2][n_values] references by nodes of the forward and the backward pass, by base */
    nlm_node fused;
    bool has_number[sizeof(nlm_any_args)]; /* by offset */
    nlm_value temps[NLM_OP_MAX_TEMPS];     /* bases */
    nlm_value slices[NLM_OP_MAX_SLICES];   /* views */
    uint32_t nodes[NLM_OP_MAX_PARTS];      /* where each part is */
    bool is_again[NLM_OP_MAX_PARTS];       /* computed for the backward pass too */
} match;

static nlm_value base_of(const match *m, nlm_value value) {
    return value < 0 ? value : m->plan->values[value].base;
}

/* Reshapes of one value are the same tensor to a fused op; a part of a value is not. */
static bool is_same(const match *m, nlm_value a, nlm_value b) {
    if (a == b) return true;
    if (a < 0 || b < 0 || base_of(m, a) != base_of(m, b)) return false;
    return nlm_value_is_whole(m->plan->values, a) && nlm_value_is_whole(m->plan->values, b);
}

static bool bind_value(match *m, nlm_value *bound, nlm_value value) {
    if (*bound == UNBOUND) *bound = value;
    return is_same(m, *bound, value);
}

/* Binds the value that a view is a slice of; where the slice begins is checked when all are known. */
static bool bind_slice(match *m, const nlm_part_link *l, nlm_value *bound, nlm_value value) {
    if (value < 0 || m->plan->values[value].kind != NLM_VALUE_VIEW) return false;
    m->slices[l->slice - 1] = value;
    return bind_value(m, bound, base_of(m, value));
}

/* Does each slice begin where the one before it ends? */
static bool are_slices_in_turn(const match *m) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < NLM_OP_MAX_SLICES && m->slices[i] != UNBOUND; i++) {
        const nlm_value_info *slice = &m->plan->values[m->slices[i]], *base = &m->plan->values[slice->base];
        const nlm_tensor *whole = &base->tensor, *part = &slice->tensor;
        if (slice->offset_bytes != offset || part->rank != 2 || whole->rank != 2) return false;
        if (part->stride_bytes[0] != whole->stride_bytes[0] || part->shape[0] != whole->shape[0]) return false;
        offset += (uint64_t)(part->shape[1] * part->stride_bytes[1]);
    }
    return true;
}

static bool bind_tensors(match *m, const nlm_op_part *p, const nlm_node *node) {
    for (uint32_t i = 0; i < p->spec->n_fields; i++) {
        const nlm_part_link *l = &p->links[i];
        const nlm_value value = node->fields[i];
        if (!l->is_used) {
            if (value >= 0) return false;
            continue;
        }
        nlm_value *bound = l->is_temp ? &m->temps[l->to] : &m->fused.fields[l->to];
        if (l->slice) {
            if (!bind_slice(m, l, bound, value)) return false;
            continue;
        }
        if (l->is_temp && value < 0) return false;
        if (l->is_temp && !nlm_value_is_whole(m->plan->values, value)) return false;
        if (!bind_value(m, bound, value)) return false;
    }
    return true;
}

/* A part's numbers are the fused op's of that name, and equal in all parts that have them. */
static bool bind_numbers(match *m, const nlm_op_part *p, const nlm_node *node) {
    const nlm_op_spec *fused = nlm_op_spec_of(m->fused.op);
    bool has_flags = false;
    for (const nlm_op_scalar *scalar = p->spec->scalars; scalar->name; scalar++) {
        if (scalar->kind == NLM_SCALAR_RESERVED) continue;
        const bool is_flag = scalar->kind == NLM_SCALAR_FLAG;
        const int at = nlm_op_part_number(fused, scalar);
        if (at < 0) return false;
        const char *from = (const char *)&node->args + (is_flag ? (uint32_t)at : scalar->offset);
        char *to = (char *)&m->fused.args + at;
        if (!m->has_number[at]) memcpy(to, from, 4);
        m->has_number[at] = true;
        if (memcmp(to, from, 4) != 0) return false;
        has_flags = has_flags || is_flag;
    }
    /* A part whose flags mean nothing to the fused op must have none. */
    return has_flags || node->args.head.flags == 0;
}

static bool is_taken(const match *m, uint32_t from_part, uint32_t node) {
    for (uint32_t i = from_part; i < m->pattern->n_parts; i++) {
        if (m->nodes[i] == node) return true;
    }
    return false;
}

/* Finds parts n_left-1 .. 0 among the nodes before the last part, trying the nearest first. */
static bool match_rest(match *m, uint32_t n_left, uint32_t last) {
    if (n_left == 0) return true;
    const nlm_op_part *p = &m->pattern->parts[n_left - 1];
    const uint32_t from = last > WINDOW ? last - WINDOW : 0;
    for (uint32_t n = last; n-- > from;) {
        const nlm_node *node = &m->plan->nodes[n].node;
        if (node->op != p->op || node->is_backward != m->fused.is_backward || is_taken(m, n_left, n)) continue;
        const match saved = *m;
        m->nodes[n_left - 1] = n;
        if (bind_tensors(m, p, node) && bind_numbers(m, p, node) && match_rest(m, n_left - 1, last)) return true;
        *m = saved;
    }
    return false;
}

static bool match_at(match *m, uint32_t last) {
    const nlm_op_part *p = &m->pattern->parts[m->pattern->n_parts - 1];
    const nlm_node *node = &m->plan->nodes[last].node;
    if (node->op != p->op) return false;
    m->fused = (nlm_node){.op = m->pattern->op, .layer = node->layer, .is_backward = node->is_backward};
    m->fused.args.head.struct_size = nlm_op_spec_of(m->pattern->op)->args_bytes;
    memset(m->has_number, 0, sizeof m->has_number);
    for (uint32_t i = 0; i < NLM_OP_MAX_FIELDS; i++) m->fused.fields[i] = UNBOUND;
    for (uint32_t i = 0; i < NLM_OP_MAX_TEMPS; i++) m->temps[i] = UNBOUND;
    for (uint32_t i = 0; i < NLM_OP_MAX_SLICES; i++) m->slices[i] = UNBOUND;
    m->nodes[m->pattern->n_parts - 1] = last;
    return bind_tensors(m, p, node) && bind_numbers(m, p, node) && match_rest(m, m->pattern->n_parts - 1, last);
}

/* ---- is the match safe? ------------------------------------------------------------------------ */

static uint32_t count_fields(const match *m, const nlm_node *node, nlm_value base, uint32_t use) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    uint32_t count = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if ((spec->fields[i].use & use) && node->fields[i] >= 0 && base_of(m, node->fields[i]) == base) count++;
    }
    return count;
}

/* The temporaries vanish: in this pass only parts may use them. */
static bool are_temps_private(const match *m) {
    for (uint32_t t = 0; t < NLM_OP_MAX_TEMPS; t++) {
        if (m->temps[t] == UNBOUND) continue;
        const nlm_value base = base_of(m, m->temps[t]);
        uint32_t inside = 0;
        for (uint32_t i = 0; i < m->pattern->n_parts; i++) {
            inside += count_fields(m, &m->plan->nodes[m->nodes[i]].node, base, NLM_FIELD_IN);
        }
        if (inside != m->uses[m->fused.is_backward][base] || m->plan->is_output[base]) return false;
    }
    return true;
}

/* The fused op stands where its last part stood. A node in between may neither use what now comes later
 * nor touch its states. */
static bool can_move_down(const match *m) {
    const uint32_t last = m->nodes[m->pattern->n_parts - 1];
    uint32_t first = last;
    for (uint32_t i = 0; i < m->pattern->n_parts; i++) {
        if (m->nodes[i] < first) first = m->nodes[i];
    }
    const nlm_op_spec *spec = nlm_op_spec_of(m->fused.op);
    for (uint32_t n = first; n < last; n++) {
        if (is_taken(m, 0, n)) continue;
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            if (!(spec->fields[i].use & (NLM_FIELD_OUT | NLM_FIELD_STATE)) || m->fused.fields[i] < 0) continue;
            const nlm_value base = base_of(m, m->fused.fields[i]);
            if (count_fields(m, &m->plan->nodes[n].node, base, NLM_FIELD_IN | NLM_FIELD_STATE)) return false;
        }
    }
    return true;
}

static bool has_states(const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if ((spec->fields[i].use & NLM_FIELD_STATE) && node->fields[i] >= 0) return true;
    }
    return false;
}

static bool has_held(const match *m, const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] >= 0 && nlm_value_is_held(&m->plan->values[node->fields[i]])) return true;
    }
    return false;
}

/* Does the backward pass read what a part gives to others alone, or a part that is computed again? */
static bool is_read_again(const match *m, uint32_t part) {
    const nlm_node *node = &m->plan->nodes[m->nodes[part]].node;
    for (uint32_t t = 0; t < NLM_OP_MAX_TEMPS; t++) {
        if (m->temps[t] == UNBOUND) continue;
        const nlm_value base = base_of(m, m->temps[t]);
        if (!count_fields(m, node, base, NLM_FIELD_OUT)) continue;
        if (m->uses[1][base] > 0) return true;
        for (uint32_t i = part + 1; i < m->pattern->n_parts; i++) {
            if (m->is_again[i] && count_fields(m, &m->plan->nodes[m->nodes[i]].node, base, NLM_FIELD_IN)) return true;
        }
    }
    return false;
}

/* From the end, as a part wants what parts before it give. The last one becomes the fused op, and what a state holds
 * is another the next time. */
static bool find_parts_again(match *m) {
    for (uint32_t i = m->pattern->n_parts; i-- > 0;) {
        m->is_again[i] = !m->fused.is_backward && is_read_again(m, i);
        if (!m->is_again[i]) continue;
        if (i + 1 == m->pattern->n_parts || has_states(&m->plan->nodes[m->nodes[i]].node)) return false;
    }
    return true;
}

/* The device for the fused op: the first that runs a part. One that would draw a part to a worse device,
 * or a state away from where it is, is not wanted. */
static bool find_device(const match *m, uint32_t *out_device) {
    uint32_t device = UINT32_MAX;
    for (uint32_t i = 0; i < m->pattern->n_parts; i++) {
        const uint32_t part_device = m->plan->nodes[m->nodes[i]].device;
        if (part_device < device) device = part_device;
    }
    for (uint32_t i = 0; i < m->pattern->n_parts; i++) {
        const nlm_plan_node *node = &m->plan->nodes[m->nodes[i]];
        if (has_held(m, &node->node) && node->device != device) return false;
    }
    *out_device = device;
    return true;
}

static bool has_all_fields(const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0 && !(spec->fields[i].use & NLM_FIELD_OPTIONAL)) return false;
    }
    return true;
}

static bool is_wanted(match *m, uint32_t *out_device) {
    for (uint32_t i = 0; i < NLM_OP_MAX_FIELDS; i++) {
        if (m->fused.fields[i] == UNBOUND) m->fused.fields[i] = NLM_NO_VALUE;
    }
    if (!has_all_fields(&m->fused) || !are_slices_in_turn(m)) return false;
    if (!are_temps_private(m) || !can_move_down(m) || !find_parts_again(m) || !find_device(m, out_device))
        return false;
    nlm_tensor results[NLM_OP_MAX_FIELDS];
    if (nlm_shape_check(m->plan->values, &m->fused, results, NULL) != NLM_OK) return false;
    nlm_caps_v1 caps;
    return nlm_plan_query(m->plan, &m->fused, *out_device, &caps) == NLM_OK;
}

/* ---- rewriting --------------------------------------------------------------------------------- */

static void count_uses(const nlm_plan *plan, const nlm_node *node, uint32_t *const *uses) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if ((spec->fields[i].use & NLM_FIELD_IN) && node->fields[i] >= 0) {
            uses[node->is_backward][plan->values[node->fields[i]].base]++;
        }
    }
}

/* The parts become gaps (op 0), or ops of the backward pass; but for the last, which becomes the fused op. */
static void rewrite(nlm_plan *plan, const match *m, uint32_t device) {
    const uint32_t last = m->nodes[m->pattern->n_parts - 1];
    for (uint32_t i = 0; i + 1 < m->pattern->n_parts; i++) {
        nlm_plan_node *part = &plan->nodes[m->nodes[i]];
        if (!m->is_again[i]) {
            part->node.op = NLM_OP_NONE;
            continue;
        }
        part->is_again = part->node.is_backward = true;
        count_uses(plan, &part->node, m->uses);
    }
    nlm_plan_node *node = &plan->nodes[last];
    node->node = m->fused;
    node->device = device;
    if (device < plan->env->n_split) node->choice = device;
    if (device == node->choice) node->reason = NULL;
}

static void close_gaps(nlm_plan *plan) {
    uint32_t kept = 0;
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        if (plan->nodes[n].node.op != NLM_OP_NONE) plan->nodes[kept++] = plan->nodes[n];
    }
    plan->n_nodes = kept;
}

nlm_status nlm_plan_fuse(nlm_plan *plan, nlm_error *err) {
    uint32_t *uses[2], n_patterns = 0;
    pattern *patterns = NULL;
    NLM_TRY(read_patterns(plan, &patterns, &n_patterns, err));
    for (int pass = 0; pass < 2; pass++)
        NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof **uses, &uses[pass], err));
    for (uint32_t n = 0; n < plan->n_nodes; n++) count_uses(plan, &plan->nodes[n].node, uses);
    for (uint32_t p = 0; p < n_patterns; p++) {
        for (uint32_t n = 0; n < plan->n_nodes; n++) {
            match m = {.plan = plan, .pattern = &patterns[p], .uses = uses};
            uint32_t device;
            if (match_at(&m, n) && is_wanted(&m, &device)) rewrite(plan, &m, device);
        }
        close_gaps(plan);
    }
    return NLM_OK;
}
