/* Trainings of models of tests/data/models through nlm/train.h, a batch for them, and what they are as bytes. */
#ifndef NLM_TESTS_TRAIN_API_FIXTURE_H
#define NLM_TESTS_TRAIN_API_FIXTURE_H

#include <nlm/train.h>
#include <stdbool.h>

#include "session_fixture.h"
#include "temporary.h"

#define MODEL(name) NLM_TEST_DATA "/models/" name ".gguf"
#define LLAMA       MODEL("llama-gqa-f32")
#define SIZED       .struct_size = sizeof(nlm_training_options)

static inline nlm_training *training_of(nlm_engine *engine, const nlm_training_options *options) {
    nlm_training *training = NULL;
    EXPECT_OK(nlm_training_create(engine, options, &training, error));
    return training;
}

static inline nlm_training *usual_training(nlm_engine *engine, const char *path) {
    return training_of(engine, &(nlm_training_options){SIZED, .path = path, .max_tokens = 64, .max_seqs = 4});
}

/* ---- batches: two sequences, of 20 tokens and of 9 -------------------------------------------------- */

static const uint32_t lengths[2] = {20, 9};
static int32_t ids[29];

static inline nlm_training_batch usual_batch(void) {
    for (int32_t i = 0; i < 29; i++) ids[i] = (i * 37 + 11) % 40;
    return (nlm_training_batch){
        .struct_size = sizeof(nlm_training_batch), .n_seqs = 2, .ids = ids, .lengths = lengths};
}

static inline nlm_training_metrics step(nlm_training *training, const nlm_training_batch *batch) {
    nlm_training_metrics metrics = {.struct_size = sizeof metrics};
    EXPECT_OK(nlm_training_step(training, batch, 1, &metrics, error));
    return metrics;
}

static inline nlm_training_info info_of(const nlm_training *training) {
    nlm_training_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_training_describe(training, &info, error));
    return info;
}

/* ---- what a training is, as bytes -------------------------------------------------------------------- */

typedef struct bytes {
    char *data;
    size_t length;
} bytes;

static inline bytes read_bytes(const char *path) {
    bytes b = {0};
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    b.length = (size_t)ftell(file);
    rewind(file);
    b.data = malloc(b.length);
    CU_ASSERT_EQUAL(fread(b.data, 1, b.length, file), b.length);
    fclose(file);
    return b;
}

static inline bytes exported(const nlm_training *training) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    EXPECT_OK(nlm_training_export(training, NULL, temporary_path(&t, "model.gguf"), error));
    const bytes b = read_bytes(temporary_path(&t, "model.gguf"));
    temporary_remove(&t);
    return b;
}

/* Frees both. */
static inline bool are_same(bytes a, bytes b) {
    const bool is_same = a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
    free(a.data);
    free(b.data);
    return is_same;
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

#define REFUSED(call, expected, told)                                                                     \
    do {                                                                                                  \
        nlm_error err = NLM_ERROR_INIT, *error = &err;                                                    \
        CU_ASSERT_EQUAL((call), expected);                                                                \
        const bool is_told = strstr(err.msg, told) || strstr(err.where, told);                            \
        if (!is_told) printf("\n  line %d: '%s' is not in '%s: %s'", __LINE__, told, err.where, err.msg); \
        CU_ASSERT(is_told);                                                                               \
    } while (0)

#endif
