/* What opening accepts, what it derives, and the sentence for each way in which a model can be broken. */
#include "unit/model_fixture.h"

#include <unistd.h>

/* ---- fixtures, edited ---------------------------------------------------------------------- */

typedef enum edit_kind {
    KEEP,
    DROP_KEY,
    SET_U32,
    SET_F32,
    SET_BOOL,
    SET_STRING,
    SET_ARRAY, /* three equal u32 */
    SET_TWO,   /* two equal u32 */
    SET_PAIR,  /* two u32, the second one greater by one */
    DROP_TENSOR,
    RENAME_TENSOR,
    FLATTEN_TENSOR,   /* [r, c] as [r * c] */
    TRANSPOSE_TENSOR, /* [r, c] as [c, r] */
    AS_INTEGERS,      /* f32 said to be i32 */
    AS_TYPE           /* the type's number changed (4: one that GGUF gave up) */
} edit_kind;

typedef struct edit {
    edit_kind kind;
    const char *name;
    double number;
    const char *text;
} edit;

static bool is_named(nlm_gguf_string string, const char *name) {
    return string.length == strlen(name) && memcmp(string.data, name, string.length) == 0;
}

static void write_edited_key(nlm_gguf_writer *w, const edit *e) {
    static uint32_t three[3];
    switch (e->kind) {
        case SET_U32: nlm_gguf_writer_u32(w, e->name, (uint32_t)e->number); break;
        case SET_F32: nlm_gguf_writer_f32(w, e->name, (float)e->number); break;
        case SET_BOOL: nlm_gguf_writer_bool(w, e->name, e->number != 0); break;
        case SET_STRING: nlm_gguf_writer_string(w, e->name, e->text, strlen(e->text)); break;
        case SET_ARRAY:
            three[0] = three[1] = three[2] = (uint32_t)e->number;
            nlm_gguf_writer_array(w, e->name, NLM_GGUF_U32, three, 3);
            break;
        case SET_TWO:
        case SET_PAIR:
            three[0] = (uint32_t)e->number;
            three[1] = three[0] + (e->kind == SET_PAIR);
            nlm_gguf_writer_array(w, e->name, NLM_GGUF_U32, three, 2);
            break;
        default: break;
    }
}

static void write_key(nlm_gguf_writer *w, const nlm_gguf *gguf, const nlm_gguf_entry *entry) {
    char key[128];
    uint64_t whole;
    float real;
    bool truth;
    nlm_gguf_string text;
    snprintf(key, sizeof key, "%.*s", (int)entry->key.length, entry->key.data);
    if (entry->type == NLM_GGUF_ARRAY && entry->strings) {
        nlm_gguf_writer_strings(w, key, entry->strings, entry->count);
    } else if (entry->type == NLM_GGUF_ARRAY) {
        nlm_gguf_writer_array(w, key, entry->element_type, entry->data, entry->count);
    } else if (nlm_gguf_get_string(gguf, key, &text, NULL) == NLM_OK) {
        nlm_gguf_writer_string(w, key, text.data, text.length);
    } else if (entry->type == NLM_GGUF_BOOL && nlm_gguf_get_bool(gguf, key, &truth, NULL) == NLM_OK) {
        nlm_gguf_writer_bool(w, key, truth);
    } else if (nlm_gguf_get_u64(gguf, key, &whole, NULL) == NLM_OK) {
        nlm_gguf_writer_u32(w, key, (uint32_t)whole);
    } else {
        CU_ASSERT_EQUAL_FATAL(nlm_gguf_get_f32(gguf, key, &real, NULL), NLM_OK);
        nlm_gguf_writer_f32(w, key, real);
    }
}

static void write_tensor(nlm_gguf_writer *w, const nlm_gguf_tensor *tensor, const edit *e) {
    char name[128];
    nlm_tensor out = tensor->tensor;
    snprintf(name, sizeof name, "%.*s", (int)tensor->name.length, tensor->name.data);
    if (is_named(tensor->name, e->name)) {
        const int64_t rows = out.shape[0], cols = out.shape[1];
        const int64_t flat[1] = {rows * cols}, transposed[2] = {cols, rows};
        if (e->kind == DROP_TENSOR) return;
        if (e->kind == RENAME_TENSOR) snprintf(name, sizeof name, "%s", e->text);
        if (e->kind == FLATTEN_TENSOR) nlm_tensor_init(&out, out.dtype, 1, flat, out.data, NULL);
        if (e->kind == TRANSPOSE_TENSOR) nlm_tensor_init(&out, out.dtype, 2, transposed, out.data, NULL);
        if (e->kind == AS_INTEGERS) out.dtype = NLM_I32;
    }
    nlm_gguf_writer_tensor(w, name, &out);
}

/* In the tensor's entry the type follows name, rank and dims. */
static void set_type(const char *path, const char *name, int type) {
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *bytes = malloc(1 << 20);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    const size_t size = fread(bytes, 1, 1 << 20, file);
    const char *found = memmem(bytes, size, name, strlen(name));
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    const long at = found - bytes + (long)strlen(name);
    fseek(file, at + 4 + 8 * bytes[at], SEEK_SET);
    fputc(type, file);
    free(bytes);
    fclose(file);
}

static void edit_fixture(const char *fixture, const edit *e, const char *out_path) {
    char path[512];
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    nlm_gguf_writer *w = NULL;
    FIXTURE_OK(nlm_gguf_open(fixture_path(fixture, ".gguf", path, sizeof path), &gguf, &err));
    FIXTURE_OK(nlm_gguf_writer_create(&w, &err));
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(gguf, i);
        if (!is_named(entry->key, e->name)) write_key(w, gguf, entry);
    }
    write_edited_key(w, e);
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) write_tensor(w, nlm_gguf_tensor_at(gguf, i), e);
    FIXTURE_OK(nlm_gguf_writer_finish(w, out_path, &err));
    nlm_gguf_writer_destroy(w);
    nlm_gguf_close(gguf);
    if (e->kind == AS_TYPE) set_type(out_path, e->name, (int)e->number);
}

static void temporary_path(char *buffer, size_t size) {
    const char *directory = getenv("TMPDIR");
    snprintf(buffer, size, "%s/nlm-test-model-%ld.gguf", directory ? directory : "/tmp", (long)getpid());
}

/* ---- broken models ------------------------------------------------------------------------- */

typedef struct broken_case {
    const char *fixture;
    edit edit;
    nlm_status status;
    const char *says[3]; /* all of them stand in the message */
} broken_case;

#define GQA   "llama-gqa-f32"
#define MAMBA "mamba-f32"

static const broken_case broken_cases[] = {
    {GQA, {DROP_KEY, "general.architecture", 0, NULL}, NLM_BAD_FORMAT, {"general.architecture", "missing"}},
    {GQA, {SET_U32, "general.architecture", 7, NULL}, NLM_BAD_FORMAT, {"general.architecture", "string"}},
    {GQA, {SET_STRING, "general.architecture", 0, "gptx"}, NLM_UNSUPPORTED, {"'gptx'", "'llama', 'qwen2', "}},
    {GQA, {SET_STRING, "general.architecture", 0, ""}, NLM_BAD_FORMAT, {"general.architecture"}},
    {GQA, {SET_U32, "split.count", 2, NULL}, NLM_UNSUPPORTED, {"split.count"}},
    /* keys of Llama */
    {GQA, {DROP_KEY, "llama.block_count", 0, NULL}, NLM_BAD_FORMAT, {"'llama.block_count' is missing"}},
    {GQA, {DROP_KEY, "llama.context_length", 0, NULL}, NLM_BAD_FORMAT, {"'llama.context_length' is missing"}},
    {GQA, {SET_U32, "llama.block_count", 0, NULL}, NLM_BAD_FORMAT, {"'llama.block_count' is 0", "1 to"}},
    {GQA, {SET_U32, "llama.block_count", 4e9, NULL}, NLM_BAD_FORMAT, {"'llama.block_count' is 4000000000"}},
    {GQA, {SET_U32, "llama.block_count", 3, NULL}, NLM_BAD_FORMAT, {"'blk.2.attn_norm.weight' is missing"}},
    {GQA, {SET_U32, "llama.block_count", 1, NULL}, NLM_UNSUPPORTED, {"'blk.1.attn_norm.weight' has no place"}},
    {GQA, {SET_STRING, "llama.block_count", 0, "2"}, NLM_BAD_FORMAT, {"llama.block_count", "integer"}},
    {GQA, {SET_F32, "llama.embedding_length", 36, NULL}, NLM_BAD_FORMAT, {"llama.embedding_length", "integer"}},
    {GQA, {SET_ARRAY, "llama.attention.head_count_kv", 2, NULL}, NLM_BAD_FORMAT, {"has 3 values for 2 layers"}},
    {GQA, {SET_PAIR, "llama.embedding_length", 36, NULL}, NLM_UNSUPPORTED, {"embedding_length' is an array"}},
    {GQA, {SET_ARRAY, "llama.embedding_length", 37, NULL}, NLM_BAD_FORMAT, {"is 37"}},
    {"qwen2-f32", {DROP_TENSOR, "blk.1.attn_q.bias", 0, NULL}, NLM_BAD_FORMAT, {"'blk.1.attn_q.bias' is missing"}},
    {"qwen2-f32", {DROP_TENSOR, "blk.0.attn_v.bias", 0, NULL}, NLM_BAD_FORMAT, {"'blk.0.attn_v.bias' is missing"}},
    {GQA, {SET_PAIR, "llama.feed_forward_length", 51, NULL}, NLM_BAD_FORMAT, {"0.ffn_gate.weight'", "[51, 36]"}},
    {GQA, {SET_PAIR, "llama.attention.head_count_kv", 4, NULL}, NLM_BAD_FORMAT, {"multiple of the 4", "in layer 0"}},
    {GQA,
     {SET_PAIR, "llama.attention.head_count_kv", 0, NULL},
     NLM_BAD_FORMAT,
     {"head_count_kv' is 0; expected 1 to"}},
    {GQA,
     {SET_PAIR, "llama.attention.head_count", 8, NULL},
     NLM_BAD_FORMAT,
     {"is 9, no multiple of the 2", "in layer 1"}},
    {GQA, {SET_U32, "llama.attention.sliding_window_pattern", 2, NULL}, NLM_UNSUPPORTED, {"window in some layers"}},
    {GQA, {SET_ARRAY, "llama.attention.sliding_window_pattern", 1, NULL}, NLM_BAD_FORMAT, {"3 values for 2 layers"}},
    {GQA, {SET_U32, "llama.attention.head_count_kv", 4, NULL}, NLM_BAD_FORMAT, {"is 6, no multiple of the 4"}},
    {GQA, {SET_U32, "llama.attention.head_count", 8, NULL}, NLM_BAD_FORMAT, {"is 36, no multiple of the 8"}},
    {GQA, {SET_U32, "llama.rope.dimension_count", 3, NULL}, NLM_BAD_FORMAT, {"rope.dimension_count' is 3", "even"}},
    {GQA, {SET_U32, "llama.rope.dimension_count", 8, NULL}, NLM_BAD_FORMAT, {"rope.dimension_count' is 8", "6"}},
    {GQA, {SET_U32, "llama.attention.value_length", 4, NULL}, NLM_UNSUPPORTED, {"value_length' is 4", "6"}},
    {GQA, {SET_F32, "llama.attention.layer_norm_rms_epsilon", -1, NULL}, NLM_BAD_FORMAT, {"rms_epsilon' is -1"}},
    {GQA, {SET_F32, "llama.attention.layer_norm_rms_epsilon", NAN, NULL}, NLM_BAD_FORMAT, {"rms_epsilon' is nan"}},
    {GQA, {DROP_KEY, "llama.attention.layer_norm_rms_epsilon", 0, NULL}, NLM_BAD_FORMAT, {"rms_epsilon' is missing"}},
    {GQA, {SET_F32, "llama.rope.freq_base", INFINITY, NULL}, NLM_BAD_FORMAT, {"rope.freq_base' is inf"}},
    {GQA, {SET_F32, "llama.rope.scaling.factor", -2, NULL}, NLM_BAD_FORMAT, {"rope.scaling.factor"}},
    {GQA, {SET_U32, "llama.rope.scaling.type", 1, NULL}, NLM_BAD_FORMAT, {"rope.scaling.type", "string"}},
    {GQA,
     {SET_ARRAY, "tokenizer.ggml.tokens", 1, NULL},
     NLM_BAD_FORMAT,
     {"tokenizer.ggml.tokens' has 3", "318 rows"}},
    /* what would be computed wrongly */
    {GQA, {SET_STRING, "llama.rope.scaling.type", 0, "yarn"}, NLM_UNSUPPORTED, {"rope.scaling.type' is 'yarn'"}},
    {GQA, {SET_U32, "llama.expert_count", 8, NULL}, NLM_UNSUPPORTED, {"'llama.expert_count'", "mixture of experts"}},
    {GQA, {SET_F32, "llama.final_logit_softcapping", 30, NULL}, NLM_UNSUPPORTED, {"final_logit_softcapping"}},
    {GQA, {SET_BOOL, "llama.attention.causal", 0, NULL}, NLM_UNSUPPORTED, {"'llama.attention.causal'"}},
    {GQA, {SET_F32, "llama.logit_scale", 0.5, NULL}, NLM_UNSUPPORTED, {"'llama.logit_scale'"}},
    {GQA, {SET_STRING, "llama.pooling_type", 0, "x"}, NLM_UNSUPPORTED, {"'llama.pooling_type'"}},
    /* tensors */
    {GQA, {DROP_TENSOR, "token_embd.weight", 0, NULL}, NLM_BAD_FORMAT, {"'token_embd.weight' is missing"}},
    {GQA, {DROP_TENSOR, "blk.1.ffn_up.weight", 0, NULL}, NLM_BAD_FORMAT, {"'blk.1.ffn_up.weight' is missing"}},
    {GQA, {RENAME_TENSOR, "output.weight", 0, "head.weight"}, NLM_UNSUPPORTED, {"'head.weight' has no place"}},
    {GQA,
     {TRANSPOSE_TENSOR, "blk.0.ffn_up.weight", 0, NULL},
     NLM_BAD_FORMAT,
     {"'blk.0.ffn_up.weight' has shape [36, 52]", "want [52, 36]"}},
    {GQA, {FLATTEN_TENSOR, "blk.0.attn_q.weight", 0, NULL}, NLM_BAD_FORMAT, {"has shape [1296]", "want [36, 36]"}},
    {GQA, {FLATTEN_TENSOR, "token_embd.weight", 0, NULL}, NLM_BAD_FORMAT, {"'token_embd.weight' has 1 dim"}},
    {GQA, {AS_INTEGERS, "blk.1.attn_k.weight", 0, NULL}, NLM_BAD_FORMAT, {"'blk.1.attn_k.weight' holds integers"}},
    {GQA, {AS_TYPE, "blk.1.attn_k.weight", 4, NULL}, NLM_UNSUPPORTED, {"1.attn_k.weight' has", "type 4,"}},
    {GQA, {AS_TYPE, "blk.1.attn_k.weight", 10, NULL}, NLM_UNSUPPORTED, {"1.attn_k.weight' has", "type q2_k,"}},
    {"llama-freqs-f32",
     {SET_U32, "llama.rope.dimension_count", 10, NULL},
     NLM_BAD_FORMAT,
     {"'rope_freqs.weight' has shape [6]", "want [5]"}},
    /* Mamba */
    {MAMBA, {DROP_KEY, "mamba.ssm.state_size", 0, NULL}, NLM_BAD_FORMAT, {"'mamba.ssm.state_size' is missing"}},
    {MAMBA, {SET_U32, "mamba.ssm.state_size", 257, NULL}, NLM_BAD_FORMAT, {"state_size' is 257", "1 to 256"}},
    {MAMBA, {SET_U32, "mamba.ssm.conv_kernel", 9, NULL}, NLM_UNSUPPORTED, {"conv_kernel' is 9", "2 to 8"}},
    {MAMBA, {SET_U32, "mamba.ssm.conv_kernel", 3, NULL}, NLM_BAD_FORMAT, {"ssm_conv1d.weight' has shape [52, 4]"}},
    {MAMBA, {SET_U32, "mamba.ssm.inner_size", 0, NULL}, NLM_BAD_FORMAT, {"'mamba.ssm.inner_size' is 0"}},
    {MAMBA, {SET_U32, "mamba.ssm.time_step_rank", 4, NULL}, NLM_BAD_FORMAT, {"ssm_x.weight' has shape [35, 52]"}},
    {MAMBA, {SET_U32, "mamba.ssm.group_count", 8, NULL}, NLM_UNSUPPORTED, {"'mamba.ssm.group_count'", "Mamba-2"}},
    {MAMBA, {SET_U32, "mamba.ssm.dt_b_c_rms", 7, NULL}, NLM_BAD_FORMAT, {"mamba.ssm.dt_b_c_rms"}},
    {MAMBA, {DROP_TENSOR, "blk.0.ssm_a", 0, NULL}, NLM_BAD_FORMAT, {"'blk.0.ssm_a' is missing"}},
    {MAMBA, {TRANSPOSE_TENSOR, "blk.1.ssm_a", 0, NULL}, NLM_BAD_FORMAT, {"'blk.1.ssm_a' has shape [16, 52]"}},
};

static void check_broken(const broken_case *c, const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = NULL;
    edit_fixture(c->fixture, &c->edit, path);
    const nlm_status status = nlm_model_open(path, &model, &err);
    bool is_said = status == c->status && strcmp(err.where, path) == 0;
    for (size_t i = 0; i < 3 && c->says[i]; i++) is_said = is_said && strstr(err.msg, c->says[i]);
    if (!is_said) printf(" [%s, %s: status %d, '%s': %s] ", c->fixture, c->edit.name, status, err.where, err.msg);
    CU_ASSERT_TRUE(is_said);
    CU_ASSERT_PTR_NULL(model);
    nlm_model_close(model);
}

static void broken_models_are_refused_with_a_sentence(void) {
    char path[512];
    temporary_path(path, sizeof path);
    for (size_t i = 0; i < sizeof broken_cases / sizeof *broken_cases; i++) check_broken(&broken_cases[i], path);
    unlink(path);
}

static void a_missing_file_is_not_found(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = NULL;
    CU_ASSERT_EQUAL(nlm_model_open("/nonexistent/model.gguf", &model, &err), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NULL(model);
}

/* ---- damaged files ------------------------------------------------------------------------- */

/* A copy of the fixture open for writing; *out_size its bytes, *out_header those before the tensors' data. */
static FILE *copy_fixture(const char *name, const char *path, long *out_size, long *out_header) {
    char from[512], bytes[4096];
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    fixture_path(name, ".gguf", from, sizeof from);
    FIXTURE_OK(nlm_gguf_open(from, &gguf, &err));
    *out_header = (long)nlm_gguf_tensor_at(gguf, 0)->offset;
    nlm_gguf_close(gguf);
    FILE *in = fopen(from, "rb"), *out = fopen(path, "w+b");
    CU_ASSERT_FATAL(in && out);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;) CU_ASSERT_EQUAL_FATAL(fwrite(bytes, 1, n, out), n);
    *out_size = ftell(out);
    fclose(in);
    setvbuf(out, NULL, _IONBF, 0);
    return out;
}

/* Opens the model; a refusal must have a sentence. */
static nlm_status try_open(const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = NULL;
    const nlm_status status = nlm_model_open(path, &model, &err);
    CU_ASSERT_EQUAL_FATAL(status == NLM_OK, model != NULL);
    CU_ASSERT_FATAL(status == NLM_OK || err.msg[0] != 0);
    nlm_model_close(model);
    return status;
}

static void a_model_cut_anywhere_is_refused(void) {
    char path[512];
    long size, header;
    temporary_path(path, sizeof path);
    FILE *file = copy_fixture("mamba-odd-f32", path, &size, &header);
    CU_ASSERT_EQUAL(try_open(path), NLM_OK);
    for (long length = size - 1; length >= 0; length -= length > header ? 61 : 1) {
        CU_ASSERT_EQUAL_FATAL(ftruncate(fileno(file), length), 0);
        CU_ASSERT_NOT_EQUAL_FATAL(try_open(path), NLM_OK);
    }
    fclose(file);
    unlink(path);
}

static void any_changed_header_byte_is_refused_or_loads(void) {
    static const char *const names[] = {"mamba-odd-f32", "llama-mqa-f32"};
    static const int masks[] = {0x01, 0x80, 0xFF};
    char path[512];
    int refused = 0;
    temporary_path(path, sizeof path);
    for (size_t n = 0; n < 2; n++) {
        long size, header;
        FILE *file = copy_fixture(names[n], path, &size, &header);
        for (long at = 0; at < header; at++) {
            fseek(file, at, SEEK_SET);
            const int byte = fgetc(file);
            for (size_t m = 0; m < 3; m++) {
                fseek(file, at, SEEK_SET);
                fputc(byte ^ masks[m], file);
                refused += try_open(path) != NLM_OK;
            }
            fseek(file, at, SEEK_SET);
            fputc(byte, file);
        }
        CU_ASSERT_EQUAL(try_open(path), NLM_OK);
        fclose(file);
    }
    CU_ASSERT_TRUE(refused > 1000);
    unlink(path);
}

/* ---- models that are fine ------------------------------------------------------------------ */

static nlm_model *open_edited(const char *fixture, const edit *e) {
    char path[512];
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = NULL;
    temporary_path(path, sizeof path);
    edit_fixture(fixture, e, path);
    FIXTURE_OK(nlm_model_open(path, &model, &err));
    unlink(path);
    return model;
}

static void harmless_values_of_unsupported_keys_are_accepted(void) {
    static const edit edits[] = {
        {SET_U32, "llama.expert_count", 0, NULL},
        {SET_BOOL, "llama.attention.causal", 1, NULL},
        {SET_F32, "llama.logit_scale", 1, NULL},
        {SET_F32, "llama.final_logit_softcapping", 0, NULL},
        {SET_STRING, "llama.rope.scaling.type", 0, "none"},
        {SET_F32, "llama.rope.scaling.factor", 0, NULL},
        {SET_U32, "split.count", 1, NULL},
        {SET_STRING, "some.unknown.key", 0, "kept"},
        {DROP_KEY, "llama.vocab_size", 0, NULL},
        {SET_U32, "llama.vocab_size", 319, NULL}, /* a warning: the rows tell */
        {SET_ARRAY, "llama.embedding_length", 36, NULL},
        {SET_TWO, "llama.rope.dimension_count", 6, NULL},
        {DROP_KEY, "tokenizer.ggml.tokens", 0, NULL},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) nlm_model_close(open_edited(GQA, &edits[i]));
}

static nlm_model *open_fixture(const char *name) {
    char path[512];
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = NULL;
    FIXTURE_OK(nlm_model_open(fixture_path(name, ".gguf", path, sizeof path), &model, &err));
    return model;
}

static void hyper_parameters_are_read_and_derived(void) {
    nlm_model *model = open_fixture("llama-mqa-f32");
    const nlm_hparams *h = nlm_model_hparams(model);
    CU_ASSERT_STRING_EQUAL(nlm_model_family_name(model), "llama");
    CU_ASSERT_TRUE(h->n_vocab == 41 && h->n_layer == 2 && h->n_embd == 34 && h->n_ctx_train == 256);
    CU_ASSERT_TRUE(h->n_head.most == 5 && h->n_head_kv.most == 1 && h->n_ff.most == 51 && h->head_dim == 14 &&
                   h->n_rot == 10);
    CU_ASSERT_TRUE(h->rope_freq_base == 10000 && h->rope_freq_scale == 1 && !h->is_rope_half_split);
    CU_ASSERT_TRUE(h->rms_norm_eps == 1e-5f && h->sliding_window.most == 0 && h->d_inner == 0);
    nlm_model_close(model);
    model = open_fixture("llama-linear-f32");
    CU_ASSERT_EQUAL(nlm_model_hparams(model)->rope_freq_scale, 0.25f);
    nlm_model_close(model);
    model = open_fixture("llama-layers-f32");
    h = nlm_model_hparams(model);
    static const int32_t heads_kv[4] = {2, 3, 1, 4}, windows[4] = {7, 7, 0, 0};
    CU_ASSERT_TRUE(h->n_head_kv.most == 4 && h->n_ff.most == 40 && h->sliding_window.most == 7);
    for (int32_t i = 0; i < 4; i++) CU_ASSERT_EQUAL(nlm_at_layer(h->n_head_kv, i), heads_kv[i]);
    for (int32_t i = 0; i < 4; i++) CU_ASSERT_EQUAL(nlm_at_layer(h->sliding_window, i), windows[i]);
    nlm_model_close(model);
    model = open_edited(GQA, &(edit){SET_TWO, "llama.feed_forward_length", 52, NULL});
    h = nlm_model_hparams(model); /* one value for all layers, written as an array */
    CU_ASSERT_TRUE(h->n_ff.most == 52 && h->n_ff.values == NULL);
    nlm_model_close(model);
    model = open_fixture("qwen2-f32");
    CU_ASSERT_TRUE(nlm_model_hparams(model)->is_rope_half_split);
    nlm_model_close(model);
    model = open_fixture("mamba-normed-f32");
    h = nlm_model_hparams(model);
    CU_ASSERT_STRING_EQUAL(nlm_model_family_name(model), "mamba");
    CU_ASSERT_TRUE(h->d_inner == 40 && h->d_state == 8 && h->d_conv == 3 && h->dt_rank == 7 && h->ssm_dt_b_c_rms);
    CU_ASSERT_TRUE(h->n_head.most == 0 && h->head_dim == 0 && h->n_ff.most == 0);
    nlm_model_close(model);
}

static uint64_t tensor_bytes(const nlm_model *model) {
    uint64_t all = 0;
    const nlm_gguf *gguf = nlm_model_gguf(model);
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) all += nlm_gguf_tensor_at(gguf, i)->bytes;
    return all;
}

static void a_token_reads_every_weight_but_one_row_of_an_untied_embedding(void) {
    nlm_model *model = open_fixture(GQA); /* 318 tokens, 36 wide, f32, its own head */
    CU_ASSERT_EQUAL(nlm_model_weight_bytes_per_token(model), tensor_bytes(model) - 317 * 36 * 4);
    nlm_model_close(model);
    model = open_fixture("llama-q8_0"); /* tied */
    CU_ASSERT_EQUAL(nlm_model_weight_bytes_per_token(model), tensor_bytes(model));
    nlm_model_close(model);
}

static const nlm_cache_options options = {
    .n_slots = 3, .n_pages = 10, .page_tokens = 16, .n_blocks = 4, .kv_dtype = NLM_F16};

static void cache_sizes_follow_from_the_options(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_cache *cache = NULL;
    nlm_model *model = open_fixture(GQA); /* 2 layers, 2 key/value heads of 6 */
    FIXTURE_OK(nlm_model_cache_create(model, &options, &cache, &err));
    const uint64_t page = 2 * 2 * 2 * 16 * 6 * 2;
    CU_ASSERT_EQUAL(nlm_cache_page_bytes(cache), page);
    CU_ASSERT_EQUAL(nlm_cache_bytes(cache), 10 * page);
    CU_ASSERT_EQUAL(nlm_cache_slot_bytes(cache), 0);
    CU_ASSERT_TRUE(cache->n_groups == 2 && cache->n_layer == 2 && nlm_model_is_paged(model));
    nlm_cache_destroy(cache);
    nlm_model_close(model);
    model = open_fixture("mamba-odd-f32"); /* 2 layers, 29 channels, 5 states, a kernel of 2 */
    FIXTURE_OK(nlm_model_cache_create(model, &options, &cache, &err));
    CU_ASSERT_EQUAL(nlm_cache_page_bytes(cache), 0);
    CU_ASSERT_EQUAL(nlm_cache_bytes(cache), 2 * 3 * (1 * 29 + 2 * 5 * 16) * 4);
    CU_ASSERT_EQUAL(nlm_cache_slot_bytes(cache), 2 * (1 * 29 + 2 * 5 * 16) * 4);
    CU_ASSERT_FALSE(nlm_model_is_paged(model));
    nlm_cache_destroy(cache);
    nlm_model_close(model);
}

static void cache_options_out_of_range_are_refused(void) {
    nlm_model *model = open_fixture(GQA);
    nlm_cache_options bad[7];
    for (int i = 0; i < 7; i++) bad[i] = options;
    bad[0].n_slots = 0;
    bad[1].n_pages = 0;
    bad[2].n_blocks = -1;
    bad[3].page_tokens = 0;
    bad[4].page_tokens = 24;
    bad[5].kv_dtype = NLM_Q4_0;
    bad[6].kv_dtype = NLM_Q8_0; /* heads of 6 elements are no whole blocks */
    for (int i = 0; i < 7; i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_cache *cache = NULL;
        CU_ASSERT_EQUAL(nlm_model_cache_create(model, &bad[i], &cache, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_TRUE(err.msg[0] != 0);
        CU_ASSERT_PTR_NULL(cache);
        if (i == 6) CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "q8_0 needs heads of whole blocks"));
    }
    nlm_model_close(model);
}

static void graph_dims_out_of_range_are_refused(void) {
    static const nlm_graph_dims bad[] = {{0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {4, 4, 1}};
    nlm_error err = NLM_ERROR_INIT;
    nlm_model *model = open_fixture(GQA);
    nlm_cache *cache = NULL;
    FIXTURE_OK(nlm_model_cache_create(model, &options, &cache, &err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nlm_graph *graph = NULL;
        nlm_graph_io io;
        FIXTURE_OK(nlm_graph_create(&graph, &err));
        CU_ASSERT_EQUAL(nlm_model_build(model, cache, &bad[i], graph, &io, &err), NLM_INVALID_ARGUMENT);
        nlm_graph_destroy(graph);
    }
    nlm_cache_destroy(cache);
    nlm_model_close(model);
}

static const check_case cases[] = {
    CHECK_CASE(broken_models_are_refused_with_a_sentence),
    CHECK_CASE(a_missing_file_is_not_found),
    CHECK_CASE(a_model_cut_anywhere_is_refused),
    CHECK_CASE(any_changed_header_byte_is_refused_or_loads),
    CHECK_CASE(harmless_values_of_unsupported_keys_are_accepted),
    CHECK_CASE(hyper_parameters_are_read_and_derived),
    CHECK_CASE(a_token_reads_every_weight_but_one_row_of_an_untied_embedding),
    CHECK_CASE(cache_sizes_follow_from_the_options),
    CHECK_CASE(cache_options_out_of_range_are_refused),
    CHECK_CASE(graph_dims_out_of_range_are_refused),
};

CHECK_MAIN("model_open", cases)
