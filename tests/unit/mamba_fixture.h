/* Mambas of each level on the reference backend, and numbers for them. */
#ifndef NLM_TESTS_MAMBA_FIXTURE_H
#define NLM_TESTS_MAMBA_FIXTURE_H

#include <math.h>
#include <nlm/mamba.h>
#include <stdbool.h>

#include "base/philox.h"
#include "session_fixture.h"

enum { M_TOKENS = 24, M_SEQS = 3, M_MODEL = 6, M_LEVELS = 3 };

/* Channels that fill no whole tile; a convolution longer than the shortest sequences. */
static inline nlm_mamba_options mamba_options(int32_t level) {
    const bool is_backbone = level == NLM_MAMBA_BACKBONE;
    return (nlm_mamba_options){.struct_size = sizeof(nlm_mamba_options),
                               .flags = NLM_MAMBA_STATE_GRADIENTS,
                               .level = level,
                               .d_model = M_MODEL,
                               .input_dim = is_backbone ? 5 : 0,
                               .n_layer = is_backbone ? 2 : 0,
                               .d_inner = 20,
                               .d_state = 3,
                               .dt_rank = 2,
                               .max_tokens = M_TOKENS,
                               .max_seqs = M_SEQS,
                               .seed = 7,
                               .weight_decay = 0.1f};
}

typedef struct mamba {
    nlm_engine *engine;
    nlm_mamba *m;
    nlm_mamba_info info;
} mamba;

static inline mamba mamba_open_with(const nlm_mamba_options *options, uint32_t threads) {
    mamba f = {.engine = fixture_engine(threads), .info = {.struct_size = sizeof f.info}};
    EXPECT_OK(nlm_mamba_create(f.engine, options, &f.m, error));
    EXPECT_OK(nlm_mamba_describe(f.m, &f.info, error));
    return f;
}

static inline mamba mamba_open(int32_t level) {
    const nlm_mamba_options options = mamba_options(level);
    return mamba_open_with(&options, 2);
}

static inline void mamba_close(mamba *f) {
    nlm_mamba_destroy(f->m);
    nlm_engine_destroy(f->engine);
}

/* `count` numbers between -1 and 1; from malloc. */
static inline float *numbers(uint64_t seed, size_t count) {
    float *list = malloc(count * sizeof *list);
    for (size_t i = 0; i < count; i++) list[i] = (float)(2 * nlm_philox_uniform(seed, i) - 1);
    return list;
}

static inline nlm_mamba_parameter mamba_parameter(const mamba *f, uint32_t index) {
    nlm_mamba_parameter p = {.struct_size = sizeof p};
    EXPECT_OK(nlm_mamba_parameter_at(f->m, index, &p, error));
    return p;
}

/* Vectors about their initial values, matrices that keep the size of what they multiply: all parts matter. */
static inline void mamba_stir(mamba *f) {
    for (uint32_t i = 0; i < f->info.n_parameters; i++) {
        const nlm_mamba_parameter p = mamba_parameter(f, i);
        const bool is_matrix = p.rank == 2 && !strstr(p.name, "A_log");
        float *values = malloc(p.n_elements * sizeof *values), *moves = numbers(100 + i, p.n_elements);
        EXPECT_OK(nlm_mamba_read(f->m, p.name, values, p.n_elements, error));
        for (uint64_t j = 0; j < p.n_elements; j++) {
            const float size = is_matrix ? 2 / sqrtf((float)p.shape[1]) : 0.2f;
            values[j] = (is_matrix ? 0 : values[j]) + size * moves[j];
        }
        EXPECT_OK(nlm_mamba_write(f->m, p.name, values, p.n_elements, error));
        free(values);
        free(moves);
    }
}

static inline void mamba_forward(mamba *f, const float *x, const uint32_t *lengths, uint32_t n, uint32_t flags,
                                 float *y) {
    const nlm_mamba_batch batch = {
        .struct_size = sizeof batch, .flags = flags, .x = x, .lengths = lengths, .n_seqs = n};
    EXPECT_OK(nlm_mamba_forward(f->m, &batch, y, error));
}

/* All gradients one after the other; from malloc. */
static inline float *mamba_gradients(const mamba *f) {
    float *list = malloc(f->info.n_elements * sizeof *list), *at = list;
    for (uint32_t i = 0; i < f->info.n_parameters; i++) {
        const nlm_mamba_parameter p = mamba_parameter(f, i);
        EXPECT_OK(nlm_mamba_read_gradient(f->m, p.name, at, p.n_elements, error));
        at += p.n_elements;
    }
    return list;
}

/* Of `found` from `expected`, as a share of the norm of the latter. */
static inline double distance(const float *found, const float *expected, size_t count) {
    double off = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        const double by = (double)found[i] - (double)expected[i];
        off += by * by;
        size += (double)expected[i] * (double)expected[i];
    }
    return sqrt(off / size);
}

#endif
