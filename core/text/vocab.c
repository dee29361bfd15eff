/* Pieces, types and scores of a vocabulary, read from a GGUF file. */
#include "text/vocab.h"

#include "base/log.h"
#include "base/status.h"
#include "text/utf8.h"

#include <nlm/plugin.h>
#include <string.h>

#define KEY "tokenizer.ggml."

/* The tokens that chat templates are made of. Where a file calls them user-defined they are control tokens
 * all the same: what a user writes must not spell them. */
static const struct {
    const char *text;
    bool is_end;   /* a control token that ends a generation */
    bool is_plain; /* may be text as well: the file's word is taken for it */
} template_tokens[] = {
    {"<|im_start|>", false, false},
    {"<|im_end|>", true, false},
    {"<|start_header_id|>", false, false},
    {"<|end_header_id|>", false, false},
    {"<|eot_id|>", true, false},
    {"<|eom_id|>", true, false},
    {"<|end|>", true, false},
    {"<|endoftext|>", true, false},
    {"<|end_of_text|>", true, false},
    {"</s>", true, true}, /* HTML */
    {"<start_of_turn>", false, false},
    {"<end_of_turn>", true, false},
};

nlm_status nlm_vocab_array(const nlm_gguf *gguf, const char *key, bool is_strings, const nlm_gguf_entry **out,
                           nlm_error *err) {
    const nlm_gguf_entry *entry = nlm_gguf_find(gguf, key);
    *out = entry;
    if (!entry) return NLM_OK;
    const bool has_strings = entry->type == NLM_GGUF_ARRAY && entry->element_type == NLM_GGUF_STRING;
    const bool has_numbers = entry->type == NLM_GGUF_ARRAY && entry->element_type != NLM_GGUF_STRING &&
                             entry->element_type != NLM_GGUF_ARRAY && entry->element_type != NLM_GGUF_BOOL;
    if (is_strings ? has_strings : has_numbers) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), "%s is not an array of %s", key,
                    is_strings ? "strings" : "numbers");
}

/* The bytes that stand for themselves. */
static bool is_shown_by_latin1(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

/* The byte that a code point of byte-level BPE stands for, or -1. */
static int byte_of_code(uint32_t code) {
    if (code < 0x100) return is_shown_by_latin1(code) ? (int)code : -1;
    if (code < 0x121) return (int)(code - 0x100);        /* 0x00 .. 0x20 */
    if (code < 0x143) return (int)(code - 0x121) + 0x7F; /* 0x7F .. 0xA0 */
    return code == 0x143 ? 0xAD : -1;
}

uint32_t nlm_bpe_code(unsigned char byte) {
    if (is_shown_by_latin1(byte)) return byte;
    if (byte == 0xAD) return 0x143;
    return byte < 0x21 ? 0x100u + byte : 0x121u + (byte - 0x7Fu);
}

bool nlm_bpe_bytes(nlm_bytes text, char *out, uint32_t *out_length) {
    uint32_t written = 0;
    size_t bytes;
    for (size_t at = 0; at < text.length; at += bytes) {
        const int byte = byte_of_code(nlm_utf8_next(text.data + at, text.length - at, &bytes));
        if (byte < 0) return false;
        if (out) out[written] = (char)byte;
        written++;
    }
    *out_length = written;
    return true;
}

bool nlm_vocab_drops(const nlm_vocab *vocab, unsigned char byte) {
    const bool is_in_utf8 = byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);
    return !vocab->is_spm && vocab->byte_ids[byte] < 0 && is_in_utf8;
}

bool nlm_vocab_is_mergeable(const nlm_vocab *vocab, size_t id) {
    uint32_t length;
    return vocab->types[id] == NLM_TOKEN_NORMAL && nlm_bpe_bytes(vocab->texts[id], NULL, &length) && length > 0;
}

static nlm_status out_of_memory(nlm_error *err, const nlm_gguf *gguf) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "no memory for the vocabulary");
}

/* Copies all texts into one block. */
static nlm_status read_texts(nlm_vocab *vocab, const nlm_gguf *gguf, nlm_error *err) {
    const nlm_gguf_entry *tokens;
    NLM_TRY(nlm_vocab_array(gguf, KEY "tokens", true, &tokens, err));
    if (!tokens || tokens->count == 0) {
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf), "%s", "the file has no tokens (" KEY "tokens)");
    }
    if (tokens->count > INT32_MAX / 4) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), KEY "tokens has %llu entries; expected at most %d",
                        (unsigned long long)tokens->count, INT32_MAX / 4);
    }
    size_t total = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        const uint64_t length = tokens->strings[i].length;
        if (length > INT32_MAX) {
            return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), KEY "tokens[%zu] is %llu bytes long", i,
                            (unsigned long long)length);
        }
        total += (size_t)length;
    }
    vocab->count = (size_t)tokens->count;
    vocab->texts = nlm_arena_array(&vocab->arena, vocab->count, sizeof *vocab->texts);
    char *block = nlm_arena_alloc(&vocab->arena, total);
    if (!vocab->texts || !block) return out_of_memory(err, gguf);
    for (size_t i = 0; i < vocab->count; i++) {
        const nlm_gguf_string text = tokens->strings[i];
        if (text.length) memcpy(block, text.data, (size_t)text.length);
        vocab->texts[i] = (nlm_bytes){block, (uint32_t)text.length};
        block += text.length;
    }
    return NLM_OK;
}

/* The byte that "<0x0A>" names, or -1. */
static int byte_of_name(nlm_bytes text) {
    if (text.length != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int value = 0;
    for (size_t i = 3; i < 5; i++) {
        const char *const digits = "0123456789ABCDEF0123456789abcdef";
        const char *digit = text.data[i] ? strchr(digits, text.data[i]) : NULL;
        if (!digit) return -1;
        value = value * 16 + (int)((digit - digits) % 16);
    }
    return value;
}

/* Files of old have no types: in SentencePiece's <0x0A> is then a byte. The rest is text, until the
 * special ids are known. */
static void guess_types(nlm_vocab *vocab) {
    for (size_t i = 0; i < vocab->count; i++) {
        const bool is_byte = vocab->is_spm && byte_of_name(vocab->texts[i]) >= 0;
        vocab->types[i] = is_byte ? NLM_TOKEN_BYTE : NLM_TOKEN_NORMAL;
    }
}

static void guess_special_types(nlm_vocab *vocab) {
    if (vocab->unknown >= 0) vocab->types[vocab->unknown] = NLM_TOKEN_UNKNOWN;
    if (vocab->bos >= 0) vocab->types[vocab->bos] = NLM_TOKEN_CONTROL;
    if (vocab->eos >= 0) vocab->types[vocab->eos] = NLM_TOKEN_CONTROL;
}

static nlm_status read_types(nlm_vocab *vocab, const nlm_gguf *gguf, nlm_error *err) {
    vocab->types = nlm_arena_alloc(&vocab->arena, vocab->count);
    if (!vocab->types) return out_of_memory(err, gguf);
    const nlm_gguf_entry *types;
    NLM_TRY(nlm_vocab_array(gguf, KEY "token_type", false, &types, err));
    if (!types) {
        guess_types(vocab);
        return NLM_OK;
    }
    if (types->count != vocab->count || types->element_type == NLM_GGUF_F32 || types->element_type == NLM_GGUF_F64) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf),
                        KEY "token_type has %llu entries; expected one integer for each of %zu tokens",
                        (unsigned long long)types->count, vocab->count);
    }
    for (size_t i = 0; i < vocab->count; i++) {
        const int64_t type = nlm_gguf_array_i64(types, i);
        /* 0 is "undefined" and new numbers may come: such a token is text that nothing spells. */
        const bool is_known = type >= NLM_TOKEN_NORMAL && type <= NLM_TOKEN_BYTE;
        vocab->types[i] = is_known ? (uint8_t)type : (uint8_t)NLM_TOKEN_UNUSED;
    }
    return NLM_OK;
}

static bool is_negative(const nlm_gguf *gguf, const char *key) {
    const nlm_gguf_entry *entry = nlm_gguf_find(gguf, key);
    if (!entry) return false;
    const bool is_signed = entry->type == NLM_GGUF_I8 || entry->type == NLM_GGUF_I16 || entry->type == NLM_GGUF_I32 ||
                           entry->type == NLM_GGUF_I64;
    return is_signed && nlm_gguf_array_i64(entry, 0) < 0;
}

/* A token id under `key`; *out stays as it is where the file has none. 2^32-1 and numbers below 0 are how files
 * say none; so does, with a warning, a number that is no token's. */
static nlm_status read_id(const nlm_vocab *vocab, const nlm_gguf *gguf, const char *key, int32_t *out,
                          nlm_error *err) {
    uint64_t id;
    if (is_negative(gguf, key)) {
        *out = -1;
        return NLM_OK;
    }
    const nlm_status status = nlm_gguf_get_u64(gguf, key, &id, err);
    if (status == NLM_NOT_FOUND) return NLM_OK;
    NLM_TRY(status);
    *out = id < vocab->count ? (int32_t)id : -1;
    if (*out < 0 && id != UINT32_MAX) {
        nlm_log(NLM_LOG_WARN, "%s: %s is none of the %zu tokens: the model is taken to have no such token",
                nlm_gguf_path(gguf), key, vocab->count);
    }
    return NLM_OK;
}

static nlm_status read_flag(const nlm_gguf *gguf, const char *key, bool *out, nlm_error *err) {
    const nlm_status status = nlm_gguf_get_bool(gguf, key, out, err);
    return status == NLM_NOT_FOUND ? NLM_OK : status;
}

static nlm_status read_prepend_scheme(nlm_vocab *vocab, const nlm_gguf *gguf, nlm_error *err) {
    nlm_gguf_string scheme;
    const nlm_status status = nlm_gguf_get_string(gguf, NLM_VOCAB_PREPEND_KEY, &scheme, err);
    if (status == NLM_NOT_FOUND) return NLM_OK;
    NLM_TRY(status);
    const bool is_first = scheme.length == 5 && memcmp(scheme.data, "first", 5) == 0;
    if (!is_first && (scheme.length != 6 || memcmp(scheme.data, "always", 6) != 0)) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), "%s",
                        NLM_VOCAB_PREPEND_KEY " is neither 'always' nor 'first'");
    }
    vocab->adds_space_prefix = vocab->shares_space_prefix = true;
    vocab->prefixes_start_only = is_first;
    return NLM_OK;
}

/* What cannot be added is not. */
static void drop_flag(bool *adds, int32_t id, const char *which, const nlm_gguf *gguf) {
    if (!*adds || id >= 0) return;
    *adds = false;
    nlm_log(NLM_LOG_WARN,
            "%s: the text wants a token in front or at the end that the file does not name (" KEY
            "add_%s_token without " KEY "%s_token_id): none is put there",
            nlm_gguf_path(gguf), which, which);
}

static nlm_status read_flags(nlm_vocab *vocab, const nlm_gguf *gguf, nlm_error *err) {
    NLM_TRY(read_flag(gguf, KEY "add_bos_token", &vocab->adds_bos, err));
    NLM_TRY(read_flag(gguf, KEY "add_eos_token", &vocab->adds_eos, err));
    if (vocab->is_spm) {
        vocab->adds_space_prefix = true;
        NLM_TRY(read_flag(gguf, KEY "add_space_prefix", &vocab->adds_space_prefix, err));
        NLM_TRY(read_flag(gguf, KEY "remove_extra_whitespaces", &vocab->removes_extra_whitespaces, err));
        NLM_TRY(read_prepend_scheme(vocab, gguf, err));
    }
    drop_flag(&vocab->adds_bos, vocab->bos, "bos", gguf);
    drop_flag(&vocab->adds_eos, vocab->eos, "eos", gguf);
    return NLM_OK;
}

int32_t nlm_vocab_find(const nlm_vocab *vocab, const char *text, size_t length) {
    for (size_t i = 0; length > 0 && i < vocab->count; i++) {
        const nlm_bytes *entry = &vocab->texts[i];
        if (entry->length == length && memcmp(entry->data, text, length) == 0) return (int32_t)i;
    }
    return -1;
}

/* Some converters write control tokens as normal or unused ones, which text never spells, or else everyone's. */
static void make_control(nlm_vocab *vocab, int32_t id, const nlm_gguf *gguf) {
    const uint8_t type = vocab->types[id];
    if (type == NLM_TOKEN_CONTROL || type == NLM_TOKEN_UNKNOWN) return;
    vocab->types[id] = NLM_TOKEN_CONTROL;
    if (type == NLM_TOKEN_USER_DEFINED) return;
    nlm_log(NLM_LOG_WARN,
            "%s: the type of the token '%.*s' is %d (" KEY "token_type); it is taken for a control token",
            nlm_gguf_path(gguf), (int)vocab->texts[id].length, vocab->texts[id].data, type);
}

/* `controls` as in nlm_vocab_options. */
static void mark_template_tokens(nlm_vocab *vocab, const char *const *controls, const nlm_gguf *gguf) {
    for (; controls && *controls; controls++) {
        const int32_t id = nlm_vocab_find(vocab, *controls, strlen(*controls));
        if (id >= 0) make_control(vocab, id, gguf);
    }
    for (size_t i = 0; i < sizeof template_tokens / sizeof *template_tokens; i++) {
        const char *text = template_tokens[i].text;
        const int32_t id = nlm_vocab_find(vocab, text, strlen(text));
        if (id < 0) continue;
        if (!template_tokens[i].is_plain || vocab->types[id] == NLM_TOKEN_USER_DEFINED) make_control(vocab, id, gguf);
        if (vocab->types[id] == NLM_TOKEN_CONTROL && template_tokens[i].is_end) vocab->is_end[id] = 1;
    }
}

/* SentencePiece's own defaults hold where a "llama" file names no ids. */
static nlm_status read_special(nlm_vocab *vocab, const nlm_gguf *gguf, const char *const *controls, nlm_error *err) {
    const bool has_defaults = vocab->is_spm && vocab->count > 2;
    vocab->unknown = has_defaults ? 0 : -1;
    vocab->bos = has_defaults ? 1 : -1;
    vocab->eos = has_defaults ? 2 : -1;
    int32_t ends[2] = {-1, -1};
    NLM_TRY(read_id(vocab, gguf, KEY "bos_token_id", &vocab->bos, err));
    NLM_TRY(read_id(vocab, gguf, KEY "eos_token_id", &vocab->eos, err));
    NLM_TRY(read_id(vocab, gguf, KEY "unknown_token_id", &vocab->unknown, err));
    NLM_TRY(read_id(vocab, gguf, KEY "eot_token_id", &ends[0], err));
    NLM_TRY(read_id(vocab, gguf, KEY "eom_token_id", &ends[1], err));
    NLM_TRY(read_flags(vocab, gguf, err));
    if (!nlm_gguf_find(gguf, KEY "token_type")) guess_special_types(vocab);

    vocab->is_end = nlm_arena_alloc(&vocab->arena, vocab->count);
    if (!vocab->is_end) return out_of_memory(err, gguf);
    if (vocab->eos >= 0) vocab->is_end[vocab->eos] = 1;
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] >= 0) vocab->is_end[ends[i]] = 1;
    }
    mark_template_tokens(vocab, controls, gguf);
    return NLM_OK;
}

/* Writes what one token spells to `out`, which has room for its text, and returns the length. */
static uint32_t spell(const nlm_vocab *vocab, size_t id, char *out) {
    const nlm_bytes text = vocab->texts[id];
    const uint8_t type = vocab->types[id];
    if (type == NLM_TOKEN_BYTE) {
        out[0] = (char)byte_of_name(text);
        return 1;
    }
    uint32_t length;
    if (!vocab->is_spm && type == NLM_TOKEN_NORMAL && nlm_bpe_bytes(text, out, &length)) return length;
    length = 0;
    const bool has_marks = vocab->is_spm && type != NLM_TOKEN_CONTROL && type != NLM_TOKEN_UNKNOWN;
    for (uint32_t at = 0; at < text.length;) {
        if (has_marks && text.length - at >= NLM_SPACE_MARK_LENGTH &&
            memcmp(text.data + at, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH) == 0) {
            out[length++] = ' ';
            at += NLM_SPACE_MARK_LENGTH;
        } else {
            out[length++] = text.data[at++];
        }
    }
    return length;
}

static nlm_status spell_all(nlm_vocab *vocab, const nlm_gguf *gguf, nlm_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < vocab->count; i++) total += vocab->texts[i].length;
    vocab->spelled = nlm_arena_array(&vocab->arena, vocab->count, sizeof *vocab->spelled);
    char *block = nlm_arena_alloc(&vocab->arena, total);
    if (!vocab->spelled || !block) return out_of_memory(err, gguf);
    for (size_t i = 0; i < 256; i++) vocab->byte_ids[i] = -1;
    for (size_t i = 0; i < vocab->count; i++) {
        const uint8_t type = vocab->types[i];
        if (type == NLM_TOKEN_BYTE && byte_of_name(vocab->texts[i]) < 0) {
            return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf),
                            KEY "tokens[%zu] is '%.*s' but of type byte; expected <0x00> to <0xFF>", i,
                            (int)(vocab->texts[i].length < 64 ? vocab->texts[i].length : 64), vocab->texts[i].data);
        }
        vocab->spelled[i] = (nlm_bytes){block, spell(vocab, i, block)};
        block += vocab->spelled[i].length;
        const bool spells_byte = vocab->is_spm ? type == NLM_TOKEN_BYTE : nlm_vocab_is_mergeable(vocab, i);
        if (!spells_byte || vocab->spelled[i].length != 1) continue;
        int32_t *byte_id = &vocab->byte_ids[(unsigned char)vocab->spelled[i].data[0]];
        if (*byte_id < 0) *byte_id = (int32_t)i;
    }
    return NLM_OK;
}

nlm_status nlm_vocab_read(nlm_vocab *vocab, const nlm_gguf *gguf, const nlm_vocab_options *options, nlm_error *err) {
    vocab->is_spm = options->is_spm;
    vocab->adds_bos = options->adds_bos;
    NLM_TRY(read_texts(vocab, gguf, err));
    NLM_TRY(read_types(vocab, gguf, err));
    NLM_TRY(read_special(vocab, gguf, options->controls, err));
    return spell_all(vocab, gguf, err);
}

void nlm_vocab_release(nlm_vocab *vocab) {
    nlm_arena_release(&vocab->arena);
    *vocab = (nlm_vocab){0};
}
