/* Continues a text with a model, through nlm's embedding interface.
 *
 *   cc generate.c $(pkg-config --cflags --libs nlm) -o generate
 *   ./generate model.gguf "Once upon a time" 64
 */
#include <nlm/nlm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a program holds; freed in the opposite order. */
typedef struct example {
    nlm_engine *engine;
    nlm_model *model;
    nlm_session *session;
    nlm_sampler *sampler;
    int32_t *ids;
} example;

static int32_t print_text(void *user, const char *text, size_t length) {
    (void)user;
    fwrite(text, 1, length, stdout);
    return fflush(stdout); /* nonzero ends the generation: nobody is reading */
}

static nlm_status open_all(example *e, const char *path, nlm_error *error) {
    nlm_status status = nlm_engine_create(NULL, &e->engine, error); /* the best backend, all cores */
    if (status != NLM_OK) return status;

    nlm_model_options model_options = {0};
    model_options.struct_size = (uint32_t)sizeof model_options;
    model_options.flags = NLM_MODEL_NO_PROMPT_CACHE; /* one prompt alone */
    status = nlm_model_load(e->engine, path, &model_options, &e->model, error);
    if (status != NLM_OK) return status;

    nlm_sampler_options sampler_options = {0};
    sampler_options.struct_size = (uint32_t)sizeof sampler_options;
    sampler_options.temperature = 0; /* the likeliest token; try 0.8 with top_p 0.9 and a seed */
    status = nlm_sampler_create(e->model, &sampler_options, &e->sampler, error);
    if (status != NLM_OK) return status;

    return nlm_session_create(e->model, &e->session, error);
}

/* Text to tokens: first how many there are, then the tokens. */
static nlm_status extend_with_text(example *e, const char *text, nlm_error *error) {
    size_t count = 0;
    nlm_status status = nlm_encode(e->model, text, strlen(text), NLM_TEXT_BOS, NULL, 0, &count, error);
    if (status != NLM_OK) return status;
    e->ids = calloc(count + 1, sizeof *e->ids);
    if (!e->ids) return NLM_OUT_OF_MEMORY;
    status = nlm_encode(e->model, text, strlen(text), NLM_TEXT_BOS, e->ids, count, &count, error);
    if (status != NLM_OK) return status;
    return nlm_session_extend(e->session, e->ids, count, error);
}

static nlm_status run(example *e, const char *path, const char *prompt, uint64_t max_tokens, nlm_error *error) {
    nlm_status status = open_all(e, path, error);
    if (status == NLM_OK) status = extend_with_text(e, prompt, error);
    if (status != NLM_OK) return status;

    nlm_generate_options options = {0};
    options.struct_size = (uint32_t)sizeof options;
    options.max_tokens = max_tokens;
    status = nlm_session_generate(e->session, e->sampler, &options, print_text, NULL, NULL, error);
    if (status != NLM_OK) return status;

    nlm_metrics metrics = {0};
    metrics.struct_size = (uint32_t)sizeof metrics;
    status = nlm_session_metrics(e->session, &metrics, error);
    if (status != NLM_OK) return status;
    fprintf(stderr, "%s device %d: prompt %.1f tokens/s, text %.1f tokens/s\n", metrics.backend,
            (int)metrics.device_id, metrics.prompt_tokens_per_second, metrics.decode_tokens_per_second);
    return NLM_OK;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT TOKENS\n", argv[0]);
        return 2;
    }
    /* Compiled against one nlm.h, run with another library: the same major version, and at least the minor. */
    const uint32_t version = nlm_api_version();
    if (version >> 16 != NLM_API_MAJOR || version < ((uint32_t)NLM_API_MAJOR << 16 | NLM_API_MINOR)) {
        fprintf(stderr, "libnlm %s is too old or too new for this program\n", nlm_version());
        return 1;
    }
    example e = {0};
    nlm_error error = NLM_ERROR_INIT;
    const nlm_status status = run(&e, argv[1], argv[2], strtoull(argv[3], NULL, 10), &error);
    if (status != NLM_OK) fprintf(stderr, "%s: %s (%s)\n", error.where, error.msg, nlm_status_string(status));
    free(e.ids);
    nlm_session_destroy(e.session);
    nlm_sampler_destroy(e.sampler);
    nlm_model_unload(e.model);
    nlm_engine_destroy(e.engine);
    return status == NLM_OK ? 0 : 1;
}
