/* Copies of the models of tests/data/models with a wrong number in them. */
#ifndef NLM_TESTS_DAMAGED_MODEL_H
#define NLM_TESTS_DAMAGED_MODEL_H

#include <math.h>

#include "format/gguf.h"
#include "session_fixture.h"

/* Writes to `path` the model `name` whose tensor has `value` as its element `at`. */
static inline void damaged_model_write_value(const char *name, const char *tensor_name, size_t at, float value,
                                             const char *path) {
    char from[512];
    snprintf(from, sizeof from, NLM_TEST_DATA "/models/%s.gguf", name);
    nlm_gguf *gguf = NULL;
    EXPECT_OK(nlm_gguf_open(from, &gguf, error));
    const nlm_gguf_tensor *tensor = nlm_gguf_find_tensor(gguf, tensor_name);
    CU_ASSERT_FATAL(tensor && tensor->type == NLM_F32);
    const size_t size = (size_t)nlm_gguf_file_bytes(gguf), offset = (size_t)tensor->offset;
    nlm_gguf_close(gguf);
    char *data = malloc(size);
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    CU_ASSERT_FATAL(data && in && out);
    CU_ASSERT_EQUAL(fread(data, 1, size, in), size);
    memcpy(data + offset + at * sizeof value, &value, sizeof value);
    CU_ASSERT_EQUAL(fwrite(data, 1, size, out), size);
    fclose(in);
    fclose(out);
    free(data);
}

/* A NaN. */
static inline void damaged_model_write(const char *name, const char *tensor_name, size_t at, const char *path) {
    damaged_model_write_value(name, tensor_name, at, NAN, path);
}

#endif
