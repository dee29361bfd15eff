/* A trainer of a model file, and batches for it. */
#ifndef NLM_TESTS_TRAINING_FIXTURE_H
#define NLM_TESTS_TRAINING_FIXTURE_H

#include "unit/graph_fixture.h"

#include <math.h>
#include "base/log.h"
#include "train/trainer.h"

/* Several may be open at once: each has plugins of its own. */
typedef struct training {
    nlm_plugins *plugins;
    nlm_env env;
    nlm_model *model;
    nlm_trainer *trainer;
} training;

static inline const char *model_path(const char *name, char *buffer, size_t size) {
    snprintf(buffer, size, "%s/models/%s.gguf", NLM_TEST_DATA, name);
    return buffer;
}

/* One backend, with nothing to step in for what it lacks, instead of all that this machine can run. */
static inline const char *training_only(void) {
    return getenv("NLM_TEST_BACKEND");
}

/* Of small models. */
static inline nlm_trainer_options training_usual(void) {
    return (nlm_trainer_options){
        .shape = {.rows = 2, .length = 32, .max_seqs = 6},
        .parameters = {.dtype = NLM_F32},
        .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
        .clip_norm = 1,
        .schedule = {.kind = NLM_SCHEDULE_COSINE, .rate = 3e-3, .steps = 40, .warmup = 3},
    };
}

/* The backends that this machine can run. */
typedef struct training_backends {
    char names[8][32];
    uint32_t count;
} training_backends;

static inline void training_list(training_backends *out) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_plugins *plugins = NULL;
    const nlm_plugins_options options = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    *out = (training_backends){.count = 0};
    nlm_log_set_level(NLM_LOG_ERROR); /* ops that a backend leaves to the reference are no news here */
    expect_ok(nlm_plugins_create(&options, &plugins, &err), &err);
    for (size_t i = 0; i < nlm_plugins_count(plugins) && out->count < 8; i++) {
        const nlm_plugin_entry *entry = nlm_plugins_at(plugins, i);
        if (training_only() && strcmp(training_only(), entry->name) != 0) continue;
        if (entry->state == NLM_ENTRY_READY) snprintf(out->names[out->count++], 32, "%s", entry->name);
    }
    nlm_plugins_destroy(plugins);
    CU_ASSERT_TRUE_FATAL(out->count > 0);
}

/* A backend, with the reference for what it lacks. */
static inline void training_open_on(training *t, const char *backend, const char *path,
                                    const nlm_trainer_options *options, uint32_t threads) {
    nlm_error err = NLM_ERROR_INIT;
    const nlm_plugins_options plugins = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    const nlm_pool_options pool = {.threads = threads, .is_unbound = true};
    const bool is_alone = training_only() || strcmp(backend, "cpu_scalar") == 0;
    const bool is_split = getenv("NLM_TEST_SPLIT") != NULL; /* the layers over two devices of the backend */
    *t = (training){.env = {.n_devices = is_alone && !is_split ? 1 : 2, .n_split = is_split ? 2 : 0}};
    expect_ok(nlm_plugins_create(&plugins, &t->plugins, &err), &err);
    expect_ok(nlm_plugins_open(t->plugins, backend, 0, NULL, &t->env.devices[0], &err), &err);
    if (t->env.n_devices == 2) {
        const char *second = is_split ? backend : "cpu_scalar";
        expect_ok(nlm_plugins_open(t->plugins, second, is_split, NULL, &t->env.devices[1], &err), &err);
    }
    expect_ok(nlm_pool_create(&pool, &t->env.pool, &err), &err);
    expect_ok(nlm_activations_create(&t->env.activations, &err), &err);
    expect_ok(nlm_model_open(path, &t->model, &err), &err);
    expect_ok(nlm_trainer_create(&t->env, t->model, options, &t->trainer, &err), &err);
}

static inline void training_open_path(training *t, const char *path, const nlm_trainer_options *options,
                                      uint32_t threads) {
    training_open_on(t, "cpu_scalar", path, options, threads);
}

/* A model of tests/data/models. */
static inline void training_open(training *t, const char *name, const nlm_trainer_options *options,
                                 uint32_t threads) {
    char path[512];
    training_open_path(t, model_path(name, path, sizeof path), options, threads);
}

static inline void training_close(training *t) {
    nlm_trainer_destroy(t->trainer);
    nlm_model_close(t->model);
    nlm_activations_destroy(t->env.activations);
    nlm_pool_destroy(t->env.pool);
    for (uint32_t d = 0; d < t->env.n_devices; d++) nlm_device_close(t->env.devices[d]);
    nlm_plugins_destroy(t->plugins);
}

static inline uint32_t training_count(const training *t) {
    return nlm_parameters_count(nlm_trainer_parameters(t->trainer));
}

static inline nlm_trained *training_at(const training *t, uint32_t index) {
    return nlm_parameters_at(nlm_trainer_parameters(t->trainer), index);
}

/* Values of parameter `index`, of one of NLM_TRAINER_KINDS; from malloc. */
static inline float *training_values(const training *t, uint32_t index, int kind) {
    nlm_error err = NLM_ERROR_INIT;
    float *values = malloc(nlm_trained_elements(training_at(t, index)) * sizeof *values);
    expect_ok(nlm_trainer_read(t->trainer, index, kind, values, &err), &err);
    return values;
}

/* Its gradient; from malloc. */
static inline float *training_gradient(const training *t, uint32_t index) {
    nlm_error err = NLM_ERROR_INIT;
    const nlm_state *gradient = &training_at(t, index)->parameter.gradient;
    float *values = malloc(gradient->bytes);
    expect_ok(nlm_state_read(gradient, 0, values, gradient->bytes, &err), &err);
    return values;
}

/* ---- batches --------------------------------------------------------------------------------- */

enum { TRAINING_TOKENS = 64, TRAINING_SEQS = 8 };

typedef struct training_batch {
    nlm_train_batch batch;
    int32_t ids[TRAINING_TOKENS], labels[TRAINING_TOKENS], pos[TRAINING_TOKENS], starts[TRAINING_SEQS + 1];
} training_batch;

/* Adds a sequence of random tokens, whose labels are what follows; the last has none, nor one here and there. */
static inline void training_add(training_batch *b, fixture *f, int32_t n_vocab, int32_t length) {
    nlm_train_batch *batch = &b->batch;
    const int32_t first = batch->n_tokens;
    CU_ASSERT_FATAL(first + length <= TRAINING_TOKENS && batch->n_seqs < TRAINING_SEQS);
    for (int32_t i = 0; i < length; i++) {
        b->ids[first + i] = (int32_t)fixture_random(f, (uint32_t)n_vocab);
        b->labels[first + i] = -1;
        b->pos[first + i] = i;
        if (i > 0 && (first + i) % 7 != 3) b->labels[first + i - 1] = b->ids[first + i];
        batch->n_counted += i > 0 && (first + i) % 7 != 3;
    }
    batch->n_tokens = first + length;
    b->starts[++batch->n_seqs] = batch->n_tokens;
    *batch = (nlm_train_batch){.ids = b->ids,
                               .labels = b->labels,
                               .pos = b->pos,
                               .seq_start = b->starts,
                               .n_tokens = batch->n_tokens,
                               .n_seqs = batch->n_seqs,
                               .n_counted = batch->n_counted};
}

/* Three sequences of this model; the same for the same seed. */
static inline void training_make(training_batch *b, const training *t, uint64_t seed) {
    fixture f = {.random = seed * 0x9e3779b97f4a7c15u + 1};
    const int32_t n_vocab = nlm_model_hparams(t->model)->n_vocab;
    memset(b, 0, sizeof *b);
    for (int s = 0; s < 3; s++) training_add(b, &f, n_vocab, (const int32_t[]){12, 1, 15}[s]);
}

/* Steps, each with a batch of its own; the last one's loss. */
static inline double training_steps(training *t, uint64_t first, uint64_t count) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_trainer_metrics metrics = {0};
    for (uint64_t i = first; i < first + count; i++) {
        training_batch b;
        training_make(&b, t, i);
        expect_ok(nlm_trainer_step(t->trainer, &b.batch, 1, &metrics, &err), &err);
    }
    return metrics.loss;
}

/* ---- comparing ----------------------------------------------------------------------------------- */

/* Parameters and moments, bit for bit. */
static inline bool training_is_same(const training *a, const training *b) {
    bool is_same = training_count(a) == training_count(b);
    for (uint32_t i = 0; is_same && i < training_count(a); i++) {
        for (int kind = 0; kind < NLM_TRAINER_KINDS; kind++) {
            float *x = training_values(a, i, kind), *y = training_values(b, i, kind);
            is_same = is_same && memcmp(x, y, nlm_trained_elements(training_at(a, i)) * sizeof *x) == 0;
            free(x);
            free(y);
        }
    }
    return is_same;
}

static inline double training_norm(const float *values, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

#endif
