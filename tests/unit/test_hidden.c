/* nlm_embed: the oracle's logits through the head, the same bits in any company, and no head needed. */
#include <math.h>
#include <stdbool.h>

#include "damaged_model.h"
#include "temporary.h"

#define N_FIXTURE_TOKENS 23
#define N_MOST           7

static nlm_embed_options how(uint32_t pooling, uint32_t flags) {
    return (nlm_embed_options){.struct_size = sizeof(nlm_embed_options), .pooling = pooling, .flags = flags};
}

static size_t width_of(const fixture *f) {
    nlm_model_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_model_describe(f->model, &info, error));
    return (size_t)info.n_embd;
}

/* Rows from calloc, of one sequence. */
static float *embed(const fixture *f, const int32_t *ids, size_t count, uint32_t pooling, uint32_t flags) {
    const nlm_embed_options options = how(pooling, flags);
    float *out = calloc((pooling == NLM_POOLING_NONE ? count : 1) * width_of(f), sizeof *out);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    EXPECT_OK(nlm_embed(f->model, &ids, &count, 1, &options, out, error));
    return out;
}

/* ---- against the oracle ---- */

/* A tensor of f32 in memory from malloc, [rows, cols]; NULL: the file has none. */
static float *read_tensor(const char *name, const char *tensor_name, size_t *out_rows) {
    char path[512];
    nlm_gguf *gguf = NULL;
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.gguf", name);
    EXPECT_OK(nlm_gguf_open(path, &gguf, error));
    const nlm_gguf_tensor *tensor = nlm_gguf_find_tensor(gguf, tensor_name);
    float *values = NULL;
    if (tensor) {
        FILE *file = fopen(path, "rb");
        values = malloc((size_t)tensor->bytes);
        CU_ASSERT_FATAL(tensor->type == NLM_F32 && file && values);
        fseek(file, (long)tensor->offset, SEEK_SET);
        CU_ASSERT_EQUAL_FATAL(fread(values, 1, (size_t)tensor->bytes, file), tensor->bytes);
        fclose(file);
        *out_rows = (size_t)tensor->dims[1];
    }
    nlm_gguf_close(gguf);
    return values;
}

static void read_oracle(const char *name, int32_t ids[N_FIXTURE_TOKENS], float *logits, size_t n_vocab) {
    char path[512];
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.txt", name);
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < N_FIXTURE_TOKENS; i++) CU_ASSERT_EQUAL_FATAL(fscanf(file, "%d", &ids[i]), 1);
    fclose(file);
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.npy", name);
    file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, -(long)(N_FIXTURE_TOKENS * n_vocab * sizeof *logits), SEEK_END);
    CU_ASSERT_EQUAL_FATAL(fread(logits, sizeof *logits, N_FIXTURE_TOKENS * n_vocab, file),
                          N_FIXTURE_TOKENS * n_vocab);
    fclose(file);
}

/* The head of each model, in double over what nlm_embed gives, against the float64 oracle's logits. */
static void the_head_over_them_gives_the_oracles_logits(void) {
    static const char *const models[] = {"llama-gqa-f32", "llama-mqa-f32", "qwen3-f32", "qwen3-untied-f32",
                                         "smollm3-f32",   "granite-f32",   "mamba-f32", "mamba-bare-f32"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        fixture f = fixture_open(models[m], NULL, 2);
        const size_t n_vocab = (size_t)f.n_vocab, n_embd = width_of(&f);
        int32_t ids[N_FIXTURE_TOKENS];
        float *expected = malloc(N_FIXTURE_TOKENS * n_vocab * sizeof *expected);
        size_t rows = 0, length;
        char text[32];
        const nlm_status has_scale =
            nlm_model_metadata(f.model, "granite.logit_scale", text, sizeof text, &length, NULL);
        const double scale = has_scale == NLM_OK ? strtod(text, NULL) : 1;
        float *head = read_tensor(models[m], "output.weight", &rows);
        if (!head) head = read_tensor(models[m], "token_embd.weight", &rows);
        CU_ASSERT_FATAL(expected && head && rows == n_vocab);
        read_oracle(models[m], ids, expected, n_vocab);
        float *hidden = embed(&f, ids, N_FIXTURE_TOKENS, NLM_POOLING_NONE, 0);
        double error = 0, power = 0;
        for (size_t t = 0; t < N_FIXTURE_TOKENS; t++) {
            for (size_t v = 0; v < n_vocab; v++) {
                double logit = 0;
                for (size_t i = 0; i < n_embd; i++)
                    logit += (double)hidden[t * n_embd + i] * (double)head[v * n_embd + i];
                const double apart = logit / scale - (double)expected[t * n_vocab + v];
                error += apart * apart;
                power += (double)expected[t * n_vocab + v] * (double)expected[t * n_vocab + v];
            }
        }
        printf("\n    %s: %.1e", models[m], error / power);
        CU_ASSERT(error / power < 1e-6); /* the KV cache is f16 */
        free(hidden);
        free(head);
        free(expected);
        fixture_close(&f);
    }
}

/* With a head that gives no number logits are an error, and the hidden states are as they were. */
static void the_head_is_not_run(void) {
    static const char *const names[] = {"llama-gqa-f32", "granite-f32", "mamba-f32"};
    temporary t;
    int n_tried = 0;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        const char *path = temporary_path(&t, "damaged.gguf");
        size_t rows = 0;
        float *head = read_tensor(names[m], "output.weight", &rows);
        if (!head) continue; /* it is the embedding */
        free(head);
        n_tried++;
        damaged_model_write(names[m], "output.weight", 3, path);
        fixture whole = fixture_open(names[m], NULL, 1), damaged = fixture_open(path, NULL, 1);
        int32_t ids[20];
        fixture_ids(&whole, 3, ids, 20);
        float *expected = embed(&whole, ids, 20, NLM_POOLING_NONE, 0);
        float *got = embed(&damaged, ids, 20, NLM_POOLING_NONE, 0);
        CU_ASSERT_EQUAL(memcmp(expected, got, 20 * width_of(&whole) * sizeof *got), 0);
        nlm_session *session = fixture_session(&damaged);
        CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 20, NULL), NLM_NUMERIC);
        nlm_session_destroy(session);
        free(expected);
        free(got);
        fixture_close(&whole);
        fixture_close(&damaged);
        remove(path);
    }
    CU_ASSERT(n_tried > 0);
    temporary_remove(&t);
}

/* ---- many at once ---- */

/* Sequences from one token to longer than a batch, in one call and alone, with 1 and 3 threads. */
static void company_changes_no_bit(void) {
    static const size_t counts[N_MOST] = {1, 600, 40, 33, 2, 700, 17};
    static int32_t tokens[N_MOST][700];
    const int32_t *ids[N_MOST];
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        const nlm_model_options options = {.struct_size = sizeof options, .parallel = 3, .context_length = 700};
        fixture together = fixture_open(fixture_models[m], &options, 3),
                alone = fixture_open(fixture_models[m], &options, 1);
        const size_t n = width_of(&alone);
        size_t n_rows = 0;
        for (uint32_t i = 0; i < N_MOST; i++) {
            fixture_ids(&alone, 70 + i, tokens[i], counts[i]);
            ids[i] = tokens[i];
            n_rows += counts[i];
        }
        for (uint32_t pooling = NLM_POOLING_MEAN; pooling <= NLM_POOLING_NONE; pooling++) {
            const nlm_embed_options with = how(pooling, NLM_EMBED_NORMALIZE);
            float *all = calloc(n_rows * n, sizeof *all), *at = all;
            CU_ASSERT_PTR_NOT_NULL_FATAL(all);
            EXPECT_OK(nlm_embed(together.model, ids, counts, N_MOST, &with, all, error));
            for (size_t i = 0; i < N_MOST; i++) {
                const size_t rows = pooling == NLM_POOLING_NONE ? counts[i] : 1;
                float *one = embed(&alone, ids[i], counts[i], pooling, NLM_EMBED_NORMALIZE);
                CU_ASSERT_EQUAL(memcmp(one, at, rows * n * sizeof *one), 0);
                at += rows * n;
                free(one);
            }
            free(all);
        }
        fixture_close(&together);
        fixture_close(&alone);
    }
}

/* The same in pieces of some tokens, between which a session goes on as if it were alone. */
static void pieces_change_no_bit(void) {
    static const size_t counts[] = {1, 300, 40};
    static const uint64_t sizes[] = {1, 7, 33, 256, 100000};
    static int32_t tokens[3][300];
    const int32_t *const ids[] = {tokens[0], tokens[1], tokens[2]};
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2, .context_length = 400};
        fixture f = fixture_open(fixture_models[m], &options, 2),
                alone = fixture_open(fixture_models[m], &options, 1);
        const size_t bytes = 3 * width_of(&f) * sizeof(float);
        float *expected = malloc(bytes), *out = malloc(bytes);
        CU_ASSERT_FATAL(expected && out);
        for (uint32_t i = 0; i < 3; i++) fixture_ids(&f, 40 + i, tokens[i], counts[i]);
        const nlm_embed_options with = how(NLM_POOLING_MEAN, NLM_EMBED_NORMALIZE);
        EXPECT_OK(nlm_embed(alone.model, ids, counts, 3, &with, expected, error));
        nlm_session *beside = fixture_session(&f), *reference = fixture_session(&alone);
        int32_t n_extended = 0;
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            nlm_embedding *e = NULL;
            uint64_t left = 341, before;
            memset(out, 0, bytes);
            EXPECT_OK(nlm_embedding_create(f.model, ids, counts, 3, &with, out, &e, error));
            do {
                before = left;
                EXPECT_OK(nlm_embedding_run(e, sizes[k], &left, error));
                CU_ASSERT_FATAL(left < before && before - left <= sizes[k]);
                if (n_extended < 300 && left % 3 == 0) fixture_extend(beside, &tokens[1][n_extended++], 1);
            } while (left > 0);
            EXPECT_OK(nlm_embedding_run(e, 1, &left, error));
            CU_ASSERT(left == 0 && memcmp(out, expected, bytes) == 0);
            nlm_embedding_destroy(e);
        }
        fixture_extend(reference, tokens[1], (size_t)n_extended);
        CU_ASSERT_TRUE(fixture_same_logits(beside, reference, f.n_vocab));
        nlm_session_destroy(beside);
        nlm_session_destroy(reference);
        free(expected);
        free(out);
        fixture_close(&f);
        fixture_close(&alone);
    }
}

static void rows_are_pooled_and_normalised(void) {
    enum { COUNT = 30 };
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    const size_t n = width_of(&f);
    int32_t ids[COUNT];
    fixture_ids(&f, 8, ids, COUNT);
    float *all = embed(&f, ids, COUNT, NLM_POOLING_NONE, 0), *mean = embed(&f, ids, COUNT, NLM_POOLING_MEAN, 0);
    float *last = embed(&f, ids, COUNT, NLM_POOLING_LAST, 0), *unit = embed(&f, ids, COUNT, NLM_POOLING_LAST, 1);
    double length = 0, unit_length = 0;
    CU_ASSERT_EQUAL(memcmp(last, all + (COUNT - 1) * n, n * sizeof *last), 0);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t t = 0; t < COUNT; t++) sum += (double)all[t * n + i];
        CU_ASSERT_EQUAL(mean[i], (float)(sum / COUNT));
        length += (double)last[i] * (double)last[i];
        unit_length += (double)unit[i] * (double)unit[i];
    }
    CU_ASSERT(fabs(unit_length - 1) < 1e-6);
    for (size_t i = 0; i < n; i++) CU_ASSERT(fabs((double)unit[i] * sqrt(length) - (double)last[i]) < 1e-6);
    free(all);
    free(mean);
    free(last);
    free(unit);
    fixture_close(&f);
}

/* ---- beside sessions, and errors ---- */

static void sessions_are_left_as_they_were(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2};
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        fixture f = fixture_open(fixture_models[m], &options, 1);
        nlm_session *a = fixture_session(&f), *b = NULL;
        int32_t ids[40];
        fixture_ids(&f, 5, ids, 40);
        fixture_extend(a, ids, 30);
        free(embed(&f, ids, 40, NLM_POOLING_MEAN, 0));
        EXPECT_OK(nlm_session_fork(a, &b, error));
        CU_ASSERT_TRUE(fixture_same_logits(a, b, f.n_vocab));
        float out[4096];
        const int32_t *one = ids;
        const size_t count = 4;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_embed(f.model, &one, &count, 1, NULL, out, &err), NLM_LIMIT);
        CU_ASSERT(strstr(err.msg, "parallel") != NULL);
        EXPECT_OK(nlm_session_reset(b, error));
        fixture_extend(b, ids, 30);
        CU_ASSERT_TRUE(fixture_same_logits(a, b, f.n_vocab));
        nlm_session_destroy(a);
        nlm_session_destroy(b);
        fixture_close(&f);
    }
}

/* One that is under way holds a session of the model, and the model itself. */
static void an_embedding_under_way_may_be_left(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 1};
    fixture f = fixture_open("llama-gqa-f32", &options, 1);
    int32_t ids[40];
    const int32_t *one = ids;
    const size_t count = 40;
    float out[4096];
    uint64_t left = 0;
    nlm_embedding *e = NULL, *other = NULL;
    nlm_session *session = NULL;
    fixture_ids(&f, 5, ids, 40);
    EXPECT_OK(nlm_embedding_create(f.model, &one, &count, 1, NULL, out, &e, error));
    EXPECT_OK(nlm_embedding_create(f.model, &one, &count, 1, NULL, out, &other, error));
    EXPECT_OK(nlm_embedding_run(e, 30, &left, error));
    CU_ASSERT_EQUAL(left, 10);
    CU_ASSERT_EQUAL(nlm_session_create(f.model, &session, NULL), NLM_LIMIT);
    CU_ASSERT_EQUAL(nlm_embedding_run(other, 30, &left, NULL), NLM_LIMIT);
    CU_ASSERT_EQUAL(left, 40);
    nlm_embedding_destroy(e);
    EXPECT_OK(nlm_embedding_run(other, 30, &left, error)); /* what was refused may be tried again */
    nlm_model_unload(f.model);
    f.model = NULL;
    EXPECT_OK(nlm_embedding_run(other, 30, &left, error));
    CU_ASSERT_EQUAL(left, 0);
    nlm_embedding_destroy(other);
    nlm_embedding_destroy(NULL);
    fixture_close(&f);
}

static void wrong_sequences_are_refused(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .context_length = 8};
    fixture f = fixture_open("llama-gqa-f32", &options, 1);
    const int32_t good[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, bad[] = {1, 1 << 20}, *ids[] = {good, good};
    size_t counts[] = {2, 0};
    float out[4096];
    nlm_error err = NLM_ERROR_INIT;
    nlm_embed_options o = how(0, 0);
    EXPECT_OK(nlm_embed(f.model, ids, counts, 0, &o, out, error));
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 2, &o, out, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(err.msg, "sequence 1 has no tokens");
    counts[1] = 9;
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 2, &o, out, &err), NLM_LIMIT);
    CU_ASSERT_STRING_EQUAL(err.msg, "sequence 1 has 9 tokens, and the context holds 8");
    counts[1] = 2;
    ids[1] = bad;
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 2, &o, out, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT(strstr(err.msg, "token 1 of sequence 1") != NULL);
    o.pooling = 3;
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 1, &o, out, &err), NLM_INVALID_ARGUMENT);
    o = how(0, 2);
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 1, &o, out, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_embed(NULL, ids, counts, 1, NULL, out, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_embed(f.model, NULL, counts, 1, NULL, out, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, NULL, 1, NULL, out, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_embed(f.model, ids, counts, 1, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    nlm_session *session = fixture_session(&f); /* no slot was lost */
    nlm_session_destroy(session);
    EXPECT_OK(nlm_embed(f.model, ids, counts, 1, NULL, out, error));
    fixture_close(&f);
}

static void a_number_that_is_none_is_an_error(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    damaged_model_write("mamba-f32", "output_norm.weight", 0, temporary_path(&t, "damaged.gguf"));
    fixture f = fixture_open(temporary_path(&t, "damaged.gguf"), NULL, 1);
    const int32_t ids[] = {1, 2}, *one = ids;
    const size_t count = 2;
    float out[4096];
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_embed(f.model, &one, &count, 1, NULL, out, &err), NLM_NUMERIC);
    CU_ASSERT(strstr(err.msg, "sequence 0") != NULL);
    nlm_session *session = fixture_session(&f);
    nlm_session_destroy(session);
    nlm_embedding *e = NULL;
    EXPECT_OK(nlm_embedding_create(f.model, &one, &count, 1, NULL, out, &e, error));
    CU_ASSERT_EQUAL(nlm_embedding_run(e, 0, NULL, &err), NLM_NUMERIC);
    CU_ASSERT_EQUAL(nlm_embedding_run(e, 0, NULL, &err), NLM_INVALID_ARGUMENT);
    nlm_embedding_destroy(e);
    fixture_close(&f);
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(the_head_over_them_gives_the_oracles_logits),
    CHECK_CASE(the_head_is_not_run),
    CHECK_CASE(company_changes_no_bit),
    CHECK_CASE(pieces_change_no_bit),
    CHECK_CASE(rows_are_pooled_and_normalised),
    CHECK_CASE(sessions_are_left_as_they_were),
    CHECK_CASE(an_embedding_under_way_may_be_left),
    CHECK_CASE(wrong_sequences_are_refused),
    CHECK_CASE(a_number_that_is_none_is_an_error),
};
CHECK_MAIN("hidden", cases)
