/* nlm.h's promises: sizes of structs, errors with a sentence, limits, cancelling, several engines. */
#include <math.h>

#include "damaged_model.h"
#include "format/gguf.h"
#include "session_fixture.h"
#include "temporary.h"

static void ignore_message(void *user, int32_t level, const char *message) {
    (void)user, (void)level, (void)message;
}

static void api_says_its_versions(void) {
    CU_ASSERT_EQUAL(nlm_api_version(), (uint32_t)NLM_API_MAJOR << 16 | NLM_API_MINOR);
    CU_ASSERT_STRING_EQUAL(nlm_status_string(NLM_LIMIT), "limit exceeded");
    CU_ASSERT(strlen(nlm_version()) >= 5);
}

/* A program of an older header has smaller structs, one of a newer header larger ones. */
static void api_takes_structs_of_other_sizes(void) {
    struct {
        nlm_model_options known;
        uint64_t later;
    } newer = {.known = {.struct_size = sizeof newer, .parallel = 2}};
    nlm_engine *engine = fixture_engine(1);
    nlm_model *model = NULL;
    const char *path = NLM_TEST_DATA "/models/llama-gqa-f32.gguf";
    EXPECT_OK(nlm_model_load(engine, path, &newer.known, &model, error));
    nlm_model_unload(model);
    newer.later = 1; /* something this library does not know is asked for */
    CU_ASSERT_EQUAL(nlm_model_load(engine, path, &newer.known, &model, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(model);
    newer.known.struct_size = 0;
    CU_ASSERT_EQUAL(nlm_model_load(engine, path, &newer.known, &model, NULL), NLM_INVALID_ARGUMENT);
    /* as if `parallel` and what follows did not exist yet */
    const nlm_model_options older = {.struct_size = offsetof(nlm_model_options, parallel), .parallel = 77};
    EXPECT_OK(nlm_model_load(engine, path, &older, &model, error));
    nlm_model_info info = {.struct_size = offsetof(nlm_model_info, n_vocab), .n_vocab = -5};
    EXPECT_OK(nlm_model_describe(model, &info, error));
    CU_ASSERT(info.parallel == 1 && info.context_length == 256 && info.n_vocab == -5);
    struct {
        nlm_model_info known;
        uint64_t later;
    } answer = {.known.struct_size = sizeof answer, .later = 9};
    EXPECT_OK(nlm_model_describe(model, &answer.known, error));
    CU_ASSERT(answer.later == 0 && answer.known.n_vocab == 318 && answer.known.struct_size == sizeof answer);
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
}

static void engine_names_what_it_cannot_open(void) {
    static const struct {
        nlm_engine_options options;
        nlm_status status;
        const char *told;
    } cases[] = {
        {{.struct_size = sizeof(nlm_engine_options), .backend = "warp"}, NLM_NOT_FOUND, "cpu_scalar"},
        {{.struct_size = sizeof(nlm_engine_options), .backend = "cpu_scalar", .device_id = 9},
         NLM_INVALID_ARGUMENT,
         "9"},
        {{.struct_size = sizeof(nlm_engine_options), .backend = "cpu_scalar", .threads = 5000},
         NLM_INVALID_ARGUMENT,
         "5000"},
        {{.struct_size = sizeof(nlm_engine_options), .flags = 1u << 30}, NLM_INVALID_ARGUMENT, "flags"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_engine_options options = cases[i].options;
        options.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml";
        nlm_engine *engine = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_engine_create(&options, &engine, &err), cases[i].status);
        CU_ASSERT_PTR_NULL(engine);
        if (!strstr(err.msg, cases[i].told)) printf("\n  told: %s", err.msg);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
    }
}

static void model_options_out_of_range_are_refused(void) {
    static const struct {
        nlm_model_options options;
        const char *told;
    } cases[] = {
        {{.struct_size = sizeof(nlm_model_options), .kv_type = "q3"}, "'q3'"},
        {{.struct_size = sizeof(nlm_model_options), .chat_template = "klingon"}, "chatml"},
        {{.struct_size = sizeof(nlm_model_options), .parallel = 100000}, "100000"},
        {{.struct_size = sizeof(nlm_model_options), .context_length = UINT32_MAX}, "4294967295"},
        {{.struct_size = sizeof(nlm_model_options), .flags = 64}, "flags"},
    };
    nlm_engine *engine = fixture_engine(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_model *model = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(
            nlm_model_load(engine, NLM_TEST_DATA "/models/llama-gqa-f32.gguf", &cases[i].options, &model, &err),
            NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
    }
    nlm_model *model = NULL;
    CU_ASSERT_EQUAL(nlm_model_load(engine, "/nowhere/model.gguf", NULL, &model, NULL), NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(nlm_model_load(engine, NLM_TEST_DATA "/models/llama-gqa-f32.txt", NULL, &model, NULL),
                    NLM_BAD_FORMAT);
    nlm_engine_destroy(engine);
}

static void session_keeps_to_its_limits(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f), *second = NULL;
    int32_t ids[257], wrong = f.n_vocab;
    nlm_error err = NLM_ERROR_INIT;
    fixture_ids(&f, 1, ids, 257);
    CU_ASSERT_EQUAL(nlm_session_create(f.model, &second, &err), NLM_LIMIT);
    CU_ASSERT_EQUAL(nlm_session_fork(session, &second, &err), NLM_LIMIT);
    CU_ASSERT_PTR_NULL(second);
    const float *logits = NULL;
    CU_ASSERT_EQUAL(nlm_session_logits(session, &logits, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 0, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_session_extend(session, &wrong, 1, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 257, &err), NLM_LIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "256"));
    fixture_extend(session, ids, 256);
    CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 1, &err), NLM_LIMIT);
    CU_ASSERT_EQUAL(nlm_sessions_decode(&session, ids, 1, &err), NLM_LIMIT);
    size_t count = 0;
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, 256);
    nlm_session_destroy(session);
    fixture_close(&f);
}

typedef struct cancel {
    int n_calls, cancel_at;
    double last;
} cancel;

static int32_t count_calls(void *user, double fraction) {
    cancel *c = user;
    CU_ASSERT(fraction >= c->last && fraction <= 1);
    c->last = fraction;
    return ++c->n_calls == c->cancel_at;
}

static void load_and_prefill_can_be_cancelled(void) {
    cancel c = {.cancel_at = 2};
    const nlm_model_options options = {.struct_size = sizeof options, .progress = count_calls, .progress_user = &c};
    nlm_engine *engine = fixture_engine(1);
    nlm_model *model = NULL;
    CU_ASSERT_EQUAL(nlm_model_load(engine, NLM_TEST_DATA "/models/mamba-f32.gguf", &options, &model, NULL),
                    NLM_CANCELLED);
    CU_ASSERT_PTR_NULL(model);
    nlm_engine_destroy(engine);
    /* Mamba prompts are cut at every 128 tokens: after the first chunk of 200 it is cancelled */
    const nlm_model_options two = {.struct_size = sizeof two, .parallel = 2};
    fixture f = fixture_open("mamba-f32", &two, 1);
    nlm_session *session = fixture_session(&f), *same = fixture_session(&f);
    int32_t ids[200];
    fixture_ids(&f, 1, ids, 200);
    c = (cancel){.cancel_at = 1};
    nlm_session_set_progress(session, count_calls, &c);
    CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 200, NULL), NLM_CANCELLED);
    size_t count = 0;
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, 128);
    fixture_extend(session, ids + count, 200 - count);
    fixture_extend(same, ids, 200);
    CU_ASSERT(fixture_same_logits(session, same, f.n_vocab));
    nlm_session_destroy(session);
    nlm_session_destroy(same);
    fixture_close(&f);
}

static void logits_that_are_not_finite_are_an_error_with_a_sentence(void) {
    static const char *const names[] = {"llama-gqa-f32", "mamba-f32"};
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t i = 0; i < 2; i++) {
        damaged_model_write(names[i], "output_norm.weight", 0, temporary_path(&t, "damaged.gguf"));
        fixture f = fixture_open(temporary_path(&t, "damaged.gguf"), NULL, 1);
        nlm_session *session = fixture_session(&f);
        nlm_error err = NLM_ERROR_INIT;
        const int32_t ids[3] = {5, 6, 7};
        CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 3, &err), NLM_NUMERIC);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "after position 2 is "));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "cpu_scalar"));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.where, "damaged.gguf"));
        size_t count = 9;
        nlm_session_tokens(session, &count);
        CU_ASSERT_EQUAL(count, 0);
        CU_ASSERT_EQUAL(nlm_sessions_decode(&session, ids, 1, &err), NLM_NUMERIC);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

typedef struct change {
    const char *path;
    int is_cut;
    int calls, at;
} change;

static int32_t change_file(void *user, double fraction) {
    (void)fraction;
    change *c = user;
    if (c->calls++ != c->at) return 0;
    FILE *file = fopen(c->path, "r+");
    if (!file) return 1;
    if (c->is_cut) {
        if (ftruncate(fileno(file), 4096) != 0) c->at = -1;
    } else {
        fseek(file, -4, SEEK_END);
        fputs("abcd", file);
    }
    fclose(file);
    return 0;
}

/* Somebody writes to the file between two weights, or cuts it; a copy is not concerned. */
static void a_model_that_changes_while_it_is_loaded_is_an_error(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "model.gguf");
    nlm_engine *engine = fixture_engine(1);
    for (int i = 0; i < 12; i++) {
        change c = {.path = path, .is_cut = i % 2, .at = i / 4 + 1};
        damaged_model_write_value("llama-gqa-f32", "output_norm.weight", 0, 1, path);
        const nlm_model_options options = {.struct_size = sizeof options,
                                           .flags = i % 4 < 2 ? 0 : NLM_MODEL_NO_MMAP,
                                           .progress = change_file,
                                           .progress_user = &c};
        nlm_model *model = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_model_load(engine, path, &options, &model, &err), options.flags ? NLM_OK : NLM_IO);
        if (!options.flags) CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, c.is_cut ? "was cut from" : "was changed while"));
        CU_ASSERT(c.calls > c.at && c.at >= 0);
        nlm_model_unload(model);
    }
    nlm_engine_destroy(engine);
    temporary_remove(&t);
}

static void a_key_beyond_f16_is_told_from_damage(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "damaged.gguf");
    damaged_model_write_value("qwen2-f32", "blk.0.attn_k.bias", 0, 1e6f, path);
    static const char *const types[] = {"f16", "f32"};
    for (size_t i = 0; i < 2; i++) {
        const nlm_model_options options = {.struct_size = sizeof options, .kv_type = types[i]};
        fixture f = fixture_open(path, &options, 1);
        nlm_session *session = fixture_session(&f);
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = nlm_session_extend(session, (const int32_t[]){5, 6, 7}, 3, &err);
        CU_ASSERT_EQUAL(status, i == 0 ? NLM_NUMERIC : NLM_OK);
        if (i == 0) CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "beyond f16, the type of the KV cache"));
        if (i == 0) CU_ASSERT_PTR_NULL(strstr(err.msg, "damaged"));
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

/* A NaN among the activations that meet weights of any type, on every backend that this machine can run. */
static void a_nan_before_quantised_weights_reaches_the_logits(void) {
    static const char *const backends[] = {"cpu_scalar", "cpu_avx2", "cpu_avx512"};
    static const char *const names[] = {"llama-q4_0",   "llama-q4_1", "llama-q5_0", "llama-q5_1",
                                        "llama-q8_0",   "llama-q4_k", "llama-q5_k", "llama-q6_k",
                                        "llama-iq4_nl", "mamba-k",    "mamba-mixed"};
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t i = 0; i < sizeof backends / sizeof *backends * (sizeof names / sizeof *names); i++) {
        const char *name = names[i % (sizeof names / sizeof *names)];
        const nlm_engine_options options = {.struct_size = sizeof options,
                                            .flags = NLM_ENGINE_UNBOUND,
                                            .backend = backends[i / (sizeof names / sizeof *names)],
                                            .threads = 1,
                                            .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
        fixture f = {0};
        if (nlm_engine_create(&options, &f.engine, NULL) != NLM_OK) continue;
        damaged_model_write(name, "blk.0.attn_norm.weight", 0, temporary_path(&t, "damaged.gguf"));
        EXPECT_OK(nlm_model_load(f.engine, temporary_path(&t, "damaged.gguf"), NULL, &f.model, error));
        nlm_session *session = fixture_session(&f);
        const nlm_status status = nlm_session_extend(session, (const int32_t[]){5, 6, 7}, 3, NULL);
        if (status != NLM_NUMERIC) printf("\n%s on %s: status %d", name, options.backend, status);
        CU_ASSERT_EQUAL(status, NLM_NUMERIC);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

static void engines_and_models_live_side_by_side(void) {
    fixture a = fixture_open("llama-gqa-f32", NULL, 2), b = fixture_open("mamba-f32", NULL, 1);
    nlm_model *second = NULL;
    EXPECT_OK(nlm_model_load(a.engine, NLM_TEST_DATA "/models/mamba-f32.gguf", NULL, &second, error));
    fixture c = {.engine = a.engine, .model = second, .n_vocab = b.n_vocab};
    nlm_session *x = fixture_session(&a), *y = fixture_session(&b), *z = fixture_session(&c);
    for (int32_t id = 0; id < 40; id++) {
        fixture_extend(x, &id, 1);
        fixture_extend(y, &id, 1);
        fixture_extend(z, &id, 1);
    }
    CU_ASSERT(fixture_same_logits(y, z, b.n_vocab));
    nlm_session_destroy(x);
    nlm_session_destroy(y);
    nlm_session_destroy(z);
    nlm_model_unload(second);
    fixture_close(&a);
    fixture_close(&b);
}

static void text_goes_to_ids_and_back_in_buffers_of_any_size(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    static const char text[] = "the rain in the plain\xff";
    int32_t ids[64];
    char back[64];
    size_t count = 0, again = 0, length = 0;
    EXPECT_OK(nlm_encode(f.model, text, sizeof text - 1, NLM_TEXT_BOS, NULL, 0, &count, error));
    CU_ASSERT_FATAL(count > 2 && count <= 64);
    memset(ids, 0x55, sizeof ids);
    CU_ASSERT_EQUAL(nlm_encode(f.model, text, sizeof text - 1, NLM_TEXT_BOS, ids, 2, &again, NULL), NLM_LIMIT);
    CU_ASSERT(again == count && ids[2] == 0x55555555);
    EXPECT_OK(nlm_encode(f.model, text, sizeof text - 1, NLM_TEXT_BOS, ids, 64, &again, error));
    EXPECT_OK(nlm_decode(f.model, ids, count, 0, back, sizeof back, &length, error));
    CU_ASSERT(length == sizeof text - 1 && memcmp(back, text, length) == 0);
    CU_ASSERT_EQUAL(nlm_decode(f.model, ids, count, 0, back, 3, &length, NULL), NLM_LIMIT);
    CU_ASSERT_EQUAL(length, sizeof text - 1);
    const nlm_message message = {"user", "hi"};
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_encode_chat(f.model, &message, 1, 0, NULL, 0, &count, &err), NLM_NOT_FOUND);
    CU_ASSERT(err.msg[0] != '\0');
    fixture_close(&f);
}

/* Expected: the text that the template's own text gives, whose last turn is open. */
static void an_answer_that_is_begun_is_gone_on_with(void) {
    static const nlm_message talk[] = {{"user", "Hi"}, {"assistant", "Well, I "}, {"user", "no"}};
    static const struct {
        const char *name;
        size_t first, count, n_before;
        const char *text;
    } cases[] = {
        {"chatml", 0, 2, 0, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell, I "},
        {"llama-3", 0, 2, 0,
         "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
         "Well, I"},
        {"mistral", 0, 2, 0, "[INST] Hi [/INST]Well, I "},
        {"chatml", 1, 1, 1, "<|im_start|>assistant\nWell, I "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nlm_model_options options = {.struct_size = sizeof options, .chat_template = cases[i].name};
        nlm_set_log(ignore_message, NULL, 1); /* of tokens that this vocabulary lacks */
        fixture f = fixture_open("llama-gqa-f32", &options, 1);
        int32_t ids[512], expected[512];
        size_t count, n_expected;
        const uint32_t flags = NLM_TEXT_SPECIAL | (cases[i].n_before ? 0 : NLM_TEXT_BOS);
        EXPECT_OK(nlm_encode_chat_continue(f.model, talk + cases[i].first, cases[i].count, cases[i].n_before, ids,
                                           512, &count, error));
        EXPECT_OK(
            nlm_encode(f.model, cases[i].text, strlen(cases[i].text), flags, expected, 512, &n_expected, error));
        CU_ASSERT(count == n_expected && memcmp(ids, expected, count * sizeof *ids) == 0);
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_encode_chat_continue(f.model, talk, 3, 0, ids, 512, &count, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "'user'"));
        CU_ASSERT_EQUAL(nlm_encode_chat_continue(f.model, talk, 0, 0, ids, 512, &count, NULL), NLM_INVALID_ARGUMENT);
        fixture_close(&f);
        nlm_set_log(NULL, NULL, 1);
    }
}

static const check_case cases[] = {
    CHECK_CASE(api_says_its_versions),
    CHECK_CASE(api_takes_structs_of_other_sizes),
    CHECK_CASE(engine_names_what_it_cannot_open),
    CHECK_CASE(model_options_out_of_range_are_refused),
    CHECK_CASE(session_keeps_to_its_limits),
    CHECK_CASE(load_and_prefill_can_be_cancelled),
    CHECK_CASE(logits_that_are_not_finite_are_an_error_with_a_sentence),
    CHECK_CASE(a_model_that_changes_while_it_is_loaded_is_an_error),
    CHECK_CASE(a_key_beyond_f16_is_told_from_damage),
    CHECK_CASE(a_nan_before_quantised_weights_reaches_the_logits),
    CHECK_CASE(engines_and_models_live_side_by_side),
    CHECK_CASE(text_goes_to_ids_and_back_in_buffers_of_any_size),
    CHECK_CASE(an_answer_that_is_begun_is_gone_on_with),
};
CHECK_MAIN("api", cases)
