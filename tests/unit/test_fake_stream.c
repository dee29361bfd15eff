/* Whole models on a stream device that does nothing before it must, keeps its memory to itself, and computes
 * what cpu_scalar does: every logit has the same bits. */
#include "unit/fake_fixture.h"

#include "unit/temporary.h"

enum { N_IDS = 70, N_SESSIONS = 4, CONTEXT = 160 }; /* more than two pages of 32 tokens */

static const nlm_model_options model_options = {
    .struct_size = sizeof model_options, .context_length = CONTEXT, .parallel = N_SESSIONS + 1};

typedef struct both {
    fixture fake, reference;
} both;

static both open_both(const char *model, const char *const *options) {
    fake_listen();
    const both b = {fake_open(model, &model_options, "fake_stream", options),
                    fake_open(model, &model_options, "cpu_scalar", NULL)};
    return b;
}

/* Nothing may be left on the device. */
static void close_both(both *b) {
    fixture_close(&b->fake);
    fixture_close(&b->reference);
    CU_ASSERT_EQUAL(fake_said.n_errors, 0);
    nlm_set_log(NULL, NULL, 1);
}

static void expect_same(const both *b, nlm_session *fake, nlm_session *reference) {
    CU_ASSERT(fixture_same_logits(fake, reference, b->reference.n_vocab));
}

/* The logits after every one of N_IDS tokens, given at once; from malloc. */
static float *all_logits(const fixture *f, uint32_t seed) {
    int32_t ids[N_IDS];
    float *logits = malloc(N_IDS * (size_t)f->n_vocab * sizeof *logits);
    CU_ASSERT_PTR_NOT_NULL_FATAL(logits);
    fixture_ids(f, seed, ids, N_IDS);
    nlm_session *session = fixture_session(f);
    EXPECT_OK(nlm_session_extend_logits(session, ids, N_IDS, logits, error));
    nlm_session_destroy(session);
    return logits;
}

static void expect_same_model(const char *model, const char *const *options) {
    both b = open_both(model, options);
    float *fake = all_logits(&b.fake, 1), *reference = all_logits(&b.reference, 1);
    CU_ASSERT_EQUAL(memcmp(fake, reference, N_IDS * (size_t)b.fake.n_vocab * sizeof *fake), 0);
    free(fake);
    free(reference);
    close_both(&b);
}

static void embed(const fixture *f, uint32_t pooling, float *out) {
    int32_t tokens[N_IDS];
    const int32_t *const ids[] = {tokens, tokens + 9, tokens + 1};
    const size_t counts[] = {N_IDS, 1, 33};
    const nlm_embed_options options = {.struct_size = sizeof options, .pooling = pooling};
    fixture_ids(f, 12, tokens, N_IDS);
    EXPECT_OK(nlm_embed(f->model, ids, counts, 3, &options, out, error));
}

static void models_have_the_reference_embeddings(void) {
    static float fake[(N_IDS + 34) * 512], reference[(N_IDS + 34) * 512];
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        both b = open_both(fixture_models[i], NULL);
        for (uint32_t pooling = NLM_POOLING_MEAN; pooling <= NLM_POOLING_NONE; pooling++) {
            nlm_model_info info = {.struct_size = sizeof info};
            EXPECT_OK(nlm_model_describe(b.fake.model, &info, error));
            CU_ASSERT_FATAL(info.n_embd <= 512);
            const size_t rows = pooling == NLM_POOLING_NONE ? N_IDS + 34 : 3;
            embed(&b.fake, pooling, fake);
            embed(&b.reference, pooling, reference);
            CU_ASSERT_EQUAL(memcmp(fake, reference, rows * (size_t)info.n_embd * sizeof *fake), 0);
        }
        close_both(&b);
        CU_ASSERT_EQUAL(fake_said.n_warnings, 0);
    }
}

static int32_t is_odd(void *user, int32_t id) {
    (void)user;
    return id % 2;
}

static nlm_status odd_mask(void *user, uint32_t *bits, size_t n_words, nlm_error *error) {
    (void)user;
    (void)error;
    for (size_t i = 0; i < n_words; i++) bits[i] = 0xaaaaaaaau;
    return NLM_OK;
}

static nlm_status count_token(void *user, int32_t id, nlm_error *error) {
    (void)error;
    ++*(int *)user;
    return id % 2 ? NLM_OK : NLM_INTERNAL;
}

/* Greedy, where the device chooses and logits are fetched for what it may not: odd tokens alone, and their logprobs.
 */
static void constrained_steps_are_the_reference(void) {
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        both b = open_both(fixture_models[i], NULL);
        nlm_session *sessions[2] = {fixture_session(&b.fake), fixture_session(&b.reference)};
        int32_t ids[9], next[2];
        int n_accepted = 0;
        const nlm_constraint constraint = {.struct_size = sizeof constraint,
                                           .user = &n_accepted,
                                           .allows = is_odd,
                                           .mask = odd_mask,
                                           .accept = count_token};
        fixture_ids(&b.reference, 21, ids, 9);
        nlm_step_item items[2] = {{.count = 9}, {.count = 9}};
        for (int k = 0; k < 2; k++) {
            items[k].struct_size = sizeof *items;
            items[k].flags = NLM_STEP_SAMPLE | NLM_STEP_LOGPROB;
            items[k].session = sessions[k];
            items[k].constraint = &constraint;
            items[k].ids = ids;
        }
        for (int step = 0; step < 20; step++) {
            for (int k = 0; k < 2; k++) {
                EXPECT_OK(nlm_step(&items[k], 1, error));
                next[k] = items[k].next;
                items[k].ids = &next[k];
                items[k].count = 1;
            }
            CU_ASSERT(next[0] == next[1] && next[0] % 2 && items[0].logprob == items[1].logprob);
        }
        CU_ASSERT_EQUAL(n_accepted, 40);
        nlm_session_destroy(sessions[0]);
        nlm_session_destroy(sessions[1]);
        close_both(&b);
    }
}

static void models_have_the_reference_logits(void) {
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        expect_same_model(fixture_models[i], NULL);
        CU_ASSERT_EQUAL(fake_said.n_warnings, 0); /* nothing fell back */
    }
}

static void packed_weights_are_uploaded_as_packed(void) {
    static const char *const options[] = {"pack", "1", NULL};
    expect_same_model("llama-gqa-f32", options);
    expect_same_model("llama-q4_k", options);
    expect_same_model("mamba-f32", options);
}

/* Warnings of a run that is right, each with what the device said. */
static int count_fallbacks(const char *model, const char *const *options) {
    expect_same_model(model, options);
    if (fake_said.n_warnings > 0) CU_ASSERT_PTR_NOT_NULL(strstr(fake_said.warning, "told to refuse"));
    return fake_said.n_warnings;
}

static void missing_ops_run_on_the_host(void) {
    static const char *const refused[] = {
        "embed",
        "rms_norm",
        "rope qkv_rope_append kv_append",
        "attention",
        "matmul norm_matmul norm_xz_conv dt_bc_scan",
        "conv1d_causal norm_xz_conv",
        "ssm_scan dt_bc_scan",
        "silu_mul gate_up_silu_mul mul add",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *const options[] = {"refuse", refused[i], "seed", "3", NULL};
        const int fallbacks = count_fallbacks("llama-gqa-f32", options);
        CU_ASSERT(fallbacks + count_fallbacks("mamba-f32", options) > 0);
    }
}

/* Without a call, or where it says no, the host does what it did before there was one; with all of them, every op
 * that runs was prepared. */
static void optional_calls_may_be_missing(void) {
    static const char *const rows[][3] = {
        {"without", ""},
        {"without", "prepare"},
        {"without", "fill"},
        {"without", "host_alloc"},
        {"without", "capture"},
        {"without", "event_elapsed"},
        {"without", "pack_device"},
        {"pack_device", "0"},
        {"without", "copy_from"},
        {"without", "event_query"},
        {"parts", "3"},
        {"without", "prepare fill host_alloc capture event_query event_elapsed pack_device copy_from"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const options[] = {rows[i][0], rows[i][1], "pack", "1", "prepared", "1", NULL};
        expect_same_model("llama-gqa-f32", options);
        expect_same_model("mamba-f32", options);
    }
}

/* ---- several sequences ---- */

/* Prompts of different lengths, then steps for all of them at once. */
static void decode_together(const char *model, const char *const *options) {
    both b = open_both(model, options);
    nlm_session *fake[N_SESSIONS], *reference[N_SESSIONS];
    int32_t ids[N_IDS];
    for (uint32_t s = 0; s < N_SESSIONS; s++) {
        fixture_ids(&b.fake, s, ids, N_IDS);
        fake[s] = fixture_session(&b.fake);
        reference[s] = fixture_session(&b.reference);
        fixture_extend(fake[s], ids, 1 + 15 * s);
        fixture_extend(reference[s], ids, 1 + 15 * s);
    }
    for (uint32_t step = 0; step < 5; step++) {
        const size_t count = N_SESSIONS - step % 2;
        fixture_ids(&b.fake, 100 + step, ids, N_SESSIONS);
        EXPECT_OK(nlm_sessions_decode(fake, ids, count, error));
        EXPECT_OK(nlm_sessions_decode(reference, ids, count, error));
        for (int s = 0; s < N_SESSIONS; s++) expect_same(&b, fake[s], reference[s]);
    }
    for (int s = 0; s < N_SESSIONS; s++) {
        nlm_session_destroy(fake[s]);
        nlm_session_destroy(reference[s]);
    }
    close_both(&b);
}

static void sessions_decode_together(void) {
    static const char *const options[] = {"refuse", "rms_norm conv1d_causal", "pack", "1", NULL};
    decode_together("llama-gqa-f32", NULL);
    decode_together("mamba-f32", NULL);
    decode_together("llama-window-bf16", options);
    decode_together("mamba-f32", options);
}

/* A greedy step brings home the token alone; the logits are there all the same when somebody asks, in whatever order
 * sessions run. */
static void step_both(both *b, nlm_session **fake, nlm_session **reference, const int32_t *ids,
                      nlm_sampler *sampler) {
    nlm_step_item items[2][N_SESSIONS] = {{{0}}};
    for (int s = 0; s < N_SESSIONS; s++) {
        const nlm_step_item item = {.struct_size = sizeof item,
                                    .flags = NLM_STEP_SAMPLE,
                                    .ids = ids + s,
                                    .count = 1 + (size_t)s % 3,
                                    .sampler = s % 2 ? sampler : NULL};
        items[0][s] = items[1][s] = item;
        items[0][s].session = fake[s];
        items[1][s].session = reference[s];
    }
    EXPECT_OK(nlm_step(items[0], N_SESSIONS, error));
    EXPECT_OK(nlm_step(items[1], N_SESSIONS, error));
    for (int s = 0; s < N_SESSIONS; s++) {
        CU_ASSERT(items[0][s].next >= 0);
        CU_ASSERT_EQUAL(items[0][s].next, items[1][s].next);
    }
    expect_same(b, fake[0], reference[0]);
    nlm_session *fork[2] = {NULL, NULL};
    EXPECT_OK(nlm_session_fork(fake[1], &fork[0], error));
    EXPECT_OK(nlm_session_fork(reference[1], &fork[1], error));
    fixture_extend(fork[0], ids, 2);
    fixture_extend(fork[1], ids, 2);
    expect_same(b, fork[0], fork[1]);
    for (int s = 0; s < N_SESSIONS; s++) expect_same(b, fake[s], reference[s]);
    for (int i = 0; i < 2; i++) nlm_session_destroy(fork[i]);
}

static void tokens_come_home_and_logits_when_asked_for(void) {
    static const char *const names[] = {"llama-gqa-f32", "mamba-f32"};
    const nlm_sampler_options options = {.struct_size = sizeof options, .temperature = 0.8f, .seed = 5};
    for (size_t m = 0; m < 2; m++) {
        both b = open_both(names[m], NULL);
        nlm_session *fake[N_SESSIONS], *reference[N_SESSIONS];
        nlm_sampler *sampler = NULL;
        EXPECT_OK(nlm_sampler_create(b.fake.model, &options, &sampler, error));
        for (int s = 0; s < N_SESSIONS; s++) {
            fake[s] = fixture_session(&b.fake);
            reference[s] = fixture_session(&b.reference);
        }
        int32_t ids[N_IDS];
        for (uint32_t round = 0; round < 3; round++) {
            fixture_ids(&b.fake, 40 + round, ids, N_IDS);
            step_both(&b, fake, reference, ids, sampler);
        }
        for (int s = 0; s < N_SESSIONS; s++) {
            nlm_session_destroy(fake[s]);
            nlm_session_destroy(reference[s]);
        }
        nlm_sampler_destroy(sampler);
        close_both(&b);
    }
}

/* ---- forks, prompts, files ---- */

/* Both branches of a fork go on from inside a page that they share. */
static void fork_one(const fixture *f, nlm_session **out_trunk, nlm_session **out_branch) {
    int32_t ids[N_IDS];
    fixture_ids(f, 7, ids, N_IDS);
    *out_trunk = fixture_session(f);
    fixture_extend(*out_trunk, ids, 45);
    EXPECT_OK(nlm_session_fork(*out_trunk, out_branch, error));
    fixture_extend(*out_branch, ids + 50, 3);
    fixture_extend(*out_trunk, ids + 45, 25);
}

static void forked_sessions_do_not_disturb_each_other(void) {
    static const char *const models[] = {"llama-gqa-f32", "mamba-f32"};
    for (int i = 0; i < 2; i++) {
        both b = open_both(models[i], NULL);
        nlm_session *trunk[2], *branch[2];
        fork_one(&b.fake, &trunk[0], &branch[0]);
        fork_one(&b.reference, &trunk[1], &branch[1]);
        expect_same(&b, trunk[0], trunk[1]);
        expect_same(&b, branch[0], branch[1]);
        for (int s = 0; s < 2; s++) {
            nlm_session_destroy(trunk[s]);
            nlm_session_destroy(branch[s]);
        }
        close_both(&b);
    }
}

static void prompts_come_from_the_cache(void) {
    static const char *const models[] = {"llama-gqa-f32", "mamba-f32"};
    for (int i = 0; i < 2; i++) {
        both b = open_both(models[i], NULL);
        int32_t ids[N_IDS];
        fixture_ids(&b.fake, 9, ids, N_IDS);
        nlm_session *first = fixture_session(&b.fake), *second = fixture_session(&b.fake);
        nlm_session *reference = fixture_session(&b.reference);
        fixture_extend(first, ids, N_IDS);
        fixture_extend(second, ids, N_IDS);
        fixture_extend(reference, ids, N_IDS);
        CU_ASSERT(fixture_metrics(second).cached_tokens >= 64);
        expect_same(&b, second, reference);
        nlm_session_destroy(first);
        nlm_session_destroy(second);
        nlm_session_destroy(reference);
        close_both(&b);
    }
}

/* A file knows nothing of the device it was computed on. */
static void saved_sessions_move_between_devices(void) {
    static const char *const models[] = {"llama-gqa-f32", "mamba-f32"};
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    for (int i = 0; i < 2; i++) {
        both b = open_both(models[i], NULL);
        int32_t ids[N_IDS];
        fixture_ids(&b.fake, 11, ids, N_IDS);
        nlm_session *fake = fixture_session(&b.fake), *reference = fixture_session(&b.reference);
        fixture_extend(fake, ids, 40);
        EXPECT_OK(nlm_session_save(fake, temporary_path(&folder, "a"), error));
        EXPECT_OK(nlm_session_restore(reference, temporary_path(&folder, "a"), error));
        fixture_extend(reference, ids + 40, 5);
        EXPECT_OK(nlm_session_save(reference, temporary_path(&folder, "b"), error));
        EXPECT_OK(nlm_session_restore(fake, temporary_path(&folder, "b"), error));
        expect_same(&b, fake, reference);
        fixture_extend(fake, ids + 45, 25);
        fixture_extend(reference, ids + 45, 25);
        expect_same(&b, fake, reference);
        nlm_session_destroy(fake);
        nlm_session_destroy(reference);
        close_both(&b);
    }
    temporary_remove(&folder);
}

/* A registry whose fake_stream has three devices. */
static void write_registry(const char *path) {
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fprintf(file,
            "[[plugin]]\nname = \"fake_stream\"\nlibrary = \"%s/fake_stream.so\"\nisolate = false\n"
            "[plugin.options]\ndevices = 3\n"
            "[[plugin]]\nname = \"cpu_scalar\"\nlibrary = \"%s/cpu_scalar.so\"\nisolate = false\n",
            NLM_TEST_FAKES, NLM_PLUGIN_DIRECTORY);
    fclose(file);
}

/* A model whose layers are split, on an engine that says how its ops are shared out. */
static fixture open_split(const char *model, const char *registry, const int32_t *ids, uint32_t n_ids) {
    fixture f = {0};
    char path[512];
    nlm_engine_options options = fake_options("fake_stream", NULL);
    nlm_model_info info = {.struct_size = sizeof info};
    options.registry = registry;
    options.device_ids = ids;
    options.n_device_ids = n_ids;
    EXPECT_OK(nlm_engine_create(&options, &f.engine, error));
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.gguf", model);
    EXPECT_OK(nlm_model_load(f.engine, path, &model_options, &f.model, error));
    EXPECT_OK(nlm_model_describe(f.model, &info, error));
    f.n_vocab = info.n_vocab;
    return f;
}

static void layers_are_split_over_devices(void) {
    static const int32_t ids[] = {2, 0};
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    const char *registry = temporary_path(&folder, "plugins.toml");
    write_registry(registry);
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fake_listen();
        both b = {open_split(fixture_models[i], registry, ids, 2),
                  fake_open(fixture_models[i], &model_options, "cpu_scalar", NULL)};
        nlm_engine_info info = {.struct_size = sizeof info};
        EXPECT_OK(nlm_engine_describe(b.fake.engine, &info, error));
        CU_ASSERT_EQUAL(info.device_id, 2);
        CU_ASSERT_EQUAL(info.n_devices, 2);
        float *fake = all_logits(&b.fake, 7), *reference = all_logits(&b.reference, 7);
        CU_ASSERT_EQUAL(memcmp(fake, reference, N_IDS * (size_t)b.fake.n_vocab * sizeof *fake), 0);
        CU_ASSERT_EQUAL(fake_said.n_warnings, 0); /* a share is no fallback */
        free(fake);
        free(reference);
        close_both(&b);
    }
    temporary_remove(&folder);
}

static void devices_to_split_over_are_checked(void) {
    static const struct {
        int32_t ids[9];
        uint32_t count;
        const char *expected;
    } rows[] = {{{0, 1, 0}, 3, "device_id 0 is listed twice"},
                {{0, -1}, 2, "device_id is -1"},
                {{0, 5}, 2, "device"},
                {{0, 1, 2, 3, 4, 5, 6, 7}, 8, "at most 7"}};
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    const char *registry = temporary_path(&folder, "plugins.toml");
    write_registry(registry);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_engine_options options = fake_options("fake_stream", NULL);
        nlm_engine *engine = NULL;
        nlm_error err = NLM_ERROR_INIT;
        options.registry = registry;
        options.device_ids = rows[i].ids;
        options.n_device_ids = rows[i].count;
        CU_ASSERT_EQUAL(nlm_engine_create(&options, &engine, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NULL(engine);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, rows[i].expected));
    }
    temporary_remove(&folder);
}

static void devices_measure_themselves(void) {
    static const char *const without[] = {"without", "metrics", NULL};
    nlm_device_metrics m = {.struct_size = sizeof m};
    nlm_error err = NLM_ERROR_INIT;
    both b = open_both("mamba-f32", NULL);
    EXPECT_OK(nlm_engine_device_metrics(b.fake.engine, &m, error));
    CU_ASSERT_EQUAL(m.known, NLM_KNOWN_MEMORY | NLM_KNOWN_TEMPERATURE | NLM_KNOWN_POWER);
    CU_ASSERT_EQUAL(m.memory_total_bytes, 1 << 30);
    CU_ASSERT_EQUAL(m.temperature_celsius, 40);
    CU_ASSERT_EQUAL(m.power_milliwatts, 70500);
    CU_ASSERT_EQUAL(nlm_engine_device_metrics(b.reference.engine, &m, &err), NLM_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "cpu_scalar"));
    close_both(&b);
    b = open_both("mamba-f32", without);
    CU_ASSERT_EQUAL(nlm_engine_device_metrics(b.fake.engine, &m, &err), NLM_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "told not to measure"));
    close_both(&b);
}

static const check_case cases[] = {
    CHECK_CASE(models_have_the_reference_logits),
    CHECK_CASE(models_have_the_reference_embeddings),
    CHECK_CASE(constrained_steps_are_the_reference),
    CHECK_CASE(packed_weights_are_uploaded_as_packed),
    CHECK_CASE(missing_ops_run_on_the_host),
    CHECK_CASE(optional_calls_may_be_missing),
    CHECK_CASE(sessions_decode_together),
    CHECK_CASE(tokens_come_home_and_logits_when_asked_for),
    CHECK_CASE(forked_sessions_do_not_disturb_each_other),
    CHECK_CASE(prompts_come_from_the_cache),
    CHECK_CASE(saved_sessions_move_between_devices),
    CHECK_CASE(layers_are_split_over_devices),
    CHECK_CASE(devices_to_split_over_are_checked),
    CHECK_CASE(devices_measure_themselves),
};
CHECK_MAIN("fake stream", cases)
