/* Weights and states by layer, embedding and head: what every family's builder begins and ends with. */
#include "model/builder.h"

#include "model/parameters.h"

void nlm_build_layer(nlm_builder *b, int32_t layer) {
    b->layer = layer;
    nlm_graph_set_layer(b->graph, layer);
}

static nlm_value build_parameter(const nlm_builder *b, int32_t weight, nlm_trained_part part) {
    nlm_trained *trained = b->training ? nlm_parameters_get(b->training->parameters, weight, b->layer, part) : NULL;
    return trained ? nlm_graph_parameter(b->graph, &trained->parameter) : NLM_NO_VALUE;
}

nlm_value nlm_build_weight(const nlm_builder *b, int32_t weight) {
    const nlm_value trained = build_parameter(b, weight, NLM_TRAINED_WEIGHT);
    if (trained != NLM_NO_VALUE) return trained;
    nlm_weight *found = nlm_weights_get(b->weights, weight, b->layer);
    return found ? nlm_graph_weight(b->graph, found) : NLM_NO_VALUE;
}

nlm_value nlm_build_state(const nlm_builder *b, int32_t group) {
    nlm_state *state = nlm_cache_state(b->cache, group, b->layer);
    return state ? nlm_graph_state(b->graph, state) : NLM_NO_VALUE;
}

nlm_value *nlm_build_state_after(const nlm_builder *b, int32_t group) {
    if (!b->training || !b->training->states_after) return NULL;
    return &b->training->states_after[group * b->h->n_layer + b->layer];
}

nlm_value nlm_build_decay(const nlm_builder *b, int32_t weight) {
    const nlm_value value = nlm_build_weight(b, weight);
    const bool is_trained = build_parameter(b, weight, NLM_TRAINED_WEIGHT) != NLM_NO_VALUE;
    return is_trained ? nlm_graph_exp(b->graph, value, -1) : value;
}

nlm_value nlm_build_linear(const nlm_builder *b, nlm_value x, int32_t w, int32_t bias, nlm_value residual) {
    const nlm_value y = nlm_graph_matmul(b->graph, x, nlm_build_weight(b, w), nlm_build_weight(b, bias), residual);
    const nlm_value lora_a = build_parameter(b, w, NLM_TRAINED_LORA_A);
    if (lora_a == NLM_NO_VALUE) return y;
    const nlm_value low = nlm_graph_matmul(b->graph, x, lora_a, NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value scaled = nlm_graph_scale(b->graph, low, nlm_parameters_lora_scale(b->training->parameters), 0);
    return nlm_graph_matmul(b->graph, scaled, build_parameter(b, w, NLM_TRAINED_LORA_B), NLM_NO_VALUE, y);
}

nlm_value nlm_build_norm(const nlm_builder *b, nlm_value x, int32_t w) {
    return nlm_graph_rms_norm(b->graph, x, nlm_build_weight(b, w), b->h->rms_norm_eps);
}

nlm_value nlm_build_embed(const nlm_builder *b, int32_t embedding) {
    return nlm_graph_embed(b->graph, b->io->ids, nlm_build_weight(b, embedding));
}

/* What divides the logits divides the rows that the head reads. */
static nlm_value build_losses(const nlm_builder *b, nlm_value x, int32_t norm, int32_t head, int32_t bias) {
    nlm_training_io *t = b->training;
    const float scale = b->h->logit_scale;
    t->hidden = nlm_build_norm(b, x, norm);
    if (scale > 0) t->hidden = nlm_graph_scale(b->graph, t->hidden, 1 / scale, 0);
    return nlm_graph_cross_entropy(b->graph, t->hidden, nlm_build_weight(b, head), nlm_build_weight(b, bias),
                                   t->labels, &t->loss, t->wants_gradients ? &t->d_hidden : NULL);
}

nlm_value nlm_build_head(const nlm_builder *b, nlm_value x, int32_t norm, int32_t head, int32_t bias,
                         int32_t embedding) {
    if (b->training) {
        const bool has_head = nlm_build_weight(b, head) != NLM_NO_VALUE;
        return build_losses(b, x, norm, has_head ? head : embedding, bias);
    }
    const nlm_value rows = nlm_graph_embed(b->graph, b->io->outputs, x);
    const nlm_value hidden = nlm_build_norm(b, rows, norm);
    if (b->gives_hidden) return hidden;
    const bool is_tied = nlm_build_weight(b, head) == NLM_NO_VALUE;
    return nlm_build_linear(b, hidden, is_tied ? embedding : head, bias, NLM_NO_VALUE);
}
