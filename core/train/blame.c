/* Where a step went wrong: the first value that is not finite. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/status.h"
#include "graph/graph_impl.h"
#include "train/trainer_impl.h"

#define WHERE "nlm_trainer"

static bool is_finite(const float *values, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
    }
    return true;
}

/* The rows of this run are those that hold numbers. */
static uint64_t live_elements(const nlm_tensor *t, const nlm_train_batch *batch) {
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= (uint64_t)t->shape[i];
    if (t->row_kind == NLM_ROWS_TOKENS) return count / (uint64_t)t->shape[0] * (uint64_t)batch->n_tokens;
    return count;
}

static nlm_status blame_parameter(nlm_trainer *t, bool *out_found, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(t->parameters) && !*out_found; i++) {
        const nlm_trained *trained = nlm_parameters_at(t->parameters, i);
        const uint64_t count = nlm_trained_elements(trained);
        float *values = malloc(count * sizeof *values);
        if (!values) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory to look for what is not finite");
        const nlm_status status = nlm_trainer_read(t, i, NLM_TRAINER_VALUE, values, err);
        *out_found = status == NLM_OK && !is_finite(values, count);
        free(values);
        NLM_TRY(status);
        if (*out_found)
            return nlm_fail(err, NLM_NUMERIC, WHERE, "step %" PRIu64 ": %s holds a number that is not finite",
                            t->steps + 1, trained->name);
    }
    return NLM_OK;
}

/* Every result of the graph is an output; those that nothing writes whole are left out. */
static void ask_for_all(nlm_graph *graph) {
    for (uint32_t n = 0; n < graph->n_nodes; n++) {
        const nlm_op_spec *spec = nlm_op_spec_of(graph->nodes[n].op);
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            const nlm_value value = graph->nodes[n].fields[i];
            if (value < 0 || !(spec->fields[i].use & NLM_FIELD_OUT)) continue;
            if (graph->values[value].kind == NLM_VALUE_RESULT) nlm_graph_output(graph, value);
        }
    }
}

static bool blame_node(const nlm_trainer *t, const nlm_graph *graph, const nlm_program *program, uint32_t n,
                       const nlm_train_batch *batch, nlm_error *err) {
    const nlm_node *node = &graph->nodes[n];
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->fields[i];
        if (value < 0 || !(spec->fields[i].use & NLM_FIELD_OUT) || !graph->values[value].is_output) continue;
        const nlm_tensor *tensor = &graph->values[value].tensor;
        if (tensor->dtype != NLM_F32 || (spec->fields[i].use & NLM_FIELD_WRITES)) continue;
        if (is_finite(nlm_program_output(program, value), live_elements(tensor, batch))) continue;
        char title[64];
        nlm_node_title(node, title, sizeof title);
        nlm_fail(err, NLM_NUMERIC, WHERE, "step %" PRIu64 ": '%s' of %s is not finite", t->steps + 1,
                 spec->fields[i].name, title);
        return true;
    }
    return false;
}

/* Runs the batch with every result kept. */
static nlm_status blame_batch(nlm_trainer *t, const nlm_train_batch *batch, nlm_graph *graph, nlm_batch_program *p,
                              bool *out_found, nlm_error *err) {
    NLM_TRY(nlm_trainer_build(t, true, graph, p, err));
    ask_for_all(graph);
    NLM_TRY(nlm_graph_plan_with(graph, t->env, &(nlm_plan_options){.do_fuse = false, .do_pack = false}, &p->program,
                                err));
    NLM_TRY(nlm_trainer_run(t, p, batch, err));
    for (uint32_t n = 0; n < graph->n_nodes && !*out_found; n++)
        *out_found = blame_node(t, graph, p->program, n, batch, err);
    return NLM_OK;
}

nlm_status nlm_trainer_blame(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_error *err) {
    bool is_found = false;
    nlm_status status = blame_parameter(t, &is_found, err);
    for (int32_t i = 0; i < n && status == NLM_OK && !is_found; i++) {
        nlm_batch_program program = {0};
        nlm_graph *graph = NULL;
        status = nlm_graph_create(&graph, err);
        if (status == NLM_OK) status = blame_batch(t, &parts[i], graph, &program, &is_found, err);
        nlm_trainer_release(&program);
        nlm_graph_destroy(graph);
    }
    if (is_found) return NLM_NUMERIC;
    if (status != NLM_OK) return status;
    return nlm_fail(err, NLM_NUMERIC, WHERE, "step %" PRIu64 ": the sum of squares of the gradients is not finite",
                    t->steps + 1);
}
