/* An op on a device without the engine around it. */
#include "rig.h"

#include <string.h>

#include "base/status.h"

nlm_status rig_open(const char *gguf, nlm_dtype kv_dtype, const nlm_device *device, nlm_device *stand_in,
                    nlm_pool *pool, rig *out, nlm_error *err) {
    const nlm_cache_options options = {.n_slots = RIG_SLOTS,
                                       .n_pages = RIG_PAGES,
                                       .page_tokens = RIG_PAGE_TOKENS,
                                       .n_blocks = RIG_BLOCKS,
                                       .kv_dtype = kv_dtype};
    *out = (rig){.env = {.devices = {(nlm_device *)device, stand_in}, .n_devices = stand_in ? 2 : 1, .pool = pool}};
    NLM_TRY(nlm_model_open(gguf, &out->model, err));
    out->n_vocab = nlm_model_hparams(out->model)->n_vocab;
    NLM_TRY(nlm_model_cache_create(out->model, &options, &out->cache, err));
    return nlm_kv_pages_create(RIG_PAGES, RIG_PAGE_TOKENS, RIG_SLOTS, RIG_BLOCKS, &out->pages, err);
}

void rig_close(rig *r) {
    if (r->pages) nlm_kv_pages_destroy(r->pages);
    if (r->cache) nlm_cache_destroy(r->cache);
    if (r->model) nlm_model_close(r->model);
    *r = (rig){0};
}

nlm_status rig_reset(rig *r, nlm_error *err) {
    for (int32_t slot = 0; slot < RIG_SLOTS; slot++) nlm_kv_pages_truncate(r->pages, slot, 0);
    for (int32_t g = 0; g < r->cache->n_groups; g++) {
        if (r->cache->groups[g].spec->kind == NLM_STATE_PAGED) continue;
        for (int32_t i = 0; i < r->cache->n_layer; i++) {
            nlm_state *state = &r->cache->groups[g].layers[i];
            NLM_TRY(nlm_state_zero(state, 0, state->bytes, err));
        }
    }
    return NLM_OK;
}

nlm_status rig_plan(rig *r, int32_t n_tokens, int32_t n_seqs, rig_program *out, nlm_error *err) {
    const nlm_graph_dims dims = {n_tokens, n_seqs, n_tokens};
    nlm_graph *graph;
    *out = (rig_program){0};
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_model_build(r->model, r->cache, &dims, graph, &out->io, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, &r->env, &out->program, err);
    nlm_graph_destroy(graph);
    return status;
}

void rig_program_destroy(rig_program *program) {
    if (program->program) nlm_program_destroy(program->program);
    *program = (rig_program){0};
}

/* Fills the inputs; returns the number of rows. */
static nlm_status fill(rig *r, const rig_program *p, const rig_part *parts, int32_t n_parts, int32_t *out_rows,
                       nlm_error *err) {
    int32_t *ids = nlm_program_input(p->program, p->io.ids), *pos = nlm_program_input(p->program, p->io.batch.pos);
    int32_t *start = nlm_program_input(p->program, p->io.batch.seq_start);
    int32_t *slot = nlm_program_input(p->program, p->io.batch.slot);
    int32_t *outputs = nlm_program_input(p->program, p->io.outputs);
    int32_t row = 0;
    start[0] = 0;
    for (int32_t s = 0; s < n_parts; s++) {
        nlm_kv_copy copy; /* no page is shared here: nothing to copy */
        const int32_t length = nlm_kv_pages_length(r->pages, parts[s].slot);
        NLM_TRY(nlm_kv_pages_extend(r->pages, parts[s].slot, parts[s].count, &copy, err));
        slot[s] = parts[s].slot;
        for (int32_t i = 0; i < parts[s].count; i++, row++) {
            ids[row] = parts[s].tokens[i];
            if (pos) pos[row] = length + i;
            outputs[row] = row;
        }
        start[s + 1] = row;
    }
    *out_rows = row;
    if (p->io.batch.block_table == NLM_NO_VALUE) return NLM_OK;
    int32_t *table = nlm_program_input(p->program, p->io.batch.block_table);
    memcpy(table, nlm_kv_pages_table(r->pages), (size_t)RIG_PAGES * sizeof *table);
    return NLM_OK;
}

/* Tokens of the longest sequence of the run. */
static int64_t longest(const rig *r, const rig_part *parts, int32_t n_parts) {
    int64_t most = 0;
    for (int32_t i = 0; i < n_parts; i++) {
        const int64_t length = nlm_kv_pages_length(r->pages, parts[i].slot);
        most = length > most ? length : most;
    }
    return most;
}

nlm_status rig_run(rig *r, rig_program *program, const rig_part *parts, int32_t n_parts, float *out_logits,
                   nlm_error *err) {
    int32_t rows;
    NLM_TRY(fill(r, program, parts, n_parts, &rows, err));
    const int32_t live[NLM_ROWS_KINDS] = {
        [NLM_ROWS_TOKENS] = rows, [NLM_ROWS_OUTPUTS] = rows, [NLM_ROWS_SEQS] = n_parts};
    const nlm_run_info run = {.live_rows = live, .max_context = longest(r, parts, n_parts)};
    const nlm_status status = nlm_program_run(program->program, &run, err);
    if (status != NLM_OK) return status == NLM_UNSUPPORTED ? NLM_DEVICE_ERROR : status; /* it was planned */
    memcpy(out_logits, nlm_program_output(program->program, program->io.logits),
           (size_t)rows * (size_t)r->n_vocab * sizeof *out_logits);
    return NLM_OK;
}
