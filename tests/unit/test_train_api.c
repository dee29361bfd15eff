/* nlm/train.h: what it refuses and how it says so, structs of other headers, and steps. */
#include <math.h>

#include "format/gguf.h"
#include "train_api_fixture.h"

enum { N_VOCAB = 318 }; /* of LLAMA */

#define NEW(name) SIZED, .vocabulary = LLAMA, .architecture = name

/* ---- refusals ------------------------------------------------------------------------------------------ */

static void options_that_cannot_be_are_refused(void) {
    static const struct {
        nlm_training_options options;
        nlm_status status;
        const char *told;
    } cases[] = {
        {{.struct_size = 0, .path = LLAMA}, NLM_INVALID_ARGUMENT, "struct_size"},
        {{SIZED}, NLM_INVALID_ARGUMENT, "preset is NULL"},
        {{SIZED, .preset = "small"}, NLM_INVALID_ARGUMENT, "vocabulary NULL"},
        {{SIZED, .preset = "smal", .vocabulary = LLAMA}, NLM_NOT_FOUND, "smal"},
        {{SIZED, .preset = "small", .vocabulary = "/no/where.gguf"}, NLM_NOT_FOUND, "/no/where.gguf"},
        {{SIZED, .preset = "small", .vocabulary = NLM_TEST_DATA "/README.md"}, NLM_BAD_FORMAT, "README.md"},
        {{SIZED, .path = "/no/where.gguf"}, NLM_NOT_FOUND, "/no/where.gguf"},
        {{SIZED, .path = NLM_TEST_DATA "/README.md"}, NLM_BAD_FORMAT, "README.md"},
        {{SIZED, .path = LLAMA, .flags = 8}, NLM_INVALID_ARGUMENT, "flags 0x8"},
        {{SIZED, .path = LLAMA, .flags = NLM_TRAINING_UNTIED}, NLM_INVALID_ARGUMENT, "flags 0x2, beside path"},
        {{SIZED, .path = LLAMA, .architecture = "llama"}, NLM_INVALID_ARGUMENT, "architecture is llama"},
        {{SIZED, .preset = "small", .vocabulary = LLAMA, .architecture = "mamba"}, NLM_INVALID_ARGUMENT, "'small'"},
        {{SIZED, .architecture = "llama", .n_embd = 32, .n_layer = 1}, NLM_INVALID_ARGUMENT, "vocabulary NULL"},
        {{NEW("lama"), .n_embd = 32, .n_layer = 1}, NLM_INVALID_ARGUMENT, "the architecture is 'lama'"},
        {{NEW("llama"), .n_layer = 1}, NLM_INVALID_ARGUMENT, "n_embd is 0; expected 1 to 1048576"},
        {{NEW("llama"), .n_embd = 32}, NLM_INVALID_ARGUMENT, "n_layer is 0; expected 1 to 4096"},
        {{NEW("llama"), .n_embd = 32, .n_layer = 1, .n_head = 3}, NLM_INVALID_ARGUMENT, "n_head 3"},
        {{NEW("llama"), .n_embd = 32, .n_layer = 1, .n_head = 4, .n_head_kv = 3}, NLM_INVALID_ARGUMENT, "kv 3"},
        {{NEW("llama"), .n_embd = 32, .n_layer = 1, .n_ctx = 1u << 31}, NLM_INVALID_ARGUMENT, "n_ctx is 2147483648"},
        {{NEW("mamba"), .n_embd = 32, .n_layer = 1, .d_state = 257}, NLM_INVALID_ARGUMENT, "d_state is 257"},
        {{NEW("mamba"), .n_embd = 32, .n_layer = 1, .d_conv = 9}, NLM_INVALID_ARGUMENT, "d_conv is 9"},
        {{SIZED, .path = LLAMA, .type = "f33"}, NLM_INVALID_ARGUMENT, "type f33"},
        {{SIZED, .path = LLAMA, .type = "q8_0"}, NLM_INVALID_ARGUMENT, "q8_0"},
        {{SIZED, .path = LLAMA, .max_tokens = 1u << 29}, NLM_INVALID_ARGUMENT, "536870912 tokens"},
        {{SIZED, .path = LLAMA, .max_tokens = 8, .max_seqs = 9}, NLM_INVALID_ARGUMENT, "9 sequences"},
        {{SIZED, .path = LLAMA, .schedule = 4}, NLM_INVALID_ARGUMENT, "schedule 4"},
        {{SIZED, .path = LLAMA, .schedule = -1}, NLM_INVALID_ARGUMENT, "schedule -1"},
        {{SIZED, .path = LLAMA, .lora_rank = 65537}, NLM_INVALID_ARGUMENT, "lora_rank 65537"},
        {{SIZED, .path = LLAMA, .lora_rank = 2, .lora_alpha = NAN}, NLM_INVALID_ARGUMENT, "lora_alpha"},
        {{SIZED, .preset = "small", .vocabulary = LLAMA, .lora_rank = 2}, NLM_INVALID_ARGUMENT, "lora_rank"},
        {{SIZED, .path = LLAMA, .learning_rate = -1}, NLM_INVALID_ARGUMENT, "learning_rate"},
        {{SIZED, .path = LLAMA, .learning_rate = INFINITY}, NLM_INVALID_ARGUMENT, "learning_rate"},
        {{SIZED, .path = LLAMA, .floor = 1.5}, NLM_INVALID_ARGUMENT, "floor"},
        {{SIZED, .path = LLAMA, .floor = NAN}, NLM_INVALID_ARGUMENT, "floor"},
        {{SIZED, .path = LLAMA, .beta1 = 1}, NLM_INVALID_ARGUMENT, "beta1"},
        {{SIZED, .path = LLAMA, .beta2 = -0.5f}, NLM_INVALID_ARGUMENT, "beta2"},
        {{SIZED, .path = LLAMA, .eps = -1e-8f}, NLM_INVALID_ARGUMENT, "eps"},
        {{SIZED, .path = LLAMA, .weight_decay = NAN}, NLM_INVALID_ARGUMENT, "weight_decay"},
        {{SIZED, .path = LLAMA, .clip_norm = -1}, NLM_INVALID_ARGUMENT, "clip_norm"},
        {{SIZED, .path = LLAMA, .label_smoothing = 1.5f}, NLM_INVALID_ARGUMENT, "label_smoothing"},
        {{SIZED, .path = LLAMA, .z_loss = -1}, NLM_INVALID_ARGUMENT, "z_loss"},
        {{SIZED, .path = LLAMA, .reserved = 1}, NLM_INVALID_ARGUMENT, "reserved"},
        {{SIZED, .path = LLAMA, .reserved3 = 1}, NLM_INVALID_ARGUMENT, "reserved"},
    };
    nlm_engine *engine = fixture_engine(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_training *training = (nlm_training *)&cases;
        REFUSED(nlm_training_create(engine, &cases[i].options, &training, error), cases[i].status, cases[i].told);
        CU_ASSERT_PTR_NULL(training);
    }
    nlm_engine_destroy(engine);
}

/* A new model has so many parameters, learns, and runs from its file. */
static void expect_new(nlm_engine *engine, const nlm_training_options *options, uint64_t n_parameters) {
    temporary t;
    nlm_training *training = training_of(engine, options);
    const nlm_training_batch batch = usual_batch();
    nlm_model *model = NULL;
    CU_ASSERT_FATAL(temporary_make(&t));
    CU_ASSERT_EQUAL(info_of(training).n_parameters, n_parameters);
    const double first = step(training, &batch).loss;
    for (int i = 0; i < 20; i++) step(training, &batch);
    CU_ASSERT_TRUE(step(training, &batch).loss < 0.8 * first);
    EXPECT_OK(nlm_training_export(training, NULL, temporary_path(&t, "new.gguf"), error));
    EXPECT_OK(nlm_model_load(engine, t.path, NULL, &model, error));
    nlm_model_unload(model);
    nlm_training_destroy(training);
    temporary_remove(&t);
}

static void new_models_have_the_sizes_that_are_given(void) {
    nlm_engine *engine = fixture_engine(1);
    const nlm_training_options llama = {NEW("llama"),          .flags = NLM_TRAINING_UNTIED,
                                        .max_tokens = 64,      .max_seqs = 4,
                                        .learning_rate = 1e-2, .n_embd = 32,
                                        .n_layer = 2,          .n_head = 4,
                                        .n_head_kv = 2,        .n_ff = 40,
                                        .n_ctx = 128};
    const nlm_training_options mamba = {NEW("mamba"), .max_tokens = 64, .max_seqs = 4, .learning_rate = 1e-2,
                                        .n_embd = 24, .n_layer = 1,     .d_state = 4,  .d_conv = 3};
    /* embedding and head, norms; of a layer two norms, q, k, v, o, and three matrices of the feed-forward part */
    expect_new(engine, &llama, 2 * N_VOCAB * 32 + 32 + 2 * (2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 40));
    /* embedding, norms; in, convolution with a bias, x, dt with a bias, A, D, out */
    expect_new(engine, &mamba,
               N_VOCAB * 24 + 2 * 24 + 96 * 24 + 48 * 4 + (2 + 8) * 48 + 48 * 2 + 48 + 48 * 4 + 48 + 24 * 48);
    nlm_engine_destroy(engine);
}

static void a_vocabulary_without_tokens_is_refused(void) {
    temporary t;
    nlm_gguf_writer *w = NULL;
    nlm_training *training = NULL;
    CU_ASSERT_FATAL(temporary_make(&t));
    EXPECT_OK(nlm_gguf_writer_create(&w, error));
    nlm_gguf_writer_u32(w, "general.alignment", 32);
    EXPECT_OK(nlm_gguf_writer_finish(w, temporary_path(&t, "vocabulary.gguf"), error));
    nlm_gguf_writer_destroy(w);
    nlm_engine *engine = fixture_engine(1);
    const nlm_training_options options = {SIZED, .preset = "small", .vocabulary = t.path};
    REFUSED(nlm_training_create(engine, &options, &training, error), NLM_BAD_FORMAT, "tokenizer.ggml.tokens");
    nlm_engine_destroy(engine);
    temporary_remove(&t);
}

static void what_is_null_is_named(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA), *other = NULL;
    const nlm_training_options options = {SIZED, .path = LLAMA};
    const nlm_training_batch batch = usual_batch();
    nlm_training_info info = {.struct_size = sizeof info};
    double loss = 0;
    REFUSED(nlm_training_create(NULL, &options, &other, error), NLM_INVALID_ARGUMENT, "engine is NULL");
    REFUSED(nlm_training_create(engine, &options, NULL, error), NLM_INVALID_ARGUMENT, "out_training is NULL");
    REFUSED(nlm_training_create(engine, NULL, &other, error), NLM_INVALID_ARGUMENT, "preset is NULL");
    REFUSED(nlm_training_describe(NULL, &info, error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_describe(t, NULL, error), NLM_INVALID_ARGUMENT, "out_info is NULL");
    REFUSED(nlm_training_step(NULL, &batch, 1, NULL, error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_step(t, NULL, 1, NULL, error), NLM_INVALID_ARGUMENT, "batches is NULL");
    REFUSED(nlm_training_evaluate(NULL, &batch, &loss, error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_evaluate(t, NULL, &loss, error), NLM_INVALID_ARGUMENT, "batch is NULL");
    REFUSED(nlm_training_evaluate(t, &batch, NULL, error), NLM_INVALID_ARGUMENT, "nothing is asked for");
    REFUSED(nlm_training_save(NULL, "/tmp", 0, error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_save(t, NULL, 0, error), NLM_INVALID_ARGUMENT, "folder is NULL");
    REFUSED(nlm_training_restore(NULL, "/tmp", error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_restore(t, NULL, error), NLM_INVALID_ARGUMENT, "folder is NULL");
    REFUSED(nlm_training_export(NULL, NULL, "/tmp/x", error), NLM_INVALID_ARGUMENT, "training is NULL");
    REFUSED(nlm_training_export(t, NULL, NULL, error), NLM_INVALID_ARGUMENT, "path is NULL");
    nlm_training_destroy(NULL);
    CU_ASSERT_EQUAL(info_of(t).steps, 0);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void batches_that_do_not_fit_are_refused_and_change_nothing(void) {
    static int32_t tokens[70], wrong[29], labels[29];
    static const uint32_t none[2] = {0, 0}, long_one[1] = {65}, both[2] = {40, 25}, huge[2] = {20, UINT32_MAX};
    for (int i = 0; i < 29; i++) wrong[i] = labels[i] = 5;
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA);
    const bytes before = exported(t);
    const nlm_training_batch good = usual_batch();
    const struct {
        nlm_training_batch change;
        const char *told;
    } cases[] = {
        {{.struct_size = 3}, "struct_size is 3"},
        {{.n_seqs = 5}, "5 sequences"},
        {{.lengths = none}, "has no tokens"},
        {{.n_seqs = 1, .ids = tokens, .lengths = long_one}, "64 tokens"},
        {{.ids = tokens, .lengths = both}, "64 tokens"},
        {{.lengths = huge}, "64 tokens"},
        {{.ids = wrong}, "ids[7] is 318"},
        {{.labels = labels}, "labels[28] is 400"},
    };
    wrong[7] = N_VOCAB;
    labels[28] = 400;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nlm_training_batch *c = &cases[i].change;
        double loss = 7;
        const nlm_training_batch batch = {.struct_size = c->struct_size ? c->struct_size : good.struct_size,
                                          .n_seqs = c->n_seqs ? c->n_seqs : good.n_seqs,
                                          .ids = c->ids ? c->ids : good.ids,
                                          .labels = c->labels,
                                          .lengths = c->lengths ? c->lengths : good.lengths};
        REFUSED(nlm_training_step(t, &batch, 1, NULL, error), NLM_INVALID_ARGUMENT, cases[i].told);
        REFUSED(nlm_training_evaluate(t, &batch, &loss, error), NLM_INVALID_ARGUMENT, cases[i].told);
        CU_ASSERT_EQUAL(loss, 7);
    }
    wrong[7] = -1;
    const nlm_training_batch negative = {sizeof negative, 2, wrong, .lengths = lengths};
    const nlm_training_batch without_ids = {sizeof without_ids, 2, .lengths = lengths};
    const nlm_training_batch without_lengths = {sizeof without_lengths, 2, .ids = ids};
    const nlm_training_batch empty = {sizeof empty, 0, ids, .lengths = lengths};
    const nlm_training_batch mixed[2] = {good, without_ids};
    REFUSED(nlm_training_step(t, &negative, 1, NULL, error), NLM_INVALID_ARGUMENT, "ids[7] is -1");
    REFUSED(nlm_training_step(t, &without_ids, 1, NULL, error), NLM_INVALID_ARGUMENT, "ids NULL");
    REFUSED(nlm_training_step(t, &without_lengths, 1, NULL, error), NLM_INVALID_ARGUMENT, "lengths NULL");
    REFUSED(nlm_training_step(t, &empty, 1, NULL, error), NLM_INVALID_ARGUMENT, "0 sequences");
    REFUSED(nlm_training_step(t, mixed, 2, NULL, error), NLM_INVALID_ARGUMENT, "ids NULL");
    REFUSED(nlm_training_step(t, &good, 0, NULL, error), NLM_INVALID_ARGUMENT, "0 batches");
    REFUSED(nlm_training_step(t, &good, 65537, NULL, error), NLM_INVALID_ARGUMENT, "65537 batches");
    CU_ASSERT_EQUAL(info_of(t).steps, 0);
    CU_ASSERT(are_same(before, exported(t)));
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

/* ---- structs of other sizes ---------------------------------------------------------------------------- */

static void structs_may_be_of_an_older_or_newer_header(void) {
    nlm_engine *engine = fixture_engine(1);
    struct {
        nlm_training_options known;
        uint64_t later;
    } newer = {.known = {.struct_size = sizeof newer, .path = LLAMA, .max_tokens = 64}};
    nlm_training *t = training_of(engine, &newer.known), *other = NULL;
    newer.later = 1;
    REFUSED(nlm_training_create(engine, &newer.known, &other, error), NLM_INVALID_ARGUMENT, "older than the program");
    nlm_training_destroy(t);
    /* as if max_tokens and what follows did not exist yet */
    const nlm_training_options older = {
        .struct_size = offsetof(nlm_training_options, max_tokens), .path = LLAMA, .max_tokens = UINT32_MAX};
    t = training_of(engine, &older);
    nlm_training_info info = {.struct_size = offsetof(nlm_training_info, n_parameters), .n_parameters = 77};
    EXPECT_OK(nlm_training_describe(t, &info, error));
    CU_ASSERT(info.n_vocab == N_VOCAB && info.n_parameters == 77);
    struct {
        nlm_training_batch known;
        uint64_t later;
    } batches[2] = {{usual_batch(), 0}, {usual_batch(), 0}};
    batches[0].known.struct_size = batches[1].known.struct_size = sizeof *batches;
    struct {
        nlm_training_metrics known;
        uint64_t later;
    } metrics = {.known.struct_size = sizeof metrics, .later = 9};
    EXPECT_OK(nlm_training_step(t, &batches[0].known, 2, &metrics.known, error));
    CU_ASSERT(metrics.known.n_tokens == 58 && metrics.known.n_counted == 54 && metrics.later == 0);
    batches[1].known.struct_size = sizeof batches->known;
    REFUSED(nlm_training_step(t, &batches[0].known, 2, NULL, error), NLM_INVALID_ARGUMENT, "struct_size");
    metrics.known.struct_size = 0;
    REFUSED(nlm_training_step(t, &batches[0].known, 1, &metrics.known, error), NLM_INVALID_ARGUMENT, "struct_size");
    CU_ASSERT_EQUAL(info_of(t).steps, 1); /* those that failed took no step */
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void few_tokens_need_no_number_of_sequences(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = training_of(engine, &(nlm_training_options){SIZED, .path = LLAMA, .max_tokens = 9});
    const uint32_t length = 9;
    const nlm_training_batch batch = {sizeof batch, 1, (usual_batch(), ids), .lengths = &length};
    CU_ASSERT_EQUAL(step(t, &batch).n_counted, 8);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

static void labels_are_the_next_tokens_unless_given(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA);
    const nlm_training_batch next = usual_batch();
    int32_t given[29], uncounted[29];
    double of_next = 0, of_given = 1, of_some = 0;
    for (int i = 0; i < 29; i++) {
        given[i] = i == 19 || i == 28 ? -1 : ids[i + 1];
        uncounted[i] = -5;
    }
    nlm_training_batch batch = next;
    batch.labels = given;
    EXPECT_OK(nlm_training_evaluate(t, &next, &of_next, error));
    EXPECT_OK(nlm_training_evaluate(t, &batch, &of_given, error));
    CU_ASSERT_EQUAL(of_next, of_given);
    given[3] = -1;
    EXPECT_OK(nlm_training_evaluate(t, &batch, &of_some, error));
    CU_ASSERT_NOT_EQUAL(of_some, of_given);
    const nlm_training_metrics some = step(t, &batch);
    CU_ASSERT(some.loss == of_some && some.n_tokens == 29 && some.n_counted == 26);
    batch.labels = uncounted;
    const nlm_training_metrics none = step(t, &batch);
    CU_ASSERT(none.loss == 0 && none.gradient_norm == 0 && none.n_counted == 0 && none.step == 2);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void steps_lessen_the_loss_and_are_told(void) {
    nlm_engine *engine = fixture_engine(2);
    nlm_training *t =
        training_of(engine, &(nlm_training_options){SIZED, .preset = "small", .vocabulary = LLAMA, .max_tokens = 64,
                                                    .learning_rate = 1e-2, .schedule = NLM_SCHEDULED_LINEAR,
                                                    .steps = 40, .warmup_steps = 4});
    const nlm_training_batch batch = usual_batch();
    const nlm_training_metrics first = step(t, &batch);
    CU_ASSERT_DOUBLE_EQUAL(first.loss, log(N_VOCAB), 0.5); /* a new model knows nothing */
    CU_ASSERT_DOUBLE_EQUAL(first.learning_rate, 1e-2 / 4, 1e-12);
    CU_ASSERT(first.gradient_norm > 0 && first.seconds > 0);
    nlm_training_metrics last = first;
    for (int i = 0; i < 20; i++) last = step(t, &batch);
    CU_ASSERT(last.loss < 0.7 * first.loss && last.step == 21 && last.learning_rate < 1e-2);
    const nlm_training_info info = info_of(t);
    CU_ASSERT(info.steps == 21 && info.n_vocab == N_VOCAB && info.n_parameters > 60000);
    CU_ASSERT_EQUAL(info.parameter_bytes, 4 * info.n_parameters);
    CU_ASSERT(info.gradient_bytes < info.parameter_bytes / 2); /* the others are among the activations */
    CU_ASSERT_EQUAL(info.optimizer_bytes, 2 * info.parameter_bytes);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void recomputing_takes_less_memory_and_gives_the_same_bits(void) {
    static const uint32_t flags[] = {0, NLM_TRAINING_RECOMPUTE_UP, NLM_TRAINING_RECOMPUTE};
    enum { WAYS = 3 };
    nlm_engine *engine = fixture_engine(2);
    const nlm_training_batch batch = usual_batch();
    bytes models[WAYS];
    uint64_t activations[WAYS];
    for (int i = 0; i < WAYS; i++) {
        nlm_training *t =
            training_of(engine, &(nlm_training_options){SIZED, .architecture = "llama", .n_embd = 32, .n_layer = 8,
                                                        .vocabulary = LLAMA, .flags = flags[i], .max_tokens = 64});
        step(t, &batch);
        step(t, &batch);
        activations[i] = info_of(t).activation_bytes;
        models[i] = exported(t);
        nlm_training_destroy(t);
    }
    CU_ASSERT(activations[2] < activations[0]);
    CU_ASSERT(activations[2] < activations[1]);
    for (int i = 1; i < WAYS; i++) {
        CU_ASSERT(models[i].length == models[0].length &&
                  memcmp(models[i].data, models[0].data, models[0].length) == 0);
    }
    for (int i = 0; i < WAYS; i++) free(models[i].data);
    nlm_engine_destroy(engine);
}

static void adapters_leave_the_model_as_it_was_until_they_are_trained(void) {
    nlm_engine *engine = fixture_engine(1);
    const char *path = MODEL("llama-q8_0");
    nlm_training *t = training_of(engine, &(nlm_training_options){SIZED, .path = path, .max_tokens = 64,
                                                                  .lora_rank = 2, .learning_rate = 1e-2});
    nlm_training *whole = usual_training(engine, path);
    CU_ASSERT(info_of(t).n_parameters < info_of(whole).n_parameters / 4);
    CU_ASSERT_EQUAL(info_of(t).optimizer_bytes, 8 * info_of(t).n_parameters);
    nlm_training_destroy(whole);
    const nlm_training_batch batch = usual_batch();
    double before = 0, untouched = 1;
    EXPECT_OK(nlm_training_evaluate(t, &batch, &before, error));
    nlm_training *again = usual_training(engine, path);
    EXPECT_OK(nlm_training_evaluate(again, &batch, &untouched, error));
    CU_ASSERT_DOUBLE_EQUAL(before, untouched, 1e-3);
    nlm_training_destroy(again);
    const double first = step(t, &batch).loss;
    double last = first;
    for (int i = 0; i < 8; i++) last = step(t, &batch).loss;
    CU_ASSERT(last < first);
    CU_ASSERT(!are_same(exported(t), read_bytes(path)));
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static nlm_dtype type_of(const nlm_gguf *gguf, const char *name) {
    const nlm_gguf_tensor *tensor = nlm_gguf_find_tensor(gguf, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    return tensor->tensor.dtype;
}

static void what_weights_of_4_bits_have_learned_is_not_rounded_away(void) {
    temporary t;
    nlm_gguf *gguf = NULL;
    CU_ASSERT_FATAL(temporary_make(&t));
    nlm_engine *engine = fixture_engine(1);
    nlm_training *adapted = training_of(
        engine, &(nlm_training_options){SIZED, .path = MODEL("llama-q4_0"), .max_tokens = 64, .lora_rank = 2});
    const nlm_training_batch batch = usual_batch();
    step(adapted, &batch);
    EXPECT_OK(nlm_training_export(adapted, NULL, temporary_path(&t, "model.gguf"), error));
    EXPECT_OK(nlm_gguf_open(t.path, &gguf, error));
    CU_ASSERT_EQUAL(type_of(gguf, "blk.0.attn_q.weight"), NLM_Q8_0);
    CU_ASSERT_EQUAL(type_of(gguf, "token_embd.weight"), NLM_Q4_0); /* has no adapter */
    CU_ASSERT_PTR_NULL(nlm_gguf_find(gguf, "general.file_type"));
    nlm_gguf_close(gguf);
    EXPECT_OK(nlm_training_export(adapted, "q4_0", temporary_path(&t, "model.gguf"), error));
    EXPECT_OK(nlm_gguf_open(t.path, &gguf, error));
    CU_ASSERT_EQUAL(type_of(gguf, "blk.0.attn_q.weight"), NLM_Q4_0);
    nlm_gguf_close(gguf);
    nlm_training_destroy(adapted);
    nlm_engine_destroy(engine);
    temporary_remove(&t);
}

static void evaluating_changes_nothing(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *with = usual_training(engine, MODEL("mamba-f32"));
    nlm_training *without = usual_training(engine, MODEL("mamba-f32"));
    const nlm_training_batch batch = usual_batch();
    for (int i = 0; i < 3; i++) {
        double loss = 0, again = 0;
        EXPECT_OK(nlm_training_evaluate(with, &batch, &loss, error));
        EXPECT_OK(nlm_training_evaluate(with, &batch, &again, error));
        CU_ASSERT_EQUAL(loss, again);
        CU_ASSERT_EQUAL(step(with, &batch).loss, loss);
        step(without, &batch);
    }
    CU_ASSERT_EQUAL(info_of(with).steps, 3);
    CU_ASSERT(are_same(exported(with), exported(without)));
    nlm_training_destroy(with);
    nlm_training_destroy(without);
    nlm_engine_destroy(engine);
}

static void a_step_that_is_not_finite_changes_nothing(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t =
        training_of(engine, &(nlm_training_options){SIZED, .path = LLAMA, .max_tokens = 64, .learning_rate = 1e30,
                                                    .schedule = NLM_SCHEDULED_CONSTANT});
    const nlm_training_batch batch = usual_batch();
    nlm_training_metrics metrics = {.struct_size = sizeof metrics, .loss = 7};
    step(t, &batch);
    const bytes before = exported(t);
    REFUSED(nlm_training_step(t, &batch, 1, &metrics, error), NLM_NUMERIC, "step 2");
    CU_ASSERT(metrics.loss == 7 && info_of(t).steps == 1);
    CU_ASSERT(are_same(before, exported(t)));
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static const check_case cases[] = {
    CHECK_CASE(options_that_cannot_be_are_refused),
    CHECK_CASE(a_vocabulary_without_tokens_is_refused),
    CHECK_CASE(new_models_have_the_sizes_that_are_given),
    CHECK_CASE(what_is_null_is_named),
    CHECK_CASE(batches_that_do_not_fit_are_refused_and_change_nothing),
    CHECK_CASE(structs_may_be_of_an_older_or_newer_header),
    CHECK_CASE(few_tokens_need_no_number_of_sequences),
    CHECK_CASE(labels_are_the_next_tokens_unless_given),
    CHECK_CASE(steps_lessen_the_loss_and_are_told),
    CHECK_CASE(recomputing_takes_less_memory_and_gives_the_same_bits),
    CHECK_CASE(adapters_leave_the_model_as_it_was_until_they_are_trained),
    CHECK_CASE(what_weights_of_4_bits_have_learned_is_not_rounded_away),
    CHECK_CASE(evaluating_changes_nothing),
    CHECK_CASE(a_step_that_is_not_finite_changes_nothing),
};
CHECK_MAIN("train_api", cases)
