/* Prompts of nlm-run, from where they come to token ids. */
#include "nlm-run/prompt.h"

#include <string.h>

#include "base/status.h"
#include "common/input.h"
#include "model/model.h"
#include "session/runtime.h"

/* A text that ends in a newline as files and lines do: the prompt does not. */
static void drop_newline(nlm_str *text) {
    if (text->length && text->data[text->length - 1] == '\n') text->data[--text->length] = '\0';
}

nlm_status prompt_read(const settings *set, nlm_str *out, nlm_error *err) {
    if (set->prompt) {
        nlm_str_puts(out, set->prompt);
        return out->has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt", "no memory for it") : NLM_OK;
    }
    const char *path = set->ids ? set->ids : set->prompt_file;
    NLM_TRY(nlm_read_input(path ? path : "-", out, err));
    if (set->ids) return NLM_OK;
    nlm_clean_input(out);
    drop_newline(out);
    return NLM_OK;
}

/* A text that spells BOS has it twice then. */
static void drop_second_bos(nlm_ids *ids, int32_t bos) {
    if (bos < 0 || ids->count < 2 || ids->data[0] != bos || ids->data[1] != bos) return;
    memmove(ids->data, ids->data + 1, --ids->count * sizeof *ids->data);
}

static nlm_status encode_text(const run *r, const nlm_str *prompt, bool is_first, nlm_ids *out, nlm_error *err) {
    const settings *set = r->set;
    const nlm_runtime *runtime = nlm_model_runtime(r->model);
    NLM_TRY(nlm_runtime_check_text(runtime, err));
    nlm_str text = {0};
    nlm_str_puts(&text, set->prefix ? set->prefix : "");
    nlm_text_span plain = {.from = text.length};
    nlm_str_append(&text, prompt->data, prompt->length);
    plain.to = text.length;
    nlm_str_puts(&text, set->suffix ? set->suffix : "");
    const nlm_text_spans spans = {&plain, set->has_special || plain.from == plain.to ? 0 : 1, 1};
    const uint32_t flags = NLM_ENCODE_SPECIAL | (is_first ? NLM_ENCODE_BOS : 0u);
    nlm_status status =
        text.has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt", "no memory for its text") : NLM_OK;
    if (status == NLM_OK) {
        status = nlm_tokenizer_encode_spans(runtime->tokenizer, text.data, text.length, flags, &spans, out, err);
    }
    nlm_str_release(&text);
    return status;
}

nlm_status prompt_encode(const run *r, const nlm_str *prompt, nlm_ids *out, nlm_error *err) {
    if (r->set->ids) {
        NLM_TRY(nlm_parse_ids(r->set->ids, prompt, out, err));
        if (out->count == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, r->set->ids, "there are no token ids in it");
        return NLM_OK;
    }
    size_t n_held = 0;
    nlm_session_tokens(r->session, &n_held);
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(r->model, &info, err));
    NLM_TRY(encode_text(r, prompt, n_held == 0, out, err));
    if (n_held == 0) drop_second_bos(out, info.bos);
    if (out->count > 0 || n_held > 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "prompt", "it is empty, and the model has no BOS token");
}
