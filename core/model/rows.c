/* Graphs of models that take rows of numbers in place of tokens. */
#include <stdlib.h>

#include "base/status.h"
#include "model/mamba.h"

static void build_inputs(const nlm_hparams *h, const nlm_graph_dims *dims, nlm_graph *graph, nlm_graph_io *io) {
    const int64_t rows[2] = {dims->n_tokens, h->n_input}, starts = (int64_t)dims->n_seqs + 1, slots = dims->n_seqs;
    *io = (nlm_graph_io){.ids = NLM_NO_VALUE,
                         .outputs = NLM_NO_VALUE,
                         .logits = NLM_NO_VALUE,
                         .batch = {.pos = NLM_NO_VALUE, .block_table = NLM_NO_VALUE}};
    io->rows = nlm_graph_input(graph, "x", NLM_F32, 2, rows, NLM_ROWS_TOKENS);
    io->batch.seq_start = nlm_graph_input(graph, "seq_start", NLM_I32, 1, &starts, NLM_ROWS_FIXED);
    io->batch.slot = nlm_graph_input(graph, "slot", NLM_I32, 1, &slots, NLM_ROWS_SEQS);
}

/* By the input, and by the states if they are wanted. */
static nlm_status build_backward(nlm_cache *cache, nlm_graph *graph, nlm_rows_graph *rows, int64_t n_tokens,
                                 int64_t width, nlm_error *err) {
    const int32_t n_states = cache->n_groups * cache->n_layer, n_wanted = rows->gradients ? 1 + n_states : 1;
    nlm_value *wanted = calloc(2 * (size_t)n_wanted, sizeof *wanted), *found = wanted + n_wanted;
    if (!wanted) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_model_build_rows", "no memory for a graph");
    wanted[0] = rows->io.rows;
    for (int32_t i = 1; i < n_wanted; i++) {
        nlm_state *state = nlm_cache_state(cache, (i - 1) / cache->n_layer, (i - 1) % cache->n_layer);
        wanted[i] = nlm_graph_state(graph, state);
    }
    rows->dy = nlm_graph_input(graph, "dy", NLM_F32, 2, (const int64_t[]){n_tokens, width}, NLM_ROWS_TOKENS);
    const nlm_seed seed = {rows->y, rows->dy};
    nlm_graph_backward(graph, &(nlm_backward){.seeds = &seed,
                                              .n_seeds = 1,
                                              .n_wanted = (uint32_t)n_wanted,
                                              .wanted = wanted,
                                              .out_gradients = found,
                                              .pauses = true});
    rows->dx = found[0];
    for (int32_t i = 1; i < n_wanted; i++) rows->gradients[i - 1] = found[i];
    for (int32_t i = 0; i < n_wanted; i++) nlm_graph_output(graph, found[i]);
    free(wanted);
    return NLM_OK;
}

nlm_status nlm_model_build_rows(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                                nlm_rows_graph *rows, nlm_error *err) {
    const nlm_hparams *h = nlm_model_hparams(model);
    nlm_value *after = rows->training.states_after;
    rows->dy = rows->dx = NLM_NO_VALUE;
    build_inputs(h, dims, graph, &rows->io);
    nlm_builder builder = {.graph = graph,
                           .h = h,
                           .weights = nlm_model_weights(model),
                           .cache = cache,
                           .io = &rows->io,
                           .training = &rows->training,
                           .n_tokens = dims->n_tokens,
                           .layer = -1};
    rows->y = nlm_model_family_of(model)->build(&builder);
    nlm_graph_output(graph, rows->y);
    for (int32_t i = 0; after && i < cache->n_groups * cache->n_layer; i++) nlm_graph_output(graph, after[i]);
    if (after) NLM_TRY(build_backward(cache, graph, rows, dims->n_tokens, h->n_embd, err));
    return nlm_graph_check(graph, err);
}
