/* What a schema costs where a model writes its documents: cost_grammar MODEL SCHEMA_FILE TEXTS prints a line of JSON.
 */
#include <nlm/grammar.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define PROMPT     "A record:"
#define MAX_TOKENS 200

/* A constraint with a clock around its calls. */
typedef struct timed {
    nlm_constraint inner;
    uint64_t ns, n_allows, n_masks;
} timed;

static int32_t allows(void *user, int32_t id) {
    timed *t = user;
    const uint64_t start = nlm_clock_ns();
    const int32_t is_allowed = t->inner.allows(t->inner.user, id);
    t->ns += nlm_clock_ns() - start;
    t->n_allows++;
    return is_allowed;
}

static nlm_status mask(void *user, uint32_t *bits, size_t n_words, nlm_error *error) {
    timed *t = user;
    const uint64_t start = nlm_clock_ns();
    const nlm_status status = t->inner.mask(t->inner.user, bits, n_words, error);
    t->ns += nlm_clock_ns() - start;
    t->n_masks++;
    return status;
}

static nlm_status accept(void *user, int32_t id, nlm_error *error) {
    timed *t = user;
    const uint64_t start = nlm_clock_ns();
    const nlm_status status = t->inner.accept(t->inner.user, id, error);
    t->ns += nlm_clock_ns() - start;
    return status;
}

static void need(nlm_status status, const nlm_error *err) {
    if (status == NLM_OK) return;
    fprintf(stderr, "%s: %s: %s\n", nlm_status_string(status), err->where, err->msg);
    exit(1);
}

/* Tokens of one text, and the time they took. */
static uint64_t write_text(const nlm_model *model, nlm_session *session, nlm_grammar *grammar, uint64_t seed,
                           timed *t, uint64_t *out_ns) {
    nlm_error err = NLM_ERROR_INIT;
    int32_t ids[64];
    size_t count = 0;
    nlm_grammar_state *state = NULL;
    nlm_sampler *sampler = NULL;
    const nlm_sampler_options drawn = {.struct_size = sizeof drawn, .temperature = 1.2f, .seed = seed};
    need(nlm_session_reset(session, &err), &err);
    need(nlm_encode(model, PROMPT, strlen(PROMPT), NLM_TEXT_BOS, ids, 64, &count, &err), &err);
    need(nlm_session_extend(session, ids, count, &err), &err);
    need(nlm_sampler_create(model, &drawn, &sampler, &err), &err);
    need(nlm_grammar_state_create(grammar, &state, &err), &err);
    t->inner = (nlm_constraint){.struct_size = sizeof t->inner};
    need(nlm_grammar_state_constraint(state, &t->inner, &err), &err);
    const nlm_constraint constraint = {
        .struct_size = sizeof constraint, .user = t, .allows = allows, .mask = mask, .accept = accept};
    const nlm_generate_options options = {
        .struct_size = sizeof options, .max_tokens = MAX_TOKENS, .constraint = &constraint};
    nlm_generate_result result = {.struct_size = sizeof result};
    const uint64_t start = nlm_clock_ns();
    need(nlm_session_generate(session, sampler, &options, NULL, NULL, &result, &err), &err);
    *out_ns += nlm_clock_ns() - start;
    nlm_grammar_state_destroy(state);
    nlm_sampler_destroy(sampler);
    return result.n_tokens;
}

static nlm_str read_file(const char *path) {
    nlm_str text = {0};
    char buffer[4096];
    FILE *file = fopen(path, "rb");
    for (size_t n; file && (n = fread(buffer, 1, sizeof buffer, file)) > 0;) nlm_str_append(&text, buffer, n);
    if (file) fclose(file);
    return text;
}

int main(int argc, char **argv) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_engine *engine = NULL;
    nlm_model *model = NULL;
    nlm_session *session = NULL;
    nlm_grammar *grammar = NULL;
    timed t = {0};
    uint64_t n_tokens = 0, ns = 0, first_ns = 0, first_all = 0;
    if (argc != 4) return 2;
    nlm_str schema = read_file(argv[2]);
    need(nlm_engine_create(NULL, &engine, &err), &err);
    need(nlm_model_load(engine, argv[1], NULL, &model, &err), &err);
    need(nlm_session_create(model, &session, &err), &err);
    const uint64_t start = nlm_clock_ns();
    need(nlm_grammar_create(model, NLM_GRAMMAR_JSON_SCHEMA, schema.data ? schema.data : "", schema.length, NULL,
                            &grammar, &err),
         &err);
    const uint64_t compile_ns = nlm_clock_ns() - start;
    for (uint64_t i = 0; i < strtoull(argv[3], NULL, 10); i++) {
        n_tokens += write_text(model, session, grammar, i, &t, &ns);
        if (i == 0) first_ns = t.ns;
        if (i == 0) first_all = ns;
    }
    printf("{\"tokens\": %" PRIu64
           ", \"token_ms\": %.4f, \"first_text_share\": %.5f, \"share\": %.5f, \"checks\": "
           "%" PRIu64 ", \"masks\": %" PRIu64 ", \"compile_ms\": %.3f}\n",
           n_tokens, (double)ns * 1e-6 / (double)n_tokens, (double)first_ns / (double)first_all,
           (double)t.ns / (double)ns, t.n_allows, t.n_masks, (double)compile_ns * 1e-6);
    nlm_str_release(&schema);
    nlm_grammar_destroy(grammar);
    nlm_session_destroy(session);
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
    return 0;
}
