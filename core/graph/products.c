/* The matrix products of a graph: which value each weight is multiplied by. */
#include "graph/graph_impl.h"

bool nlm_graph_product_at(const nlm_graph *graph, uint32_t index, nlm_graph_product *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(NLM_OP_matmul);
    const int x = nlm_op_spec_find(spec, "x", 1), w = nlm_op_spec_find(spec, "w", 1);
    for (uint32_t n = 0; n < graph->n_nodes; n++) {
        const nlm_node *node = &graph->nodes[n];
        if (node->op != NLM_OP_matmul) continue;
        const nlm_value_info *weight = &graph->values[node->fields[w]];
        if (weight->kind != NLM_VALUE_WEIGHT || index-- > 0) continue;
        *out = (nlm_graph_product){
            .x = node->fields[x], .x_tensor = graph->values[node->fields[x]].tensor, .weight = weight->weight};
        return true;
    }
    return false;
}
