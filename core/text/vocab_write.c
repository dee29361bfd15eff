/* Tokens, types, merges and scores of a learned vocabulary, written to GGUF. */
#include "text/vocab_write.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define KEY "tokenizer.ggml."

static void put_text(nlm_gguf_writer *w, const char *key, const char *text) {
    nlm_gguf_writer_string(w, key, text, strlen(text));
}

static nlm_status put_tokens(const nlm_bpe_vocab *vocab, nlm_gguf_writer *w, nlm_arena *arena) {
    nlm_gguf_string *tokens = nlm_arena_array(arena, vocab->count, sizeof *tokens);
    int32_t *types = nlm_arena_array(arena, vocab->count, sizeof *types);
    if (!tokens || !types) return NLM_OUT_OF_MEMORY;
    for (size_t i = 0; i < vocab->count; i++) {
        tokens[i] = (nlm_gguf_string){vocab->texts[i].data, vocab->texts[i].length};
        types[i] = vocab->types[i];
    }
    nlm_gguf_writer_strings(w, KEY "tokens", tokens, vocab->count);
    nlm_gguf_writer_array(w, KEY "token_type", NLM_GGUF_I32, types, vocab->count);
    return NLM_OK;
}

/* "left right" */
static nlm_status put_merges(const nlm_bpe_vocab *vocab, nlm_gguf_writer *w, nlm_arena *arena) {
    nlm_gguf_string *merges = nlm_arena_array(arena, vocab->merge_count, sizeof *merges);
    if (!merges) return NLM_OUT_OF_MEMORY;
    for (size_t i = 0; i < vocab->merge_count; i++) {
        const nlm_bytes left = vocab->texts[vocab->merges[i].left], right = vocab->texts[vocab->merges[i].right];
        const size_t length = (size_t)left.length + 1 + right.length;
        char *text = nlm_arena_alloc(arena, length);
        if (!text) return NLM_OUT_OF_MEMORY;
        memcpy(text, left.data, left.length);
        text[left.length] = ' ';
        memcpy(text + left.length + 1, right.data, right.length);
        merges[i] = (nlm_gguf_string){text, length};
    }
    nlm_gguf_writer_strings(w, KEY "merges", merges, vocab->merge_count);
    return NLM_OK;
}

/* The earlier a token is merged, the better: 0 is best. What is no result of a merge is never scored. */
static nlm_status put_scores(const nlm_bpe_vocab *vocab, nlm_gguf_writer *w, nlm_arena *arena) {
    float *scores = nlm_arena_array(arena, vocab->count, sizeof *scores);
    if (!scores) return NLM_OUT_OF_MEMORY;
    for (size_t i = vocab->merge_count; i-- > 0;) scores[vocab->merges[i].result] = -(float)i;
    nlm_gguf_writer_array(w, KEY "scores", NLM_GGUF_F32, scores, vocab->count);
    return NLM_OK;
}

static void put_spm_keys(nlm_gguf_writer *w) {
    nlm_gguf_writer_u32(w, KEY "unknown_token_id", 0);
    nlm_gguf_writer_u32(w, KEY "bos_token_id", 1);
    nlm_gguf_writer_u32(w, KEY "eos_token_id", 2);
    nlm_gguf_writer_bool(w, KEY "add_bos_token", true);
    nlm_gguf_writer_bool(w, KEY "add_eos_token", false);
    nlm_gguf_writer_bool(w, KEY "add_space_prefix", true);
}

static void put_byte_level_keys(const nlm_bpe_vocab *vocab, nlm_gguf_writer *w) {
    put_text(w, KEY "pre", "gpt-2");
    nlm_gguf_writer_bool(w, KEY "add_bos_token", false);
    nlm_gguf_writer_bool(w, KEY "add_eos_token", false);
    if (vocab->types[0] != NLM_TOKEN_CONTROL) return;
    nlm_gguf_writer_u32(w, KEY "bos_token_id", 0);
    nlm_gguf_writer_u32(w, KEY "eos_token_id", 0);
}

nlm_status nlm_vocab_write(const nlm_bpe_vocab *vocab, nlm_gguf_writer *w, nlm_error *err) {
    nlm_arena arena = {0};
    put_text(w, "general.architecture", "llama");
    put_text(w, "general.type", "vocab");
    put_text(w, KEY "model", vocab->is_spm ? "llama" : "gpt2");
    nlm_status status = put_tokens(vocab, w, &arena);
    if (status == NLM_OK) status = put_merges(vocab, w, &arena);
    if (status == NLM_OK && vocab->is_spm) status = put_scores(vocab, w, &arena);
    if (vocab->is_spm) {
        put_spm_keys(w);
    } else {
        put_byte_level_keys(vocab, w);
    }
    nlm_arena_release(&arena);
    return status == NLM_OK ? NLM_OK : nlm_fail(err, status, "vocabulary", "no memory to write it");
}
