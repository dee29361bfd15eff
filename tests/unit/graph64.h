/* A graph in float64: each op by its reference, on numbers that are never rounded. What is f32 in the graph is
 * float64 here; ids stay i32. */
#ifndef NLM_TESTS_GRAPH64_H
#define NLM_TESTS_GRAPH64_H

#include "graph/graph_impl.h"
#include "oracle/oracle.h"

typedef struct graph64 {
    const nlm_graph *graph;
    double **memory; /* [values] of the bases that are f32; of i32 ones the numbers are int32_t */
    int32_t live[NLM_ROWS_KINDS];
} graph64;

static inline uint64_t graph64_count(const nlm_tensor *t) {
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= (uint64_t)t->shape[i];
    return count;
}

/* All numbers zero. */
static inline void graph64_open(graph64 *g, const nlm_graph *graph) {
    g->graph = graph;
    g->memory = calloc(graph->n_values, sizeof *g->memory);
    for (uint32_t v = 0; v < graph->n_values; v++) {
        if (graph->values[v].base == (nlm_value)v)
            g->memory[v] = calloc(graph64_count(&graph->values[v].tensor) + 1, sizeof(double));
    }
    for (int kind = 0; kind < NLM_ROWS_KINDS; kind++) g->live[kind] = -1;
}

static inline void graph64_close(graph64 *g) {
    for (uint32_t v = 0; v < g->graph->n_values; v++) free(g->memory[v]);
    free(g->memory);
}

static inline nlm_tensor graph64_tensor(const graph64 *g, nlm_value value) {
    const nlm_value_info *info = &g->graph->values[value];
    nlm_tensor t = info->tensor;
    const uint64_t factor = t.dtype == NLM_F32 ? 2 : 1;
    if (t.dtype == NLM_F32) t.dtype = ORACLE_F64;
    for (int i = 0; i < t.rank; i++) t.stride_bytes[i] *= (int64_t)factor;
    t.data = (char *)g->memory[info->base] + info->offset_bytes * factor;
    return t;
}

static inline int64_t graph64_rows(const graph64 *g, const nlm_tensor *t) {
    const int32_t live = t->row_kind < NLM_ROWS_KINDS ? g->live[t->row_kind] : -1;
    return live < 0 || live > t->shape[0] ? t->shape[0] : live;
}

/* Back to where the tensor has them; what the reference says nothing of stays. */
static inline void graph64_store(const oracle_result *result) {
    const nlm_tensor *t = result->tensor;
    for (int64_t n = 0; n < result->count; n++) {
        if (result->scale[n] < 0) continue;
        int64_t index[NLM_MAX_RANK] = {0}, rest = n;
        char *at = t->data;
        for (int d = t->rank - 1; d >= 0; d--) {
            index[d] = rest % t->shape[d];
            rest /= t->shape[d];
            at += index[d] * t->stride_bytes[d];
        }
        memcpy(at, &result->value[n], sizeof(double));
    }
}

static inline bool graph64_run_node(graph64 *g, const nlm_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    nlm_any_args args = node->args;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0) continue;
        tensors[i] = graph64_tensor(g, node->fields[i]);
        nlm_args_set_tensor(&args, &spec->fields[i], &tensors[i]);
    }
    const int slot = nlm_op_spec_find(spec, "slot", 4), starts = nlm_op_spec_find(spec, "seq_start", 9);
    oracle_run run = {.op = node->op, .args = &args, .activations = ORACLE_STRICT};
    run.live_rows = graph64_rows(g, &tensors[0]);
    run.live_seqs = slot >= 0 ? graph64_rows(g, &tensors[slot]) : starts >= 0 ? tensors[starts].shape[0] - 1 : 0;
    const bool is_done = oracle_compute(&run);
    for (int i = 0; is_done && i < run.n_results; i++) graph64_store(&run.results[i]);
    oracle_release(&run);
    return is_done;
}

/* The first `n_nodes` of the graph. */
static inline void graph64_run(graph64 *g, uint32_t n_nodes) {
    for (uint32_t n = 0; n < n_nodes; n++) {
        const bool is_done = graph64_run_node(g, &g->graph->nodes[n]);
        if (!is_done) printf("\nno reference for %s\n", nlm_op_spec_of(g->graph->nodes[n].op)->name);
        CU_ASSERT_FATAL(is_done);
    }
}

#endif
