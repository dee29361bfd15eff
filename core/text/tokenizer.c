/* A tokenizer from a GGUF file, and its encoding and decoding. */
#include "text/tokenizer.h"

#include "base/checksum.h"
#include "base/log.h"
#include "base/status.h"
#include "text/bpe.h"
#include "text/emit.h"
#include "text/special.h"
#include "text/spm.h"

#include <nlm/plugin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct nlm_tokenizer {
    atomic_uint n_holders;
    nlm_vocab vocab;
    nlm_specials specials;
    nlm_spm spm;                    /* if vocab.is_spm */
    nlm_bpe bpe;                    /* if not */
    _Atomic(nlm_token_trie *) trie; /* NULL: nobody has asked for it */
};

nlm_status nlm_ids_append(nlm_ids *ids, int32_t id) {
    if (ids->count == ids->capacity) {
        const size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
        if (capacity > SIZE_MAX / sizeof *ids->data) return NLM_OUT_OF_MEMORY;
        int32_t *data = realloc(ids->data, capacity * sizeof *data);
        if (!data) return NLM_OUT_OF_MEMORY;
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return NLM_OK;
}

void nlm_ids_release(nlm_ids *ids) {
    free(ids->data);
    *ids = (nlm_ids){0};
}

void nlm_text_spans_release(nlm_text_spans *spans) {
    free(spans->data);
    *spans = (nlm_text_spans){0};
}

static bool equals(nlm_gguf_string text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, (size_t)text.length) == 0;
}

/* The pre-tokenizer that the file names; files older than that key split as GPT-2 does. */
static nlm_status find_rule(const nlm_gguf *gguf, const nlm_pre_rule **out, nlm_error *err) {
    nlm_gguf_string name = {"default", strlen("default")};
    const nlm_status status = nlm_gguf_get_string(gguf, "tokenizer.ggml.pre", &name, err);
    if (status != NLM_OK && status != NLM_NOT_FOUND) return status;
    if (status == NLM_NOT_FOUND) {
        nlm_log(NLM_LOG_WARN, "%s names no pre-tokenizer (tokenizer.ggml.pre): words are split as GPT-2 does",
                nlm_gguf_path(gguf));
    }
    *out = nlm_pre_rule_find(name.data, (size_t)name.length);
    if (*out) return NLM_OK;
    char names[768];
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf),
                    "the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not known; known are: %s",
                    (int)(name.length < 64 ? name.length : 64), name.data, nlm_pre_rule_names(names, sizeof names));
}

static nlm_status read_all(nlm_tokenizer *tokenizer, const nlm_gguf *gguf, const char *const *controls,
                           nlm_error *err) {
    nlm_gguf_string model;
    const nlm_status status = nlm_gguf_get_string(gguf, "tokenizer.ggml.model", &model, err);
    if (status == NLM_NOT_FOUND) {
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf),
                        "the file has no tokenizer (tokenizer.ggml.model is not there)");
    }
    NLM_TRY(status);
    if (equals(model, "none")) {
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf),
                        "the file has no tokenizer (tokenizer.ggml.model is 'none')");
    }
    const bool is_spm = equals(model, "llama");
    if (!is_spm && !equals(model, "gpt2")) {
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf),
                        "the tokenizer '%.*s' (tokenizer.ggml.model) is not known; known are: llama gpt2",
                        (int)(model.length < 64 ? model.length : 64), model.data);
    }
    const nlm_pre_rule *rule = NULL;
    if (!is_spm) NLM_TRY(find_rule(gguf, &rule, err));
    const bool adds_bos = is_spm || rule->adds_bos;
    const nlm_vocab_options options = {.is_spm = is_spm, .adds_bos = adds_bos, .controls = controls};
    NLM_TRY(nlm_vocab_read(&tokenizer->vocab, gguf, &options, err));
    NLM_TRY(nlm_specials_create(&tokenizer->vocab, &tokenizer->specials, err));
    return is_spm ? nlm_spm_create(&tokenizer->vocab, gguf, &tokenizer->spm, err)
                  : nlm_bpe_create(&tokenizer->vocab, rule, gguf, &tokenizer->bpe, err);
}

nlm_status nlm_tokenizer_create(const nlm_gguf *gguf, nlm_tokenizer **out, nlm_error *err) {
    return nlm_tokenizer_create_for(gguf, NULL, out, err);
}

nlm_status nlm_tokenizer_create_for(const nlm_gguf *gguf, const char *const *controls, nlm_tokenizer **out,
                                    nlm_error *err) {
    nlm_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "no memory for a tokenizer");
    atomic_init(&tokenizer->n_holders, 1);
    const nlm_status status = read_all(tokenizer, gguf, controls, err);
    if (status != NLM_OK) {
        nlm_tokenizer_destroy(tokenizer);
        return status;
    }
    *out = tokenizer;
    return NLM_OK;
}

nlm_tokenizer *nlm_tokenizer_retain(nlm_tokenizer *tokenizer) {
    atomic_fetch_add(&tokenizer->n_holders, 1);
    return tokenizer;
}

void nlm_tokenizer_destroy(nlm_tokenizer *tokenizer) {
    if (!tokenizer || atomic_fetch_sub(&tokenizer->n_holders, 1) > 1) return;
    nlm_spm_release(&tokenizer->spm);
    nlm_bpe_release(&tokenizer->bpe);
    nlm_specials_release(&tokenizer->specials);
    nlm_vocab_release(&tokenizer->vocab);
    nlm_token_trie_destroy(tokenizer->trie);
    free(tokenizer);
}

/* Text between special tokens: [from, to). */
static nlm_status encode_plain(const nlm_tokenizer *t, nlm_merger *merger, const char *text, size_t from, size_t to,
                               nlm_ids *out, nlm_error *err) {
    if (from == to) return NLM_OK;
    return t->vocab.is_spm
               ? nlm_spm_encode(&t->spm, &t->specials, merger, text + from, to - from, from == 0, out, err)
               : nlm_bpe_encode(&t->bpe, merger, text + from, to - from, out, err);
}

/* What is cut out of the text as it stands. SentencePiece finds user-defined tokens later. */
static uint32_t special_kinds(const nlm_tokenizer *tokenizer, uint32_t flags) {
    return (tokenizer->vocab.is_spm ? 0u : (uint32_t)NLM_SPECIAL_USER_DEFINED) |
           (flags & NLM_ENCODE_SPECIAL ? (uint32_t)NLM_SPECIAL_CONTROL : 0u);
}

static nlm_status encode_all(const nlm_tokenizer *tokenizer, nlm_special_scan *scan, uint32_t flags, nlm_ids *out,
                             nlm_merger *merger, nlm_error *err) {
    const nlm_vocab *vocab = &tokenizer->vocab;
    const bool with_ends = flags & NLM_ENCODE_BOS;
    if (with_ends && vocab->adds_bos) NLM_TRY(nlm_emit_id(vocab->bos, out, err));
    size_t done = 0;
    nlm_special_match match;
    while (nlm_specials_next(scan, done, &match)) {
        NLM_TRY(encode_plain(tokenizer, merger, scan->text, done, match.from, out, err));
        NLM_TRY(nlm_emit_id(match.id, out, err));
        done = match.to;
    }
    NLM_TRY(encode_plain(tokenizer, merger, scan->text, done, scan->length, out, err));
    if (with_ends && vocab->adds_eos) NLM_TRY(nlm_emit_id(vocab->eos, out, err));
    return NLM_OK;
}

nlm_status nlm_tokenizer_encode_spans(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                      const nlm_text_spans *user_spans, nlm_ids *out, nlm_error *err) {
    /* Positions in a word are 32 bits wide, and a word may be all of the text. */
    if (length > UINT32_MAX / 4) {
        return nlm_fail(err, NLM_LIMIT, "tokenizer", "the text has %zu bytes; at most %u can be encoded at once",
                        length, UINT32_MAX / 4);
    }
    nlm_special_scan scan = {.specials = &tokenizer->specials,
                             .text = text,
                             .length = length,
                             .kinds = special_kinds(tokenizer, flags),
                             .user_spans = user_spans};
    nlm_merger merger = {0};
    const size_t before = out->count;
    nlm_status status = nlm_specials_begin(&scan, err);
    if (status == NLM_OK) status = encode_all(tokenizer, &scan, flags, out, &merger, err);
    nlm_specials_end(&scan);
    nlm_merger_release(&merger);
    if (status == NLM_OK) return NLM_OK;
    out->count = before;
    return status;
}

nlm_status nlm_tokenizer_encode(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                nlm_ids *out, nlm_error *err) {
    return nlm_tokenizer_encode_spans(tokenizer, text, length, flags, NULL, out, err);
}

/* Control tokens and their like, which are no part of running text. */
static bool is_hidden(const nlm_vocab *vocab, int32_t id) {
    switch (vocab->types[id]) {
        case NLM_TOKEN_CONTROL:
        case NLM_TOKEN_UNKNOWN: return true;
        case NLM_TOKEN_UNUSED: return !vocab->is_spm; /* padding of the embedding matrix */
        default: return false;
    }
}

static nlm_status check_id(const nlm_tokenizer *tokenizer, int32_t id, nlm_error *err) {
    if (id >= 0 && (size_t)id < tokenizer->vocab.count) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "tokenizer", "token id %d; expected 0 to %zu", id,
                    tokenizer->vocab.count - 1);
}

static nlm_status check_memory(const nlm_str *out, nlm_error *err) {
    if (!out->has_failed) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for the decoded text");
}

nlm_status nlm_tokenizer_piece(const nlm_tokenizer *tokenizer, int32_t id, nlm_piece *out, nlm_error *err) {
    NLM_TRY(check_id(tokenizer, id, err));
    const nlm_bytes bytes = tokenizer->vocab.spelled[id];
    *out = (nlm_piece){bytes.data, bytes.length, is_hidden(&tokenizer->vocab, id)};
    return NLM_OK;
}

nlm_status nlm_tokenizer_decode(const nlm_tokenizer *tokenizer, int32_t id, bool with_special, nlm_str *out,
                                nlm_error *err) {
    nlm_piece piece;
    NLM_TRY(nlm_tokenizer_piece(tokenizer, id, &piece, err));
    if (!with_special && piece.is_hidden) return NLM_OK;
    nlm_str_append(out, piece.text, piece.length);
    return check_memory(out, err);
}

nlm_status nlm_tokenizer_decode_next(const nlm_tokenizer *tokenizer, int32_t id, bool with_special, bool *owes_space,
                                     nlm_str *out, nlm_error *err) {
    const nlm_vocab *vocab = &tokenizer->vocab;
    NLM_TRY(check_id(tokenizer, id, err));
    if (is_hidden(vocab, id)) {
        NLM_TRY(nlm_tokenizer_decode(tokenizer, id, with_special, out, err));
        if (vocab->prefixes_start_only) return NLM_OK;
        /* After a control token the encoder begins anew; an unknown stands in the middle of a text. */
        *owes_space = vocab->adds_space_prefix && vocab->types[id] == NLM_TOKEN_CONTROL;
        return NLM_OK;
    }
    nlm_bytes bytes = vocab->spelled[id];
    if (bytes.length == 0) return NLM_OK;
    if (*owes_space && bytes.data[0] == ' ') bytes = (nlm_bytes){bytes.data + 1, bytes.length - 1};
    nlm_str_append(out, bytes.data, bytes.length);
    NLM_TRY(check_memory(out, err));
    *owes_space = false;
    return NLM_OK;
}

nlm_status nlm_tokenizer_decode_all(const nlm_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    bool with_special, nlm_str *out, nlm_error *err) {
    bool owes_space = nlm_tokenizer_adds_space(tokenizer);
    for (size_t i = 0; i < count; i++) {
        NLM_TRY(nlm_tokenizer_decode_next(tokenizer, ids[i], with_special, &owes_space, out, err));
    }
    return NLM_OK;
}

bool nlm_tokenizer_adds_space(const nlm_tokenizer *tokenizer) {
    return tokenizer->vocab.adds_space_prefix;
}

size_t nlm_tokenizer_count(const nlm_tokenizer *tokenizer) {
    return tokenizer->vocab.count;
}

int32_t nlm_tokenizer_bos(const nlm_tokenizer *tokenizer) {
    return tokenizer->vocab.bos;
}

int32_t nlm_tokenizer_eos(const nlm_tokenizer *tokenizer) {
    return tokenizer->vocab.eos;
}

bool nlm_tokenizer_adds_bos(const nlm_tokenizer *tokenizer) {
    return tokenizer->vocab.adds_bos;
}

bool nlm_tokenizer_is_end(const nlm_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (size_t)id < tokenizer->vocab.count && tokenizer->vocab.is_end[id];
}

int32_t nlm_tokenizer_find(const nlm_tokenizer *tokenizer, const char *piece, size_t length) {
    return nlm_vocab_find(&tokenizer->vocab, piece, length);
}

static void add_number(nlm_checksum *sum, uint64_t number) {
    nlm_checksum_update(sum, &number, sizeof number);
}

static void add_merges(nlm_checksum *sum, const nlm_pair_table *merges) {
    for (size_t i = 0; i < merges->capacity; i++) {
        const nlm_pair *pair = &merges->slots[i];
        if (pair->result >= 0) nlm_checksum_update(sum, pair, sizeof *pair);
    }
}

static void add_rule(nlm_checksum *sum, const nlm_pre_rule *rule) {
    for (size_t i = 0; i < NLM_PRE_PATTERNS_MAX && rule->patterns[i]; i++) {
        nlm_checksum_update(sum, rule->patterns[i], strlen(rule->patterns[i]) + 1);
    }
    const uint8_t flags[] = {rule->has_nfc, rule->ignores_merges, rule->splits_number_bytes};
    nlm_checksum_update(sum, flags, sizeof flags);
}

uint64_t nlm_tokenizer_fingerprint(const nlm_tokenizer *tokenizer) {
    const nlm_vocab *vocab = &tokenizer->vocab;
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    add_number(&sum, vocab->count);
    for (size_t i = 0; i < vocab->count; i++) {
        add_number(&sum, vocab->texts[i].length);
        nlm_checksum_update(&sum, vocab->texts[i].data, vocab->texts[i].length);
    }
    nlm_checksum_update(&sum, vocab->types, vocab->count);
    nlm_checksum_update(&sum, vocab->is_end, vocab->count);
    const int32_t ids[] = {vocab->bos, vocab->eos, vocab->unknown};
    nlm_checksum_update(&sum, ids, sizeof ids);
    const uint8_t flags[] = {vocab->is_spm, vocab->adds_bos, vocab->adds_eos, vocab->adds_space_prefix,
                             vocab->removes_extra_whitespaces};
    nlm_checksum_update(&sum, flags, sizeof flags);
    add_merges(&sum, vocab->is_spm ? &tokenizer->spm.merges : &tokenizer->bpe.merges);
    if (!vocab->is_spm) add_rule(&sum, tokenizer->bpe.rule);
    return nlm_checksum_value(&sum);
}

static nlm_status make_trie(const nlm_tokenizer *t, nlm_token_trie **out, nlm_error *err) {
    const nlm_vocab *vocab = &t->vocab;
    nlm_trie_token *tokens = malloc((vocab->count + 1) * sizeof *tokens);
    int32_t *ends = malloc((vocab->count + 1) * sizeof *ends);
    size_t n_tokens = 0, n_ends = 0;
    for (size_t i = 0; tokens && ends && i < vocab->count; i++) {
        if (vocab->is_end[i]) {
            ends[n_ends++] = (int32_t)i;
        } else if (!is_hidden(vocab, (int32_t)i) && vocab->spelled[i].length > 0) {
            tokens[n_tokens++] = (nlm_trie_token){vocab->spelled[i], (int32_t)i};
        }
    }
    const nlm_status status = tokens && ends ? nlm_token_trie_create(tokens, n_tokens, ends, n_ends, out, err)
                                             : nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for a trie");
    free(tokens);
    free(ends);
    return status;
}

nlm_status nlm_tokenizer_trie(nlm_tokenizer *tokenizer, const nlm_token_trie **out, nlm_error *err) {
    nlm_token_trie *made = atomic_load(&tokenizer->trie), *none = NULL;
    if (!made) {
        NLM_TRY(make_trie(tokenizer, &made, err));
        if (!atomic_compare_exchange_strong(&tokenizer->trie, &none, made)) { /* another thread was faster */
            nlm_token_trie_destroy(made);
            made = none;
        }
    }
    *out = made;
    return NLM_OK;
}
