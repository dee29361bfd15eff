/* Learning merges: special tokens, the alphabet, then the most frequent pair again and again. */
#include "text/bpe_learn.h"

#include "base/status.h"
#include "text/pair_queue.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_CODES        0x110000u /* of Unicode */
#define N_BYTES        256u
#define N_NAMED        3u  /* <unk>, <s>, </s> */
#define PROGRESS_EVERY 256 /* merges */

static const struct {
    const char *text;
    uint8_t type;
} named[N_NAMED] = {{"<unk>", NLM_TOKEN_UNKNOWN}, {"<s>", NLM_TOKEN_CONTROL}, {"</s>", NLM_TOKEN_CONTROL}};

typedef struct learner {
    const nlm_bpe_train_options *options;
    nlm_bpe_vocab *out;
    size_t capacity;     /* of out's tokens */
    nlm_piece_map ids;   /* of out's texts */
    int32_t *symbols_of; /* the id of a code point (SentencePiece) or byte, or -1 */
    nlm_symbol_word *words;
    size_t word_count;
    uint32_t *symbols; /* of all words */
    nlm_pair_queue pairs;
    size_t merge_capacity;
} learner;

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "training", "no memory to train a vocabulary with");
}

/* The tokens that are there before the text is looked at. */
static size_t fixed_tokens(const nlm_bpe_train_options *options) {
    return options->special_count + (options->is_spm ? N_NAMED + N_BYTES : 0);
}

nlm_status nlm_bpe_learn_check(const nlm_bpe_train_options *options, nlm_error *err) {
    const char *const where = "training";
    const size_t least = fixed_tokens(options) + (options->is_spm ? 1 : N_BYTES);
    if (options->vocab_size > INT32_MAX / 4 || options->vocab_size < least) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, where,
                        "a vocabulary of %zu tokens; expected %zu, for special tokens and bytes, to %d",
                        options->vocab_size, least, INT32_MAX / 4);
    }
    for (size_t i = 0; i < options->special_count; i++) {
        const char *text = options->specials[i];
        if (!*text) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "a special token is empty");
        const size_t length = strlen(text);
        if (nlm_utf8_valid_prefix(text, length) < length) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "the special token '%s' is not UTF-8", text);
        }
        bool is_taken = false;
        for (size_t j = 0; j < i; j++) is_taken |= strcmp(text, options->specials[j]) == 0;
        for (size_t j = 0; options->is_spm && j < N_NAMED; j++) is_taken |= strcmp(text, named[j].text) == 0;
        if (is_taken) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "the special token '%s' comes twice", text);
    }
    return NLM_OK;
}

/* The id of a text, a new one if no token is it. */
static nlm_status add_token(learner *l, const char *text, size_t length, uint8_t type, int32_t *out_id,
                            nlm_error *err) {
    *out_id = nlm_piece_map_find(&l->ids, text, length);
    if (*out_id >= 0) return NLM_OK;
    nlm_bpe_vocab *out = l->out;
    const char *copy = length <= INT32_MAX ? nlm_arena_strndup(&out->arena, text, length) : NULL;
    if (!copy || out->count == l->capacity) return out_of_memory(err);
    const nlm_bytes piece = {copy, (uint32_t)length};
    *out_id = (int32_t)out->count;
    if (!nlm_piece_map_add(&l->ids, piece, *out_id)) return out_of_memory(err);
    out->texts[out->count] = piece;
    out->types[out->count++] = type;
    return NLM_OK;
}

static nlm_status add_fixed(learner *l, nlm_error *err) {
    const nlm_bpe_train_options *options = l->options;
    int32_t id;
    for (size_t i = 0; options->is_spm && i < N_NAMED; i++) {
        NLM_TRY(add_token(l, named[i].text, strlen(named[i].text), named[i].type, &id, err));
    }
    for (unsigned byte = 0; options->is_spm && byte < N_BYTES; byte++) {
        char text[8];
        const int length = snprintf(text, sizeof text, "<0x%02X>", byte);
        NLM_TRY(add_token(l, text, (size_t)length, NLM_TOKEN_BYTE, &id, err));
    }
    for (size_t i = 0; i < options->special_count; i++) {
        const char *text = options->specials[i];
        NLM_TRY(add_token(l, text, strlen(text), NLM_TOKEN_CONTROL, &id, err));
    }
    return NLM_OK;
}

/* A character of the text. */
typedef struct character {
    uint64_t count;
    uint32_t code;
} character;

static int compare_counts(const void *a, const void *b) {
    const character *left = a, *right = b;
    if (left->count != right->count) return left->count > right->count ? -1 : 1;
    return left->code < right->code ? -1 : left->code > right->code;
}

static int compare_codes(const void *a, const void *b) {
    const character *left = a, *right = b;
    return left->code < right->code ? -1 : left->code > right->code;
}

/* Which characters there are, how often: `out` has room for all of Unicode. */
static size_t count_characters(const nlm_word_counts *words, character *out) {
    for (uint32_t code = 0; code < N_CODES; code++) out[code] = (character){0, code};
    for (size_t i = 0; i < words->count; i++) {
        const char *text = nlm_word_text(words, i);
        size_t bytes;
        for (size_t at = 0; at < words->words[i].length; at += bytes) {
            const uint32_t code = nlm_utf8_next(text + at, words->words[i].length - at, &bytes);
            if (code < N_CODES) out[code].count += words->words[i].count;
        }
    }
    size_t kept = 0;
    for (uint32_t code = 0; code < N_CODES; code++) {
        if (out[code].count > 0) out[kept++] = out[code];
    }
    return kept;
}

/* The 256 characters that bytes are written as. */
static size_t byte_characters(character *out) {
    for (uint32_t byte = 0; byte < N_BYTES; byte++) out[byte] = (character){0, nlm_bpe_code((unsigned char)byte)};
    return N_BYTES;
}

/* The characters that are tokens, in the order of their code points. */
static nlm_status add_characters(learner *l, character *characters, size_t count, nlm_error *err) {
    const nlm_bpe_train_options *options = l->options;
    if (options->alphabet_size > 0 && options->is_spm && count > options->alphabet_size) {
        qsort(characters, count, sizeof *characters, compare_counts);
        count = options->alphabet_size;
    }
    if (count + fixed_tokens(options) > options->vocab_size) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, "training",
            "a vocabulary of %zu tokens does not hold the text's %zu characters beside %zu others; expected "
            "%zu tokens or more, or a limit on the alphabet",
            options->vocab_size, count, fixed_tokens(options), count + fixed_tokens(options));
    }
    qsort(characters, count, sizeof *characters, compare_codes);
    for (size_t i = 0; i < count; i++) {
        char text[4];
        const size_t bytes = nlm_utf8_put(characters[i].code, text);
        int32_t id;
        NLM_TRY(add_token(l, text, bytes, NLM_TOKEN_NORMAL, &id, err));
        if (options->is_spm) l->symbols_of[characters[i].code] = id;
    }
    for (unsigned byte = 0; !options->is_spm && byte < N_BYTES; byte++) {
        char text[4];
        const size_t bytes = nlm_utf8_put(nlm_bpe_code((unsigned char)byte), text);
        l->symbols_of[byte] = nlm_piece_map_find(&l->ids, text, bytes);
    }
    return NLM_OK;
}

static nlm_status add_alphabet(learner *l, const nlm_word_counts *words, nlm_error *err) {
    const size_t room = l->options->is_spm ? N_CODES : N_BYTES;
    l->symbols_of = malloc(room * sizeof *l->symbols_of);
    character *characters = malloc(room * sizeof *characters);
    if (!l->symbols_of || !characters) {
        free(characters);
        return out_of_memory(err);
    }
    memset(l->symbols_of, 0xFF, room * sizeof *l->symbols_of); /* -1 */
    const size_t count = l->options->is_spm ? count_characters(words, characters) : byte_characters(characters);
    const nlm_status status = add_characters(l, characters, count, err);
    free(characters);
    return status;
}

/* Writes the symbols of a word to `out`. Characters that are no tokens are left out, as the package does. */
static uint32_t spell(const learner *l, const char *text, size_t length, uint32_t *out) {
    uint32_t count = 0;
    size_t bytes = 1;
    for (size_t at = 0; at < length; at += bytes) {
        const uint32_t code =
            l->options->is_spm ? nlm_utf8_next(text + at, length - at, &bytes) : (unsigned char)text[at];
        if (l->symbols_of[code] >= 0) out[count++] = (uint32_t)l->symbols_of[code];
    }
    return count;
}

/* Words as symbols. Those of one symbol have nothing to merge. */
static nlm_status spell_words(learner *l, nlm_word_counts *words, nlm_error *err) {
    l->words = reallocarray(NULL, words->count, sizeof *l->words);
    l->symbols = reallocarray(NULL, words->text.length + 1, sizeof *l->symbols);
    if (!l->words || !l->symbols) return out_of_memory(err);
    size_t used = 0;
    for (size_t i = 0; i < words->count; i++) {
        const uint32_t length = spell(l, nlm_word_text(words, i), words->words[i].length, l->symbols + used);
        if (length < 2) continue;
        l->words[l->word_count++] = (nlm_symbol_word){used, words->words[i].count, length};
        used += length;
    }
    nlm_word_counts_release(words);
    return NLM_OK;
}

static nlm_status count_pairs(learner *l, nlm_error *err) {
    for (size_t i = 0; i < l->word_count; i++) {
        const nlm_symbol_word *word = &l->words[i];
        const uint32_t *symbols = l->symbols + word->start;
        for (uint32_t j = 0; j + 1 < word->length; j++) {
            if (!nlm_pair_queue_count(&l->pairs, symbols[j], symbols[j + 1], (int64_t)word->count, (uint32_t)i)) {
                return out_of_memory(err);
            }
        }
    }
    return nlm_pair_queue_flush(&l->pairs) ? NLM_OK : out_of_memory(err);
}

/* Puts `merged` in place of the pair wherever a word has it, from left to right, and counts what that changes beside
 * it. The pair's own count stays: nobody asks for it again. */
static bool merge_in_word(learner *l, uint32_t number, const nlm_queued_pair *pair, uint32_t merged) {
    nlm_symbol_word *word = &l->words[number];
    uint32_t *symbols = l->symbols + word->start;
    const int64_t count = (int64_t)word->count;
    bool is_done = true;
    uint32_t to = 0;
    for (uint32_t from = 0; from < word->length; to++) {
        const bool is_pair =
            from + 1 < word->length && symbols[from] == pair->left && symbols[from + 1] == pair->right;
        if (!is_pair) {
            symbols[to] = symbols[from++];
            continue;
        }
        from += 2;
        if (to > 0) {
            is_done &= nlm_pair_queue_count(&l->pairs, symbols[to - 1], pair->left, -count, number);
            is_done &= nlm_pair_queue_count(&l->pairs, symbols[to - 1], merged, count, number);
        }
        if (from < word->length) {
            is_done &= nlm_pair_queue_count(&l->pairs, pair->right, symbols[from], -count, number);
            is_done &= nlm_pair_queue_count(&l->pairs, merged, symbols[from], count, number);
        }
        symbols[to] = merged;
    }
    word->length = to;
    return is_done;
}

static bool add_merge(learner *l, const nlm_queued_pair *pair, int32_t result) {
    nlm_bpe_vocab *out = l->out;
    if (out->merge_count == l->merge_capacity) {
        const size_t capacity = l->merge_capacity ? 2 * l->merge_capacity : 1024;
        nlm_bpe_merge *merges = reallocarray(out->merges, capacity, sizeof *merges);
        if (!merges) return false;
        out->merges = merges;
        l->merge_capacity = capacity;
    }
    out->merges[out->merge_count++] = (nlm_bpe_merge){(int32_t)pair->left, (int32_t)pair->right, result};
    return true;
}

/* One merge. Its token is new, or a special one that is spelled so: what merges within a token does not depend on
 * what stands around it, so no other pair makes the same. */
static nlm_status merge_pair(learner *l, const nlm_queued_pair *pair, nlm_str *text, nlm_error *err) {
    const nlm_bytes left = l->out->texts[pair->left], right = l->out->texts[pair->right];
    text->length = 0;
    nlm_str_append(text, left.data, left.length);
    nlm_str_append(text, right.data, right.length);
    if (text->has_failed) return out_of_memory(err);
    int32_t id;
    NLM_TRY(add_token(l, text->data, text->length, NLM_TOKEN_NORMAL, &id, err));
    if (!add_merge(l, pair, id)) return out_of_memory(err);
    for (uint32_t i = 0; i < pair->words.count; i++) {
        if (!merge_in_word(l, pair->words.data[i], pair, (uint32_t)id)) return out_of_memory(err);
    }
    return nlm_pair_queue_flush(&l->pairs) ? NLM_OK : out_of_memory(err);
}

static nlm_status merge_all(learner *l, nlm_error *err) {
    const nlm_bpe_train_options *options = l->options;
    nlm_str text = {0};
    nlm_queued_pair pair;
    nlm_status status = NLM_OK;
    while (status == NLM_OK && l->out->count < options->vocab_size && nlm_pair_queue_next(&l->pairs, &pair)) {
        const bool is_last = pair.count < options->min_frequency;
        if (!is_last) status = merge_pair(l, &pair, &text, err);
        free(pair.words.data);
        if (is_last) break;
        const bool has_progress = options->on_progress && l->out->merge_count % PROGRESS_EVERY == 0;
        if (status == NLM_OK && has_progress && !options->on_progress(options->user, l->out->count)) {
            status = nlm_fail(err, NLM_CANCELLED, "training", "cancelled at %zu tokens", l->out->count);
        }
    }
    nlm_str_release(&text);
    return status;
}

static nlm_status learn(learner *l, nlm_word_counts *words, nlm_error *err) {
    l->capacity = l->options->vocab_size;
    l->out->texts = nlm_arena_array(&l->out->arena, l->capacity, sizeof *l->out->texts);
    l->out->types = nlm_arena_alloc(&l->out->arena, l->capacity);
    if (!l->out->texts || !l->out->types) return out_of_memory(err);
    NLM_TRY(add_fixed(l, err));
    NLM_TRY(add_alphabet(l, words, err));
    NLM_TRY(spell_words(l, words, err));
    NLM_TRY(count_pairs(l, err));
    return merge_all(l, err);
}

nlm_status nlm_bpe_learn(const nlm_bpe_train_options *options, nlm_word_counts *words, nlm_bpe_vocab *out,
                         nlm_error *err) {
    *out = (nlm_bpe_vocab){.is_spm = options->is_spm};
    learner l = {.options = options, .out = out};
    const nlm_status status = learn(&l, words, err);
    nlm_piece_map_release(&l.ids);
    nlm_pair_queue_release(&l.pairs);
    free(l.symbols_of);
    free(l.words);
    free(l.symbols);
    return status;
}
