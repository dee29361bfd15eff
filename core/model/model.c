/* Opening a model, and building its graph. */
#include "model/model.h"

#include <inttypes.h>
#include <nlm/plugin.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/status.h"
#include "base/str.h"
#include "model/family.h"

#define FAMILY(name) &nlm_family_##name,
static const nlm_model_family *const families[] = {NLM_FAMILIES(FAMILY)};
#undef FAMILY
#define N_FAMILIES (sizeof families / sizeof *families)

struct nlm_model {
    nlm_gguf *gguf;
    nlm_arena arena; /* of what hparams points at */
    nlm_hparams hparams;
    const nlm_model_family *family;
    nlm_weights *weights;
    struct nlm_runtime *runtime;
};

/* ---- opening ------------------------------------------------------------------------------ */

const nlm_model_family *nlm_family_at(size_t index) {
    return index < N_FAMILIES ? families[index] : NULL;
}

const nlm_model_family *nlm_family_find(const char *architecture) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        for (const char *const *name = families[i]->architectures; *name; name++) {
            if (strcmp(*name, architecture) == 0) return families[i];
        }
    }
    return NULL;
}

static nlm_status unknown_architecture(const nlm_keys *keys, nlm_error *err) {
    nlm_str known = {0};
    for (size_t i = 0; i < N_FAMILIES; i++) {
        for (const char *const *name = families[i]->architectures; *name; name++) {
            nlm_str_printf(&known, "%s'%s'", known.length ? ", " : "", *name);
        }
    }
    const nlm_status status =
        nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(keys->gguf), "architecture '%s' is not supported; these are: %s",
                 keys->architecture, known.data ? known.data : "");
    nlm_str_release(&known);
    return status;
}

/* One file of several would be found out by a missing tensor; this says it better. */
static nlm_status refuse_split(const nlm_gguf *gguf, nlm_error *err) {
    uint64_t count;
    if (nlm_gguf_get_u64(gguf, "split.count", &count, NULL) != NLM_OK || count <= 1) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf),
                    "this is one of %" PRIu64 " files of a split model ('split.count'); merge them into one first",
                    count);
}

/* The rows of token_embd.weight, with which the tokenizer and the metadata must agree. */
static nlm_status read_n_vocab(const nlm_keys *keys, int32_t *out, nlm_error *err) {
    const nlm_gguf *gguf = keys->gguf;
    const char *path = nlm_gguf_path(gguf);
    const nlm_gguf_tensor *embd = nlm_gguf_find_tensor(gguf, "token_embd.weight");
    if (!embd) return nlm_fail(err, NLM_BAD_FORMAT, path, "tensor 'token_embd.weight' is missing");
    if (embd->n_dims != 2 || embd->dims[1] < 1 || embd->dims[1] > INT32_MAX) {
        return nlm_fail(err, NLM_BAD_FORMAT, path,
                        "'token_embd.weight' has %" PRIu32 " dimensions, its vocabulary %" PRIu64
                        " entries; expected two dimensions and 1 to 2147483647 entries",
                        embd->n_dims, embd->n_dims == 2 ? embd->dims[1] : 0);
    }
    const uint64_t n_vocab = embd->dims[1];
    const nlm_gguf_entry *tokens = nlm_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == NLM_GGUF_ARRAY && tokens->count != n_vocab) {
        return nlm_fail(err, NLM_BAD_FORMAT, path,
                        "'tokenizer.ggml.tokens' has %" PRIu64 " entries and 'token_embd.weight' %" PRIu64
                        " rows; expected as many",
                        tokens->count, n_vocab);
    }
    nlm_hparams declared = {0};
    const nlm_key key[] = {NLM_INT("vocab_size", NULL, n_vocab, 1, INT32_MAX, (double)n_vocab), {0}};
    NLM_TRY(nlm_keys_read(keys, key, &declared, err));
    if ((uint64_t)declared.n_vocab != n_vocab) { /* the rows are what is computed with */
        nlm_log(NLM_LOG_WARN,
                "%s: '%s.vocab_size' is %d and 'token_embd.weight' has %" PRIu64 " rows, which are used", path,
                keys->architecture, declared.n_vocab, n_vocab);
    }
    *out = (int32_t)n_vocab;
    return NLM_OK;
}

/* Reads what the model's family says of the file; family NULL: it is found by the architecture. */
static nlm_status open_parts(nlm_model *model, nlm_error *err) {
    nlm_keys keys;
    NLM_TRY(nlm_keys_init(&keys, model->gguf, &model->arena, err));
    if (!model->family) model->family = nlm_family_find(keys.architecture);
    if (!model->family) return unknown_architecture(&keys, err);
    const nlm_model_family *family = model->family;
    NLM_TRY(refuse_split(model->gguf, err));
    NLM_TRY(nlm_keys_refuse(&keys, family->refused, err));
    NLM_TRY(nlm_keys_read(&keys, family->keys, &model->hparams, err));
    if (family->derive) NLM_TRY(family->derive(&keys, &model->hparams, err));
    if (!family->takes_rows) NLM_TRY(read_n_vocab(&keys, &model->hparams.n_vocab, err));
    return nlm_weights_bind(model->gguf, &model->hparams, family->weights, &model->weights, err);
}

nlm_status nlm_model_take_gguf_as(nlm_gguf *gguf, const nlm_model_family *family, nlm_model **out, nlm_error *err) {
    *out = NULL;
    nlm_model *model = calloc(1, sizeof *model);
    if (!model) {
        nlm_gguf_close(gguf);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_model_open", "no memory for a model");
    }
    model->gguf = gguf;
    model->family = family;
    const nlm_status status = open_parts(model, err);
    if (status != NLM_OK) {
        nlm_model_close(model);
        return status;
    }
    *out = model;
    return NLM_OK;
}

nlm_status nlm_model_take_gguf(nlm_gguf *gguf, nlm_model **out, nlm_error *err) {
    return nlm_model_take_gguf_as(gguf, NULL, out, err);
}

nlm_status nlm_model_open(const char *path, nlm_model **out, nlm_error *err) {
    *out = NULL;
    nlm_gguf *gguf = NULL;
    NLM_TRY(nlm_gguf_open(path, &gguf, err));
    return nlm_model_take_gguf(gguf, out, err);
}

void nlm_model_close(nlm_model *model) {
    if (!model) return;
    nlm_weights_destroy(model->weights);
    nlm_arena_release(&model->arena);
    if (model->gguf) nlm_gguf_close(model->gguf);
    free(model);
}

const nlm_gguf *nlm_model_gguf(const nlm_model *model) {
    return model->gguf;
}
void nlm_model_drop_strings(nlm_model *model) {
    nlm_gguf_drop_strings(model->gguf);
}
const nlm_hparams *nlm_model_hparams(const nlm_model *model) {
    return &model->hparams;
}
const char *nlm_model_family_name(const nlm_model *model) {
    return model->family->name;
}
nlm_weights *nlm_model_weights(nlm_model *model) {
    return model->weights;
}
const nlm_model_family *nlm_model_family_of(const nlm_model *model) {
    return model->family;
}

void nlm_model_set_runtime(nlm_model *model, struct nlm_runtime *runtime) {
    model->runtime = runtime;
}
struct nlm_runtime *nlm_model_runtime(const nlm_model *model) {
    return model->runtime;
}

uint64_t nlm_model_weight_bytes_per_token(const nlm_model *model) {
    uint64_t bytes = 0;
    const size_t count = nlm_gguf_tensor_count(model->gguf);
    for (size_t i = 0; i < count; i++) bytes += nlm_gguf_tensor_at(model->gguf, i)->bytes;
    if (!nlm_gguf_find_tensor(model->gguf, "output.weight")) return bytes; /* tied: read whole as the head */
    const uint64_t embd = nlm_gguf_find_tensor(model->gguf, "token_embd.weight")->bytes;
    return bytes - embd + embd / (uint64_t)model->hparams.n_vocab;
}

/* ---- cache -------------------------------------------------------------------------------- */

nlm_status nlm_model_cache_create(const nlm_model *model, const nlm_cache_options *options, nlm_cache **out,
                                  nlm_error *err) {
    return nlm_cache_create(model->family->states, &model->hparams, options, out, err);
}

bool nlm_model_is_paged(const nlm_model *model) {
    int64_t shape[3];
    for (const nlm_state_spec *spec = model->family->states; spec->name; spec++) {
        for (int32_t i = 0; spec->kind == NLM_STATE_PAGED && i < model->hparams.n_layer; i++) {
            if (spec->shape(&model->hparams, i, shape) > 0) return true;
        }
    }
    return false;
}

/* ---- graph -------------------------------------------------------------------------------- */

static nlm_value i32_input(nlm_graph *graph, const char *name, int64_t rows, int64_t cols, uint32_t row_kind) {
    const int64_t shape[2] = {rows, cols};
    return nlm_graph_input(graph, name, NLM_I32, cols ? 2 : 1, shape, row_kind);
}

static void build_inputs(const nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph, nlm_graph_io *io) {
    const nlm_cache_options *options = &cache->options;
    io->ids = i32_input(graph, "ids", dims->n_tokens, 0, NLM_ROWS_TOKENS);
    io->batch.pos = i32_input(graph, "pos", dims->n_tokens, 0, NLM_ROWS_TOKENS);
    io->batch.seq_start = i32_input(graph, "seq_start", (int64_t)dims->n_seqs + 1, 0, NLM_ROWS_FIXED);
    io->batch.slot = i32_input(graph, "slot", dims->n_seqs, 0, NLM_ROWS_SEQS);
    io->batch.block_table = nlm_cache_page_bytes(cache) > 0
                                ? i32_input(graph, "block_table", options->n_slots, options->n_blocks, NLM_ROWS_FIXED)
                                : NLM_NO_VALUE;
    io->outputs = i32_input(graph, "outputs", dims->n_outputs, 0, NLM_ROWS_OUTPUTS);
}

static nlm_status build_forward(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, bool gives_hidden,
                                nlm_graph *graph, nlm_graph_io *out_io, nlm_error *err) {
    if (dims->n_tokens < 1 || dims->n_seqs < 1 || dims->n_outputs < 1 || dims->n_seqs > cache->options.n_slots ||
        cache->n_layer != model->hparams.n_layer) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_model_build",
                        "tokens %d, sequences %d, outputs %d: each must be positive and the sequences at most the %d "
                        "slots of this model's cache",
                        dims->n_tokens, dims->n_seqs, dims->n_outputs, cache->options.n_slots);
    }
    build_inputs(cache, dims, graph, out_io);
    nlm_builder builder = {.graph = graph,
                           .h = &model->hparams,
                           .weights = model->weights,
                           .cache = cache,
                           .io = out_io,
                           .gives_hidden = gives_hidden,
                           .n_tokens = dims->n_tokens,
                           .layer = -1};
    out_io->logits = model->family->build(&builder);
    nlm_graph_output(graph, out_io->logits);
    return nlm_graph_check(graph, err);
}

nlm_status nlm_model_build(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                           nlm_graph_io *out_io, nlm_error *err) {
    return build_forward(model, cache, dims, false, graph, out_io, err);
}

nlm_status nlm_model_build_hidden(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                                  nlm_graph_io *out_io, nlm_error *err) {
    return build_forward(model, cache, dims, true, graph, out_io, err);
}

/* ---- training ----------------------------------------------------------------------------- */

static void build_backward(const nlm_training_io *t, const nlm_training_dims *dims, nlm_graph *graph) {
    const nlm_seed seed = {t->hidden, t->d_hidden};
    nlm_graph_backward(
        graph,
        &(nlm_backward){
            .seeds = &seed, .n_seeds = 1, .recompute = dims->recompute, .begins_gradients = dims->begins_gradients});
}

nlm_status nlm_model_build_training(nlm_model *model, nlm_cache *cache, const nlm_training_dims *dims,
                                    nlm_graph *graph, nlm_training_io *training, nlm_graph_io *out_io,
                                    nlm_error *err) {
    const nlm_graph_dims *batch = &dims->batch;
    const int32_t n_states = cache ? cache->n_groups * cache->n_layer : 0;
    for (int32_t i = 0; i < n_states; i++) training->states_after[i] = NLM_NO_VALUE;
    *out_io = (nlm_graph_io){.outputs = NLM_NO_VALUE, .batch.block_table = NLM_NO_VALUE, .batch.slot = NLM_NO_VALUE};
    out_io->ids = i32_input(graph, "ids", batch->n_tokens, 0, NLM_ROWS_TOKENS);
    out_io->batch.pos = i32_input(graph, "pos", batch->n_tokens, 0, NLM_ROWS_TOKENS);
    out_io->batch.seq_start = i32_input(graph, "seq_start", (int64_t)batch->n_seqs + 1, 0, NLM_ROWS_FIXED);
    if (cache) out_io->batch.slot = i32_input(graph, "slot", batch->n_seqs, 0, NLM_ROWS_SEQS);
    training->labels = i32_input(graph, "labels", batch->n_tokens, 0, NLM_ROWS_TOKENS);
    nlm_builder builder = {.graph = graph,
                           .h = &model->hparams,
                           .weights = model->weights,
                           .cache = cache,
                           .io = out_io,
                           .training = training,
                           .n_tokens = batch->n_tokens,
                           .layer = -1};
    out_io->logits = model->family->build(&builder);
    nlm_graph_output(graph, out_io->logits);
    for (int32_t i = 0; dims->carries && i < n_states; i++) {
        if (training->states_after[i] != NLM_NO_VALUE) nlm_graph_output(graph, training->states_after[i]);
    }
    if (training->wants_gradients) build_backward(training, dims, graph);
    return nlm_graph_check(graph, err);
}
