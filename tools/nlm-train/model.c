/* The model that is trained: one of a file, or a new one of the sizes that were given. */
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "model/presets.h"
#include "nlm-train/run.h"
#include "text/tokenizer_json.h"

static int32_t given_or(int64_t value, int64_t fallback) {
    return (int32_t)(value > 0 ? value : fallback);
}

/* What follows from the sizes that were given where others were not. */
static nlm_status describe_llama(const settings *s, nlm_hparams *h, nlm_error *err) {
    h->n_head.most = given_or(s->n_head, h->n_embd >= 64 ? h->n_embd / 64 : 1);
    h->n_head_kv.most = given_or(s->n_head_kv, h->n_head.most);
    if (h->n_embd % h->n_head.most || h->n_head.most % h->n_head_kv.most || h->n_embd / h->n_head.most % 2) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, "model",
            "n_embd %d, n_head %d and n_head_kv %d: expected heads of an even size, and as many of them or a "
            "multiple for each of keys and values",
            h->n_embd, h->n_head.most, h->n_head_kv.most);
    }
    h->head_dim = h->n_rot = h->n_embd / h->n_head.most;
    h->n_ff.most = given_or(s->n_ff, ((int64_t)h->n_embd * 8 / 3 + 31) / 32 * 32);
    return NLM_OK;
}

static void describe_mamba(const settings *s, nlm_hparams *h) {
    h->d_inner = 2 * h->n_embd;
    h->d_state = (int32_t)s->d_state;
    h->d_conv = (int32_t)s->d_conv;
    h->dt_rank = given_or(s->dt_rank, (h->n_embd + 15) / 16);
}

static nlm_status describe(const settings *s, nlm_preset *out, nlm_error *err) {
    const nlm_preset *preset = s->preset ? nlm_preset_find(s->preset) : NULL;
    if (s->preset && !preset) {
        return nlm_fail(err, NLM_NOT_FOUND, "model.preset", "'%s' is none of nlm-bench's presets", s->preset);
    }
    if (preset) *out = *preset;
    if (!preset) {
        *out = (nlm_preset){
            .name = "model", .architecture = s->architecture, .flags = s->is_tied ? 0 : NLM_PRESET_UNTIED};
        out->hparams =
            (nlm_hparams){.n_layer = (int32_t)s->n_layer, .n_embd = (int32_t)s->n_embd, .rms_norm_eps = 1e-5f};
        if (strcmp(s->architecture, "mamba") == 0)
            describe_mamba(s, &out->hparams);
        else
            NLM_TRY(describe_llama(s, &out->hparams, err));
    }
    out->hparams.n_ctx_train = given_or(s->context, preset ? preset->hparams.n_ctx_train : s->length);
    return NLM_OK;
}

static nlm_status make_new(const settings *s, nlm_gguf **out, nlm_error *err) {
    nlm_gguf *vocabulary = NULL;
    nlm_preset preset;
    NLM_TRY(describe(s, &preset, err));
    NLM_TRY(nlm_tokenizer_open_metadata(s->tokenizer, false, &vocabulary, err));
    const nlm_status status = nlm_preset_gguf_with(&preset, NLM_F32, vocabulary, out, err);
    nlm_gguf_close(vocabulary);
    return status;
}

/* What messages are rendered by: the template that was named, or the model's own, or, if that is broken, one that is
 * known and has what marks it. None: messages are refused, if there are any. */
static nlm_status choose_chat(run *r, const nlm_gguf *gguf, nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    bool is_exact;
    if (r->set->chat) {
        r->chat = nlm_chat_template_from_name(r->set->chat);
        if (r->chat) return NLM_OK;
        nlm_str names = {0};
        for (const char *const *name = nlm_chat_template_names(); *name; name++) nlm_str_printf(&names, " %s", *name);
        nlm_fail(err, NLM_NOT_FOUND, "data.chat", "'%s' is no template that is known; those are%s", r->set->chat,
                 names.data ? names.data : "");
        nlm_str_release(&names);
        return NLM_NOT_FOUND;
    }
    const nlm_status status = nlm_chat_own_create(gguf, &r->own_chat, &why);
    if (status == NLM_OUT_OF_MEMORY) return nlm_error_give(err, &why), status;
    if (status == NLM_OK || status == NLM_NOT_FOUND) return NLM_OK;
    (void)nlm_chat_template_detect(gguf, &r->chat, &is_exact, NULL);
    nlm_log(NLM_LOG_WARN, "the model's chat template cannot be read (%s: %s); messages are rendered by %s", why.where,
            why.msg, r->chat ? nlm_chat_template_name(r->chat) : "none");
    return NLM_OK;
}

nlm_status run_open_model(run *r, nlm_error *err) {
    nlm_gguf *gguf = NULL;
    if (r->set->model)
        NLM_TRY(nlm_gguf_open(r->set->model, &gguf, err));
    else
        NLM_TRY(make_new(r->set, &gguf, err));
    nlm_status status = choose_chat(r, gguf, err);
    const char *const *controls = r->own_chat ? nlm_chat_own_tokens(r->own_chat) : NULL;
    if (status == NLM_OK) status = nlm_tokenizer_create_for(gguf, controls, &r->tokenizer, err);
    if (status != NLM_OK) {
        nlm_gguf_close(gguf);
        return status;
    }
    return nlm_model_take_gguf(gguf, &r->model, err);
}
