/* What outlives a trainer: checkpoints, whole and damaged, and exported models. */
#include "unit/training_fixture.h"

#include "base/log.h"
#include "train/checkpoint.h"
#include "unit/temporary.h"

#define RUN "seed 7, batches of two"

static nlm_trainer_options usual(nlm_dtype dtype) {
    return (nlm_trainer_options){
        .shape = {.rows = 2, .length = 16, .max_seqs = 4},
        .parameters = {.dtype = dtype},
        .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
        .clip_norm = 1,
        .schedule = {.kind = NLM_SCHEDULE_COSINE, .rate = 3e-3, .steps = 12, .warmup = 3},
    };
}

static void save(const training *t, const temporary *folder, int32_t keep) {
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_checkpoint_save(t->trainer, folder->folder, RUN, keep, &err), &err);
}

/* How many steps the trainer has behind it then; -1: nothing was found. */
static int64_t restore(training *t, const temporary *folder) {
    nlm_error err = NLM_ERROR_INIT;
    bool is_found = false;
    expect_ok(nlm_checkpoint_restore(t->trainer, folder->folder, RUN, &is_found, &err), &err);
    return is_found ? (int64_t)nlm_trainer_steps(t->trainer) : -1;
}

/* ---- going on ------------------------------------------------------------------------------------- */

typedef struct case_line {
    const char *model;
    nlm_dtype dtype;
    int32_t lora_rank;
} case_line;

static void a_run_goes_on_bit_for_bit(void) {
    static const case_line lines[] = {{"llama-gqa-f32", NLM_F32, 0},     {"llama-gqa-f32", NLM_BF16, 0},
                                      {"llama-window-bf16", NLM_F16, 0}, {"llama-gqa-f32", NLM_F32, 3},
                                      {"mamba-biases-f32", NLM_F32, 0},  {"mamba-biases-f32", NLM_BF16, 0}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        nlm_trainer_options options = usual(lines[i].dtype);
        temporary folder;
        training whole, first, second;
        options.parameters.lora_rank = lines[i].lora_rank;
        options.parameters.lora_alpha = 6;
        CU_ASSERT_FATAL(temporary_make(&folder));
        training_open(&whole, lines[i].model, &options, 2);
        training_open(&first, lines[i].model, &options, 2);
        const double loss = training_steps(&whole, 0, 8);
        training_steps(&first, 0, 5);
        save(&first, &folder, 0);
        training_close(&first);
        options.is_new = true; /* whatever it would begin with */
        training_open(&second, lines[i].model, &options, 1);
        CU_ASSERT_EQUAL(restore(&second, &folder), 5);
        CU_ASSERT_EQUAL(training_steps(&second, 5, 3), loss);
        CU_ASSERT_TRUE(training_is_same(&whole, &second));
        training_close(&second);
        training_close(&whole);
        temporary_remove(&folder);
    }
}

static bool has(temporary *folder, uint64_t step) {
    char name[64];
    snprintf(name, sizeof name, "step-%08d.safetensors", (int)step);
    return access(temporary_path(folder, name), R_OK) == 0;
}

static void the_last_ones_are_kept(void) {
    const nlm_trainer_options options = usual(NLM_F32);
    temporary folder;
    training t;
    CU_ASSERT_FATAL(temporary_make(&folder));
    training_open(&t, "mamba-biases-f32", &options, 1);
    CU_ASSERT_EQUAL(restore(&t, &folder), -1);
    FILE *note = fopen(temporary_path(&folder, "step-9.safetensors"), "w"); /* no name that a checkpoint has */
    CU_ASSERT_PTR_NOT_NULL_FATAL(note);
    fclose(note);
    for (uint64_t step = 0; step < 4; step++) {
        training_steps(&t, step, 1);
        save(&t, &folder, 0);
    }
    CU_ASSERT_EQUAL(temporary_count(&folder), 5);
    training_steps(&t, 4, 1);
    save(&t, &folder, 2);
    CU_ASSERT_EQUAL(temporary_count(&folder), 3); /* what is none is not touched */
    CU_ASSERT_TRUE(has(&folder, 5) && has(&folder, 4) && !has(&folder, 3));
    CU_ASSERT_EQUAL(restore(&t, &folder), 5);
    training_close(&t);
    temporary_remove(&folder);
}

/* ---- what is not taken ------------------------------------------------------------------------------ */

/* Changes the file of step 2: cuts it, or turns a bit at a share of its length. */
static void damage(temporary *folder, double at, bool cuts) {
    const char *path = temporary_path(folder, "step-00000002.safetensors");
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    const long place = (long)(at * (double)ftell(file));
    fseek(file, place, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, place, SEEK_SET);
    if (!cuts) fputc(byte ^ 4, file);
    fclose(file);
    if (cuts) CU_ASSERT_EQUAL(truncate(path, place), 0);
}

static void note_warning(void *user, int32_t level, const char *message) {
    char *kept = user;
    if (level == NLM_LOG_WARN) snprintf(kept, 512, "%s", message);
}

/* The first of two steps is taken then. */
static void expect_passed_over(training *t, const temporary *folder) {
    char warning[512] = "";
    const nlm_log_sink sink = {.fn = note_warning, .user = warning, .level = NLM_LOG_WARN};
    const nlm_log_sink *before = nlm_log_redirect(&sink);
    CU_ASSERT_EQUAL(restore(t, folder), 1);
    nlm_log_redirect(before);
    expect_contains(warning, "step-00000002.safetensors");
}

/* A bit in every part of the header, and here and there among the values; or the end is missing. */
static void damaged_ones_are_passed_over(void) {
    const nlm_trainer_options options = usual(NLM_F32);
    training t, again;
    training_open(&t, "mamba-biases-f32", &options, 1);
    training_open(&again, "mamba-biases-f32", &options, 1);
    for (int i = 0; i < 100; i++) {
        temporary folder;
        CU_ASSERT_FATAL(temporary_make(&folder));
        nlm_trainer_set_steps(t.trainer, 1);
        save(&t, &folder, 0);
        nlm_trainer_set_steps(t.trainer, 2);
        save(&t, &folder, 0);
        damage(&folder, i < 80 ? i / 1000.0 : (i - 80) / 20.0, i % 9 == 8);
        expect_passed_over(&again, &folder);
        temporary_remove(&folder);
    }
    training_steps(&t, 2, 1);
    nlm_trainer_set_steps(again.trainer, 2);
    training_steps(&again, 2, 1);
    CU_ASSERT_TRUE(training_is_same(&t, &again));
    training_close(&again);
    training_close(&t);
}

static void a_name_that_is_another_steps_is_none(void) {
    const nlm_trainer_options options = usual(NLM_F32);
    char from[512];
    temporary folder;
    training t;
    CU_ASSERT_FATAL(temporary_make(&folder));
    training_open(&t, "mamba-biases-f32", &options, 1);
    nlm_trainer_set_steps(t.trainer, 7);
    save(&t, &folder, 0);
    nlm_trainer_set_steps(t.trainer, 1);
    save(&t, &folder, 0);
    snprintf(from, sizeof from, "%s", temporary_path(&folder, "step-00000007.safetensors"));
    CU_ASSERT_EQUAL_FATAL(rename(from, temporary_path(&folder, "step-00000002.safetensors")), 0);
    expect_passed_over(&t, &folder);
    training_close(&t);
    temporary_remove(&folder);
}

/* The trainer is as it was. */
static void expect_refused(training *t, const temporary *folder, const char *run, const char *word) {
    nlm_error err = NLM_ERROR_INIT;
    bool is_found = true;
    CU_ASSERT_EQUAL(nlm_checkpoint_restore(t->trainer, folder->folder, run, &is_found, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_FALSE(is_found);
    CU_ASSERT_EQUAL(nlm_trainer_steps(t->trainer), 0);
    expect_contains(err.msg, word);
    expect_contains(err.where, "step-00000001.safetensors");
}

static void those_of_others_are_refused(void) {
    const nlm_trainer_options options = usual(NLM_F32);
    temporary folder;
    training t, fresh, other;
    CU_ASSERT_FATAL(temporary_make(&folder));
    training_open(&t, "mamba-biases-f32", &options, 1);
    training_steps(&t, 0, 1);
    save(&t, &folder, 0);
    training_open(&fresh, "mamba-biases-f32", &options, 1);
    expect_refused(&fresh, &folder, "seed 8, batches of two", RUN);
    expect_refused(&fresh, &folder, "seed 8, batches of two", "seed 8");
    training_close(&fresh);
    training_open(&other, "mamba-bare-f32", &options, 1);
    expect_refused(&other, &folder, RUN, "of another model");
    training_close(&other);
    training_close(&t);
    temporary_remove(&folder);
}

static void a_folder_must_be_there(void) {
    const nlm_trainer_options options = usual(NLM_F32);
    nlm_error err = NLM_ERROR_INIT;
    temporary folder;
    training t;
    CU_ASSERT_FATAL(temporary_make(&folder));
    training_open(&t, "mamba-biases-f32", &options, 1);
    const char *path = temporary_path(&folder, "none");
    CU_ASSERT_EQUAL(nlm_checkpoint_save(t.trainer, path, RUN, 0, &err), NLM_NOT_FOUND);
    training_close(&t);
    temporary_remove(&folder);
}

/* ---- exported models ---------------------------------------------------------------------------------- */

static void an_exported_model_has_the_same_loss(void) {
    static const case_line lines[] = {{"llama-gqa-f32", NLM_F32, 0},    {"llama-window-bf16", NLM_F32, 0},
                                      {"llama-gqa-f32", NLM_BF16, 0},   {"qwen3-untied-f32", NLM_F32, 0},
                                      {"mamba-biases-f32", NLM_F32, 0}, {"mamba-bare-f32", NLM_BF16, 0},
                                      {"mamba-biases-f32", NLM_F32, 2}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        nlm_trainer_options options = usual(lines[i].dtype);
        nlm_error err = NLM_ERROR_INIT;
        temporary folder;
        training trained, read;
        training_batch b;
        double loss, of_read;
        options.parameters.lora_rank = lines[i].lora_rank;
        options.parameters.lora_alpha = 6;
        CU_ASSERT_FATAL(temporary_make(&folder));
        training_open(&trained, lines[i].model, &options, 2);
        training_steps(&trained, 0, 6);
        const char *path = temporary_path(&folder, "model.gguf");
        expect_ok(nlm_trainer_export(trained.trainer, NLM_F32, path, &err), &err);
        options.parameters.lora_rank = 0;
        training_open_path(&read, path, &options, 2);
        training_make(&b, &trained, 3);
        expect_ok(nlm_trainer_evaluate(trained.trainer, &b.batch, &loss, &err), &err);
        expect_ok(nlm_trainer_evaluate(read.trainer, &b.batch, &of_read, &err), &err);
        if (!(fabs(loss - of_read) <= 1e-6 * loss))
            printf("\n%s: %.9g, read again %.9g\n", lines[i].model, loss, of_read);
        CU_ASSERT_DOUBLE_EQUAL(of_read, loss, 1e-6 * loss);
        training_close(&read);
        training_close(&trained);
        temporary_remove(&folder);
    }
}

static const check_case cases[] = {
    CHECK_CASE(a_run_goes_on_bit_for_bit),           CHECK_CASE(the_last_ones_are_kept),
    CHECK_CASE(damaged_ones_are_passed_over),        CHECK_CASE(a_name_that_is_another_steps_is_none),
    CHECK_CASE(those_of_others_are_refused),         CHECK_CASE(a_folder_must_be_there),
    CHECK_CASE(an_exported_model_has_the_same_loss),
};
CHECK_MAIN("checkpoint", cases)
