/* What follows from a file's metadata: shape, size, memory. */
#include "summary.h"

#include "base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 160

static uint64_t key_u64(const nlm_gguf *gguf, const char *key) {
    uint64_t value = 0;
    return nlm_gguf_get_u64(gguf, key, &value, NULL) == NLM_OK ? value : 0;
}

static nlm_gguf_string key_string(const nlm_gguf *gguf, const char *key) {
    nlm_gguf_string value = {"", 0};
    (void)nlm_gguf_get_string(gguf, key, &value, NULL);
    return value;
}

/* ARCHITECTURE.name; "" if it would not fit, which no file has as a key. */
static const char *full_key(const model_summary *s, const char *name, char buffer[KEY_BYTES]) {
    const int length = (int)(s->architecture.length < KEY_BYTES ? s->architecture.length : KEY_BYTES);
    const int written = snprintf(buffer, KEY_BYTES, "%.*s.%s", length, s->architecture.data, name);
    if (written < 0 || written >= KEY_BYTES) buffer[0] = '\0';
    return buffer;
}

static uint64_t model_u64(const nlm_gguf *gguf, const model_summary *s, const char *name) {
    char buffer[KEY_BYTES];
    return key_u64(gguf, full_key(s, name, buffer));
}

/* product of all factors; 0 if it wraps. */
static uint64_t product(const uint64_t *factors, size_t count) {
    uint64_t value = 1;
    for (size_t i = 0; i < count; i++) {
        if (!nlm_mul_u64(value, factors[i], &value)) return 0;
    }
    return value;
}
#define PRODUCT(...) \
    product((const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Key and value heads of all layers; some models give them per layer. */
static uint64_t heads_kv_of_all_layers(const nlm_gguf *gguf, const model_summary *s) {
    char buffer[KEY_BYTES];
    const nlm_gguf_entry *entry = nlm_gguf_find(gguf, full_key(s, "attention.head_count_kv", buffer));
    if (!entry || entry->type != NLM_GGUF_ARRAY) return PRODUCT(s->layers, s->heads_kv);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < entry->count; i++) {
        const int64_t heads = nlm_gguf_array_i64(entry, i);
        if (heads > 0 && !nlm_add_u64(sum, (uint64_t)heads, &sum)) return 0;
    }
    return sum;
}

static void read_attention(const nlm_gguf *gguf, model_summary *s) {
    s->heads = model_u64(gguf, s, "attention.head_count");
    s->heads_kv = model_u64(gguf, s, "attention.head_count_kv");
    s->head_dim = model_u64(gguf, s, "attention.key_length");
    if (s->heads == 0) return;
    if (s->heads_kv == 0) s->heads_kv = s->heads;
    if (s->head_dim == 0) s->head_dim = s->embedding / s->heads;
    const uint64_t value_length = model_u64(gguf, s, "attention.value_length");
    uint64_t width;
    if (!nlm_add_u64(s->head_dim, value_length ? value_length : s->head_dim, &width)) return;
    s->kv_bytes_per_token = PRODUCT(heads_kv_of_all_layers(gguf, s), width, 2);
}

static void read_state_space(const nlm_gguf *gguf, model_summary *s) {
    s->d_inner = model_u64(gguf, s, "ssm.inner_size");
    s->d_state = model_u64(gguf, s, "ssm.state_size");
    s->d_conv = model_u64(gguf, s, "ssm.conv_kernel");
    if (s->d_inner == 0 || s->d_conv == 0) return;
    uint64_t per_channel;
    if (!nlm_add_u64(s->d_state, s->d_conv - 1, &per_channel)) return;
    s->state_bytes_per_sequence = PRODUCT(s->layers, s->d_inner, per_channel, 4);
}

static uint64_t count_vocabulary(const nlm_gguf *gguf, const model_summary *s) {
    const nlm_gguf_entry *tokens = nlm_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == NLM_GGUF_ARRAY) return tokens->count;
    const uint64_t declared = model_u64(gguf, s, "vocab_size");
    const nlm_gguf_tensor *embedding = nlm_gguf_find_tensor(gguf, "token_embd.weight");
    return declared || !embedding ? declared : embedding->dims[1];
}

static type_use *find_type(model_summary *s, const nlm_gguf_tensor *tensor) {
    for (size_t i = 0; i < s->type_count; i++) {
        if (s->types[i].type == tensor->type) return &s->types[i];
    }
    if (s->type_count == SUMMARY_TYPES) return &s->types[SUMMARY_TYPES - 1];
    type_use *use = &s->types[s->type_count++];
    *use = (type_use){.type = tensor->type, .is_supported = tensor->is_supported};
    return use;
}

static int compare_bytes(const void *a, const void *b) {
    const type_use *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->type < y->type ? -1 : x->type > y->type;
}

/* Elements of tensors of unknown type are unchecked by bytes and could be any number: sums saturate. */
static void add_saturating(uint64_t *sum, uint64_t value) {
    if (!nlm_add_u64(*sum, value, sum)) *sum = UINT64_MAX;
}

static void count_tensors(const nlm_gguf *gguf, model_summary *s) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        const uint64_t elements = product(tensor->dims, 4);
        type_use *use = find_type(s, tensor);
        use->tensors++;
        use->bytes += tensor->bytes;
        s->weight_bytes += tensor->bytes;
        add_saturating(&use->parameters, elements);
        add_saturating(&s->parameters, elements);
        if (tensor->bytes > 0) add_saturating(&s->sized_parameters, elements);
    }
    qsort(s->types, s->type_count, sizeof *s->types, compare_bytes);
}

void summarize(const nlm_gguf *gguf, model_summary *out) {
    *out = (model_summary){0};
    out->architecture = key_string(gguf, "general.architecture");
    out->name = key_string(gguf, "general.name");
    out->tokenizer = key_string(gguf, "tokenizer.ggml.model");
    out->context_length = model_u64(gguf, out, "context_length");
    out->layers = model_u64(gguf, out, "block_count");
    out->embedding = model_u64(gguf, out, "embedding_length");
    out->vocabulary = count_vocabulary(gguf, out);
    read_attention(gguf, out);
    read_state_space(gguf, out);
    count_tensors(gguf, out);
}
