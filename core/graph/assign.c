/* Which device runs each node: that of its layer, or else the first of env's that says yes; and, where devices have
 * memories of their own, one device for all the nodes that touch a state or a parameter. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "graph/plan_impl.h"

#define WHERE "nlm_graph_plan"

/* ---- asking ---------------------------------------------------------------------------------- */

static uint32_t existing_layout(const nlm_weight *weight, const nlm_device *device) {
    for (int32_t i = 0; i < weight->n_places; i++) {
        if (weight->places[i].device == device && weight->places[i].layout) return weight->places[i].layout;
    }
    return NLM_LAYOUT_ROW_MAJOR;
}

typedef nlm_status (*query_fn)(const nlm_device *device, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);

static nlm_status ask(const nlm_plan *plan, const nlm_node *node, const nlm_device *device, query_fn query,
                      bool use_existing, bool *out_has_packed, nlm_caps_v1 *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    nlm_any_args args = node->args;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    *out_has_packed = false;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0) continue;
        const nlm_value_info *info = &plan->values[node->fields[i]];
        tensors[i] = info->tensor;
        nlm_args_set_tensor(&args, &spec->fields[i], &tensors[i]);
        if (!spec->fields[i].role || info->kind != NLM_VALUE_WEIGHT || !use_existing) continue;
        tensors[i].layout = existing_layout(info->weight, device);
        if (tensors[i].layout) *out_has_packed = true;
    }
    const uint32_t nth = nlm_device_is_sliced(device) ? nlm_pool_threads(plan->env->pool) : 1;
    return query(device, node->op, &args, nth, out);
}

/* An activation, or a view of a weight, cannot be packed. */
static nlm_status check_layout(const nlm_plan *plan, const nlm_node *node, nlm_caps_v1 *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const int weight = nlm_weight_index(spec, &spec->fields[i]);
        if (weight < 0 || node->fields[i] < 0 || !out->weight_layout[weight]) continue;
        if (plan->values[node->fields[i]].kind == NLM_VALUE_WEIGHT) continue;
        snprintf(out->reason, sizeof out->reason, "%s: wanted as a packed weight, which it is not",
                 spec->fields[i].name);
        return NLM_UNSUPPORTED;
    }
    return NLM_OK;
}

nlm_status nlm_plan_query(const nlm_plan *plan, const nlm_node *node, uint32_t index, nlm_caps_v1 *out) {
    const nlm_device *device = plan->env->devices[index];
    bool has_packed;
    nlm_status status = ask(plan, node, device, nlm_device_query, true, &has_packed, out);
    if (status != NLM_OK && has_packed) status = ask(plan, node, device, nlm_device_query, false, &has_packed, out);
    if (status != NLM_OK || check_layout(plan, node, out) == NLM_OK) return status;
    status = ask(plan, node, device, nlm_device_query_as_held, false, &has_packed, out);
    return status == NLM_OK ? check_layout(plan, node, out) : status;
}

/* ---- refusing ---------------------------------------------------------------------------------- */

static void describe_arguments(const nlm_plan *plan, const nlm_node *node, nlm_str *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    const char *join = "";
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0) continue;
        char shape[96];
        nlm_tensor_describe(&plan->values[node->fields[i]].tensor, shape, sizeof shape);
        nlm_str_printf(out, "%s%s %s", join, spec->fields[i].name, shape);
        join = ", ";
    }
}

/* "attention, layer 0, runs on no device: cuda: ...; cpu_scalar: ... (q [8,4,16] f32, ...)" */
static nlm_status fail_node(const nlm_plan *plan, const nlm_node *node, nlm_error *err) {
    char title[64];
    nlm_node_title(node, title, sizeof title);
    nlm_str text = {0};
    nlm_str_printf(&text, "%s, runs on no device", title);
    for (uint32_t d = 0; d < plan->env->n_devices; d++) {
        nlm_caps_v1 caps;
        const nlm_status status = nlm_plan_query(plan, node, d, &caps);
        nlm_str_printf(&text, "%s%s: %s", d ? "; " : ": ", plan->env->devices[d]->backend,
                       status == NLM_OK ? "has it, but not all ops of its state" : caps.reason);
    }
    if (plan->env->n_devices == 1 || plan->env->n_devices == plan->env->n_split)
        nlm_str_puts(&text, "; no other may step in");
    nlm_str_puts(&text, " (");
    describe_arguments(plan, node, &text);
    nlm_str_puts(&text, ")");
    nlm_fail(err, NLM_UNSUPPORTED, WHERE, "%s", text.data ? text.data : title);
    nlm_str_release(&text);
    return NLM_UNSUPPORTED;
}

/* ---- shares of layers ------------------------------------------------------------------------------ */

/* Layers are cut into n_split runs as equal as can be; what stands before the first layer goes with it, and what
 * stands behind one with the last. */
static void choose_devices(nlm_plan *plan) {
    const uint32_t n_split = plan->env->n_split;
    int32_t n_layers = 0;
    bool is_behind = false;
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const int32_t layer = plan->nodes[n].node.layer;
        if (layer >= n_layers) n_layers = layer + 1;
    }
    for (uint32_t n = 0; n < plan->n_nodes && n_split > 1; n++) {
        const int32_t layer = plan->nodes[n].node.layer;
        is_behind = is_behind || layer >= 0;
        if (layer >= 0)
            plan->nodes[n].choice = (uint32_t)((int64_t)layer * n_split / n_layers);
        else
            plan->nodes[n].choice = is_behind ? n_split - 1 : 0;
    }
}

/* The i-th device that is asked for a node: its choice, then the others in order. */
static uint32_t asked(uint32_t choice, uint32_t i) {
    if (i == 0) return choice;
    return i <= choice ? i - 1 : i;
}

/* ---- groups of nodes that share states ----------------------------------------------------------- */

/* Devices that all work in host memory find a state there, whoever wrote it. */
static bool is_memory_shared(const nlm_plan *plan) {
    for (uint32_t d = 0; d < plan->env->n_devices; d++) {
        if (!nlm_device_has_host_memory(plan->env->devices[d])) return false;
    }
    return true;
}

#define NO_GROUP (-1)

/* parent[value]: a union-find over state values. */
static int32_t root_of(int32_t *parent, int32_t value) {
    while (parent[value] != value) {
        parent[value] = parent[parent[value]];
        value = parent[value];
    }
    return value;
}

static bool is_held(const nlm_plan *plan, nlm_value value) {
    return value >= 0 && nlm_value_is_held(&plan->values[value]);
}

static int32_t first_state(const nlm_plan *plan, const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (is_held(plan, node->fields[i])) return node->fields[i];
    }
    return NO_GROUP;
}

/* A parameter's gradient is in the memory of its value, where the update finds both. */
static void unite_gradients(const nlm_plan *plan, int32_t *parent) {
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].is_gradient)
            parent[root_of(parent, (int32_t)v)] = root_of(parent, plan->values[v].gradient_of);
    }
}

static void unite_states(const nlm_plan *plan, int32_t *parent) {
    for (uint32_t v = 0; v < plan->n_values; v++) parent[v] = (int32_t)v;
    unite_gradients(plan, parent);
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const nlm_node *node = &plan->nodes[n].node;
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        const int32_t first = first_state(plan, node);
        for (uint32_t i = 0; i < spec->n_fields && first != NO_GROUP; i++) {
            if (!is_held(plan, node->fields[i])) continue;
            parent[root_of(parent, node->fields[i])] = root_of(parent, first);
        }
    }
}

#define NO_NODE UINT32_MAX

/* A group is known by the root of its states. */
typedef struct groups {
    nlm_plan *plan;
    int32_t *parent;             /* [n_values] */
    uint32_t *first;             /* [n_values], by root: the first node */
    uint32_t *last;              /* ... and the last */
    uint32_t *next;              /* [n_nodes] of the same group */
    const nlm_value_info **held; /* [n_values], by root: a state that an earlier program has placed, or NULL */
} groups;

typedef struct group {
    nlm_plan *plan;
    uint32_t first;
    const uint32_t *next;
    const nlm_value_info *held;
} group;

static void list_nodes(groups *all) {
    const nlm_plan *plan = all->plan;
    for (uint32_t v = 0; v < plan->n_values; v++) all->first[v] = NO_NODE;
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        all->next[n] = NO_NODE;
        const int32_t state = first_state(plan, &plan->nodes[n].node);
        if (state == NO_GROUP) continue;
        const int32_t root = root_of(all->parent, state);
        if (all->first[root] == NO_NODE)
            all->first[root] = n;
        else
            all->next[all->last[root]] = n;
        all->last[root] = n;
    }
}

static void list_held(groups *all) {
    for (uint32_t v = 0; v < all->plan->n_values; v++) {
        const nlm_value_info *info = &all->plan->values[v];
        if (!nlm_value_is_held(info) || !info->state->device) continue;
        const nlm_value_info **held = &all->held[root_of(all->parent, (int32_t)v)];
        if (!*held) *held = info;
    }
}

/* The first of the group's nodes that the device refuses, with its answer; NULL if it takes all. */
static const nlm_plan_node *first_refused(const group *g, uint32_t device, nlm_caps_v1 *caps) {
    for (uint32_t n = g->first; n != NO_NODE; n = g->next[n]) {
        const nlm_plan_node *node = &g->plan->nodes[n];
        if (nlm_plan_query(g->plan, &node->node, device, caps) != NLM_OK) return node;
    }
    return NULL;
}

static void give_group(const group *g, uint32_t device, const char *reason) {
    const uint32_t choice = g->plan->nodes[g->first].choice;
    for (uint32_t n = g->first; n != NO_NODE; n = g->next[n]) {
        g->plan->nodes[n].device = device;
        g->plan->nodes[n].choice = choice;
        g->plan->nodes[n].reason = reason;
    }
}

/* "attention shares its state: ..." for the others of a group that one op has moved. */
static const char *group_reason(nlm_plan *plan, const nlm_plan_node *refused, const char *reason) {
    return nlm_arena_printf(&plan->arena, "%s: %s", nlm_op_spec_of(refused->node.op)->name, reason);
}

/* An earlier program has placed a state of the group: nothing else will do. */
static nlm_status fail_held(const nlm_value_info *state, const nlm_plan_node *refused, const char *reason,
                            nlm_error *err) {
    const char *holder_name = state->state->device->backend;
    if (!refused) {
        return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "state %s is on %s, which is no device of this environment",
                        state->name, holder_name);
    }
    return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "state %s is on %s, which refuses %s", state->name, holder_name,
                    reason);
}

/* What happened, and what the backend's author can do. */
static const char state_is_elsewhere[] =
    "an earlier program put its state on another device, as this one refused an op of it: let query answer alike for "
    "all numbers of rows";

static nlm_status assign_group(const group *g, nlm_error *err) {
    nlm_plan *plan = g->plan;
    const nlm_value_info *held = g->held;
    const nlm_plan_node *first_refusal = NULL;
    const char *reason = NULL;
    const uint32_t choice = plan->nodes[g->first].choice;
    for (uint32_t i = 0; i < plan->env->n_devices; i++) {
        const uint32_t d = asked(choice, i);
        if (held && held->state->device != plan->env->devices[d]) {
            if (i == 0) reason = state_is_elsewhere;
            continue;
        }
        nlm_caps_v1 caps;
        const nlm_plan_node *refused = first_refused(g, d, &caps);
        if (!refused) {
            give_group(g, d, i > 0 ? reason : NULL);
            return NLM_OK;
        }
        if (!first_refusal) {
            first_refusal = refused;
            reason = group_reason(plan, refused, caps.reason);
            if (!reason) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a plan");
        }
    }
    if (held) return fail_held(held, first_refusal, reason, err);
    return fail_node(plan, &first_refusal->node, err);
}

/* ---- all nodes ----------------------------------------------------------------------------------- */

static nlm_status assign_alone(nlm_plan *plan, nlm_plan_node *node, nlm_error *err) {
    for (uint32_t i = 0; i < plan->env->n_devices; i++) {
        const uint32_t d = asked(node->choice, i);
        nlm_caps_v1 caps;
        if (nlm_plan_query(plan, &node->node, d, &caps) == NLM_OK) {
            node->device = d;
            return NLM_OK;
        }
        if (i > 0) continue;
        node->reason = nlm_arena_strndup(&plan->arena, caps.reason, strlen(caps.reason));
        if (!node->reason) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a plan");
    }
    return fail_node(plan, &node->node, err);
}

static nlm_status make_groups(groups *all, nlm_error *err) {
    nlm_plan *plan = all->plan;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *all->parent, &all->parent, err));
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *all->first, &all->first, err));
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *all->last, &all->last, err));
    NLM_TRY(nlm_plan_array(plan, plan->n_nodes, sizeof *all->next, &all->next, err));
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *all->held, &all->held, err));
    unite_states(plan, all->parent);
    list_nodes(all);
    list_held(all);
    return NLM_OK;
}

nlm_status nlm_plan_assign(nlm_plan *plan, nlm_error *err) {
    groups all = {.plan = plan};
    choose_devices(plan);
    if (is_memory_shared(plan)) {
        for (uint32_t n = 0; n < plan->n_nodes; n++) NLM_TRY(assign_alone(plan, &plan->nodes[n], err));
        return NLM_OK;
    }
    NLM_TRY(make_groups(&all, err));
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const int32_t state = first_state(plan, &plan->nodes[n].node);
        if (state == NO_GROUP) {
            NLM_TRY(assign_alone(plan, &plan->nodes[n], err));
            continue;
        }
        const int32_t root = root_of(all.parent, state);
        if (all.first[root] != n) continue; /* assigned with the first */
        const group g = {plan, n, all.next, all.held[root]};
        NLM_TRY(assign_group(&g, err));
    }
    return NLM_OK;
}
