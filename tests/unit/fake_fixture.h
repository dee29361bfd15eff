/* Engines on the fake stream device of tests/fakes, and what it and the host said. */
#ifndef NLM_TESTS_FAKE_FIXTURE_H
#define NLM_TESTS_FAKE_FIXTURE_H

#include "unit/session_fixture.h"

#include <stdbool.h>

#define FAKE_REGISTRY NLM_TEST_FAKES "/plugins.toml"

/* What was logged since the last fake_listen. */
typedef struct fake_heard {
    int n_errors; /* of them what the host left on the device */
    int n_warnings;
    bool had_fault;    /* the device failed as it was told */
    char warning[512]; /* the first */
} fake_heard;

static fake_heard fake_said;

static inline void fake_hear(void *user, int32_t level, const char *message) {
    (void)user;
    if (level == 0) {
        printf("\n  %s", message);
        fake_said.n_errors++;
    }
    if (level == 1 && fake_said.n_warnings++ == 0) {
        snprintf(fake_said.warning, sizeof fake_said.warning, "%s", message);
    }
    if (strstr(message, "fault: ")) fake_said.had_fault = true;
}

static inline void fake_listen(void) {
    memset(&fake_said, 0, sizeof fake_said);
    nlm_set_log(fake_hear, NULL, 2);
}

/* options: key, value, ..., NULL, of the device; or NULL. */
static inline nlm_engine_options fake_options(const char *backend, const char *const *options) {
    return (nlm_engine_options){.struct_size = sizeof(nlm_engine_options),
                                .flags = NLM_ENGINE_UNBOUND,
                                .backend = backend,
                                .threads = 2,
                                .registry = FAKE_REGISTRY,
                                .backend_options = options};
}

static inline fixture fake_open(const char *model, const nlm_model_options *model_options, const char *backend,
                                const char *const *options) {
    fixture f = {0};
    char path[512];
    const nlm_engine_options engine_options = fake_options(backend, options);
    EXPECT_OK(nlm_engine_create(&engine_options, &f.engine, error));
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.gguf", model);
    EXPECT_OK(nlm_model_load(f.engine, path, model_options, &f.model, error));
    nlm_model_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_model_describe(f.model, &info, error));
    f.n_vocab = info.n_vocab;
    return f;
}

#endif
