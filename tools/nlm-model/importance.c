/* Importance of columns: a program of the model's graph in which every input of a matmul is an output. */
#include "importance.h"

#include "base/status.h"
#include "common/input.h"
#include "nlm-eval/eval.h"
#include "session/engine.h"
#include "session/states.h"

#include <math.h>
#include <string.h>

enum { RUN_TOKENS = 128 };

/* Of the mean of all columns: what a text never used may still be used by another. */
#define LEAST_WEIGHT 1e-3

typedef struct collector {
    importance *found;
    nlm_graph_product *products; /* [found->count] */
    nlm_value *outputs;          /* [found->count] */
    nlm_states *states;
    nlm_program *program;
    nlm_graph_io io;
    int32_t n_blocks;
} collector;

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "importance", "out of memory");
}

/* ---- the program -------------------------------------------------------------------------- */

static nlm_status mark_products(collector *c, nlm_graph *graph, nlm_error *err) {
    importance *found = c->found;
    nlm_graph_product product;
    while (nlm_graph_product_at(graph, (uint32_t)found->count, &product)) found->count++;
    c->products = nlm_arena_array(&found->arena, found->count + 1, sizeof *c->products);
    c->outputs = nlm_arena_array(&found->arena, found->count + 1, sizeof *c->outputs);
    found->items = nlm_arena_array(&found->arena, found->count + 1, sizeof *found->items);
    if (!c->products || !c->outputs || !found->items) return no_memory(err);
    for (size_t i = 0; i < found->count; i++) {
        (void)nlm_graph_product_at(graph, (uint32_t)i, &c->products[i]);
        c->outputs[i] = c->products[i].x;
        nlm_graph_output(graph, c->outputs[i]);
        const char *name = c->products[i].weight->name;
        const int64_t cols = c->products[i].x_tensor.shape[1];
        found->items[i] = (importance_item){.name = nlm_arena_strndup(&found->arena, name, strlen(name)),
                                            .cols = cols,
                                            .squares = nlm_arena_array(&found->arena, (size_t)cols, sizeof(double)),
                                            .weights = nlm_arena_array(&found->arena, (size_t)cols, sizeof(float))};
        const importance_item *item = &found->items[i];
        if (!item->name || !item->squares || !item->weights) return no_memory(err);
        memset(item->squares, 0, (size_t)cols * sizeof *item->squares);
    }
    return nlm_graph_check(graph, err);
}

static nlm_status plan(collector *c, nlm_model *model, const nlm_env *env, nlm_error *err) {
    const nlm_graph_dims dims = {.n_tokens = RUN_TOKENS, .n_seqs = 1, .n_outputs = RUN_TOKENS};
    const nlm_plan_options options = {.do_fuse = false, .do_pack = true};
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_model_build(model, c->states->cache, &dims, graph, &c->io, err);
    if (status == NLM_OK) status = mark_products(c, graph, err);
    if (status == NLM_OK) status = nlm_graph_plan_with(graph, env, &options, &c->program, err);
    nlm_graph_destroy(graph);
    return status;
}

/* ---- a run -------------------------------------------------------------------------------- */

static void fill_inputs(const collector *c, const int32_t *ids, int32_t pos, int32_t n) {
    int32_t *to = nlm_program_input(c->program, c->io.ids);
    int32_t *positions = nlm_program_input(c->program, c->io.batch.pos);
    int32_t *seq_start = nlm_program_input(c->program, c->io.batch.seq_start);
    int32_t *slot = nlm_program_input(c->program, c->io.batch.slot);
    int32_t *blocks = nlm_program_input(c->program, c->io.batch.block_table);
    int32_t *outputs = nlm_program_input(c->program, c->io.outputs);
    for (int32_t i = 0; i < n; i++) {
        to[i] = ids[i];
        positions[i] = pos + i;
        outputs[i] = i;
    }
    seq_start[0] = 0;
    seq_start[1] = n;
    slot[0] = 0;
    if (blocks && c->states->pages)
        memcpy(blocks, nlm_states_blocks(c->states, 0), (size_t)c->n_blocks * sizeof *blocks);
}

static nlm_status add_squares(const collector *c, size_t index, int32_t n, nlm_error *err) {
    const importance_item *item = &c->found->items[index];
    const char *x = nlm_program_output(c->program, c->outputs[index]);
    for (int32_t r = 0; r < n; r++) {
        const float *row = (const float *)(const void *)(x + r * c->products[index].x_tensor.stride_bytes[0]);
        for (int64_t i = 0; i < item->cols; i++) {
            if (!isfinite(row[i])) {
                return nlm_fail(err, NLM_NUMERIC, "importance", "a value that '%s' is multiplied by is %f",
                                item->name, (double)row[i]);
            }
            item->squares[i] += (double)row[i] * (double)row[i];
        }
    }
    return NLM_OK;
}

static nlm_status run(collector *c, const int32_t *ids, int32_t pos, int32_t n, nlm_error *err) {
    NLM_TRY(nlm_states_extend(c->states, 0, n, err));
    fill_inputs(c, ids, pos, n);
    const int32_t live_rows[NLM_ROWS_KINDS] = {[NLM_ROWS_TOKENS] = n, [NLM_ROWS_OUTPUTS] = n, [NLM_ROWS_SEQS] = 1};
    const nlm_run_info info = {.live_rows = live_rows,
                               .max_context = pos + n,
                               .outputs = c->outputs,
                               .n_outputs = (uint32_t)c->found->count,
                               .picks_outputs = true};
    NLM_TRY(nlm_program_run(c->program, &info, err));
    for (size_t i = 0; i < c->found->count; i++) NLM_TRY(add_squares(c, i, n, err));
    c->found->n_tokens += (uint64_t)n;
    return NLM_OK;
}

static nlm_status run_window(collector *c, const int32_t *ids, size_t count, nlm_error *err) {
    nlm_states_release(c->states, 0);
    NLM_TRY(nlm_states_clear(c->states, 0, err));
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < RUN_TOKENS ? count - at : RUN_TOKENS;
        NLM_TRY(run(c, ids + at, (int32_t)at, (int32_t)n, err));
    }
    c->found->n_chunks++;
    return NLM_OK;
}

/* ---- the text ----------------------------------------------------------------------------- */

static nlm_status run_text(collector *c, const perplexity_options *windows, const nlm_ids *ids, nlm_error *err) {
    int32_t window[IMPORTANCE_WINDOW];
    const size_t has_bos = windows->bos >= 0 ? 1 : 0, held = windows->window - has_bos;
    for (size_t from = 0, n; from < ids->count; from += n) {
        n = ids->count - from < held ? ids->count - from : held;
        window[0] = windows->bos;
        memcpy(window + has_bos, ids->data + from, n * sizeof *window);
        NLM_TRY(run_window(c, window, n + has_bos, err));
    }
    return NLM_OK;
}

static nlm_status collect(nlm_engine *engine, nlm_model *model, const char *text_path, importance *out,
                          nlm_error *err) {
    nlm_str text = {0};
    nlm_ids ids = {0};
    collector c = {.found = out};
    perplexity_options windows = {0};
    NLM_TRY(evaluator_windows(model, &windows, err));
    if (windows.window > IMPORTANCE_WINDOW) windows.window = IMPORTANCE_WINDOW;
    c.n_blocks = (int32_t)(windows.window + NLM_PAGE_TOKENS - 1) / NLM_PAGE_TOKENS;
    const nlm_cache_options cache = {.n_slots = 1,
                                     .n_pages = c.n_blocks,
                                     .page_tokens = NLM_PAGE_TOKENS,
                                     .n_blocks = c.n_blocks,
                                     .kv_dtype = NLM_F32};
    nlm_status status = nlm_read_input(text_path, &text, err);
    if (status == NLM_OK) status = evaluator_encode(model, text_path, &text, 0, &ids, err);
    if (status == NLM_OK) status = nlm_states_create(model, &cache, &c.states, err);
    if (status == NLM_OK) status = plan(&c, model, &engine->env, err);
    if (status == NLM_OK) status = run_text(&c, &windows, &ids, err);
    nlm_program_destroy(c.program);
    nlm_states_destroy(c.states);
    nlm_ids_release(&ids);
    nlm_str_release(&text);
    return status;
}

static void set_weights(importance *found) {
    for (size_t i = 0; i < found->count; i++) {
        const importance_item *item = &found->items[i];
        double sum = 0;
        for (int64_t c = 0; c < item->cols; c++) sum += item->squares[c];
        const double mean = sum / (double)item->cols, tokens = (double)found->n_tokens;
        for (int64_t c = 0; c < item->cols; c++) {
            item->weights[c] = (float)((item->squares[c] + LEAST_WEIGHT * mean) / tokens);
        }
    }
}

nlm_status importance_collect(const char *path, const quantize_options *options, importance *out, nlm_error *err) {
    const nlm_engine_options engine_options = {
        .struct_size = sizeof engine_options, .backend = options->backend, .threads = (uint32_t)options->threads};
    const nlm_model_options model_options = {.struct_size = sizeof model_options, .flags = NLM_MODEL_NO_PROMPT_CACHE};
    nlm_engine *engine = NULL;
    nlm_model *model = NULL;
    *out = (importance){0};
    nlm_status status = nlm_engine_create(&engine_options, &engine, err);
    if (status == NLM_OK) status = nlm_model_load(engine, path, &model_options, &model, err);
    if (status == NLM_OK) status = collect(engine, model, options->calibrate, out, err);
    if (status == NLM_OK) set_weights(out);
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
    return status;
}

void importance_release(importance *found) {
    nlm_arena_release(&found->arena);
}

/* ---- what is done with it ----------------------------------------------------------------- */

void importance_apply(const importance *found, quantize_plan *plan) {
    for (size_t t = 0; t < plan->count; t++) {
        quantized *q = &plan->tensors[t];
        for (size_t i = 0; i < found->count; i++) {
            if (strcmp(found->items[i].name, q->name) == 0 && found->items[i].cols == q->cols)
                q->weights = found->items[i].weights;
        }
    }
    plan->importance = found;
}

static nlm_status save_items(const importance *found, nlm_gguf_writer *w, const char *path, nlm_error *err) {
    nlm_arena arena = {0};
    nlm_status status = NLM_OK;
    float counts = (float)found->n_tokens;
    for (size_t i = 0; i < found->count && status == NLM_OK; i++) {
        const importance_item *item = &found->items[i];
        const int64_t shape[2] = {1, item->cols}, one[2] = {1, 1};
        float *sums = nlm_arena_array(&arena, (size_t)item->cols, sizeof *sums);
        const char *sum_name = nlm_arena_printf(&arena, "%s.in_sum2", item->name);
        const char *count_name = nlm_arena_printf(&arena, "%s.counts", item->name);
        nlm_tensor tensor;
        if (!sums || !sum_name || !count_name) {
            status = no_memory(err);
            break;
        }
        for (int64_t c = 0; c < item->cols; c++) sums[c] = (float)item->squares[c];
        status = nlm_tensor_init(&tensor, NLM_F32, 2, shape, sums, err);
        if (status == NLM_OK) nlm_gguf_writer_tensor(w, sum_name, &tensor);
        if (status == NLM_OK) status = nlm_tensor_init(&tensor, NLM_F32, 2, one, &counts, err);
        if (status == NLM_OK) nlm_gguf_writer_tensor(w, count_name, &tensor);
    }
    if (status == NLM_OK) status = nlm_gguf_writer_finish(w, path, err);
    nlm_arena_release(&arena);
    return status;
}

nlm_status importance_save(const importance *found, const char *text, const char *path, nlm_error *err) {
    nlm_gguf_writer *w = NULL;
    NLM_TRY(nlm_gguf_writer_create(&w, err));
    const nlm_gguf_string dataset = {text, strlen(text)};
    nlm_gguf_writer_string(w, "general.type", "imatrix", strlen("imatrix"));
    nlm_gguf_writer_strings(w, "imatrix.datasets", &dataset, 1);
    nlm_gguf_writer_u32(w, "imatrix.chunk_count", (uint32_t)found->n_chunks);
    nlm_gguf_writer_u32(w, "imatrix.chunk_size", IMPORTANCE_WINDOW);
    const nlm_status status = save_items(found, w, path, err);
    nlm_gguf_writer_destroy(w);
    return status;
}
