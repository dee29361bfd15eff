/* Finds control and user-defined tokens in text, where they are allowed. */
#include "text/special.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

static int compare_tokens(const void *a, const void *b) {
    const nlm_special_token *left = a, *right = b;
    const uint32_t common = left->text.length < right->text.length ? left->text.length : right->text.length;
    const int order = memcmp(left->text.data, right->text.data, common);
    if (order) return order;
    if (left->text.length != right->text.length) return left->text.length < right->text.length ? -1 : 1;
    return left->id < right->id ? -1 : 1;
}

/* User-defined tokens are matched as they are spelled: U+2581 of a SentencePiece file is a space. */
static bool special_token(const nlm_vocab *vocab, size_t id, nlm_special_token *out) {
    const uint8_t type = vocab->types[id];
    const bool is_control = type == NLM_TOKEN_CONTROL || type == NLM_TOKEN_UNKNOWN;
    if (!is_control && type != NLM_TOKEN_USER_DEFINED) return false;
    const uint32_t kind = is_control ? NLM_SPECIAL_CONTROL : NLM_SPECIAL_USER_DEFINED;
    *out = (nlm_special_token){vocab->spelled[id], (int32_t)id, kind};
    return out->text.length > 0;
}

nlm_status nlm_specials_create(const nlm_vocab *vocab, nlm_specials *out, nlm_error *err) {
    nlm_special_token token;
    size_t count = 0;
    for (size_t i = 0; i < vocab->count; i++) count += special_token(vocab, i, &token);
    *out = (nlm_specials){0};
    if (count == 0) return NLM_OK;
    out->tokens = malloc(count * sizeof *out->tokens);
    if (!out->tokens) return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for %zu special tokens", count);
    for (size_t i = 0; i < vocab->count; i++) {
        if (!special_token(vocab, i, &token)) continue;
        out->tokens[out->count++] = token;
        const unsigned char first = (unsigned char)token.text.data[0];
        out->first[first + 1]++;
        out->kinds_of_first[first] |= (uint8_t)token.kind;
    }
    qsort(out->tokens, out->count, sizeof *out->tokens, compare_tokens);
    for (size_t i = 0; i < 256; i++) out->first[i + 1] += out->first[i];
    return NLM_OK;
}

void nlm_specials_release(nlm_specials *specials) {
    free(specials->tokens);
    *specials = (nlm_specials){0};
}

/* Of sorted tokens[low..high), which agree up to `depth` and are longer, the first whose byte at
 * `depth` is not below `byte`. */
static size_t lower_bound(const nlm_special_token *tokens, size_t low, size_t high, uint32_t depth, unsigned byte) {
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((unsigned char)tokens[middle].text.data[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Whether text[from..to) touches what a user wrote. */
static bool touches_user_span(nlm_special_scan *scan, size_t from, size_t to) {
    const nlm_text_spans *spans = scan->user_spans;
    if (!spans) return false;
    while (scan->next_span < spans->count && spans->data[scan->next_span].to <= from) scan->next_span++;
    for (size_t i = scan->next_span; i < spans->count && spans->data[i].from < to; i++) {
        if (spans->data[i].to > from && spans->data[i].from < spans->data[i].to) return true;
    }
    return false;
}

/* The longest token that may stand at `from`: narrows the sorted tokens byte by byte. */
static bool match_at(nlm_special_scan *scan, size_t from, nlm_special_match *out) {
    const nlm_special_token *tokens = scan->specials->tokens;
    const unsigned first = (unsigned char)scan->text[from];
    size_t low = scan->specials->first[first], high = scan->specials->first[first + 1];
    bool found = false;
    for (uint32_t depth = 1; low < high; depth++) {
        for (bool is_taken = false; low < high && tokens[low].text.length == depth; low++) {
            const size_t to = from + depth;
            const bool may_stand = (tokens[low].kind & scan->kinds) &&
                                   !(tokens[low].kind == NLM_SPECIAL_CONTROL && touches_user_span(scan, from, to));
            if (!may_stand || is_taken) continue;
            *out = (nlm_special_match){from, to, tokens[low].id};
            is_taken = found = true;
        }
        if (from + depth >= scan->length) break;
        const unsigned byte = (unsigned char)scan->text[from + depth];
        low = lower_bound(tokens, low, high, depth, byte);
        high = lower_bound(tokens, low, high, depth, byte + 1);
    }
    return found;
}

bool nlm_specials_next(nlm_special_scan *scan, size_t from, nlm_special_match *out) {
    const nlm_specials *specials = scan->specials;
    if (specials->count == 0) return false;
    for (size_t at = from; at < scan->length; at++) {
        const unsigned char first = (unsigned char)scan->text[at];
        if ((specials->kinds_of_first[first] & scan->kinds) && match_at(scan, at, out)) return true;
    }
    return false;
}
