/* The model that is trained: one of a file, or a new one of the sizes that were given. */
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "nlm-train/run.h"
#include "text/tokenizer_json.h"
#include "train/sizes.h"

static int64_t given(int64_t value) {
    return value > 0 ? value : 0;
}

static nlm_status describe(const settings *s, nlm_preset *out, nlm_error *err) {
    if (s->preset) {
        const nlm_preset *preset = nlm_preset_find(s->preset);
        if (!preset)
            return nlm_fail(err, NLM_NOT_FOUND, "model.preset", "'%s' is none of nlm-bench's presets", s->preset);
        *out = *preset;
        if (s->context > 0) out->hparams.n_ctx_train = (int32_t)s->context;
        return NLM_OK;
    }
    const nlm_sizes sizes = {.architecture = s->architecture,
                             .n_embd = s->n_embd,
                             .n_layer = s->n_layer,
                             .n_head = given(s->n_head),
                             .n_head_kv = given(s->n_head_kv),
                             .n_ff = given(s->n_ff),
                             .d_state = s->d_state,
                             .d_conv = s->d_conv,
                             .dt_rank = given(s->dt_rank),
                             .n_ctx = s->context > 0 ? s->context : s->length,
                             .is_untied = !s->is_tied};
    return nlm_sizes_describe(&sizes, out, err);
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
