/* Steps of the trainer: what they do not depend on, types of parameters, adapters, and steps that go wrong. */
#include "unit/training_fixture.h"

#include "unit/temporary.h"

static const char *const models[] = {"llama-gqa-f32", "llama-window-bf16", "qwen3-untied-f32", "mamba-biases-f32"};
enum { N_MODELS = sizeof models / sizeof *models };

/* ---- what numbers do not depend on ---------------------------------------------------------------- */

static void expect_same_with_threads(const char *backend, const char *model) {
    const nlm_trainer_options options = training_usual();
    char path[512];
    training one;
    model_path(model, path, sizeof path);
    training_open_on(&one, backend, path, &options, 1);
    training_steps(&one, 0, 5);
    for (uint32_t threads = 2; threads <= 3; threads++) {
        training more;
        training_open_on(&more, backend, path, &options, threads);
        training_steps(&more, 0, 5);
        const bool is_same = training_is_same(&one, &more);
        if (!is_same) printf("\n%s, %s, %u threads: other bits\n", backend, model, threads);
        CU_ASSERT_TRUE(is_same);
        training_close(&more);
    }
    training_close(&one);
}

static void bits_do_not_depend_on_threads(void) {
    training_backends backends;
    training_list(&backends);
    for (uint32_t i = 0; i < backends.count; i++) {
        for (int m = 0; m < N_MODELS; m++) expect_same_with_threads(backends.names[i], models[m]);
    }
}

/* The same bits as with all kept, in less memory; of two layers the products of gates alone are not the most. */
static void expect_recomputed(const char *model, nlm_recompute how) {
    nlm_trainer_options options = training_usual();
    training keeps, recomputes;
    nlm_trainer_memory kept, recomputed;
    training_open(&keeps, model, &options, 2);
    options.recompute = how;
    training_open(&recomputes, model, &options, 2);
    training_steps(&keeps, 0, 3);
    training_steps(&recomputes, 0, 3);
    CU_ASSERT_TRUE(training_is_same(&keeps, &recomputes));
    nlm_trainer_memory_of(keeps.trainer, &kept);
    nlm_trainer_memory_of(recomputes.trainer, &recomputed);
    CU_ASSERT_TRUE(recomputed.activations <= kept.activations);
    if (how == NLM_RECOMPUTE_LAYERS) CU_ASSERT_TRUE(recomputed.activations < kept.activations);
    training_close(&recomputes);
    training_close(&keeps);
}

static void recomputing_changes_no_bit(void) {
    for (int m = 0; m < N_MODELS; m++) expect_recomputed(models[m], NLM_RECOMPUTE_LAYERS);
    expect_recomputed(models[0], NLM_RECOMPUTE_UP);
}

/* Both batches as one. */
static void join(training_batch *out, const training_batch *a, const training_batch *b) {
    *out = *a;
    const int32_t n = a->batch.n_tokens;
    for (int32_t i = 0; i < b->batch.n_tokens; i++) {
        out->ids[n + i] = b->ids[i];
        out->labels[n + i] = b->labels[i];
        out->pos[n + i] = b->pos[i];
    }
    for (int32_t s = 1; s <= b->batch.n_seqs; s++) out->starts[a->batch.n_seqs + s] = n + b->starts[s];
    out->batch = (nlm_train_batch){.ids = out->ids,
                                   .labels = out->labels,
                                   .pos = out->pos,
                                   .seq_start = out->starts,
                                   .n_tokens = n + b->batch.n_tokens,
                                   .n_seqs = a->batch.n_seqs + b->batch.n_seqs,
                                   .n_counted = a->batch.n_counted + b->batch.n_counted};
}

static void two_parts_are_one_batch_of_both(void) {
    const nlm_trainer_options options = training_usual();
    for (int m = 0; m < N_MODELS; m++) {
        nlm_error err = NLM_ERROR_INIT;
        training parts, whole;
        training_batch a, b, both;
        nlm_trainer_metrics of_parts, of_whole;
        training_open(&parts, models[m], &options, 2);
        training_open(&whole, models[m], &options, 2);
        training_make(&a, &parts, 1);
        training_make(&b, &parts, 2);
        join(&both, &a, &b);
        const nlm_train_batch list[2] = {a.batch, b.batch};
        for (int step = 0; step < 2; step++) {
            expect_ok(nlm_trainer_step(parts.trainer, list, 2, &of_parts, &err), &err);
            expect_ok(nlm_trainer_step(whole.trainer, &both.batch, 1, &of_whole, &err), &err);
            CU_ASSERT_EQUAL(of_parts.n_counted, of_whole.n_counted);
            CU_ASSERT_EQUAL(of_parts.n_tokens, of_whole.n_tokens);
            CU_ASSERT_DOUBLE_EQUAL(of_parts.loss, of_whole.loss, 1e-6 * of_whole.loss);
            CU_ASSERT_DOUBLE_EQUAL(of_parts.norm, of_whole.norm, 1e-6 * of_whole.norm);
        }
        for (uint32_t i = 0; i < training_count(&parts); i++) {
            const uint64_t count = nlm_trained_elements(training_at(&parts, i));
            float *x = training_values(&parts, i, NLM_TRAINER_M), *y = training_values(&whole, i, NLM_TRAINER_M);
            const double size = training_norm(y, count);
            for (uint64_t j = 0; j < count; j++) x[j] -= y[j];
            const double off = training_norm(x, count);
            if (!(off <= 2e-6 * size))
                printf("\n%s, %s: off by %g\n", models[m], training_at(&parts, i)->name, off / size);
            CU_ASSERT_TRUE(size > 0 && off <= 2e-6 * size);
            free(x);
            free(y);
        }
        training_close(&whole);
        training_close(&parts);
    }
}

/* ---- types ------------------------------------------------------------------------------------------- */

/* Half a unit in the last place of a number near 1, and how far losses go from f32's, as a share of the first. */
typedef struct half_type {
    const char *name;
    nlm_dtype dtype;
    double rounding, bound;
} half_type;

static const half_type halves[] = {{"bf16", NLM_BF16, 0x1p-8, 1e-2}, {"f16", NLM_F16, 0x1p-11, 3e-3}};

/* Both learn one batch. */
static void learn_beside(const char *model, const half_type *h, training *half, training *full) {
    double first = 0, loss = 0;
    for (int step = 0; step < 25; step++) {
        nlm_error err = NLM_ERROR_INIT;
        training_batch b;
        nlm_trainer_metrics of_full, of_half;
        training_make(&b, full, 0);
        expect_ok(nlm_trainer_step(full->trainer, &b.batch, 1, &of_full, &err), &err);
        expect_ok(nlm_trainer_step(half->trainer, &b.batch, 1, &of_half, &err), &err);
        loss = of_half.loss;
        if (step == 0) first = loss;
        if (!(fabs(loss - of_full.loss) <= h->bound * first))
            printf("\n%s, %s, step %d: %.6g, in f32 %.6g\n", model, h->name, step, loss, of_full.loss);
        CU_ASSERT_TRUE(fabs(loss - of_full.loss) <= h->bound * first);
    }
    CU_ASSERT_TRUE(loss < 0.75 * first);
}

/* What ops read are the masters, rounded. */
static void expect_rounded_masters(const half_type *h, const training *t) {
    uint32_t n_halves = 0;
    for (uint32_t i = 0; i < training_count(t); i++) {
        nlm_error err = NLM_ERROR_INIT;
        const nlm_trained *trained = training_at(t, i);
        const uint64_t count = nlm_trained_elements(trained);
        if (trained->parameter.value.tensor.dtype != h->dtype) continue;
        n_halves++;
        uint64_t n_far = 0, n_equal = 0;
        float *masters = training_values(t, i, NLM_TRAINER_VALUE), *read = malloc(count * sizeof *read);
        expect_ok(nlm_trained_read(trained, NULL, read, &err), &err);
        for (uint64_t j = 0; j < count; j++) {
            n_far += !(fabsf(read[j] - masters[j]) <= (float)h->rounding * fabsf(masters[j]) + 0x1p-25f);
            n_equal += read[j] == masters[j];
        }
        CU_ASSERT_EQUAL(n_far, 0);
        CU_ASSERT_TRUE(n_equal < count / 4); /* they have bits that the halves have not */
        free(read);
        free(masters);
    }
    CU_ASSERT_TRUE(n_halves > 4);
}

static void halves_with_masters_follow_f32(void) {
    for (int m = 0; m < N_MODELS; m++) {
        for (size_t h = 0; h < sizeof halves / sizeof *halves; h++) {
            nlm_trainer_options options = training_usual();
            training full, half;
            options.is_new = true;
            options.seed = 5;
            options.schedule.rate = 1e-2;
            training_open(&full, models[m], &options, 2);
            options.parameters.dtype = halves[h].dtype;
            training_open(&half, models[m], &options, 2);
            learn_beside(models[m], &halves[h], &half, &full);
            expect_rounded_masters(&halves[h], &half);
            training_close(&half);
            training_close(&full);
        }
    }
}

/* ---- steps that go wrong -------------------------------------------------------------------------------- */

/* Every value of parameters and moments; from malloc. */
static float *everything(const training *t, size_t *out_count) {
    *out_count = 0;
    for (uint32_t i = 0; i < training_count(t); i++)
        *out_count += NLM_TRAINER_KINDS * nlm_trained_elements(training_at(t, i));
    float *all = malloc(*out_count * sizeof *all), *to = all;
    for (uint32_t i = 0; i < training_count(t); i++) {
        for (int kind = 0; kind < NLM_TRAINER_KINDS; kind++) {
            float *values = training_values(t, i, kind);
            memcpy(to, values, nlm_trained_elements(training_at(t, i)) * sizeof *to);
            to += nlm_trained_elements(training_at(t, i));
            free(values);
        }
    }
    return all;
}

/* A step fails with NUMERIC and these words; nothing has changed, and gradients are zero. */
static void expect_numeric(training *t, const char *const *words) {
    nlm_error err = NLM_ERROR_INIT;
    training_batch b;
    nlm_trainer_metrics metrics;
    size_t count;
    float *before = everything(t, &count);
    const uint64_t steps = nlm_trainer_steps(t->trainer);
    training_make(&b, t, steps);
    CU_ASSERT_EQUAL(nlm_trainer_step(t->trainer, &b.batch, 1, &metrics, &err), NLM_NUMERIC);
    for (; *words; words++) expect_contains(err.msg, *words);
    float *after = everything(t, &count);
    CU_ASSERT_EQUAL(memcmp(before, after, count * sizeof *before), 0);
    CU_ASSERT_EQUAL(nlm_trainer_steps(t->trainer), steps);
    for (uint32_t i = 0; i < training_count(t); i++) {
        float *gradient = training_gradient(t, i);
        CU_ASSERT_EQUAL(training_norm(gradient, nlm_trained_elements(training_at(t, i))), 0);
        free(gradient);
    }
    free(before);
    free(after);
}

static void a_rate_that_is_absurd_is_found_out(void) {
    static const struct {
        const char *model, *words[4];
    } lines[] = {
        {"llama-gqa-f32", {"step 2", "layer 0", "is not finite"}},
        {"mamba-biases-f32", {"step 2", "layer 0", "is not finite"}},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        nlm_trainer_options options = training_usual();
        options.schedule = (nlm_schedule){.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e30, .steps = 10};
        training t;
        training_open(&t, lines[i].model, &options, 2);
        training_steps(&t, 0, 1);
        expect_numeric(&t, lines[i].words);
        training_close(&t);
    }
}

static void a_number_that_is_none_is_named(void) {
    static const struct {
        const char *model, *parameter;
    } lines[] = {
        {"llama-gqa-f32", "blk.1.ffn_up.weight"},
        {"mamba-biases-f32", "blk.0.ssm_dt.bias"},
        {"mamba-biases-f32", "blk.1.ssm_a"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const nlm_trainer_options options = training_usual();
        nlm_error err = NLM_ERROR_INIT;
        training t;
        training_open(&t, lines[i].model, &options, 2);
        training_steps(&t, 0, 2);
        uint32_t index = 0;
        while (strcmp(training_at(&t, index)->name, lines[i].parameter) != 0) index++;
        float *values = training_values(&t, index, NLM_TRAINER_VALUE);
        const float sound = values[0];
        values[0] = NAN;
        expect_ok(nlm_trainer_write(t.trainer, index, NLM_TRAINER_VALUE, values, &err), &err);
        expect_numeric(&t, (const char *const[]){"step 3", lines[i].parameter, "not finite", NULL});
        values[0] = sound;
        expect_ok(nlm_trainer_write(t.trainer, index, NLM_TRAINER_VALUE, values, &err), &err);
        CU_ASSERT_TRUE(isfinite(training_steps(&t, 2, 1)));
        free(values);
        training_close(&t);
    }
}

/* It goes on as if the step had not been tried. */
static void a_failed_step_leaves_no_trace(void) {
    const nlm_trainer_options options = training_usual();
    nlm_error err = NLM_ERROR_INIT;
    training tried, plain;
    training_open(&tried, "llama-gqa-f32", &options, 2);
    training_open(&plain, "llama-gqa-f32", &options, 2);
    training_steps(&plain, 0, 2);
    training_steps(&tried, 0, 1);
    float *values = training_values(&tried, 3, NLM_TRAINER_VALUE);
    const float sound = values[5];
    values[5] = INFINITY;
    expect_ok(nlm_trainer_write(tried.trainer, 3, NLM_TRAINER_VALUE, values, &err), &err);
    expect_numeric(&tried, (const char *const[]){"step 2", training_at(&tried, 3)->name, NULL});
    values[5] = sound;
    expect_ok(nlm_trainer_write(tried.trainer, 3, NLM_TRAINER_VALUE, values, &err), &err);
    training_steps(&tried, 1, 1);
    CU_ASSERT_TRUE(training_is_same(&tried, &plain));
    free(values);
    training_close(&plain);
    training_close(&tried);
}

static void options_are_checked(void) {
    static const struct {
        int32_t rows, length, max_seqs;
        double clip, rate, floor;
    } lines[] = {
        {0, 8, 1, 0, 0, 0},  {1, 0, 1, 0, 0, 0},   {2, 8, 1, 0, 0, 0},  {1 << 20, 1 << 20, 1 << 20, 0, 0, 0},
        {1, 8, 1, -1, 0, 0}, {1, 8, 1, NAN, 0, 0}, {1, 8, 1, 0, -1, 0}, {1, 8, 1, 0, 0, 1.5},
    };
    nlm_error err = NLM_ERROR_INIT;
    training t;
    const nlm_trainer_options sound = training_usual();
    training_open(&t, "mamba-biases-f32", &sound, 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        nlm_trainer_options options = training_usual();
        nlm_trainer *trainer = NULL;
        options.shape =
            (nlm_batch_shape){.rows = lines[i].rows, .length = lines[i].length, .max_seqs = lines[i].max_seqs};
        options.clip_norm = lines[i].clip;
        options.schedule.rate = lines[i].rate;
        options.schedule.floor = lines[i].floor;
        CU_ASSERT_EQUAL(nlm_trainer_create(&t.env, t.model, &options, &trainer, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NULL(trainer);
    }
    training_batch b;
    nlm_trainer_metrics metrics;
    training_make(&b, &t, 0);
    b.batch.n_seqs = 7;
    CU_ASSERT_EQUAL(nlm_trainer_step(t.trainer, &b.batch, 1, &metrics, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "7");
    training_close(&t);
}

/* ---- adapters ---------------------------------------------------------------------------------------------- */

static nlm_trainer_options with_adapters(int32_t rank) {
    nlm_trainer_options options = training_usual();
    options.parameters.lora_rank = rank;
    options.parameters.lora_alpha = 3;
    return options;
}

/* sum over the last index: out[i, j] = scale sum_k x[i, k] y[k, j], whatever the order of x and y. */
typedef struct matrix {
    const float *values;
    int64_t rows, columns;
    bool is_transposed; /* as it is stored */
} matrix;

static double element(const matrix *m, int64_t i, int64_t j) {
    return (double)(m->is_transposed ? m->values[j * m->rows + i] : m->values[i * m->columns + j]);
}

static void expect_product(const char *name, const float *found, const matrix *x, const matrix *y, double scale) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t j = 0; j < y->columns; j++) {
            double sum = 0;
            for (int64_t k = 0; k < x->columns; k++) sum += element(x, i, k) * element(y, k, j);
            const double off = (double)found[i * y->columns + j] - scale * sum;
            error += off * off;
            size += scale * sum * scale * sum;
        }
    }
    if (!(size > 0 && error <= 1e-9 * size)) printf("\n%s: off by %g of %g\n", name, sqrt(error), sqrt(size));
    CU_ASSERT_TRUE(size > 0 && error <= 1e-9 * size);
}

/* With w + s B A as the weight, whose gradient is G: that of A is s B^T G, that of B is s G A^T. */
static void gradients_of_adapters_follow_from_the_weights(void) {
    static const char *const names[] = {"llama-gqa-f32", "mamba-biases-f32"};
    for (int m = 0; m < 2; m++) {
        const nlm_trainer_options options = with_adapters(2), of_all = training_usual();
        nlm_error err = NLM_ERROR_INIT;
        temporary folder;
        training adapters, merged;
        training_batch b;
        double loss, merged_loss;
        CU_ASSERT_FATAL(temporary_make(&folder));
        training_open(&adapters, names[m], &options, 2);
        training_steps(&adapters, 0, 4); /* B begins with zeros */
        const char *path = temporary_path(&folder, "merged.gguf");
        expect_ok(nlm_trainer_export(adapters.trainer, NLM_F32, path, &err), &err);
        training_open_path(&merged, path, &of_all, 2);
        training_make(&b, &adapters, 9);
        expect_ok(nlm_trainer_accumulate(adapters.trainer, &b.batch, &loss, &err), &err);
        expect_ok(nlm_trainer_accumulate(merged.trainer, &b.batch, &merged_loss, &err), &err);
        CU_ASSERT_DOUBLE_EQUAL(loss, merged_loss, 1e-5 * loss);
        nlm_parameters *parameters = nlm_trainer_parameters(adapters.trainer);
        const double scale = (double)nlm_parameters_lora_scale(parameters);
        CU_ASSERT_DOUBLE_EQUAL(scale, 1.5, 0);
        uint32_t n_adapters = 0, low, high;
        for (uint32_t i = 0; i < training_count(&merged); i++) {
            const nlm_trained *trained = training_at(&merged, i);
            if (!nlm_parameters_adapter(parameters, trained->name, &low, &high)) continue;
            n_adapters++;
            const int64_t *shape = trained->parameter.value.tensor.shape, rank = 2;
            float *g = training_gradient(&merged, i);
            float *a = training_values(&adapters, low, NLM_TRAINER_VALUE), *da = training_gradient(&adapters, low);
            float *bs = training_values(&adapters, high, NLM_TRAINER_VALUE), *db = training_gradient(&adapters, high);
            const matrix whole = {g, shape[0], shape[1], false};
            expect_product(training_at(&adapters, low)->name, da, &(matrix){bs, rank, shape[0], true}, &whole, scale);
            expect_product(training_at(&adapters, high)->name, db, &whole, &(matrix){a, shape[1], rank, true}, scale);
            free(g);
            free(a);
            free(da);
            free(bs);
            free(db);
        }
        CU_ASSERT_EQUAL(training_count(&adapters), 2 * n_adapters);
        CU_ASSERT_TRUE(n_adapters >= 8);
        training_close(&merged);
        training_close(&adapters);
        temporary_remove(&folder);
    }
}

static const check_case cases[] = {
    CHECK_CASE(bits_do_not_depend_on_threads),
    CHECK_CASE(recomputing_changes_no_bit),
    CHECK_CASE(two_parts_are_one_batch_of_both),
    CHECK_CASE(halves_with_masters_follow_f32),
    CHECK_CASE(a_rate_that_is_absurd_is_found_out),
    CHECK_CASE(a_number_that_is_none_is_named),
    CHECK_CASE(a_failed_step_leaves_no_trace),
    CHECK_CASE(options_are_checked),
    CHECK_CASE(gradients_of_adapters_follow_from_the_weights),
};
CHECK_MAIN("trainer", cases)
