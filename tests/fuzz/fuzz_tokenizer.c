/* Encodes and decodes with small vocabularies of both kinds, or with the vocabulary that the input is.
 *
 * Input   a GGUF file; or
 *         byte 0: the vocabulary; byte 1: flags; bytes 2 and 3: the ends of a user span; then the text. */
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "unit/vocab_bytes.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MARK         "\xE2\x96\x81"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const vocab_token spm_tokens[] = {
    {"<unk>", 2, 0}, {"<s>", 3, 0},         {"</s>", 3, 0},      {MARK, 1, -9},       {"a", 1, -9},
    {"b", 1, -9},    {"ab", 1, -2},         {"abab", 5, -1},     {MARK "a", 1, -3},   {MARK MARK, 1, -4},
    {"aa", 1, -2},   {"aaaa", 1, -1},       {"<tool>", 4, 0},    {"<", 1, -9},        {"s>", 1, -1},
    {"<s", 1, -1},   {MARK "b" MARK, 4, 0}, {"\xC3\xA9", 1, -9}, {"a\xC3\xA9", 1, 0}, {"<|im_end|>", 3, 0},
};

static const vocab_token bpe_tokens[] = {
    {"ab", 1, 0},
    {"abab", 1, 0},
    {"\xC4\xA0"
     "a",
     1, 0},
    {"\xC4\xA0\xC4\xA0", 1, 0},
    {"abc", 1, 0},
    {"<|eot_id|>", 3, 0},
    {"<tool>", 4, 0},
    {"  ", 4, 0},
    {"    ", 4, 0},
    {"\xC3\x83\xC2\xA9", 1, 0},
};
static const char *const bpe_merges[] = {"a b", "ab ab", "\xC4\xA0 a", "\xC4\xA0 \xC4\xA0", "\xC3\x83 \xC2\xA9",
                                         "b c"};

typedef enum exactness {
    ANY,    /* decoding need not give the text back */
    SPACED, /* it does, but for U+2581 */
    EXACT
} exactness;

static const struct {
    const char *pre; /* NULL: SentencePiece */
    bool has_bytes, adds_prefix, collapses;
    exactness exactness;
} vocabularies[] = {
    {NULL, true, true, false, SPACED},
    {NULL, true, false, false, SPACED},
    {NULL, false, true, true, ANY},
    {"gpt-2", true, false, false, EXACT},
    {"llama-bpe", true, false, false, EXACT},
    {"smollm", true, false, false, EXACT},
    {"falcon", true, false, false, EXACT},
    {"deepseek-llm", true, false, false, EXACT},
    {"deepseek-coder", true, false, false, EXACT},
    {"qwen2", true, false, false, ANY},
};

static nlm_tokenizer *open_vocabulary(size_t index) {
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    const bool is_spm = !vocabularies[index].pre;
    vocab_string(&v, "tokenizer.ggml.model", is_spm ? "llama" : "gpt2");
    vocab_tokens(&v, is_spm, vocabularies[index].has_bytes, is_spm ? spm_tokens : bpe_tokens,
                 is_spm ? COUNT(spm_tokens) : COUNT(bpe_tokens));
    const uint32_t first = vocabularies[index].has_bytes ? 256 : 0;
    if (is_spm) {
        vocab_number(&v, "tokenizer.ggml.unknown_token_id", first);
        vocab_number(&v, "tokenizer.ggml.bos_token_id", first + 1);
        vocab_number(&v, "tokenizer.ggml.eos_token_id", first + 2);
        vocab_flag(&v, "tokenizer.ggml.add_space_prefix", vocabularies[index].adds_prefix);
        vocab_flag(&v, "tokenizer.ggml.remove_extra_whitespaces", vocabularies[index].collapses);
    } else {
        vocab_string(&v, "tokenizer.ggml.pre", vocabularies[index].pre);
        vocab_strings(&v, "tokenizer.ggml.merges", bpe_merges, COUNT(bpe_merges));
        vocab_flag(&v, "tokenizer.ggml.add_bos_token", false);
    }
    nlm_error err = NLM_ERROR_INIT;
    if (vocab_open(&v, &tokenizer, &err) != NLM_OK) {
        fprintf(stderr, "vocabulary %zu: %s\n", index, err.msg);
        abort();
    }
    return tokenizer;
}

static void check_back(const nlm_tokenizer *tokenizer, const nlm_ids *ids, const char *text, size_t length) {
    nlm_str back = {0};
    if (nlm_tokenizer_decode_all(tokenizer, ids->data, ids->count, true, &back, NULL) != NLM_OK) abort();
    if (back.length != length || (length && memcmp(back.data, text, length) != 0)) {
        fprintf(stderr, "decoding does not give the text back\n");
        abort();
    }
    nlm_str_release(&back);
}

/* Encodes the text and checks what can be: ids in range, and the text again. */
static void encode(const nlm_tokenizer *tokenizer, exactness exactness, const uint8_t *head, const char *text,
                   size_t length) {
    const uint32_t flags = head[1] & (NLM_ENCODE_BOS | NLM_ENCODE_SPECIAL);
    nlm_text_span span = {head[2] < head[3] ? head[2] : head[3], head[2] < head[3] ? head[3] : head[2]};
    const nlm_text_spans spans = {&span, 1, 1};
    nlm_ids ids = {0};
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = nlm_tokenizer_encode_spans(tokenizer, text, length, flags, &spans, &ids, &err);
    if (status != NLM_OK && status != NLM_UNSUPPORTED) abort();
    for (size_t i = 0; i < ids.count; i++) {
        if (ids.data[i] < 0 || (size_t)ids.data[i] >= nlm_tokenizer_count(tokenizer)) abort();
    }
    const bool is_spaced = exactness == SPACED && !memmem(text, length, MARK, strlen(MARK)) && flags == 0;
    if (exactness == EXACT || is_spaced) check_back(tokenizer, &ids, text, length);
    nlm_ids_release(&ids);
}

/* A file's vocabulary may be refused, not more. */
static void open_file(const uint8_t *data, size_t size) {
    static const char text[] = "The cat's 1984 \xC3\xA9\xFF  \n<s></s><|im_end|>" MARK;
    static const uint8_t head[4] = {0, NLM_ENCODE_BOS | NLM_ENCODE_SPECIAL, 3, 9};
    nlm_gguf *gguf = NULL;
    nlm_tokenizer *tokenizer = NULL;
    const nlm_chat_template *chat = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_gguf_parse("fuzz", data, size, &gguf, &err) != NLM_OK) return;
    bool is_exact;
    (void)nlm_chat_template_detect(gguf, &chat, &is_exact, &err);
    if (nlm_tokenizer_create(gguf, &tokenizer, &err) == NLM_OK) encode(tokenizer, ANY, head, text, sizeof text - 1);
    nlm_tokenizer_destroy(tokenizer);
    nlm_gguf_close(gguf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static nlm_tokenizer *tokenizers[COUNT(vocabularies)];
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        open_file(data, size);
        return 0;
    }
    if (size < 4) return 0;
    const size_t index = data[0] % COUNT(vocabularies);
    if (!tokenizers[index]) tokenizers[index] = open_vocabulary(index);
    encode(tokenizers[index], vocabularies[index].exactness, data, (const char *)data + 4, size - 4);
    return 0;
}
