/* Where values live and for how long: transfers between host and device, lifetimes, ops that work in
 * place, and offsets by best fit. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "graph/plan_impl.h"
#include "tensor/dtype.h"

#define WHERE     "nlm_graph_plan"
#define ALIGNMENT 64u

/* ---- order of a run: steps, transfers, waits ----------------------------------------------------- */

/* A run is one sequence. Who goes on with it, the host or the queue of a stream device, waits for whom had it before:
 * then memory may be given from value to value as if one thread did it all. */
#define HOST UINT32_MAX

typedef struct walk {
    nlm_plan *plan;
    uint16_t *spaces;  /* [n_values] mask of the spaces that have the value, by base */
    uint32_t turn;     /* HOST, or the number of the device whose queue has it */
    uint32_t capacity; /* of plan->items */
    nlm_error *err;
} walk;

static nlm_status add_item(walk *w, const nlm_plan_item *item) {
    nlm_plan *plan = w->plan;
    if (plan->needs.n_items == w->capacity) {
        const uint32_t larger = w->capacity ? w->capacity * 2 : 64;
        nlm_plan_item *items;
        NLM_TRY(nlm_plan_array(plan, larger, sizeof *items, &items, w->err));
        if (w->capacity) memcpy(items, plan->items, w->capacity * sizeof *items);
        plan->items = items;
        w->capacity = larger;
    }
    plan->items[plan->needs.n_items++] = *item;
    return NLM_OK;
}

static nlm_status take_turn(walk *w, uint32_t next) {
    const uint32_t before = w->turn;
    w->turn = next;
    if (before == next || before == HOST) return NLM_OK;
    if (next == HOST) return add_item(w, &(nlm_plan_item){.item = {.kind = NLM_ITEM_WAIT}});
    return add_item(w, &(nlm_plan_item){.item = {.kind = NLM_ITEM_ORDER, .device = next, .after = before}});
}

static void touch(nlm_plan *plan, nlm_space space, nlm_value base, uint32_t time) {
    nlm_block *block = &plan->blocks[space][base];
    if (block->bytes == 0) {
        const uint64_t bytes = nlm_tensor_bytes(&plan->values[base].tensor);
        *block = (nlm_block){.bytes = bytes, .first = time, .last = time, .merged_into = -1};
        return;
    }
    if (time > block->last) block->last = time;
}

static bool is_in_space(const walk *w, nlm_value base, nlm_space space) {
    return (w->spaces[base] >> space) & 1;
}

static nlm_space any_space(const walk *w, nlm_value base) {
    nlm_space space = 0;
    while (!is_in_space(w, base, space)) space++;
    return space;
}

/* Inputs are no blocks: they have memory of their own wherever they are read, which outlives runs. */
static bool is_input(const nlm_plan *plan, nlm_value base) {
    return plan->values[base].kind == NLM_VALUE_INPUT;
}

static nlm_status add_transfer(walk *w, nlm_value base, nlm_space from, nlm_space to, uint32_t time) {
    nlm_plan *plan = w->plan;
    const uint32_t device = (to == NLM_SPACE_HOST ? from : to) - 1;
    NLM_TRY(take_turn(w, device));
    const nlm_transfer transfer = {.from = from, .to = to, .consumer = time, .is_optional = time == plan->n_nodes};
    NLM_TRY(add_item(w, &(nlm_plan_item){.item = {.kind = NLM_ITEM_TRANSFER, .device = device, .transfer = transfer},
                                         .value = base}));
    touch(plan, from, base, time);
    touch(plan, to, base, time);
    w->spaces[base] |= (uint16_t)(1u << to);
    return NLM_OK;
}

/* Makes the value present in the space at `time`, which a step (or the end) needs it. */
static nlm_status need(walk *w, nlm_value base, nlm_space space, uint32_t time) {
    nlm_plan *plan = w->plan;
    if (is_input(plan, base)) {
        plan->needs.spaces[space].has_inputs = true;
        return NLM_OK;
    }
    touch(plan, space, base, time);
    if (is_in_space(w, base, space)) return NLM_OK;
    if (!w->spaces[base]) return nlm_fail(w->err, NLM_INTERNAL, WHERE, "value %d is read before it is there", base);
    nlm_space from = any_space(w, base);
    if (from != NLM_SPACE_HOST && space != NLM_SPACE_HOST) {
        /* Room on the host too: there are peers that cannot reach each other after all. */
        touch(plan, NLM_SPACE_HOST, base, time);
        const bool is_peer = nlm_device_is_peer(plan->env->devices[space - 1], plan->env->devices[from - 1]);
        if (!is_peer) {
            NLM_TRY(add_transfer(w, base, from, NLM_SPACE_HOST, time));
            from = NLM_SPACE_HOST;
        }
    }
    return add_transfer(w, base, from, space, time);
}

/* Weights and states are where they are. */
static bool is_activation(const nlm_plan *plan, nlm_value value) {
    if (value < 0) return false;
    const nlm_value_kind kind = plan->values[plan->values[value].base].kind;
    return kind == NLM_VALUE_RESULT || kind == NLM_VALUE_INPUT;
}

static nlm_status add_step(walk *w, uint32_t n, nlm_item_kind kind, uint32_t device) {
    nlm_plan *plan = w->plan;
    nlm_item *last = plan->needs.n_items ? &plan->items[plan->needs.n_items - 1].item : NULL;
    if (last && last->kind == kind && last->device == device) {
        last->count++;
        return NLM_OK;
    }
    return add_item(w, &(nlm_plan_item){.item = {.kind = kind, .device = device, .first = n, .count = 1}});
}

/* A gradient is there from the op that begins it until after the run. */
static void touch_begun(nlm_plan *plan, const nlm_plan_node *node, uint32_t n) {
    for (uint32_t i = 0; i < nlm_op_spec_of(node->node.op)->n_fields; i++) {
        const nlm_value value = node->node.fields[i];
        if (value < 0 || !plan->is_begun[value]) continue;
        touch(plan, nlm_plan_space(plan, node), value, n);
        touch(plan, nlm_plan_space(plan, node), value, plan->n_nodes);
    }
}

static nlm_status walk_node(walk *w, uint32_t n) {
    nlm_plan *plan = w->plan;
    const nlm_plan_node *node = &plan->nodes[n];
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    const nlm_space space = nlm_plan_space(plan, node);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->node.fields[i];
        if (!(spec->fields[i].use & (NLM_FIELD_IN | NLM_FIELD_INPUT)) || !is_activation(plan, value)) continue;
        NLM_TRY(need(w, plan->values[value].base, space, n));
    }
    if (nlm_device_is_sliced(plan->env->devices[node->device])) {
        NLM_TRY(take_turn(w, HOST));
        NLM_TRY(add_step(w, n, NLM_ITEM_SLICED, 0));
    } else {
        NLM_TRY(take_turn(w, node->device));
        NLM_TRY(add_step(w, n, NLM_ITEM_STREAM, node->device));
    }
    if (node->node.is_sum && plan->env->comm) {
        NLM_TRY(add_item(
            w, &(nlm_plan_item){.item = {.kind = NLM_ITEM_SUM, .device = node->device, .first = n, .count = 1}}));
    }
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->node.fields[i];
        if (!(spec->fields[i].use & NLM_FIELD_OUT) || !is_activation(plan, value)) continue;
        const nlm_value base = plan->values[value].base;
        if (base != value && w->spaces[base]) NLM_TRY(need(w, base, space, n)); /* other ops wrote the rest of it */
        w->spaces[base] = (uint16_t)(1u << space);
        touch(plan, space, base, n);
    }
    touch_begun(plan, node, n);
    return NLM_OK;
}

/* The item that brought the base to the host at the end. Two outputs may be views of one value. */
static uint32_t find_download(const nlm_plan *plan, uint32_t from, nlm_value base) {
    for (uint32_t i = from; i < plan->needs.n_items; i++) {
        if (plan->items[i].item.kind == NLM_ITEM_TRANSFER && plan->items[i].value == base) return i;
    }
    return NLM_NO_ITEM;
}

static nlm_status walk_outputs(walk *w) {
    nlm_plan *plan = w->plan;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *plan->output_items, &plan->output_items, w->err));
    const uint32_t end = plan->needs.n_items;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (!plan->values[v].is_output) continue;
        const nlm_value base = plan->values[v].base;
        NLM_TRY(need(w, base, NLM_SPACE_HOST, plan->n_nodes));
        plan->output_items[v] = find_download(plan, end, base);
        plan->needs.n_outputs++;
    }
    return NLM_OK;
}

/* Before node n: the outputs that are there come to the host, which then has the turn. */
static nlm_status walk_pause(walk *w, uint32_t n) {
    nlm_plan *plan = w->plan;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        const nlm_value base = plan->values[v].base;
        if (plan->values[v].is_output && w->spaces[base]) NLM_TRY(need(w, base, NLM_SPACE_HOST, n));
    }
    NLM_TRY(take_turn(w, HOST));
    return add_item(w, &(nlm_plan_item){.item = {.kind = NLM_ITEM_PAUSE, .first = n}});
}

static nlm_status walk_nodes(nlm_plan *plan, nlm_error *err) {
    walk w = {.plan = plan, .turn = HOST, .err = err};
    bool is_backward = !plan->needs.pauses;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *w.spaces, &w.spaces, err));
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        if (!is_backward && plan->nodes[n].node.is_backward) {
            NLM_TRY(walk_pause(&w, n));
            is_backward = true;
        }
        NLM_TRY(walk_node(&w, n));
    }
    return walk_outputs(&w);
}

/* ---- in place ------------------------------------------------------------------------------------ */

static nlm_value root_of(const nlm_plan *plan, nlm_space space, nlm_value base) {
    while (plan->blocks[space][base].merged_into >= 0) base = plan->blocks[space][base].merged_into;
    return base;
}

/* Does a field of the node, other than those that the output may take, read the block? */
static bool is_read_otherwise(const nlm_plan *plan, nlm_space space, const nlm_node *node, uint32_t output,
                              nlm_value root) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->fields[i];
        if (i == output || !is_activation(plan, value)) continue;
        const nlm_value base = plan->values[value].base;
        if (plan->blocks[space][base].bytes == 0 || root_of(plan, space, base) != root) continue;
        if (!nlm_op_field_may_take(spec, output, i) || !nlm_value_is_whole(plan->values, value)) return true;
    }
    return false;
}

/* Gives the output the memory of an input that ends at this node, if the op allows it. */
static void merge_output(nlm_plan *plan, uint32_t n, uint32_t output) {
    const nlm_node *node = &plan->nodes[n].node;
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    const nlm_space space = nlm_plan_space(plan, &plan->nodes[n]);
    nlm_block *result = &plan->blocks[space][node->fields[output]];
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->fields[i];
        if (!is_activation(plan, value) || !nlm_op_field_may_take(spec, output, i)) continue;
        const nlm_value base = plan->values[value].base;
        if (is_input(plan, base) || !nlm_value_is_whole(plan->values, value)) continue;
        const nlm_value root = root_of(plan, space, base);
        nlm_block *taken = &plan->blocks[space][root];
        if (taken->last != n || taken->bytes != result->bytes) continue;
        if (is_read_otherwise(plan, space, node, output, root)) continue;
        result->merged_into = root;
        taken->last = result->last;
        return;
    }
}

static void merge_in_place(nlm_plan *plan) {
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const nlm_node *node = &plan->nodes[n].node;
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            const nlm_value value = node->fields[i];
            if ((spec->fields[i].use & NLM_FIELD_OUT) && is_activation(plan, value) &&
                plan->values[value].base == value)
                merge_output(plan, n, i);
        }
    }
}

/* ---- offsets ------------------------------------------------------------------------------------- */

static uint64_t alignment_in(const nlm_plan *plan, nlm_space space) {
    uint64_t alignment = ALIGNMENT;
    for (uint32_t d = 0; d < plan->env->n_devices; d++) {
        const nlm_device *device = plan->env->devices[d];
        if (nlm_env_space(plan->env, d) == space && device->info.alignment_bytes > alignment) {
            alignment = device->info.alignment_bytes;
        }
    }
    return alignment;
}

/* Larger blocks first; then the order of the program, so that a plan is always the same. */
static int compare_blocks(const void *a, const void *b) {
    const nlm_block *x = *(nlm_block *const *)a, *y = *(nlm_block *const *)b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Blocks that have their offsets, found by when they are alive: a program may have many, of which few are alive with
 * one. Edelsbrunner 1980: a block stands at its middle, the time in it that the most powers of two divide. */
typedef struct placed_blocks {
    nlm_block *const *list;
    uint32_t n_times;
    uint32_t *by_middle, *by_first;     /* [n_times] the latest block there, 1 + its number in the list; 0: none */
    uint32_t *next_middle, *next_first; /* [count] the one before it at the same time, as above */
    const nlm_block **alive;            /* [count] of the last search */
} placed_blocks;

static nlm_status placed_init(placed_blocks *placed, nlm_plan *plan, nlm_block *const *list, uint32_t count,
                              nlm_error *err) {
    *placed = (placed_blocks){.list = list, .n_times = plan->n_nodes + 1};
    NLM_TRY(nlm_plan_array(plan, placed->n_times, sizeof *placed->by_middle, &placed->by_middle, err));
    NLM_TRY(nlm_plan_array(plan, placed->n_times, sizeof *placed->by_first, &placed->by_first, err));
    NLM_TRY(nlm_plan_array(plan, count, sizeof *placed->next_middle, &placed->next_middle, err));
    NLM_TRY(nlm_plan_array(plan, count, sizeof *placed->next_first, &placed->next_first, err));
    return nlm_plan_array(plan, count, sizeof *placed->alive, &placed->alive, err);
}

static uint32_t middle_of(const nlm_block *block) {
    uint32_t middle = block->last;
    while ((middle & (middle - 1)) > block->first) middle &= middle - 1;
    return block->first == block->last ? block->first : middle;
}

static void placed_add(placed_blocks *placed, uint32_t number) {
    const nlm_block *block = placed->list[number];
    uint32_t *middle = &placed->by_middle[middle_of(block)], *first = &placed->by_first[block->first];
    placed->next_middle[number] = *middle;
    placed->next_first[number] = *first;
    *middle = *first = number + 1;
}

/* Those that stand at the middle `time` and are alive at the first time of the block. */
static uint32_t add_alive(const placed_blocks *placed, uint32_t time, const nlm_block *block, uint32_t count) {
    if (time >= placed->n_times) return count;
    for (uint32_t i = placed->by_middle[time]; i; i = placed->next_middle[i - 1]) {
        const nlm_block *other = placed->list[i - 1];
        if (other->first <= block->first && other->last >= block->first) placed->alive[count++] = other;
    }
    return count;
}

static int compare_offsets(const void *a, const void *b) {
    const nlm_block *x = *(nlm_block *const *)a, *y = *(nlm_block *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Those alive with the block, in order of offset: alive at its first time, where the middle is on the way down a
 * binary tree of all times, or beginning later. Returns how many. */
static uint32_t find_alive(const placed_blocks *placed, const nlm_block *block) {
    const uint32_t first = block->first;
    uint32_t count = add_alive(placed, first, block, 0);
    for (uint32_t half = 1; half && half < placed->n_times; half *= 2) {
        const uint32_t middle = (first & ~(2 * half - 1)) | half;
        if (middle != first) count = add_alive(placed, middle, block, count);
    }
    for (uint32_t time = first + 1; time <= block->last; time++) {
        for (uint32_t i = placed->by_first[time]; i; i = placed->next_first[i - 1])
            placed->alive[count++] = placed->list[i - 1];
    }
    qsort(placed->alive, count, sizeof *placed->alive, compare_offsets);
    return count;
}

/* The smallest gap between placed blocks that are alive with this one. */
static uint64_t best_fit(const placed_blocks *placed, const nlm_block *block) {
    uint64_t end = 0, best_offset = UINT64_MAX, best_gap = UINT64_MAX;
    const uint32_t count = find_alive(placed, block);
    for (uint32_t i = 0; i < count; i++) {
        const nlm_block *other = placed->alive[i];
        if (other->offset > end) {
            const uint64_t gap = other->offset - end;
            if (gap >= block->bytes && gap < best_gap) {
                best_gap = gap;
                best_offset = end;
            }
        }
        if (other->offset + other->bytes > end) end = other->offset + other->bytes;
    }
    return best_offset != UINT64_MAX ? best_offset : end;
}

static nlm_status collect_blocks(nlm_plan *plan, nlm_space space, nlm_block **list, uint32_t *out_count,
                                 nlm_error *err) {
    const uint64_t alignment = alignment_in(plan, space);
    *out_count = 0;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        nlm_block *block = &plan->blocks[space][v];
        if (block->bytes == 0) continue;
        if (!nlm_align_u64(block->bytes, alignment, &block->bytes) ||
            !nlm_add_u64(plan->needs.unpacked_bytes, block->bytes, &plan->needs.unpacked_bytes)) {
            return nlm_fail(err, NLM_LIMIT, WHERE, "the graph's values are larger than can be addressed");
        }
        if (block->merged_into < 0) list[(*out_count)++] = block;
    }
    return NLM_OK;
}

static nlm_status pack_space(nlm_plan *plan, nlm_space space, nlm_error *err) {
    nlm_block **list;
    placed_blocks placed;
    uint32_t count;
    uint64_t *extent = &plan->needs.spaces[space].activation_bytes;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *list, &list, err));
    NLM_TRY(collect_blocks(plan, space, list, &count, err));
    qsort(list, count, sizeof *list, compare_blocks);
    NLM_TRY(placed_init(&placed, plan, list, count, err));
    for (uint32_t i = 0; i < count; i++) {
        list[i]->offset = plan->options.do_pack ? best_fit(&placed, list[i]) : *extent;
        placed_add(&placed, i);
        const uint64_t end = list[i]->offset + list[i]->bytes;
        if (end > *extent) *extent = end;
    }
    for (uint32_t v = 0; v < plan->n_values; v++) {
        nlm_block *block = &plan->blocks[space][v];
        if (block->bytes && block->merged_into >= 0)
            block->offset = plan->blocks[space][root_of(plan, space, (nlm_value)v)].offset;
    }
    return NLM_OK;
}

/* The host's always; a device's if a node works there. */
static nlm_status make_blocks(nlm_plan *plan, nlm_error *err) {
    for (uint32_t d = 0; d <= plan->env->n_devices; d++) {
        const nlm_space space = d < plan->env->n_devices ? nlm_env_space(plan->env, d) : NLM_SPACE_HOST;
        const bool is_used = space == NLM_SPACE_HOST || plan->needs.uses_device[d];
        if (!is_used || plan->blocks[space]) continue;
        NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof(nlm_block), &plan->blocks[space], err));
    }
    return NLM_OK;
}

nlm_status nlm_plan_memory(nlm_plan *plan, nlm_error *err) {
    NLM_TRY(make_blocks(plan, err));
    NLM_TRY(walk_nodes(plan, err));
    if (plan->options.do_pack) merge_in_place(plan);
    for (nlm_space space = 0; space < NLM_SPACES; space++) {
        if (plan->blocks[space]) NLM_TRY(pack_space(plan, space, err));
    }
    return NLM_OK;
}
