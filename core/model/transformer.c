/* The parts that Llama and its kin share. Source: Touvron et al. 2023; names of keys and tensors: the GGUF
 * specification. */
#include "model/transformer.h"

#include <string.h>
#include "base/status.h"

/* ---- hyper-parameters --------------------------------------------------------------------- */

static bool is_text(nlm_gguf_string string, const char *text) {
    return string.length == strlen(text) && memcmp(string.data, text, string.length) == 0;
}

/* Positions are multiplied by 1/factor. rope.scale_linear is the older name of the factor. */
static nlm_status read_rope_scaling(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    nlm_gguf_string type;
    out->rope_freq_scale = 1;
    NLM_TRY(nlm_keys_read_string(keys, "rope.scaling.type", &type, err));
    if (type.data && is_text(type, "none")) return NLM_OK;
    if (type.data && !is_text(type, "linear")) {
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, "rope.scaling.type",
                             "is '%.*s'; 'none' and 'linear' are supported", type.length < 64 ? (int)type.length : 64,
                             type.data);
    }
    const bool is_new = nlm_keys_has(keys, "rope.scaling.factor");
    const nlm_key factor[] = {
        NLM_FLOAT(is_new ? "rope.scaling.factor" : "rope.scale_linear", NULL, rope_freq_scale, -1, 1e6, 1), {0}};
    NLM_TRY(nlm_keys_read(keys, factor, out, err));
    if (out->rope_freq_scale < 0) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "rope.scaling.factor", "is negative");
    }
    /* writers put 0 for no scaling */
    out->rope_freq_scale = out->rope_freq_scale > 0 ? 1 / out->rope_freq_scale : 1;
    return NLM_OK;
}

static nlm_status check_groups(const nlm_keys *keys, const nlm_hparams *h, nlm_error *err) {
    for (int32_t i = 0; i < h->n_layer; i++) {
        const int32_t n_head = nlm_at_layer(h->n_head, i), n_head_kv = nlm_at_layer(h->n_head_kv, i);
        if (n_head % n_head_kv == 0) continue;
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "attention.head_count",
                             "is %d, no multiple of the %d of attention.head_count_kv, in layer %d", n_head,
                             n_head_kv, i);
    }
    return NLM_OK;
}

static nlm_status derive_head_dim(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    if (out->head_dim == 0) {
        if (out->n_head.values || out->n_embd % out->n_head.most != 0) {
            return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "embedding_length",
                                 "is %d, no multiple of the %d heads of attention.head_count in every layer",
                                 out->n_embd, out->n_head.most);
        }
        out->head_dim = out->n_embd / out->n_head.most;
    }
    nlm_hparams value = {0};
    const nlm_key length[] = {NLM_INT("attention.value_length", NULL, head_dim, 1, 1 << 14, out->head_dim), {0}};
    NLM_TRY(nlm_keys_read(keys, length, &value, err));
    if (value.head_dim == out->head_dim) return NLM_OK;
    return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, "attention.value_length",
                         "is %d and keys have %d elements a head; only equal ones are supported", value.head_dim,
                         out->head_dim);
}

/* Which layers have the window: an array of bools; without one all have it. */
static nlm_status derive_windows(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    static const char *const name = "attention.sliding_window_pattern";
    static const nlm_key_refused as_number[] = {{"attention.sliding_window_pattern", 1, "a window in some layers"},
                                                {0}};
    const int32_t *pattern = NULL;
    NLM_TRY(nlm_keys_read_bools(keys, name, out->n_layer, &pattern, err));
    if (!pattern) return nlm_keys_refuse(keys, as_number, err);
    int32_t *windows = nlm_arena_array(keys->arena, (size_t)out->n_layer, sizeof *windows);
    if (!windows) return nlm_keys_fail(keys, err, NLM_OUT_OF_MEMORY, name, "is an array: no memory for it");
    for (int32_t i = 0; i < out->n_layer; i++) windows[i] = pattern[i] ? nlm_at_layer(out->sliding_window, i) : 0;
    out->sliding_window.values = windows;
    return NLM_OK;
}

nlm_status nlm_transformer_derive(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    NLM_TRY(read_rope_scaling(keys, out, err));
    if (out->n_head_kv.most == 0) out->n_head_kv = out->n_head;
    NLM_TRY(check_groups(keys, out, err));
    NLM_TRY(derive_head_dim(keys, out, err));
    NLM_TRY(derive_windows(keys, out, err));
    if (out->n_rot == 0) out->n_rot = out->head_dim;
    if (out->n_rot % 2 != 0 || out->n_rot > out->head_dim) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "rope.dimension_count",
                             "is %d; expected an even number, at most the %d of a head", out->n_rot, out->head_dim);
    }
    if (out->attention_scale == 0) out->attention_scale = 1 / sqrtf((float)out->head_dim);
    return NLM_OK;
}

/* ---- weights and states ------------------------------------------------------------------- */

int64_t nlm_size_vocab(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_vocab;
}
int64_t nlm_size_embd(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_embd;
}
int64_t nlm_size_q(const nlm_hparams *h, int32_t layer) {
    return (int64_t)nlm_at_layer(h->n_head, layer) * h->head_dim;
}
int64_t nlm_size_kv(const nlm_hparams *h, int32_t layer) {
    return (int64_t)nlm_at_layer(h->n_head_kv, layer) * h->head_dim;
}
int64_t nlm_size_head(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->head_dim;
}
int64_t nlm_size_ff(const nlm_hparams *h, int32_t layer) {
    return nlm_at_layer(h->n_ff, layer);
}
int64_t nlm_size_rope_pairs(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_rot / 2;
}

int nlm_kv_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    out[0] = nlm_at_layer(h->n_head_kv, layer);
    out[1] = h->head_dim;
    return out[0] > 0 ? 2 : 0;
}

/* ---- graph -------------------------------------------------------------------------------- */

/* [n_tokens, heads * head_dim] as [n_tokens, heads, head_dim] */
static nlm_value heads(const nlm_builder *b, nlm_value x, nlm_by_layer n_head) {
    const int64_t shape[3] = {b->n_tokens, nlm_at_layer(n_head, b->layer), b->h->head_dim};
    return nlm_graph_reshape(b->graph, x, 3, shape);
}

nlm_qkv nlm_build_qkv(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv;
    qkv.q = heads(b, nlm_build_linear(b, x, W_ATTN_Q, W_ATTN_Q_BIAS, NLM_NO_VALUE), b->h->n_head);
    qkv.k = heads(b, nlm_build_linear(b, x, W_ATTN_K, W_ATTN_K_BIAS, NLM_NO_VALUE), b->h->n_head_kv);
    qkv.v = heads(b, nlm_build_linear(b, x, W_ATTN_V, W_ATTN_V_BIAS, NLM_NO_VALUE), b->h->n_head_kv);
    return qkv;
}

nlm_value nlm_build_rope(const nlm_builder *b, nlm_value x) {
    const nlm_hparams *h = b->h;
    const nlm_rope_params rope = {.freq_base = h->rope_freq_base,
                                  .freq_scale = h->rope_freq_scale,
                                  .n_rot = h->n_rot,
                                  .flags = h->is_rope_half_split ? NLM_ROPE_HALF_SPLIT : 0,
                                  .freq_factors = nlm_build_weight(b, W_ROPE_FREQS)};
    return nlm_graph_rope(b->graph, x, b->io->batch.pos, &rope);
}

/* [n_tokens, heads, head_dim] as [n_tokens, heads * head_dim] */
static nlm_value flat(const nlm_builder *b, nlm_value y) {
    const int64_t shape[2] = {b->n_tokens, nlm_size_q(b->h, b->layer)};
    return nlm_graph_reshape(b->graph, y, 2, shape);
}

/* Over the batch's own keys and values; with what the backward needs. */
static nlm_value build_plain_attention(const nlm_builder *b, const nlm_qkv *qkv) {
    nlm_value lse;
    return nlm_graph_attention_plain(b->graph, qkv->q, qkv->k, qkv->v, b->io->batch.seq_start, b->h->attention_scale,
                                     nlm_at_layer(b->h->sliding_window, b->layer), &lse);
}

nlm_value nlm_build_attention(const nlm_builder *b, const nlm_qkv *qkv) {
    if (b->training) return flat(b, build_plain_attention(b, qkv));
    const nlm_batch_values *batch = &b->io->batch;
    const nlm_value k_cache = nlm_build_state(b, NLM_S_K), v_cache = nlm_build_state(b, NLM_S_V);
    nlm_graph_kv_append(b->graph, qkv->k, qkv->v, k_cache, v_cache, batch);
    const nlm_value y = nlm_graph_attention(b->graph, qkv->q, k_cache, v_cache, batch, b->h->attention_scale,
                                            nlm_at_layer(b->h->sliding_window, b->layer));
    return flat(b, y);
}

nlm_value nlm_build_swiglu(const nlm_builder *b, nlm_value x, nlm_value residual) {
    const nlm_value gate = nlm_build_linear(b, x, W_FFN_GATE, W_FFN_GATE_BIAS, NLM_NO_VALUE);
    const nlm_value up = nlm_build_linear(b, x, W_FFN_UP, W_FFN_UP_BIAS, NLM_NO_VALUE);
    return nlm_build_linear(b, nlm_graph_silu_mul(b->graph, gate, up), W_FFN_DOWN, W_FFN_DOWN_BIAS, residual);
}
