/* Windows, packed sequences, steps, threads, files and mistakes of nlm/mamba.h. */
#include "mamba_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "temporary.h"

/* Allocations since the program's start. The linker sends the library's calls here (--wrap). */
static atomic_int allocations;
#define WRAP(result, name, parameters, arguments) \
    result __real_##name parameters;              \
    result __wrap_##name parameters;              \
    result __wrap_##name parameters {             \
        atomic_fetch_add(&allocations, 1);        \
        return __real_##name arguments;           \
    }
WRAP(void *, malloc, (size_t bytes), (bytes))
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(void *, realloc, (void *memory, size_t bytes), (memory, bytes))
WRAP(void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(void *, mmap, (void *address, size_t bytes, int protection, int flags, int file, off_t offset),
     (address, bytes, protection, flags, file, offset))

enum { LONG = 17, CUT = 9, WIDTH = M_MODEL };

static bool is_same(const float *a, const float *b, size_t count) {
    return memcmp(a, b, count * sizeof *a) == 0;
}

/* Two windows of one sequence, y as of one window of both; whether the first one's y is looked at or not. */
static void a_window_goes_on_where_the_last_one_ended(void) {
    for (int32_t level = 0; level < M_LEVELS; level++) {
        mamba f = mamba_open(level), other = mamba_open(level);
        mamba_stir(&f);
        mamba_stir(&other);
        const size_t input = f.info.input_dim, rest = LONG - CUT;
        float *x = numbers(1, LONG * input), *dy = numbers(2, rest * WIDTH), *begin = numbers(9, f.info.state_size);
        float whole[LONG * WIDTH], parts[LONG * WIDTH], dx[2][LONG * WIDTH];
        mamba_forward(&f, x, (const uint32_t[]){LONG}, 1, 0, whole);
        mamba_forward(&f, x, (const uint32_t[]){CUT}, 1, 0, parts);
        EXPECT_OK(nlm_mamba_get_state(f.m, 0, begin, error));
        mamba_forward(&f, x + CUT * input, (const uint32_t[]){LONG - CUT}, 1, NLM_MAMBA_CARRY, parts + CUT * WIDTH);
        CU_ASSERT_TRUE(is_same(whole, parts, LONG * WIDTH));
        EXPECT_OK(nlm_mamba_backward(f.m, dy, dx[0], NULL, error));

        /* its gradients know nothing of the first window */
        EXPECT_OK(nlm_mamba_set_state(other.m, 0, begin, error));
        mamba_forward(&other, x + CUT * input, (const uint32_t[]){LONG - CUT}, 1, NLM_MAMBA_CARRY, parts);
        EXPECT_OK(nlm_mamba_backward(other.m, dy, dx[1], NULL, error));
        float *gradients[2] = {mamba_gradients(&f), mamba_gradients(&other)};
        CU_ASSERT_TRUE(is_same(gradients[0], gradients[1], f.info.n_elements));
        CU_ASSERT_TRUE(is_same(dx[0], dx[1], rest * input));

        mamba_forward(&f, x, (const uint32_t[]){CUT}, 1, 0, NULL); /* burn-in */
        mamba_forward(&f, x + CUT * input, (const uint32_t[]){LONG - CUT}, 1, NLM_MAMBA_CARRY, parts);
        CU_ASSERT_TRUE(is_same(whole + CUT * WIDTH, parts, rest * WIDTH));
        mamba_forward(&f, x + CUT * input, (const uint32_t[]){LONG - CUT}, 1, 0, parts);
        CU_ASSERT_FALSE(is_same(whole + CUT * WIDTH, parts, rest * WIDTH));
        free(gradients[0]);
        free(gradients[1]);
        free(x);
        free(dy);
        free(begin);
        mamba_close(&f);
        mamba_close(&other);
    }
}

static void packed_sequences_are_what_each_is_alone(void) {
    static const uint32_t lengths[M_SEQS] = {7, 0, 12};
    for (int32_t level = 0; level < M_LEVELS; level++) {
        mamba f = mamba_open(level);
        mamba_stir(&f);
        const size_t input = f.info.input_dim;
        float *x = numbers(1, M_TOKENS * input), *dy = numbers(2, (size_t)M_TOKENS * WIDTH), y[M_TOKENS * WIDTH],
              dx[M_TOKENS * WIDTH], y_alone[M_TOKENS * WIDTH], dx_alone[M_TOKENS * WIDTH];
        mamba_forward(&f, x, lengths, M_SEQS, 0, y);
        EXPECT_OK(nlm_mamba_backward(f.m, dy, dx, NULL, error));
        for (uint32_t s = 0, from = 0; s < M_SEQS; from += lengths[s++]) {
            if (lengths[s] == 0) continue;
            mamba_forward(&f, x + from * input, &lengths[s], 1, 0, y_alone);
            EXPECT_OK(nlm_mamba_backward(f.m, dy + from * WIDTH, dx_alone, NULL, error));
            CU_ASSERT_TRUE(is_same(y_alone, y + from * WIDTH, lengths[s] * WIDTH));
            CU_ASSERT_TRUE(is_same(dx_alone, dx + from * input, lengths[s] * input));
        }
        free(x);
        free(dy);
        mamba_close(&f);
    }
}

/* Steps between a forward and its backward leave it alone. */
static void steps_give_what_forward_gives(void) {
    for (int32_t level = 0; level < M_LEVELS; level++) {
        mamba f = mamba_open(level);
        mamba_stir(&f);
        const size_t input = f.info.input_dim;
        float *x = numbers(1, M_TOKENS * input), *dy = numbers(2, (size_t)M_TOKENS * WIDTH), dx[2][M_TOKENS * WIDTH],
              y[M_TOKENS * WIDTH], stepped[M_TOKENS * WIDTH];
        mamba_forward(&f, x, (const uint32_t[]){LONG}, 1, 0, y);
        EXPECT_OK(nlm_mamba_backward(f.m, dy, dx[0], NULL, error));
        mamba_forward(&f, x, (const uint32_t[]){LONG}, 1, 0, y);
        static const uint32_t slots[2] = {2, 0};
        EXPECT_OK(nlm_mamba_set_state(f.m, 0, NULL, error));
        EXPECT_OK(nlm_mamba_set_state(f.m, 2, NULL, error));
        for (int t = 0; t < LONG; t++) { /* beside another sequence */
            float both[2 * WIDTH], rows[2 * WIDTH];
            memcpy(rows, x + (size_t)(LONG - 1 - t) * input, input * sizeof *rows);
            memcpy(rows + input, x + (size_t)t * input, input * sizeof *rows);
            EXPECT_OK(nlm_mamba_step(f.m, rows, slots, 2, both, error));
            memcpy(stepped + t * WIDTH, both + WIDTH, WIDTH * sizeof *both);
        }
        CU_ASSERT_TRUE(distance(stepped, y, LONG * WIDTH) < 1e-5);
        EXPECT_OK(nlm_mamba_backward(f.m, dy, dx[1], NULL, error));
        CU_ASSERT_TRUE(is_same(dx[0], dx[1], LONG * input));
        free(x);
        free(dy);
        mamba_close(&f);
    }
}

/* One step of training on the numbers of `seed`. */
static void train(mamba *f, uint64_t seed) {
    static const uint32_t lengths[2] = {10, 12};
    float *x = numbers(seed, 22 * f->info.input_dim), y[22 * WIDTH];
    double norm = 0;
    mamba_forward(f, x, lengths, 2, seed % 2 ? NLM_MAMBA_CARRY : 0, y);
    for (int i = 0; i < 22 * WIDTH; i++) y[i] -= 0.3f; /* half of a squared distance */
    EXPECT_OK(nlm_mamba_backward(f->m, y, NULL, NULL, error));
    EXPECT_OK(nlm_mamba_update(f->m, 1e-2, 1.0 / 22, 0.5, &norm, error));
    CU_ASSERT_TRUE(norm > 0);
    free(x);
}

static float *all_values(const mamba *f) {
    float *list = malloc(f->info.n_elements * sizeof *list), *at = list;
    for (uint32_t i = 0; i < f->info.n_parameters; i++) {
        const nlm_mamba_parameter p = mamba_parameter(f, i);
        EXPECT_OK(nlm_mamba_read(f->m, p.name, at, p.n_elements, error));
        at += p.n_elements;
    }
    return list;
}

static void training_does_not_depend_on_the_threads(void) {
    float *values[3], *begin = NULL;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        const nlm_mamba_options options = mamba_options(NLM_MAMBA_BACKBONE);
        mamba f = mamba_open_with(&options, threads);
        if (!begin) begin = all_values(&f);
        for (uint64_t step = 0; step < 6; step++) train(&f, step);
        values[threads - 1] = all_values(&f);
        CU_ASSERT_TRUE(is_same(values[0], values[threads - 1], f.info.n_elements));
        CU_ASSERT_TRUE(distance(values[0], begin, f.info.n_elements) > 1e-3);
        mamba_close(&f);
    }
    for (int i = 0; i < 3; i++) free(values[i]);
    free(begin);
}

static void calls_allocate_nothing(void) {
    mamba f = mamba_open(NLM_MAMBA_BACKBONE);
    const uint32_t lengths[2] = {10, 12};
    float x[M_TOKENS * 5] = {0.5f}, y[M_TOKENS * WIDTH], dx[M_TOKENS * 5];
    float *states = malloc(2 * f.info.state_size * sizeof *states);
    for (int pass = 0; pass < 3; pass++) {
        const int before = atomic_load(&allocations);
        mamba_forward(&f, x, lengths, 2, pass ? NLM_MAMBA_CARRY : 0, y);
        EXPECT_OK(nlm_mamba_step(f.m, x, NULL, 1, y, error));
        EXPECT_OK(nlm_mamba_backward(f.m, y, dx, states, error));
        EXPECT_OK(nlm_mamba_update(f.m, 1e-3, 1, 1, NULL, error));
        EXPECT_OK(nlm_mamba_step(f.m, x, NULL, 3, y, error));
        CU_ASSERT_EQUAL(atomic_load(&allocations), before);
    }
    CU_ASSERT_TRUE(atomic_load(&allocations) > 50); /* they are counted */
    free(states);
    mamba_close(&f);
}

static void a_saved_one_goes_on_bit_for_bit(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "mamba.safetensors");
    mamba f = mamba_open(NLM_MAMBA_BACKBONE), g = mamba_open(NLM_MAMBA_BACKBONE), block = mamba_open(NLM_MAMBA_BLOCK);
    for (uint64_t step = 0; step < 3; step++) train(&f, step);
    EXPECT_OK(nlm_mamba_save(f.m, path, NLM_MAMBA_WITH_OPTIMIZER, error));
    train(&g, 40);
    EXPECT_OK(nlm_mamba_load(g.m, path, NLM_MAMBA_WITH_OPTIMIZER, error));
    for (uint64_t step = 4; step < 8; step += 2) { /* none that carries: states are not saved */
        train(&f, step);
        train(&g, step);
    }
    float *values[3] = {all_values(&f), all_values(&g), all_values(&block)};
    CU_ASSERT_TRUE(is_same(values[0], values[1], f.info.n_elements));

    nlm_error error = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_mamba_load(block.m, path, 0, &error), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.msg, "'norm.weight'"));
    float *after = all_values(&block);
    CU_ASSERT_TRUE(is_same(after, values[2], block.info.n_elements));
    free(after);
    EXPECT_OK(nlm_mamba_save(block.m, path, 0, error));
    EXPECT_OK(nlm_mamba_load(block.m, path, 0, error));
    CU_ASSERT_EQUAL(nlm_mamba_load(block.m, path, NLM_MAMBA_WITH_OPTIMIZER, &error), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.msg, "adamw_m."));
    for (int i = 0; i < 3; i++) free(values[i]);
    mamba_close(&f);
    mamba_close(&g);
    mamba_close(&block);
    temporary_remove(&t);
}

static void names_and_shapes_are_those_of_published_ones(void) {
    static const struct {
        int32_t level;
        const char *name;
        int64_t shape[3];
    } expected[] = {
        {NLM_MAMBA_MIXER, "in_proj.weight", {40, 6, 1}},
        {NLM_MAMBA_MIXER, "conv1d.weight", {20, 1, 4}},
        {NLM_MAMBA_MIXER, "A_log", {20, 3, 1}},
        {NLM_MAMBA_BLOCK, "norm.weight", {6, 1, 1}},
        {NLM_MAMBA_BLOCK, "mixer.x_proj.weight", {8, 20, 1}},
        {NLM_MAMBA_BACKBONE, "input_proj.weight", {6, 5, 1}},
        {NLM_MAMBA_BACKBONE, "layers.1.mixer.dt_proj.bias", {20, 1, 1}},
        {NLM_MAMBA_BACKBONE, "norm_f.weight", {6, 1, 1}},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        mamba f = mamba_open(expected[i].level);
        int found = 0;
        for (uint32_t p = 0; p < f.info.n_parameters; p++) {
            const nlm_mamba_parameter parameter = mamba_parameter(&f, p);
            if (strcmp(parameter.name, expected[i].name) != 0) continue;
            found += memcmp(parameter.shape, expected[i].shape, sizeof expected[i].shape) == 0;
        }
        CU_ASSERT_EQUAL(found, 1);
        mamba_close(&f);
    }
}

/* The shapes that nlm-bench calls default and large. */
static void large_ones_work(void) {
    static const struct {
        uint32_t width, layers, rank;
        uint64_t elements;
    } shapes[] = {{128, 3, 8, 366464}, {512, 6, 32, 10434560}};
    for (int i = 0; i < 2; i++) {
        const nlm_mamba_options options = {.struct_size = sizeof options,
                                           .level = NLM_MAMBA_BACKBONE,
                                           .d_model = shapes[i].width,
                                           .n_layer = shapes[i].layers,
                                           .max_tokens = 4};
        mamba f = mamba_open_with(&options, 2);
        CU_ASSERT_EQUAL(f.info.n_elements, shapes[i].elements);
        float *x = numbers(1, 4 * shapes[i].width), *y = numbers(2, 4 * shapes[i].width);
        mamba_forward(&f, x, (const uint32_t[]){4}, 1, 0, y);
        double square = 0;
        for (uint32_t j = 0; j < 4 * shapes[i].width; j++) square += (double)y[j] * (double)y[j];
        CU_ASSERT_DOUBLE_EQUAL(square / (4 * shapes[i].width), 1, 0.01); /* normed */
        EXPECT_OK(nlm_mamba_backward(f.m, y, x, NULL, error));
        EXPECT_OK(nlm_mamba_update(f.m, 1e-3, 1, 0, NULL, error));
        free(x);
        free(y);
        mamba_close(&f);
    }
}

static void expect_told(nlm_status status, nlm_status expected, const nlm_error *error, const char *part) {
    const bool is_told = status == expected && strstr(error->msg, part);
    if (!is_told) printf("\n%d, \"%s\" lacks \"%s\"\n", (int)status, error->msg, part);
    CU_ASSERT_TRUE(is_told);
}

static void options_are_checked(void) {
    nlm_engine *engine = fixture_engine(1);
    const struct {
        nlm_mamba_options options;
        const char *part;
    } mistakes[] = {
        {{.level = NLM_MAMBA_BLOCK}, "d_model is 0"},
        {{.level = 3, .d_model = 8}, "level 3"},
        {{.flags = 2, .d_model = 8}, "flags 0x2"},
        {{.d_model = 8, .input_dim = 4}, "only a backbone"},
        {{.d_model = 8, .d_conv = 9}, "d_conv is 9; expected 2 to 8"},
        {{.d_model = 8, .d_state = 257}, "d_state is 257"},
        {{.d_model = 8, .beta1 = 1}, "beta1 1"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        nlm_error error = NLM_ERROR_INIT;
        nlm_mamba_options options = mistakes[i].options;
        nlm_mamba *m = NULL;
        options.struct_size = sizeof options;
        expect_told(nlm_mamba_create(engine, &options, &m, &error), NLM_INVALID_ARGUMENT, &error, mistakes[i].part);
        CU_ASSERT_PTR_NULL(m);
    }
    nlm_engine_destroy(engine);
}

static void the_engine_counts_its_memory(void) {
    const nlm_engine_options limited = {.struct_size = sizeof limited,
                                        .flags = NLM_ENGINE_UNBOUND,
                                        .backend = "cpu_scalar",
                                        .threads = 1,
                                        .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml",
                                        .memory_limit_bytes = 1 << 20};
    nlm_engine *engine = NULL;
    EXPECT_OK(nlm_engine_create(&limited, &engine, error));
    nlm_mamba_options options = mamba_options(NLM_MAMBA_BACKBONE);
    for (int i = 0; i < 8; i++) { /* what ends gives its share back */
        nlm_mamba *m = NULL;
        EXPECT_OK(nlm_mamba_create(engine, &options, &m, error));
        nlm_mamba_destroy(m);
    }
    nlm_error error = NLM_ERROR_INIT;
    nlm_mamba *m = NULL;
    options.d_inner = 2000;
    expect_told(nlm_mamba_create(engine, &options, &m, &error), NLM_OUT_OF_MEMORY, &error,
                "memory limit of 1048576 bytes");
    CU_ASSERT_PTR_NULL(m);
    nlm_engine_destroy(engine);
}

static void mistakes_are_told(void) {
    nlm_error error = NLM_ERROR_INIT;
    nlm_mamba_options options = mamba_options(NLM_MAMBA_MIXER);
    options.flags = 0;
    mamba f = mamba_open_with(&options, 1);
    float x[M_TOKENS * WIDTH] = {1}, y[M_TOKENS * WIDTH], state[200];
    const uint32_t long_one[3] = {20, 4, 1}, none[3] = {0, 0, 0}, twice[2] = {1, 1}, beyond[2] = {1, 3};
    const struct {
        nlm_mamba_batch batch;
        const char *part;
    } batches[] = {
        {{.x = x, .lengths = long_one, .n_seqs = 3}, "sequence 2 ends after more than the 24 rows"},
        {{.x = x, .lengths = none, .n_seqs = 3}, "have no rows"},
        {{.x = x, .lengths = long_one, .n_seqs = 4}, "4 sequences"},
        {{.lengths = long_one, .n_seqs = 1}, "x NULL"},
        {{.x = x, .n_seqs = 1}, "lengths NULL"},
        {{.x = x, .lengths = long_one, .n_seqs = 1, .flags = 2}, "flags 0x2"},
        {{.x = x, .lengths = long_one, .n_seqs = 2, .slots = twice}, "sequences 0 and 1 have slot 1"},
        {{.x = x, .lengths = long_one, .n_seqs = 2, .slots = beyond}, "slot 3; there are 3"},
    };
    expect_told(nlm_mamba_backward(f.m, x, NULL, NULL, &error), NLM_INVALID_ARGUMENT, &error, "no forward");
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        nlm_mamba_batch batch = batches[i].batch;
        batch.struct_size = sizeof batch;
        expect_told(nlm_mamba_forward(f.m, &batch, y, &error), NLM_INVALID_ARGUMENT, &error, batches[i].part);
    }
    mamba_forward(&f, x, long_one, 2, 0, y);
    expect_told(nlm_mamba_backward(f.m, x, NULL, state, &error), NLM_INVALID_ARGUMENT, &error, "STATE_GRADIENTS");
    EXPECT_OK(nlm_mamba_backward(f.m, x, NULL, NULL, error));
    expect_told(nlm_mamba_backward(f.m, x, NULL, NULL, &error), NLM_INVALID_ARGUMENT, &error, "gone back from");
    mamba_forward(&f, x, long_one, 2, 0, y);
    EXPECT_OK(nlm_mamba_update(f.m, 1e-3, 1, 0, NULL, error));
    expect_told(nlm_mamba_backward(f.m, x, NULL, NULL, &error), NLM_INVALID_ARGUMENT, &error, "have changed");
    expect_told(nlm_mamba_update(f.m, -1, 1, 0, NULL, &error), NLM_INVALID_ARGUMENT, &error, "rate -1");
    expect_told(nlm_mamba_read(f.m, "A", y, 1, &error), NLM_NOT_FOUND, &error, "no parameter 'A'");
    expect_told(nlm_mamba_read(f.m, "D", y, 3, &error), NLM_INVALID_ARGUMENT, &error, "'D' has 20 elements");
    expect_told(nlm_mamba_get_state(f.m, 3, state, &error), NLM_INVALID_ARGUMENT, &error, "slot 3");
    mamba_close(&f);
}

static void a_gradient_that_is_no_number_changes_nothing(void) {
    mamba f = mamba_open(NLM_MAMBA_BLOCK);
    nlm_error error = NLM_ERROR_INIT;
    float x[4 * WIDTH] = {1}, y[4 * WIDTH], *before = all_values(&f);
    mamba_forward(&f, x, (const uint32_t[]){4}, 1, 0, y);
    y[5] = NAN;
    EXPECT_OK(nlm_mamba_backward(f.m, y, NULL, NULL, error));
    expect_told(nlm_mamba_update(f.m, 1e-3, 1, 1, NULL, &error), NLM_NUMERIC, &error, "not finite");
    float *after = all_values(&f), *gradients = mamba_gradients(&f);
    CU_ASSERT_TRUE(is_same(before, after, f.info.n_elements));
    for (uint64_t i = 0; i < f.info.n_elements; i++) CU_ASSERT_TRUE(gradients[i] == 0);
    free(before);
    free(after);
    free(gradients);
    mamba_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(a_window_goes_on_where_the_last_one_ended),
    CHECK_CASE(packed_sequences_are_what_each_is_alone),
    CHECK_CASE(steps_give_what_forward_gives),
    CHECK_CASE(training_does_not_depend_on_the_threads),
    CHECK_CASE(calls_allocate_nothing),
    CHECK_CASE(a_saved_one_goes_on_bit_for_bit),
    CHECK_CASE(names_and_shapes_are_those_of_published_ones),
    CHECK_CASE(large_ones_work),
    CHECK_CASE(options_are_checked),
    CHECK_CASE(the_engine_counts_its_memory),
    CHECK_CASE(mistakes_are_told),
    CHECK_CASE(a_gradient_that_is_no_number_changes_nothing),
};
CHECK_MAIN("mamba", cases)
