/* Models of tests/data/models with their tokens and logits, and a rig that runs them. */
#ifndef NLM_TESTS_MODEL_FIXTURE_H
#define NLM_TESTS_MODEL_FIXTURE_H

#include "unit/check.h"

#include "base/status.h"
#include "exec/program.h"
#include "model/model.h"
#include "plugin/plugins.h"
#include "session/kv_pages.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_LLAMAS                                                                                             \
    "llama-gqa-f32", "llama-mha-f32", "llama-mqa-f32", "llama-biases-f16", "llama-window-bf16", "llama-freqs-f32", \
        "llama-linear-f32", "llama-scale-linear-f32", "llama-layers-f32", "qwen3-f32", "qwen3-untied-f32",         \
        "smollm3-f32", "granite-f32", "qwen2-f32", "qwen2-rot-f16", "llama-mixed"
#define FIXTURE_MAMBAS                                                                                   \
    "mamba-f32", "mamba-odd-f32", "mamba-normed-f32", "mamba-bare-f32", "mamba-biases-f32", "mamba-f16", \
        "mamba-bf16", "mamba-mixed", "mamba-k"

/* One more of each type of blocks; NULL in the places of other types. */
#define FIXTURE_OF_TYPE(NAME, name, number, elements, bytes) (elements) > 1 ? "llama-" #name : NULL,

enum { FIXTURE_TOKENS = 23 };

/* Fails the case with the sentence of the error. */
#define FIXTURE_OK(expr)                                          \
    do {                                                          \
        const nlm_status fixture_status_ = (expr);                \
        if (fixture_status_ != NLM_OK) printf(" [%s] ", err.msg); \
        CU_ASSERT_EQUAL_FATAL(fixture_status_, NLM_OK);           \
    } while (0)

static inline const char *fixture_path(const char *name, const char *suffix, char *buffer, size_t size) {
    snprintf(buffer, size, "%s/models/%s%s", NLM_TEST_DATA, name, suffix);
    return buffer;
}

static inline void fixture_tokens(const char *name, int32_t *out) {
    char path[512];
    FILE *file = fopen(fixture_path(name, ".txt", path, sizeof path), "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < FIXTURE_TOKENS; i++) CU_ASSERT_EQUAL_FATAL(fscanf(file, "%d", &out[i]), 1);
    fclose(file);
}

/* The oracle's logits, float32 [FIXTURE_TOKENS, n_vocab] of a version 1 .npy; from malloc. */
static inline float *fixture_logits(const char *name, int32_t n_vocab) {
    char path[512], header[256], expected[128];
    unsigned char start[10];
    FILE *file = fopen(fixture_path(name, ".npy", path, sizeof path), "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL_FATAL(fread(start, 1, sizeof start, file), sizeof start);
    const size_t length = start[8] + 256u * start[9];
    CU_ASSERT_FATAL(length < sizeof header);
    CU_ASSERT_EQUAL_FATAL(fread(header, 1, length, file), length);
    header[length] = 0;
    snprintf(expected, sizeof expected, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }",
             FIXTURE_TOKENS, n_vocab);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(header, expected));
    const size_t count = (size_t)FIXTURE_TOKENS * (size_t)n_vocab;
    float *logits = malloc(count * sizeof *logits);
    CU_ASSERT_PTR_NOT_NULL_FATAL(logits);
    CU_ASSERT_EQUAL_FATAL(fread(logits, sizeof *logits, count, file), count);
    fclose(file);
    return logits;
}

/* |a - b|^2 / |b|^2 */
static inline double fixture_nmse(const float *a, const float *b, size_t count) {
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        power += (double)b[i] * (double)b[i];
    }
    return error / power;
}

/* ---- a model that runs on cpu_scalar ------------------------------------------------------- */

enum { RIG_SLOTS = 16, RIG_PAGE_TOKENS = 8, RIG_BLOCKS = 4, RIG_PAGES = RIG_SLOTS * RIG_BLOCKS };

typedef struct rig {
    nlm_plugins *plugins;
    nlm_device *device;
    nlm_pool *pool;
    nlm_env env;
    nlm_model *model;
    nlm_cache *cache;
    nlm_kv_pages *pages; /* for Mamba it only counts tokens */
    int32_t n_vocab;
} rig;

static inline rig rig_open(const char *name, nlm_dtype kv_dtype, uint32_t threads) {
    rig r = {0};
    nlm_error err = NLM_ERROR_INIT;
    char path[512];
    const nlm_plugins_options plugins = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    FIXTURE_OK(nlm_plugins_create(&plugins, &r.plugins, &err));
    FIXTURE_OK(nlm_plugins_open(r.plugins, "cpu_scalar", -1, NULL, &r.device, &err));
    const nlm_pool_options pool = {.threads = threads, .is_unbound = true};
    FIXTURE_OK(nlm_pool_create(&pool, &r.pool, &err));
    r.env = (nlm_env){.devices = {r.device}, .n_devices = 1, .pool = r.pool};
    FIXTURE_OK(nlm_model_open(fixture_path(name, ".gguf", path, sizeof path), &r.model, &err));
    r.n_vocab = nlm_model_hparams(r.model)->n_vocab;
    const nlm_cache_options options = {.n_slots = RIG_SLOTS,
                                       .n_pages = RIG_PAGES,
                                       .page_tokens = RIG_PAGE_TOKENS,
                                       .n_blocks = RIG_BLOCKS,
                                       .kv_dtype = kv_dtype};
    FIXTURE_OK(nlm_model_cache_create(r.model, &options, &r.cache, &err));
    FIXTURE_OK(nlm_kv_pages_create(RIG_PAGES, RIG_PAGE_TOKENS, RIG_SLOTS, RIG_BLOCKS, &r.pages, &err));
    return r;
}

static inline void rig_close(rig *r) {
    nlm_kv_pages_destroy(r->pages);
    nlm_cache_destroy(r->cache);
    nlm_model_close(r->model);
    nlm_pool_destroy(r->pool);
    nlm_device_close(r->device);
    nlm_plugins_destroy(r->plugins);
}

/* Tokens that continue what a slot holds. */
typedef struct rig_part {
    int32_t slot;
    const int32_t *tokens;
    int32_t count;
} rig_part;

static inline void rig_copy_page(const nlm_cache *cache, nlm_kv_copy copy) {
    nlm_error err = NLM_ERROR_INIT;
    for (int32_t g = 0; g < cache->n_groups; g++) {
        for (int32_t i = 0; cache->groups[g].spec->kind == NLM_STATE_PAGED && i < cache->n_layer; i++) {
            nlm_state *state = &cache->groups[g].layers[i];
            const uint64_t bytes = state->bytes / RIG_PAGES;
            FIXTURE_OK(nlm_state_copy(state, (uint64_t)copy.to * bytes, (uint64_t)copy.from * bytes, bytes, &err));
        }
    }
}

static inline void rig_fill(rig *r, nlm_program *program, const nlm_graph_io *io, const rig_part *parts,
                            int32_t n_parts) {
    int32_t *ids = nlm_program_input(program, io->ids), *pos = nlm_program_input(program, io->batch.pos);
    int32_t *start = nlm_program_input(program, io->batch.seq_start);
    int32_t *slot = nlm_program_input(program, io->batch.slot);
    int32_t *outputs = nlm_program_input(program, io->outputs);
    CU_ASSERT_FATAL(ids && pos && start && slot && outputs);
    int32_t row = 0;
    start[0] = 0;
    for (int32_t s = 0; s < n_parts; s++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_kv_copy copy;
        const int32_t length = nlm_kv_pages_length(r->pages, parts[s].slot);
        FIXTURE_OK(nlm_kv_pages_extend(r->pages, parts[s].slot, parts[s].count, &copy, &err));
        if (copy.from >= 0) rig_copy_page(r->cache, copy);
        slot[s] = parts[s].slot;
        for (int32_t i = 0; i < parts[s].count; i++, row++) {
            ids[row] = parts[s].tokens[i];
            pos[row] = length + i;
            outputs[row] = row;
        }
        start[s + 1] = row;
    }
    if (io->batch.block_table == NLM_NO_VALUE) return;
    int32_t *table = nlm_program_input(program, io->batch.block_table);
    memcpy(table, nlm_kv_pages_table(r->pages), (size_t)RIG_PAGES * sizeof *table);
}

/* One forward pass; logits [all tokens, n_vocab] from malloc. The graph is planned for `padding` more
 * rows, sequences and outputs than there are. */
static inline float *rig_run(rig *r, const rig_part *parts, int32_t n_parts, int32_t padding) {
    nlm_error err = NLM_ERROR_INIT;
    int32_t rows = 0;
    for (int32_t s = 0; s < n_parts; s++) rows += parts[s].count;
    const int32_t spare = RIG_SLOTS - n_parts;
    const nlm_graph_dims dims = {rows + padding, n_parts + (padding < spare ? padding : spare), rows + padding};
    nlm_graph *graph = NULL;
    nlm_graph_io io;
    nlm_program *program = NULL;
    FIXTURE_OK(nlm_graph_create(&graph, &err));
    FIXTURE_OK(nlm_model_build(r->model, r->cache, &dims, graph, &io, &err));
    FIXTURE_OK(nlm_graph_plan(graph, &r->env, &program, &err));
    nlm_graph_destroy(graph);
    rig_fill(r, program, &io, parts, n_parts);
    const int32_t live[NLM_ROWS_KINDS] = {
        [NLM_ROWS_TOKENS] = rows, [NLM_ROWS_OUTPUTS] = rows, [NLM_ROWS_SEQS] = n_parts};
    FIXTURE_OK(nlm_program_run(program, &(nlm_run_info){.live_rows = live}, &err));
    const size_t bytes = (size_t)rows * (size_t)r->n_vocab * sizeof(float);
    float *logits = malloc(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(logits);
    memcpy(logits, nlm_program_output(program, io.logits), bytes);
    nlm_program_destroy(program);
    return logits;
}

/* Forgets what a slot holds. */
static inline void rig_reset(rig *r, int32_t slot) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_kv_pages_truncate(r->pages, slot, 0);
    for (int32_t g = 0; g < r->cache->n_groups; g++) {
        for (int32_t i = 0; r->cache->groups[g].spec->kind == NLM_STATE_PER_SLOT && i < r->cache->n_layer; i++) {
            nlm_state *state = &r->cache->groups[g].layers[i];
            const uint64_t bytes = state->bytes / RIG_SLOTS;
            FIXTURE_OK(nlm_state_zero(state, (uint64_t)slot * bytes, bytes, &err));
        }
    }
}

#endif
