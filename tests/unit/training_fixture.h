/* A trainer of a model file on the reference backend, and batches for it. */
#ifndef NLM_TESTS_TRAINING_FIXTURE_H
#define NLM_TESTS_TRAINING_FIXTURE_H

#include "unit/graph_fixture.h"

#include <math.h>
#include "train/trainer.h"

typedef struct training {
    fixture f;
    nlm_model *model;
    nlm_trainer *trainer;
} training;

static inline const char *model_path(const char *name, char *buffer, size_t size) {
    snprintf(buffer, size, "%s/models/%s.gguf", NLM_TEST_DATA, name);
    return buffer;
}

static inline void training_open_path(training *t, const char *path, const nlm_trainer_options *options,
                                      uint32_t threads) {
    nlm_error err = NLM_ERROR_INIT;
    fixture_open(&t->f, threads);
    expect_ok(nlm_model_open(path, &t->model, &err), &err);
    expect_ok(nlm_trainer_create(&t->f.env, t->model, options, &t->trainer, &err), &err);
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
    fixture_close(&t->f);
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

static inline double training_norm(const float *values, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

#endif
