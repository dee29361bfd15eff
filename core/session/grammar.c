/* nlm/grammar.h: the checks of its arguments in front of text/grammar.h. */
#include "text/grammar.h"

#include <string.h>

#include "session/options.h"
#include "session/runtime.h"

static const char any_object[] = "{\"type\":\"object\"}";

static nlm_status open_kind(uint32_t kind, const char *text, size_t length, nlm_language_options *options,
                            nlm_tokenizer *tokenizer, nlm_grammar **out, nlm_error *err) {
    if (kind < NLM_GRAMMAR_GBNF || kind > NLM_GRAMMAR_JSON_OBJECT) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_grammar_create", "kind %u is not known", kind);
    }
    options->language = kind == NLM_GRAMMAR_GBNF ? NLM_LANGUAGE_GBNF : NLM_LANGUAGE_JSON_SCHEMA;
    if (kind != NLM_GRAMMAR_JSON_OBJECT) return nlm_language_open(text, length, options, tokenizer, out, err);
    return nlm_language_open(any_object, strlen(any_object), options, tokenizer, out, err);
}

nlm_status nlm_grammar_create(const nlm_model *model, uint32_t kind, const char *text, size_t length,
                              const nlm_grammar_options *options, nlm_grammar **out_grammar, nlm_error *error) {
    NLM_NEEDS(out_grammar, error);
    *out_grammar = NULL;
    if (length > 0 && kind != NLM_GRAMMAR_JSON_OBJECT) NLM_NEEDS(text, error);
    nlm_grammar_options own = {0};
    NLM_TRY(nlm_take_options(&own, sizeof own, options, "nlm_grammar_options", error));
    if (own.flags & ~(uint32_t)NLM_GRAMMAR_COMPACT) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_grammar_options", "flags 0x%x are not known",
                        own.flags & ~(uint32_t)NLM_GRAMMAR_COMPACT);
    }
    if (model) NLM_TRY(nlm_runtime_check_text(nlm_model_runtime(model), error));
    nlm_language_options how = {.is_compact = (own.flags & NLM_GRAMMAR_COMPACT) != 0, .cache_bytes = own.cache_bytes};
    return open_kind(kind, text ? text : "", length, &how, model ? nlm_model_runtime(model)->tokenizer : NULL,
                     out_grammar, error);
}

void nlm_grammar_destroy(nlm_grammar *grammar) {
    nlm_language_close(grammar);
}

nlm_status nlm_grammar_state_create(nlm_grammar *grammar, nlm_grammar_state **out_state, nlm_error *error) {
    NLM_NEEDS(out_state, error);
    *out_state = NULL;
    NLM_NEEDS(grammar, error);
    return nlm_language_begin(grammar, out_state, error);
}

void nlm_grammar_state_destroy(nlm_grammar_state *state) {
    nlm_language_end(state);
}

nlm_status nlm_grammar_state_fork(const nlm_grammar_state *state, nlm_grammar_state **out_state, nlm_error *error) {
    NLM_NEEDS(out_state, error);
    *out_state = NULL;
    NLM_NEEDS(state, error);
    return nlm_language_fork(state, out_state, error);
}

nlm_status nlm_grammar_state_reset(nlm_grammar_state *state, nlm_error *error) {
    NLM_NEEDS(state, error);
    nlm_language_reset(state);
    return NLM_OK;
}

/* ---- as a constraint ------------------------------------------------------------------------- */

static int32_t allows(void *user, int32_t id) {
    return nlm_language_allows(user, id);
}

static nlm_status mask(void *user, uint32_t *bits, size_t n_words, nlm_error *error) {
    return nlm_language_mask(user, bits, n_words, error);
}

static nlm_status accept(void *user, int32_t id, nlm_error *error) {
    return nlm_language_accept(user, id, error);
}

nlm_status nlm_grammar_state_constraint(nlm_grammar_state *state, nlm_constraint *out_constraint, nlm_error *error) {
    NLM_NEEDS(state, error);
    NLM_NEEDS(out_constraint, error);
    if (!nlm_language_has_tokens(state)) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_grammar_state_constraint",
                        "the grammar was made without a model, and has no tokens");
    }
    const nlm_constraint constraint = {.user = state, .allows = allows, .mask = mask, .accept = accept};
    return nlm_give_struct(out_constraint, &constraint, sizeof constraint, "nlm_constraint", error);
}

nlm_status nlm_grammar_state_accept_text(nlm_grammar_state *state, const char *text, size_t length,
                                         size_t *out_accepted, nlm_error *error) {
    size_t count = 0;
    NLM_NEEDS(state, error);
    if (length > 0) NLM_NEEDS(text, error);
    const nlm_status status = nlm_language_read(state, text ? text : "", length, &count, error);
    if (out_accepted) *out_accepted = count;
    return status;
}

nlm_status nlm_grammar_state_describe(const nlm_grammar_state *state, nlm_grammar_state_info *out_info,
                                      nlm_error *error) {
    NLM_NEEDS(state, error);
    NLM_NEEDS(out_info, error);
    const uint32_t shortest = nlm_language_shortest(state);
    const nlm_grammar_state_info info = {
        .is_complete = shortest == 0, .is_over = nlm_language_is_over(state), .n_to_end = shortest};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_grammar_state_info", error);
}
