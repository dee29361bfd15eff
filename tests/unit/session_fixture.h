/* Models of tests/data/models opened through nlm.h, on the scalar backend of the build tree. */
#ifndef NLM_TESTS_SESSION_FIXTURE_H
#define NLM_TESTS_SESSION_FIXTURE_H

#include <nlm/nlm.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* One of each family, and those whose caches work otherwise. */
static const char *const fixture_models[] = {"llama-gqa-f32", "llama-window-bf16", "llama-q4_k", "mamba-f32",
                                             "mamba-normed-f32"};
#define N_FIXTURE_MODELS (sizeof fixture_models / sizeof *fixture_models)

typedef struct fixture {
    nlm_engine *engine;
    nlm_model *model;
    int32_t n_vocab;
} fixture;

/* A call that has to succeed; if not, its sentence is printed. */
#define EXPECT_OK(call)                                                  \
    do {                                                                 \
        nlm_error expect_err_ = NLM_ERROR_INIT, *error = &expect_err_;   \
        const nlm_status expect_status_ = (call);                        \
        if (expect_status_ != NLM_OK) printf("\n  %s", expect_err_.msg); \
        CU_ASSERT_EQUAL_FATAL(expect_status_, NLM_OK);                   \
    } while (0)

static inline nlm_engine *fixture_engine(uint32_t threads) {
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .flags = NLM_ENGINE_UNBOUND,
                                        .backend = "cpu_scalar",
                                        .threads = threads,
                                        .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    nlm_engine *engine = NULL;
    EXPECT_OK(nlm_engine_create(&options, &engine, error));
    return engine;
}

/* `path` as it is if it begins with '/', else a name in tests/data/models. */
static inline fixture fixture_open(const char *path, const nlm_model_options *options, uint32_t threads) {
    fixture f = {.engine = fixture_engine(threads)};
    char full[512];
    snprintf(full, sizeof full, path[0] == '/' ? "%s" : NLM_TEST_DATA "/models/%s.gguf", path);
    EXPECT_OK(nlm_model_load(f.engine, full, options, &f.model, error));
    nlm_model_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_model_describe(f.model, &info, error));
    f.n_vocab = info.n_vocab;
    return f;
}

static inline void fixture_close(fixture *f) {
    nlm_model_unload(f->model);
    nlm_engine_destroy(f->engine);
}

static inline nlm_session *fixture_session(const fixture *f) {
    nlm_session *session = NULL;
    EXPECT_OK(nlm_session_create(f->model, &session, error));
    return session;
}

/* The i-th of n token ids that depend on `seed`. */
static inline void fixture_ids(const fixture *f, uint32_t seed, int32_t *ids, size_t n) {
    uint32_t state = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        ids[i] = (int32_t)((state >> 8) % (uint32_t)f->n_vocab);
    }
}

static inline void fixture_extend(nlm_session *session, const int32_t *ids, size_t n) {
    EXPECT_OK(nlm_session_extend(session, ids, n, error));
}

/* Are the sessions' logits the same bits? */
static inline int fixture_same_logits(nlm_session *a, nlm_session *b, int32_t n_vocab) {
    const float *x = NULL, *y = NULL;
    EXPECT_OK(nlm_session_logits(a, &x, error));
    EXPECT_OK(nlm_session_logits(b, &y, error));
    return memcmp(x, y, (size_t)n_vocab * sizeof *x) == 0;
}

static inline nlm_metrics fixture_metrics(const nlm_session *session) {
    nlm_metrics metrics = {.struct_size = sizeof metrics};
    EXPECT_OK(nlm_session_metrics(session, &metrics, error));
    return metrics;
}

#endif
