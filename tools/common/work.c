/* Bytes and multiply-adds that a token costs a model. */
#include "common/work.h"

#include <string.h>

#include "tensor/dtype.h"

static bool is_named(const nlm_gguf_tensor *t, const char *name) {
    return t->name.length == strlen(name) && memcmp(t->name.data, name, t->name.length) == 0;
}

static bool is_part(const nlm_gguf_tensor *t, const char *part) {
    return memmem(t->name.data, t->name.length, part, strlen(part)) != NULL;
}

static uint64_t elements(const nlm_gguf_tensor *t) {
    uint64_t product = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) product *= t->dims[i];
    return product;
}

/* What may be quantised. */
static bool is_matrix(const nlm_gguf_tensor *t) {
    return t->n_dims == 2 && !is_part(t, "ssm_conv1d") && !is_part(t, "ssm_a");
}

/* A matrix that every token is multiplied with. */
static bool is_product(const nlm_gguf_tensor *t) {
    return is_matrix(t) && !is_named(t, "token_embd.weight") && !is_named(t, "output.weight");
}

static uint32_t count_others(const nlm_gguf *gguf, nlm_dtype dtype) {
    uint32_t others = 0;
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *t = nlm_gguf_tensor_at(gguf, i);
        if (is_matrix(t) && t->tensor.dtype != dtype) others++;
    }
    return others;
}

/* The type of the largest matrix. */
static nlm_dtype main_type(const nlm_gguf *gguf) {
    const nlm_gguf_tensor *largest = NULL;
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *t = nlm_gguf_tensor_at(gguf, i);
        if (is_product(t) && (!largest || elements(t) > elements(largest))) largest = t;
    }
    return largest ? largest->tensor.dtype : NLM_F32;
}

work work_of(const nlm_model *model, const nlm_dtype *dtype, nlm_dtype kv_dtype) {
    const nlm_gguf *gguf = nlm_model_gguf(model);
    const nlm_hparams *h = nlm_model_hparams(model);
    const uint64_t layers = (uint64_t)h->n_layer;
    work w = {.weight_bytes = nlm_model_weight_bytes_per_token(model),
              .window = h->sliding_window.most,
              .logits_flop = 2 * (uint64_t)h->n_vocab * (uint64_t)h->n_embd,
              .n_other_matrices = count_others(gguf, dtype ? *dtype : main_type(gguf))};
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *t = nlm_gguf_tensor_at(gguf, i);
        w.parameters += elements(t);
        if (is_product(t)) w.token_flop += 2 * elements(t);
    }
    for (int32_t i = 0; i < h->n_layer; i++) {
        const uint64_t row = nlm_dtype_row_bytes(kv_dtype, (uint64_t)h->head_dim);
        w.position_bytes += 2 * (uint64_t)nlm_at_layer(h->n_head_kv, i) * row;
        w.pair_flop += 4 * (uint64_t)nlm_at_layer(h->n_head, i) * (uint64_t)h->head_dim;
    }
    const uint64_t inner = (uint64_t)h->d_inner, state = (uint64_t)h->d_state, conv = (uint64_t)h->d_conv;
    w.state_bytes = layers * inner * (state + conv - 1) * sizeof(float);
    w.token_flop += layers * inner * (7 * state + 2 * conv);
    return w;
}

static uint64_t seen(const work *w, uint64_t positions) {
    return w->window > 0 && positions > (uint64_t)w->window ? (uint64_t)w->window : positions;
}

uint64_t work_step_bytes(const work *w, uint64_t n_seqs, uint64_t n_context) {
    /* states are read and written */
    return w->weight_bytes + n_seqs * (seen(w, n_context + 1) * w->position_bytes + 2 * w->state_bytes);
}

double work_prefill_flop(const work *w, uint64_t n_tokens, uint64_t n_context, uint64_t n_outputs) {
    double pairs = 0;
    for (uint64_t t = 0; t < n_tokens; t++) pairs += (double)seen(w, n_context + t + 1);
    return (double)n_tokens * (double)w->token_flop + (double)n_outputs * (double)w->logits_flop +
           pairs * (double)w->pair_flop;
}
