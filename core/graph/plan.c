/* Planning: the stages in order, and what is checked before them and said after. */
#include <string.h>

#include "graph/plan_impl.h"

#define WHERE "nlm_graph_plan"

nlm_status nlm_plan_array(nlm_plan *plan, size_t count, size_t item_bytes, void *out_pointer, nlm_error *err) {
    void *memory = nlm_arena_array(&plan->arena, count, item_bytes);
    if (!memory) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a plan");
    memcpy(out_pointer, &memory, sizeof memory);
    return NLM_OK;
}

/* Sliced devices share the host's memory and threads. */
static nlm_status check_env(const nlm_env *env, nlm_error *err) {
    if (env->n_devices == 0 || env->n_devices > NLM_ENV_DEVICES || !env->pool) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "expected 1 to %d devices and a thread pool",
                        NLM_ENV_DEVICES);
    }
    for (uint32_t d = 0; d < env->n_devices; d++) {
        const nlm_device *device = env->devices[d];
        if (!nlm_device_is_sliced(device) || nlm_device_has_host_memory(device)) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "device %u, %s: expected host memory of a sliced device", d,
                        device->backend);
    }
    return NLM_OK;
}

static nlm_status copy_graph(nlm_plan *plan, const nlm_graph *graph, nlm_error *err) {
    plan->values = graph->values;
    plan->n_values = graph->n_values;
    plan->n_nodes = graph->n_nodes;
    plan->needs.pauses = graph->pauses;
    NLM_TRY(nlm_plan_array(plan, graph->n_nodes, sizeof *plan->nodes, &plan->nodes, err));
    for (uint32_t n = 0; n < graph->n_nodes; n++) plan->nodes[n].node = graph->nodes[n];
    NLM_TRY(nlm_plan_array(plan, graph->n_values, sizeof *plan->is_output, &plan->is_output, err));
    NLM_TRY(nlm_plan_array(plan, graph->n_values, sizeof *plan->is_begun, &plan->is_begun, err));
    NLM_TRY(nlm_plan_array(plan, graph->n_values, sizeof *plan->homes, &plan->homes, err));
    for (uint32_t v = 0; v < graph->n_values; v++) {
        if (graph->values[v].is_output) plan->is_output[graph->values[v].base] = true;
    }
    return NLM_OK;
}

static nlm_status run_stages(nlm_plan *plan, const nlm_graph *graph, nlm_program **out, nlm_error *err) {
    NLM_TRY(copy_graph(plan, graph, err));
    if (graph->begins_gradients) NLM_TRY(nlm_plan_begin(plan, err));
    NLM_TRY(nlm_plan_assign(plan, err));
    if (plan->options.do_fuse) {
        NLM_TRY(nlm_plan_fuse(plan, err));
        NLM_TRY(nlm_plan_again(plan, err));
    }
    NLM_TRY(nlm_plan_place(plan, err));
    NLM_TRY(nlm_plan_memory(plan, err));
    return nlm_plan_bind(plan, out, err);
}

nlm_status nlm_graph_plan_with(const nlm_graph *graph, const nlm_env *env, const nlm_plan_options *options,
                               nlm_program **out, nlm_error *err) {
    NLM_TRY(nlm_graph_check(graph, err));
    NLM_TRY(check_env(env, err));
    if (graph->n_nodes == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "the graph has no ops");
    nlm_program *program = NULL;
    nlm_plan plan = {.env = env, .options = *options};
    const nlm_status status = run_stages(&plan, graph, &program, err);
    nlm_arena_release(&plan.arena);
    if (status != NLM_OK) {
        nlm_program_destroy(program);
        return status;
    }
    nlm_program_warn_of_fallbacks(program);
    *out = program;
    return NLM_OK;
}

nlm_status nlm_graph_plan(const nlm_graph *graph, const nlm_env *env, nlm_program **out, nlm_error *err) {
    return nlm_graph_plan_with(graph, env, &(nlm_plan_options){.do_fuse = true, .do_pack = true}, out, err);
}
