/* Shows what a model would say next, token by token: how likely each was, and what else it might have been.
 *
 *   cc tokens.c -lm $(pkg-config --cflags --libs nlm) -o tokens
 *   ./tokens model.gguf "Once upon a time" 8
 *
 * Then the whole text once more, from the ids alone, as another program would that was sent them. */
#include <math.h>
#include <nlm/nlm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token in quotes; its text may be a part of a character, or a line break. */
static void print_token(const char *text, size_t length) {
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        if (byte < ' ' || byte >= 0x7f || byte == '"' || byte == '\\') {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
    putchar('"');
}

static int32_t show(void *user, const nlm_generated *token) {
    const nlm_model *model = user;
    print_token(token->text, token->length);
    printf(" %.1f%%:", 100 * exp((double)token->logprob));
    for (uint32_t i = 0; i < token->n_top; i++) {
        const char *text;
        size_t length;
        if (nlm_token_text(model, token->top[i].id, NLM_TEXT_SPECIAL, &text, &length, NULL) != NLM_OK) return 1;
        putchar(' ');
        print_token(text, length);
        printf(" %.1f%%", 100 * exp((double)token->top[i].logprob));
    }
    printf("%s\n", token->is_end ? " (the end)" : "");
    return 0;
}

/* The text of ids that come one by one: whole characters, as soon as they are there. */
static nlm_status print_ids(const nlm_model *model, const int32_t *ids, size_t count, nlm_error *error) {
    nlm_detokenizer *detokenizer = NULL;
    const char *text;
    size_t length;
    nlm_status status = nlm_detokenizer_create(model, 0, &detokenizer, error);
    for (size_t i = 0; i < count && status == NLM_OK; i++) {
        status = nlm_detokenizer_add(detokenizer, ids[i], &text, &length, error);
        if (status == NLM_OK) fwrite(text, 1, length, stdout);
    }
    if (status == NLM_OK) status = nlm_detokenizer_end(detokenizer, &text, &length, error);
    if (status == NLM_OK) fwrite(text, 1, length, stdout);
    nlm_detokenizer_destroy(detokenizer);
    return status;
}

/* ids: room for as many as the prompt has bytes, and a few more. */
static nlm_status run(nlm_model *model, nlm_session *session, const char *prompt, uint64_t max_tokens, int32_t *ids,
                      nlm_error *error) {
    size_t count = 0;
    nlm_status status =
        nlm_encode(model, prompt, strlen(prompt), NLM_TEXT_BOS, ids, strlen(prompt) + 8, &count, error);
    if (status == NLM_OK) status = nlm_session_extend(session, ids, count, error);
    if (status != NLM_OK) return status;

    nlm_generate_options options = {0};
    options.struct_size = (uint32_t)sizeof options;
    options.max_tokens = max_tokens;
    options.on_token = show;
    options.token_user = model;
    options.n_top = 3;
    status = nlm_session_generate(session, NULL, &options, NULL, NULL, NULL, error);
    if (status != NLM_OK) return status;
    const int32_t *held = nlm_session_tokens(session, &count);
    return print_ids(model, held, count, error);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT TOKENS\n", argv[0]);
        return 2;
    }
    nlm_engine *engine = NULL;
    nlm_model *model = NULL;
    nlm_session *session = NULL;
    nlm_error error = NLM_ERROR_INIT;
    int32_t *ids = calloc(strlen(argv[2]) + 8, sizeof *ids);
    nlm_status status = ids ? nlm_engine_create(NULL, &engine, &error) : NLM_OUT_OF_MEMORY;
    if (status == NLM_OK) status = nlm_model_load(engine, argv[1], NULL, &model, &error);
    if (status == NLM_OK) status = nlm_session_create(model, &session, &error);
    if (status == NLM_OK) status = run(model, session, argv[2], strtoull(argv[3], NULL, 10), ids, &error);
    if (status != NLM_OK) fprintf(stderr, "%s: %s (%s)\n", error.where, error.msg, nlm_status_string(status));
    nlm_session_destroy(session);
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
    free(ids);
    return status == NLM_OK ? 0 : 1;
}
