/* Text of ids that come one by one. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/runtime.h"

struct nlm_detokenizer {
    nlm_tokenizer *tokenizer; /* held: the model may go */
    bool with_special;
    bool owes_space; /* as nlm_tokenizer_decode_next keeps it */
    nlm_str text;
    size_t n_given; /* bytes at the front of it that the latest call gave out */
};

nlm_status nlm_detokenizer_create(const nlm_model *model, uint32_t flags, nlm_detokenizer **out_detokenizer,
                                  nlm_error *error) {
    NLM_NEEDS(out_detokenizer, error);
    *out_detokenizer = NULL;
    NLM_NEEDS(model, error);
    const nlm_runtime *runtime = nlm_model_runtime(model);
    if (flags & ~(uint32_t)NLM_TEXT_SPECIAL) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_detokenizer_create", "flags 0x%x are not known",
                        flags & ~(uint32_t)NLM_TEXT_SPECIAL);
    }
    NLM_TRY(nlm_runtime_check_text(runtime, error));
    nlm_detokenizer *d = calloc(1, sizeof *d);
    if (!d) return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_detokenizer_create", "no memory for a detokenizer");
    d->tokenizer = nlm_tokenizer_retain(runtime->tokenizer);
    d->with_special = (flags & NLM_TEXT_SPECIAL) != 0;
    d->owes_space = nlm_tokenizer_adds_space(d->tokenizer);
    *out_detokenizer = d;
    return NLM_OK;
}

void nlm_detokenizer_destroy(nlm_detokenizer *detokenizer) {
    if (!detokenizer) return;
    nlm_tokenizer_destroy(detokenizer->tokenizer);
    nlm_str_release(&detokenizer->text);
    free(detokenizer);
}

static void drop_given(nlm_detokenizer *d) {
    if (d->n_given == 0) return;
    d->text.length -= d->n_given;
    memmove(d->text.data, d->text.data + d->n_given, d->text.length);
    d->n_given = 0;
}

static void give(nlm_detokenizer *d, size_t length, const char **out_text, size_t *out_length) {
    d->n_given = length;
    *out_text = d->text.data ? d->text.data : "";
    *out_length = length;
}

nlm_status nlm_detokenizer_add(nlm_detokenizer *detokenizer, int32_t id, const char **out_text, size_t *out_length,
                               nlm_error *error) {
    NLM_NEEDS(detokenizer, error);
    NLM_NEEDS(out_text, error);
    NLM_NEEDS(out_length, error);
    nlm_detokenizer *d = detokenizer;
    drop_given(d);
    const nlm_status status =
        nlm_tokenizer_decode_next(d->tokenizer, id, d->with_special, &d->owes_space, &d->text, error);
    d->text.has_failed = false; /* the text is as it was, and may be tried again */
    if (status != NLM_OK) return status;
    give(d, d->text.length ? nlm_utf8_complete(d->text.data, d->text.length) : 0, out_text, out_length);
    return NLM_OK;
}

nlm_status nlm_detokenizer_end(nlm_detokenizer *detokenizer, const char **out_text, size_t *out_length,
                               nlm_error *error) {
    NLM_NEEDS(detokenizer, error);
    NLM_NEEDS(out_text, error);
    NLM_NEEDS(out_length, error);
    drop_given(detokenizer);
    detokenizer->owes_space = nlm_tokenizer_adds_space(detokenizer->tokenizer);
    give(detokenizer, detokenizer->text.length, out_text, out_length);
    return NLM_OK;
}
