/* The program of a chain: a forward pass of one token, the choice of the next, and what makes its inputs those of the
 * next run. */
#include "session/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "plugin/loaded.h"

#define TOKEN_COLUMNS (1 + NLM_CHAIN_TOKENS)

struct nlm_chain {
    nlm_programs_options options;
    nlm_program *program;
    nlm_graph_io io;
    nlm_value cuts, draws; /* NLM_NO_VALUE: choices are greedy */
    nlm_next_values next;
};

bool nlm_chain_may_be(const nlm_programs_options *options) {
    const nlm_env *env = options->env;
    const nlm_device *device = env->devices[0];
    return !env->profile && env->n_split <= 1 && !nlm_device_is_sliced(device) &&
           !nlm_device_has_host_memory(device) && nlm_device_can_capture(device) &&
           nlm_ops_has(&device->ops, NLM_OP_advance);
}

/* ---- planning ----------------------------------------------------------------------------- */

static nlm_value add_input(nlm_graph *graph, const char *name, nlm_dtype dtype, int64_t rows, int64_t columns) {
    return nlm_graph_input(graph, name, dtype, 2, (const int64_t[]){rows, columns}, NLM_ROWS_FIXED);
}

static nlm_status build(nlm_chain *chain, bool is_greedy, nlm_graph *graph, nlm_error *err) {
    const nlm_programs_options *o = &chain->options;
    const nlm_graph_dims dims = {.n_tokens = 1, .n_seqs = 1, .n_outputs = 1};
    const int32_t n_slots = o->states->cache->options.n_slots;
    nlm_graph_io *io = &chain->io;
    NLM_TRY(nlm_model_build(o->model, o->states->cache, &dims, graph, io, err));
    nlm_value chosen;
    if (is_greedy) {
        chosen = nlm_graph_argmax(graph, io->logits, NLM_ARGMAX_FINITE);
    } else {
        chain->cuts = add_input(graph, "cuts", NLM_F32, n_slots, 3);
        chain->draws = add_input(graph, "draws", NLM_I32, n_slots, 3);
        chosen = nlm_graph_sample(graph, io->logits, io->batch.slot, io->batch.pos, chain->cuts, chain->draws);
    }
    chain->next = (nlm_next_values){.stops = add_input(graph, "stops", NLM_I32, n_slots, NLM_CHAIN_STOPS),
                                    .ids = io->ids,
                                    .pos = io->batch.pos,
                                    .slot = io->batch.slot,
                                    .seq_start = io->batch.seq_start,
                                    .live = nlm_graph_live_rows(graph),
                                    .tokens = add_input(graph, "tokens", NLM_I32, n_slots, TOKEN_COLUMNS)};
    nlm_graph_advance(graph, chosen, &chain->next);
    return nlm_graph_check(graph, err);
}

static nlm_status plan(nlm_chain *chain, bool is_greedy, nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = build(chain, is_greedy, graph, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, chain->options.env, &chain->program, err);
    nlm_graph_destroy(graph);
    if (status != NLM_OK || nlm_program_can_repeat(chain->program)) return status;
    return nlm_fail(err, NLM_UNSUPPORTED, "nlm_chain_create", "some ops of the model run elsewhere than on %s",
                    chain->options.env->devices[0]->backend);
}

nlm_status nlm_chain_create(const nlm_programs_options *options, bool is_greedy, nlm_chain **out, nlm_error *err) {
    *out = NULL;
    nlm_chain *chain = calloc(1, sizeof *chain);
    if (!chain) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_chain_create", "no memory for a program");
    chain->options = *options;
    chain->cuts = chain->draws = NLM_NO_VALUE;
    const nlm_status status = plan(chain, is_greedy, err);
    if (status != NLM_OK) {
        nlm_chain_destroy(chain);
        return status;
    }
    *out = chain;
    return NLM_OK;
}

void nlm_chain_destroy(nlm_chain *chain) {
    if (!chain) return;
    nlm_program_destroy(chain->program);
    free(chain);
}

uint64_t nlm_chain_activation_bytes(const nlm_chain *chain) {
    return chain ? nlm_program_activation_bytes(chain->program) : 0;
}

/* ---- running ------------------------------------------------------------------------------ */

/* Row `slot` of an input. */
static void *row_of(const nlm_chain *chain, nlm_value value, int32_t slot, size_t columns) {
    int32_t *memory = nlm_program_input(chain->program, value);
    return memory + (size_t)slot * columns;
}

static void fill_way(const nlm_chain *chain, const nlm_chain_run *run) {
    if (chain->cuts == NLM_NO_VALUE) return;
    const nlm_sampler_way *way = &run->way;
    const float cuts[] = {way->temperature, way->top_p, way->min_p};
    const uint32_t draws[] = {(uint32_t)way->top_k, (uint32_t)way->seed, (uint32_t)(way->seed >> 32)};
    memcpy(row_of(chain, chain->cuts, run->slot, 3), cuts, sizeof cuts);
    memcpy(row_of(chain, chain->draws, run->slot, 3), draws, sizeof draws);
}

static void fill_inputs(const nlm_chain *chain, const nlm_chain_run *run) {
    const nlm_states *states = chain->options.states;
    int32_t *starts = nlm_program_input(chain->program, chain->next.seq_start);
    int32_t *stops = row_of(chain, chain->next.stops, run->slot, NLM_CHAIN_STOPS);
    int32_t *tokens = row_of(chain, chain->next.tokens, run->slot, TOKEN_COLUMNS);
    int32_t *outputs = nlm_program_input(chain->program, chain->io.outputs);
    *(int32_t *)nlm_program_input(chain->program, chain->next.ids) = run->id;
    *(int32_t *)nlm_program_input(chain->program, chain->next.pos) = run->pos;
    *(int32_t *)nlm_program_input(chain->program, chain->next.slot) = run->slot;
    starts[0] = 0;
    starts[1] = 1;
    outputs[0] = 0;
    for (size_t i = 0; i < NLM_CHAIN_STOPS; i++) stops[i] = i < run->n_stops ? run->stops[i] : -1;
    tokens[0] = 0;
    fill_way(chain, run);
    if (states->pages && chain->io.batch.block_table != NLM_NO_VALUE) {
        const size_t n_blocks = (size_t)states->cache->options.n_blocks;
        memcpy(row_of(chain, chain->io.batch.block_table, run->slot, n_blocks), nlm_states_blocks(states, run->slot),
               n_blocks * sizeof(int32_t));
    }
}

nlm_status nlm_chain_do(nlm_chain *chain, const nlm_chain_run *run, const int32_t **out_ids, int32_t *out_n,
                        nlm_error *err) {
    const int32_t live_rows[NLM_ROWS_KINDS] = {[NLM_ROWS_TOKENS] = 1, [NLM_ROWS_OUTPUTS] = 1, [NLM_ROWS_SEQS] = 1};
    const nlm_run_info info = {.live_rows = live_rows,
                               .max_context = (int64_t)run->pos + run->n_tokens,
                               .picks_outputs = true,
                               .times = (uint32_t)run->n_tokens};
    fill_inputs(chain, run);
    NLM_TRY(nlm_program_run(chain->program, &info, err));
    const int32_t *tokens = nlm_program_left(chain->program, chain->next.tokens);
    tokens += (size_t)run->slot * TOKEN_COLUMNS;
    *out_ids = tokens + 1;
    *out_n = tokens[0];
    return NLM_OK;
}
