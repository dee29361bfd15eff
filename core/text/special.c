/* Finds control and user-defined tokens in text, where they are allowed. */
#include "text/special.h"

#include "base/status.h"

#include <stdlib.h>

/* User-defined tokens are matched as they are spelled: U+2581 of a SentencePiece file is a space. */
static bool is_special(const nlm_vocab *vocab, size_t id, nlm_special_kinds kind) {
    const uint8_t type = vocab->types[id];
    if (vocab->spelled[id].length == 0) return false;
    return kind == NLM_SPECIAL_CONTROL ? type == NLM_TOKEN_CONTROL || type == NLM_TOKEN_UNKNOWN
                                       : type == NLM_TOKEN_USER_DEFINED;
}

static nlm_status create_kind(const nlm_vocab *vocab, nlm_special_kinds kind, nlm_reverse_trie *out, nlm_error *err) {
    size_t count = 0, used = 0;
    for (size_t i = 0; i < vocab->count; i++) count += is_special(vocab, i, kind);
    nlm_pattern *patterns = calloc(count + 1, sizeof *patterns);
    if (!patterns) return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for %zu special tokens", count);
    for (size_t i = 0; i < vocab->count; i++) {
        if (is_special(vocab, i, kind)) patterns[used++] = (nlm_pattern){vocab->spelled[i], (int32_t)i};
    }
    const nlm_status status = nlm_reverse_trie_create(patterns, count, out, err);
    free(patterns);
    return status;
}

nlm_status nlm_specials_create(const nlm_vocab *vocab, nlm_specials *out, nlm_error *err) {
    *out = (nlm_specials){0};
    NLM_TRY(create_kind(vocab, NLM_SPECIAL_USER_DEFINED, &out->user_defined, err));
    return create_kind(vocab, NLM_SPECIAL_CONTROL, &out->controls, err);
}

void nlm_specials_release(nlm_specials *specials) {
    nlm_reverse_trie_release(&specials->user_defined);
    nlm_reverse_trie_release(&specials->controls);
}

/* What a place begins with is known only from what follows it, so a text is read backwards: once to mark where
 * each block's end leaves the automata, then block by block from the left. */
#define BLOCK_BYTES 4096

/* Reading backwards, before the byte at hand. */
typedef struct nlm_special_mark {
    uint32_t user_defined, control; /* states */
    size_t n_spans;                 /* user spans that may still come */
} nlm_special_mark;

/* Whether a user wrote the byte at `at`; called with falling places. */
static bool is_in_user_span(const nlm_special_scan *scan, nlm_special_mark *mark, size_t at) {
    if (!scan->user_spans) return false;
    const nlm_text_span *spans = scan->user_spans->data;
    while (mark->n_spans > 0 && spans[mark->n_spans - 1].from > at) mark->n_spans--;
    return mark->n_spans > 0 && at < spans[mark->n_spans - 1].to;
}

static const nlm_pattern *step(const nlm_reverse_trie *trie, uint32_t *state, unsigned char byte) {
    *state = nlm_reverse_trie_step(trie, *state, byte);
    const uint32_t longest = trie->longest[*state];
    return longest ? &trie->patterns[longest - 1] : NULL;
}

/* Reads the byte at `at`; returns the longest token that begins there, or NULL. A control token that touches a user
 * span has a byte in it, which its automaton never reads. */
static const nlm_pattern *read_back(const nlm_special_scan *scan, nlm_special_mark *mark, size_t at) {
    const nlm_specials *specials = scan->specials;
    const unsigned char byte = (unsigned char)scan->text[at];
    const nlm_pattern *user_defined = NULL, *control = NULL;
    if ((scan->kinds & NLM_SPECIAL_USER_DEFINED) && specials->user_defined.n_states) {
        user_defined = step(&specials->user_defined, &mark->user_defined, byte);
    }
    if ((scan->kinds & NLM_SPECIAL_CONTROL) && specials->controls.n_states) {
        if (is_in_user_span(scan, mark, at)) {
            mark->control = 0;
        } else {
            control = step(&specials->controls, &mark->control, byte);
        }
    }
    if (!user_defined || !control) return user_defined ? user_defined : control;
    if (user_defined->text.length != control->text.length) {
        return user_defined->text.length > control->text.length ? user_defined : control;
    }
    return user_defined->id < control->id ? user_defined : control;
}

static bool has_any(const nlm_special_scan *scan) {
    return ((scan->kinds & NLM_SPECIAL_USER_DEFINED) && scan->specials->user_defined.n_states) ||
           ((scan->kinds & NLM_SPECIAL_CONTROL) && scan->specials->controls.n_states);
}

nlm_status nlm_specials_begin(nlm_special_scan *scan, nlm_error *err) {
    if (scan->length == 0 || !has_any(scan)) return NLM_OK;
    const size_t n_blocks = (scan->length + BLOCK_BYTES - 1) / BLOCK_BYTES;
    scan->marks = malloc(n_blocks * sizeof *scan->marks);
    scan->found = malloc((scan->length < BLOCK_BYTES ? scan->length : BLOCK_BYTES) * sizeof *scan->found);
    if (!scan->marks || !scan->found) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory to look for special tokens in %zu bytes",
                        scan->length);
    }
    nlm_special_mark mark = {.n_spans = scan->user_spans ? scan->user_spans->count : 0};
    for (size_t at = scan->length; at > 0; at--) {
        if (at == scan->length || at % BLOCK_BYTES == 0) scan->marks[(at - 1) / BLOCK_BYTES] = mark;
        read_back(scan, &mark, at - 1);
    }
    return NLM_OK;
}

void nlm_specials_end(nlm_special_scan *scan) {
    free(scan->marks);
    free(scan->found);
    scan->marks = NULL;
    scan->found = NULL;
}

/* Notes what begins in the next block. */
static void read_block(nlm_special_scan *scan) {
    const size_t begin = scan->next_block * BLOCK_BYTES;
    const size_t end = scan->length - begin < BLOCK_BYTES ? scan->length : begin + BLOCK_BYTES;
    nlm_special_mark mark = scan->marks[scan->next_block++];
    scan->n_found = 0;
    for (size_t at = end; at > begin; at--) {
        const nlm_pattern *token = read_back(scan, &mark, at - 1);
        if (!token) continue;
        scan->found[scan->n_found++] = (nlm_special_match){at - 1, at - 1 + token->text.length, token->id};
    }
}

bool nlm_specials_next(nlm_special_scan *scan, size_t from, nlm_special_match *out) {
    if (!scan->marks) return false;
    for (;;) {
        while (scan->n_found > 0) {
            *out = scan->found[--scan->n_found];
            if (out->from >= from) return true;
        }
        if (scan->next_block * BLOCK_BYTES >= scan->length) return false;
        read_block(scan);
    }
}
