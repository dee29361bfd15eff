/* Sessions of a model whose layers are state space layers and attention layers in turn: everything that sessions
 * do, with states of which some are paged and some are not. */
#include "hybrid_family.h"
#include "session/runtime.h"
#include "session_fixture.h"
#include "temporary.h"
#include "tensor/dtype.h"

enum { LAYERS = 4, EMBD = 24, HEADS = 4, HEADS_KV = 2, HEAD_DIM = 6, FF = 20, INNER = 40, STATE = 5, CONV = 3 };
enum { VOCAB = 37, CONTEXT = 512 };

/* ---- the model ----------------------------------------------------------------------------- */

static void write_keys(nlm_gguf_writer *w) {
    static const uint32_t heads[LAYERS] = {0, HEADS, 0, HEADS}, heads_kv[LAYERS] = {0, HEADS_KV, 0, HEADS_KV};
    static const struct {
        const char *name;
        uint32_t value;
    } keys[] = {{"context_length", CONTEXT},        {"embedding_length", EMBD}, {"block_count", LAYERS},
                {"feed_forward_length", FF},        {"ssm.conv_kernel", CONV},  {"ssm.inner_size", INNER},
                {"attention.key_length", HEAD_DIM}, {"ssm.state_size", STATE}};
    char name[64];
    nlm_gguf_writer_string(w, "general.architecture", "hybrid", strlen("hybrid"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(name, sizeof name, "hybrid.%s", keys[i].name);
        nlm_gguf_writer_u32(w, name, keys[i].value);
    }
    nlm_gguf_writer_array(w, "hybrid.attention.head_count", NLM_GGUF_U32, heads, LAYERS);
    nlm_gguf_writer_array(w, "hybrid.attention.head_count_kv", NLM_GGUF_U32, heads_kv, LAYERS);
    nlm_gguf_writer_f32(w, "hybrid.attention.layer_norm_rms_epsilon", 1e-5f);
    nlm_gguf_writer_f32(w, "hybrid.attention.scale", 0.4f);
}

static void write_tensor(nlm_gguf_writer *w, const char *name, const int64_t *shape, int rank) {
    nlm_tensor tensor;
    EXPECT_OK(nlm_tensor_init(&tensor, NLM_F32, rank, shape, NULL, error));
    nlm_gguf_writer_tensor(w, name, &tensor);
}

/* What each layer has, by hand: not by the tables that are tested. */
static void write_tensors(nlm_gguf_writer *w) {
    static const struct {
        const char *name;
        int64_t shape[2];
        int kind; /* 0: of the model, 1: of all layers, 2: of state space layers, 3: of attention layers */
    } tensors[] = {{"token_embd.weight", {VOCAB, EMBD}, 0},
                   {"output_norm.weight", {EMBD}, 0},
                   {"attn_norm.weight", {EMBD}, 1},
                   {"ffn_norm.weight", {EMBD}, 1},
                   {"ffn_gate.weight", {FF, EMBD}, 1},
                   {"ffn_up.weight", {FF, EMBD}, 1},
                   {"ffn_down.weight", {EMBD, FF}, 1},
                   {"ssm_in.weight", {2 * INNER, EMBD}, 2},
                   {"ssm_conv1d.weight", {INNER, CONV}, 2},
                   {"ssm_x.weight", {INNER + 2 * STATE, INNER}, 2},
                   {"ssm_a", {INNER, STATE}, 2},
                   {"ssm_d", {INNER}, 2},
                   {"ssm_out.weight", {EMBD, INNER}, 2},
                   {"attn_q.weight", {HEADS * HEAD_DIM, EMBD}, 3},
                   {"attn_k.weight", {HEADS_KV * HEAD_DIM, EMBD}, 3},
                   {"attn_v.weight", {HEADS_KV * HEAD_DIM, EMBD}, 3},
                   {"attn_output.weight", {EMBD, HEADS * HEAD_DIM}, 3}};
    char name[64];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const int rank = tensors[i].shape[1] ? 2 : 1, kind = tensors[i].kind;
        if (kind == 0) write_tensor(w, tensors[i].name, tensors[i].shape, rank);
        for (int layer = 0; kind > 0 && layer < LAYERS; layer++) {
            if (kind > 1 && layer % 2 != kind - 2) continue;
            snprintf(name, sizeof name, "blk.%d.%s", layer, tensors[i].name);
            write_tensor(w, name, tensors[i].shape, rank);
        }
    }
}

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

/* Matrices of a deviation that keeps activations near 1, vectors around 1, ssm_a negative. */
static void fill(const nlm_gguf_tensor *t, uint32_t *state) {
    float *values = t->tensor.data;
    const bool is_a = memmem(t->name.data, t->name.length, "ssm_a", 5) != NULL;
    const float scale = t->n_dims == 1 ? 0.2f : 1.7f / sqrtf((float)t->dims[0]);
    for (uint64_t i = 0; i < t->bytes / sizeof *values; i++) {
        const float value = noise(state);
        values[i] = is_a ? -1.5f + value : t->n_dims == 1 ? 1 + scale * value : scale * value;
    }
}

static nlm_model *open_hybrid(void) {
    nlm_gguf_writer *w = NULL;
    nlm_gguf *gguf = NULL;
    nlm_model *model = NULL;
    uint32_t state = 7;
    EXPECT_OK(nlm_gguf_writer_create(&w, error));
    write_keys(w);
    write_tensors(w);
    EXPECT_OK(nlm_gguf_writer_map(w, "hybrid", &gguf, error));
    nlm_gguf_writer_destroy(w);
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) fill(nlm_gguf_tensor_at(gguf, i), &state);
    EXPECT_OK(nlm_model_take_gguf_as(gguf, &hybrid_family, &model, error));
    return model;
}

static fixture open_loaded(uint32_t flags) {
    const nlm_model_options options = {.struct_size = sizeof options, .flags = flags, .parallel = 4};
    fixture f = {.engine = fixture_engine(1), .n_vocab = VOCAB};
    EXPECT_OK(nlm_model_load_open(f.engine, open_hybrid(), &options, &f.model, error));
    return f;
}

/* ---- cases --------------------------------------------------------------------------------- */

static void layers_have_the_states_of_their_kind(void) {
    const nlm_cache_options options = {
        .n_slots = 3, .n_pages = 10, .page_tokens = 16, .n_blocks = 4, .kv_dtype = NLM_F16};
    nlm_model *model = open_hybrid();
    nlm_cache *cache = NULL;
    EXPECT_OK(nlm_model_cache_create(model, &options, &cache, error));
    for (int32_t i = 0; i < LAYERS; i++) {
        const bool is_attention = i % 2 == 1;
        CU_ASSERT_EQUAL(nlm_cache_state(cache, NLM_S_K, i) != NULL, is_attention);
        CU_ASSERT_EQUAL(nlm_cache_state(cache, NLM_S_V, i) != NULL, is_attention);
        CU_ASSERT_EQUAL(nlm_cache_state(cache, HYBRID_S_CONV, i) != NULL, !is_attention);
        CU_ASSERT_EQUAL(nlm_cache_state(cache, HYBRID_S_SSM, i) != NULL, !is_attention);
    }
    const uint64_t page = 2 * 2 * HEADS_KV * 16 * HEAD_DIM * 2;          /* two layers, keys and values, f16 */
    const uint64_t slot = 2 * 4 * ((CONV - 1) * INNER + 3 * STATE * 16); /* two layers, 40 channels in tiles of 16 */
    CU_ASSERT_EQUAL(nlm_cache_page_bytes(cache), page);
    CU_ASSERT_EQUAL(nlm_cache_slot_bytes(cache), slot);
    CU_ASSERT_EQUAL(nlm_cache_bytes(cache), 10 * page + 3 * slot);
    nlm_cache_destroy(cache);
    nlm_model_close(model);
}

/* What is not paged is half written by then: nothing is left of the sequence. */
static void a_run_that_failed_leaves_a_slot_empty(void) {
    const nlm_cache_options options = {
        .n_slots = 3, .n_pages = 10, .page_tokens = 16, .n_blocks = 4, .kv_dtype = NLM_F16};
    nlm_model *model = open_hybrid();
    nlm_states *states = NULL;
    EXPECT_OK(nlm_states_create(model, &options, &states, error));
    EXPECT_OK(nlm_states_extend(states, 1, 20, error));
    EXPECT_OK(nlm_states_extend(states, 1, 20, error));
    CU_ASSERT_EQUAL(nlm_kv_pages_free(states->pages), 7);
    CU_ASSERT_EQUAL(nlm_states_roll_back(states, 1, 20), 0);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(states->pages), 10);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(states->pages, 1), 0);
    nlm_states_destroy(states);
    nlm_model_close(model);
}

/* The logits after each of ids[0..n), computed token by token in an empty session; they go to rows. */
static void run_alone(const fixture *f, const int32_t *ids, size_t n, float *rows) {
    nlm_session *session = fixture_session(f);
    for (size_t i = 0; i < n; i++) {
        EXPECT_OK(nlm_session_extend_logits(session, &ids[i], 1, rows + i * VOCAB, error));
    }
    nlm_session_destroy(session);
}

static int has_logits(nlm_session *session, const float *row) {
    const float *logits = NULL;
    EXPECT_OK(nlm_session_logits(session, &logits, error));
    return memcmp(logits, row, VOCAB * sizeof *row) == 0;
}

enum { N = 200 };

static void chunks_and_batches_give_the_bits_of_steps(void) {
    static float rows[N * VOCAB], other_rows[N * VOCAB];
    fixture f = open_loaded(NLM_MODEL_NO_PROMPT_CACHE);
    int32_t ids[N], other[N];
    fixture_ids(&f, 1, ids, N);
    fixture_ids(&f, 2, other, N);
    run_alone(&f, ids, N, rows);
    run_alone(&f, other, N, other_rows);
    CU_ASSERT_NOT_EQUAL(memcmp(rows, other_rows, sizeof rows), 0);
    nlm_session *pair[2] = {fixture_session(&f), fixture_session(&f)};
    fixture_extend(pair[0], ids, 77);
    fixture_extend(pair[1], other, 3);
    for (int i = 0; i < 50; i++) {
        const int32_t next[2] = {ids[77 + i], other[3 + i]};
        EXPECT_OK(nlm_sessions_decode(pair, next, 2, error));
        CU_ASSERT(has_logits(pair[0], rows + (77 + i) * VOCAB));
        CU_ASSERT(has_logits(pair[1], other_rows + (3 + i) * VOCAB));
    }
    EXPECT_OK(nlm_session_reset(pair[0], error));
    fixture_extend(pair[0], other, N);
    CU_ASSERT(has_logits(pair[0], other_rows + (N - 1) * VOCAB));
    nlm_session_destroy(pair[0]);
    nlm_session_destroy(pair[1]);
    fixture_close(&f);
}

static void a_fork_goes_its_own_way(void) {
    static float rows[N * VOCAB], other_rows[N * VOCAB];
    fixture f = open_loaded(NLM_MODEL_NO_PROMPT_CACHE);
    int32_t ids[N], other[N];
    fixture_ids(&f, 1, ids, N);
    memcpy(other, ids, sizeof ids);
    fixture_ids(&f, 2, other + 45, N - 45); /* the page of the fork is partly filled */
    run_alone(&f, ids, N, rows);
    run_alone(&f, other, N, other_rows);
    nlm_session *first = fixture_session(&f), *second = NULL;
    fixture_extend(first, ids, 45);
    EXPECT_OK(nlm_session_fork(first, &second, error));
    CU_ASSERT(has_logits(second, rows + 44 * VOCAB));
    fixture_extend(second, other + 45, N - 45);
    fixture_extend(first, ids + 45, N - 45);
    CU_ASSERT(has_logits(first, rows + (N - 1) * VOCAB));
    CU_ASSERT(has_logits(second, other_rows + (N - 1) * VOCAB));
    nlm_session_destroy(first);
    nlm_session_destroy(second);
    fixture_close(&f);
}

/* Blocks end at multiples of 128 tokens and at a prompt's last multiple of 32 before its end. */
static void prompts_share_pages_and_states(void) {
    static float rows[N * VOCAB], other_rows[N * VOCAB];
    fixture plain = open_loaded(NLM_MODEL_NO_PROMPT_CACHE), f = open_loaded(0);
    int32_t ids[N], other[N];
    fixture_ids(&f, 1, ids, N);
    memcpy(other, ids, sizeof ids);
    fixture_ids(&f, 2, other + 150, N - 150);
    run_alone(&plain, ids, N, rows);
    run_alone(&plain, other, N, other_rows);
    static const struct {
        bool is_other;
        size_t n, cached;
    } steps[] = {{false, 180, 0}, {false, 180, 160}, {true, N, 128},
                 {false, N, 160}, {false, N, 192},   {false, 60, 0}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        nlm_session *session = fixture_session(&f);
        const size_t n = steps[i].n;
        fixture_extend(session, steps[i].is_other ? other : ids, n - 5);
        CU_ASSERT_EQUAL(fixture_metrics(session).cached_tokens, steps[i].cached);
        for (size_t at = n - 5; at < n; at++) { /* what was adopted is not written by who goes on */
            const int32_t *next = steps[i].is_other ? &other[at] : &ids[at];
            EXPECT_OK(nlm_sessions_decode(&session, next, 1, error));
            CU_ASSERT(has_logits(session, (steps[i].is_other ? other_rows : rows) + at * VOCAB));
        }
        nlm_session_destroy(session);
    }
    fixture_close(&plain);
    fixture_close(&f);
}

static void a_session_comes_back_from_a_file(void) {
    static float rows[N * VOCAB];
    fixture f = open_loaded(NLM_MODEL_NO_PROMPT_CACHE);
    temporary t;
    int32_t ids[N];
    fixture_ids(&f, 1, ids, N);
    run_alone(&f, ids, N, rows);
    CU_ASSERT_FATAL(temporary_make(&t));
    nlm_session *first = fixture_session(&f), *second = fixture_session(&f);
    fixture_extend(first, ids, 75);
    EXPECT_OK(nlm_session_save(first, temporary_path(&t, "s"), error));
    fixture_extend(first, ids, 20); /* the file is not the session's memory */
    fixture_extend(second, ids + 9, 90);
    EXPECT_OK(nlm_session_restore(second, temporary_path(&t, "s"), error));
    CU_ASSERT(has_logits(second, rows + 74 * VOCAB));
    fixture_extend(second, ids + 75, N - 75);
    CU_ASSERT(has_logits(second, rows + (N - 1) * VOCAB));
    nlm_session_destroy(first);
    nlm_session_destroy(second);
    temporary_remove(&t);
    fixture_close(&f);
}

static void memory_in_use_is_pages_and_slots(void) {
    const uint64_t page = 2 * 2 * HEADS_KV * 32 * HEAD_DIM * 2, slot = 2 * 4 * ((CONV - 1) * INNER + 3 * STATE * 16);
    fixture f = open_loaded(NLM_MODEL_NO_PROMPT_CACHE);
    int32_t ids[70];
    fixture_ids(&f, 1, ids, 70);
    nlm_session *first = fixture_session(&f), *second = fixture_session(&f);
    fixture_extend(first, ids, 70);
    CU_ASSERT_EQUAL(fixture_metrics(first).cache_bytes, 3 * page + 2 * slot);
    nlm_session_destroy(second);
    EXPECT_OK(nlm_session_reset(first, error));
    CU_ASSERT_EQUAL(fixture_metrics(first).cache_bytes, slot);
    nlm_session_destroy(first);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(a_run_that_failed_leaves_a_slot_empty),
    CHECK_CASE(layers_have_the_states_of_their_kind),
    CHECK_CASE(chunks_and_batches_give_the_bits_of_steps),
    CHECK_CASE(a_fork_goes_its_own_way),
    CHECK_CASE(prompts_share_pages_and_states),
    CHECK_CASE(a_session_comes_back_from_a_file),
    CHECK_CASE(memory_in_use_is_pages_and_slots),
};
CHECK_MAIN("hybrid", cases)
