/* What Llama and its kin have in config.json beside the numbers of their tables: positions, windows, biases.
 * Source of Llama 3's positions: "The Llama 3 Herd of Models" (Dubey et al. 2024) and transformers. */
#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "format/json.h"
#include "model/hf.h"
#include "model/transformer.h"
#include "tensor/dtype.h"

#define ROPE_FREQS "rope_freqs.weight"

/* ---- Llama 3's positions ------------------------------------------------------------------ */

typedef struct llama3_rope {
    double factor, low, high, context; /* low, high: of the wavelengths that the trained context holds */
} llama3_rope;

/* What RoPE's angle of pair i is divided by. */
static double llama3_divisor(const llama3_rope *rope, double freq_base, int32_t n_rot, int32_t i) {
    const double wavelength = 2 * M_PI * pow(freq_base, 2.0 * i / n_rot);
    const double waves = rope->context / wavelength;
    if (waves < rope->low) return rope->factor;
    if (waves > rope->high) return 1;
    const double smooth = (waves - rope->low) / (rope->high - rope->low);
    return 1 / ((1 - smooth) / rope->factor + smooth);
}

/* ---- import ------------------------------------------------------------------------------- */

static nlm_status rope_number(const nlm_hf_config *config, const cJSON *rope, const char *key, double *out,
                              nlm_error *err) {
    const cJSON *item;
    NLM_TRY(nlm_json_member(config->path, rope, key, &item, err));
    *out = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (*out > 0 && *out <= 1e9) return NLM_OK;
    return nlm_hf_fail(config, err, NLM_BAD_FORMAT, key,
                       "is no positive number, which the scaling of positions needs");
}

static nlm_status import_linear(nlm_hf_config *config, const cJSON *rope, nlm_error *err) {
    double factor;
    NLM_TRY(rope_number(config, rope, "factor", &factor, err));
    nlm_hf_write_text(config, "rope.scaling.type", "linear");
    nlm_hf_write_f32(config, "rope.scaling.factor", (float)factor);
    return NLM_OK;
}

/* As a GGUF has it: a tensor of divisors. */
static nlm_status import_llama3(nlm_hf_config *config, const cJSON *rope, nlm_error *err) {
    const nlm_hparams *h = &config->read;
    const int32_t head_dim = h->head_dim ? h->head_dim : h->n_embd / h->n_head.most;
    const double freq_base = h->rope_freq_base > 0 ? (double)h->rope_freq_base : 10000;
    const int64_t pairs = head_dim / 2;
    llama3_rope scaling;
    nlm_tensor tensor;
    NLM_TRY(rope_number(config, rope, "factor", &scaling.factor, err));
    NLM_TRY(rope_number(config, rope, "low_freq_factor", &scaling.low, err));
    NLM_TRY(rope_number(config, rope, "high_freq_factor", &scaling.high, err));
    NLM_TRY(rope_number(config, rope, "original_max_position_embeddings", &scaling.context, err));
    float *divisors = nlm_arena_array(config->arena, (size_t)pairs + 1, sizeof *divisors);
    if (!divisors) return nlm_hf_fail(config, err, NLM_OUT_OF_MEMORY, "head_dim", "is too much for memory");
    for (int32_t i = 0; i < pairs; i++) divisors[i] = (float)llama3_divisor(&scaling, freq_base, head_dim, i);
    NLM_TRY(nlm_tensor_init(&tensor, NLM_F32, 1, &pairs, divisors, err));
    nlm_gguf_writer_tensor(config->out, ROPE_FREQS, &tensor);
    return NLM_OK;
}

static nlm_status import_rope(nlm_hf_config *config, nlm_error *err) {
    const cJSON *rope, *type;
    const char *key = "rope_parameters";
    NLM_TRY(nlm_hf_member(config, key, &rope, err));
    if (!rope) NLM_TRY(nlm_hf_member(config, key = "rope_scaling", &rope, err));
    if (!rope) return NLM_OK;
    NLM_TRY(nlm_json_member(config->path, rope, "rope_type", &type, err));
    if (!type) NLM_TRY(nlm_json_member(config->path, rope, "type", &type, err)); /* its older name */
    const char *name = cJSON_IsString(type) ? type->valuestring : "";
    if (strcmp(name, "default") == 0) return NLM_OK;
    if (strcmp(name, "linear") == 0) return import_linear(config, rope, err);
    if (strcmp(name, "llama3") == 0) return import_llama3(config, rope, err);
    return nlm_hf_fail(config, err, NLM_UNSUPPORTED, key,
                       "scales positions by '%s'; 'default', 'linear' and 'llama3' are supported", name);
}

/* Newer configurations have a list of what each layer attends to. */
static nlm_status check_layer_types(const nlm_hf_config *config, nlm_error *err) {
    const cJSON *list;
    const char *expected = config->kind->has_window ? "sliding_attention" : "full_attention";
    NLM_TRY(nlm_hf_member(config, "layer_types", &list, err));
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (cJSON_IsString(item) && strcmp(item->valuestring, expected) == 0) continue;
        return nlm_hf_fail(config, err, NLM_UNSUPPORTED, "layer_types", "has a layer of another kind than %s",
                           expected);
    }
    return NLM_OK;
}

static nlm_status import_window(nlm_hf_config *config, nlm_error *err) {
    const cJSON *window;
    uint64_t tokens;
    if (!config->kind->has_window) return NLM_OK;
    NLM_TRY(nlm_hf_member(config, "sliding_window", &window, err));
    if (!window) return NLM_OK;
    if (!nlm_json_is_whole(window, &tokens) || tokens > 1 << 28) {
        return nlm_hf_fail(config, err, NLM_BAD_FORMAT, "sliding_window", "is no whole number of 0 to %d", 1 << 28);
    }
    nlm_hf_write_u32(config, "attention.sliding_window", (uint32_t)tokens);
    return NLM_OK;
}

nlm_status nlm_transformer_import(nlm_hf_config *config, nlm_error *err) {
    const int32_t head_dim = config->read.head_dim;
    NLM_TRY(check_layer_types(config, err));
    NLM_TRY(import_window(config, err));
    if (head_dim > 0) {
        nlm_hf_write_u32(config, "attention.value_length", (uint32_t)head_dim);
    }
    return import_rope(config, err);
}

/* ---- export ------------------------------------------------------------------------------- */

static nlm_status no_place(const nlm_model *model, const char *what, nlm_error *err) {
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(nlm_model_gguf(model)), "config.json has no place for %s",
                    what);
}

/* The divisors are in the file, what they were made from is not: published models differ in the factor alone, which
 * is the greatest divisor. */
static nlm_status export_llama3(const nlm_model *model, const nlm_gguf_tensor *freqs, nlm_str *out, nlm_error *err) {
    const nlm_hparams *h = nlm_model_hparams(model);
    const int32_t pairs = h->n_rot / 2;
    llama3_rope scaling = {.low = 1, .high = 4, .context = 8192};
    const float *divisors = freqs->tensor.data;
    if (freqs->tensor.dtype != NLM_F32) return no_place(model, "'" ROPE_FREQS "' that is not f32", err);
    scaling.factor = (double)divisors[pairs - 1];
    for (int32_t i = 0; i < pairs; i++) {
        const double expected = llama3_divisor(&scaling, (double)h->rope_freq_base, h->n_rot, i);
        if (fabs((double)divisors[i] - expected) <= 1e-4 * expected) continue;
        return no_place(model, "'" ROPE_FREQS "', which is not as Llama 3's models have it", err);
    }
    nlm_hf_put(out, "rope_scaling",
               "{\"rope_type\": \"llama3\", \"factor\": %.9g, \"low_freq_factor\": %.1f, \"high_freq_factor\": %.1f, "
               "\"original_max_position_embeddings\": %.0f}",
               scaling.factor, scaling.low, scaling.high, scaling.context);
    return NLM_OK;
}

static nlm_status export_rope(const nlm_model *model, nlm_str *out, nlm_error *err) {
    const nlm_hparams *h = nlm_model_hparams(model);
    const nlm_gguf_tensor *freqs = nlm_gguf_find_tensor(nlm_model_gguf(model), ROPE_FREQS);
    if (h->n_rot != h->head_dim) return no_place(model, "positions in a part of a head", err);
    if (freqs && h->rope_freq_scale != 1) return no_place(model, "two ways of scaling positions", err);
    if (freqs) return export_llama3(model, freqs, out, err);
    if (h->rope_freq_scale == 1) {
        nlm_hf_put(out, "rope_scaling", "null");
    } else {
        nlm_hf_put(out, "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": %.9g}",
                   1 / (double)h->rope_freq_scale);
    }
    return NLM_OK;
}

/* One switch of config.json for biases that a GGUF may have one by one. Qwen2's class has those of q, k and v, and no
 * switch. */
static nlm_status export_biases(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err) {
    static const char *const attention[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"};
    static const char *const mlp[] = {"ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"};
    const int32_t n_layer = nlm_model_hparams(model)->n_layer;
    int32_t n_attention = 0, n_mlp = 0;
    for (int i = 0; i < 4; i++) n_attention += nlm_hf_layers_with(model, attention[i]);
    for (int i = 0; i < 3; i++) n_mlp += nlm_hf_layers_with(model, mlp[i]);
    if (strcmp(kind->architecture, "qwen2") == 0) {
        const bool fits = n_mlp == 0 && n_attention == 3 * n_layer && nlm_hf_layers_with(model, attention[3]) == 0;
        return fits ? NLM_OK : no_place(model, "other biases than of q, k and v", err);
    }
    if (n_attention % (4 * n_layer) != 0 || n_mlp % (3 * n_layer) != 0) {
        return no_place(model, "biases of some weights of a kind", err);
    }
    nlm_hf_put(out, "attention_bias", n_attention > 0 ? "true" : "false");
    nlm_hf_put(out, "mlp_bias", n_mlp > 0 ? "true" : "false");
    return NLM_OK;
}

nlm_status nlm_transformer_export(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err) {
    const nlm_by_layer window = nlm_model_hparams(model)->sliding_window;
    if (window.values) return no_place(model, "windows that differ from layer to layer", err);
    if (window.most > 0)
        nlm_hf_put(out, "sliding_window", "%" PRId32, window.most);
    else
        nlm_hf_put(out, "sliding_window", "null");
    NLM_TRY(export_biases(model, kind, out, err));
    return export_rope(model, out, err);
}
