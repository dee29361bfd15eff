/* A grammar's automaton with the states that texts are in, their masks, and the lock around both. */
#include "text/grammar.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar_gbnf.h"
#include "text/grammar_walk.h"
#include "text/json_schema.h"

#define CACHE_BYTES (UINT64_C(64) << 20)

struct nlm_grammar {
    atomic_uint n_holders; /* its states too */
    nlm_tokenizer *tokenizer;
    const nlm_token_trie *trie; /* the tokenizer's; NULL without one */
    nlm_pushdown program;
    uint64_t cache_bytes;
    pthread_mutex_t mutex; /* of all that follows, and of every state's `at` */
    nlm_walk walk;
    nlm_grammar_state *states;
    size_t n_states;
};

struct nlm_grammar_state {
    nlm_grammar *grammar;
    nlm_grammar_state *next, **link; /* in the grammar's list */
    uint32_t at;
};

static nlm_status read_rules(nlm_rules *rules, const char *text, size_t length, const nlm_language_options *options) {
    if (options->language == NLM_LANGUAGE_GBNF) {
        nlm_gbnf_read(rules, text, length);
    } else {
        nlm_json_schema_read(rules, text, length, options->is_compact);
    }
    return rules->status;
}

static nlm_status compile(nlm_grammar *g, const char *text, size_t length, const nlm_language_options *options,
                          nlm_error *err) {
    nlm_rules rules = {0};
    nlm_status status = read_rules(&rules, text, length, options);
    if (status != NLM_OK) nlm_error_give(err, &rules.error);
    if (status == NLM_OK) status = nlm_pushdown_create(&rules, &g->program, err);
    nlm_rules_release(&rules);
    if (status != NLM_OK) return status;
    if (g->tokenizer) NLM_TRY(nlm_tokenizer_trie(g->tokenizer, &g->trie, err));
    return nlm_walk_begin(&g->walk, &g->program, err);
}

nlm_status nlm_language_open(const char *text, size_t length, const nlm_language_options *options,
                             nlm_tokenizer *tokenizer, nlm_grammar **out, nlm_error *err) {
    *out = NULL;
    nlm_grammar *g = calloc(1, sizeof *g);
    if (!g) return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for a grammar");
    atomic_init(&g->n_holders, 1);
    pthread_mutex_init(&g->mutex, NULL);
    g->tokenizer = tokenizer ? nlm_tokenizer_retain(tokenizer) : NULL;
    g->cache_bytes = options->cache_bytes ? options->cache_bytes : CACHE_BYTES;
    const nlm_status status = compile(g, text, length, options, err);
    if (status != NLM_OK) {
        nlm_language_close(g);
        return status;
    }
    *out = g;
    return NLM_OK;
}

void nlm_language_close(nlm_grammar *grammar) {
    if (!grammar || atomic_fetch_sub(&grammar->n_holders, 1) > 1) return;
    nlm_walk_release(&grammar->walk);
    nlm_pushdown_release(&grammar->program);
    nlm_tokenizer_destroy(grammar->tokenizer);
    pthread_mutex_destroy(&grammar->mutex);
    free(grammar);
}

/* ---- the lock -------------------------------------------------------------------------------- */

static size_t mask_words(const nlm_grammar *g) {
    return g->tokenizer ? (nlm_tokenizer_count(g->tokenizer) + 31) / 32 : 0;
}

/* Drops what is kept of states that no text is in. Where there is no memory to do so it is tried again later. */
static void drop_states(nlm_grammar *g) {
    uint32_t **roots = malloc((g->n_states + 1) * sizeof *roots);
    size_t n = 0;
    if (!roots) return;
    roots[n++] = &g->walk.start;
    for (nlm_grammar_state *state = g->states; state; state = state->next) roots[n++] = &state->at;
    nlm_stacks_compact(&g->walk.stacks, roots, n, NULL);
    free(roots);
}

static void enter(nlm_grammar *g) {
    pthread_mutex_lock(&g->mutex);
    const uint64_t masks = g->walk.stacks.n_masks * mask_words(g) * sizeof(uint32_t);
    if (nlm_stacks_bytes(&g->walk.stacks) + masks > g->cache_bytes) drop_states(g);
    nlm_walk_renew(&g->walk);
}

static void leave(nlm_grammar *g) {
    pthread_mutex_unlock(&g->mutex);
}

/* ---- states of a text ------------------------------------------------------------------------ */

static nlm_status add_state(nlm_grammar *g, const nlm_grammar_state *like, nlm_grammar_state **out, nlm_error *err) {
    *out = NULL;
    nlm_grammar_state *state = calloc(1, sizeof *state);
    if (!state) return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for a state");
    atomic_fetch_add(&g->n_holders, 1);
    state->grammar = g;
    pthread_mutex_lock(&g->mutex);
    state->at = like ? like->at : g->walk.start;
    state->next = g->states;
    state->link = &g->states;
    if (state->next) state->next->link = &state->next;
    g->states = state;
    g->n_states++;
    leave(g);
    *out = state;
    return NLM_OK;
}

nlm_status nlm_language_begin(nlm_grammar *grammar, nlm_grammar_state **out, nlm_error *err) {
    return add_state(grammar, NULL, out, err);
}

nlm_status nlm_language_fork(const nlm_grammar_state *state, nlm_grammar_state **out, nlm_error *err) {
    return add_state(state->grammar, state, out, err);
}

void nlm_language_end(nlm_grammar_state *state) {
    if (!state) return;
    nlm_grammar *g = state->grammar;
    pthread_mutex_lock(&g->mutex);
    *state->link = state->next;
    if (state->next) state->next->link = state->link;
    g->n_states--;
    leave(g);
    free(state);
    nlm_language_close(g);
}

void nlm_language_reset(nlm_grammar_state *state) {
    pthread_mutex_lock(&state->grammar->mutex);
    state->at = state->grammar->walk.start;
    leave(state->grammar);
}

bool nlm_language_has_tokens(const nlm_grammar_state *state) {
    return state->grammar->tokenizer != NULL;
}

uint32_t nlm_language_shortest(const nlm_grammar_state *state) {
    pthread_mutex_lock(&state->grammar->mutex);
    const uint32_t shortest = state->grammar->walk.stacks.sets[state->at].shortest;
    leave(state->grammar);
    return shortest;
}

bool nlm_language_is_complete(const nlm_grammar_state *state) {
    return nlm_language_shortest(state) == 0;
}

bool nlm_language_is_over(const nlm_grammar_state *state) {
    pthread_mutex_lock(&state->grammar->mutex);
    const bool is_over = state->at == NLM_STACKS_EMPTY; /* nothing but the end */
    leave(state->grammar);
    return is_over;
}

/* ---- what comes ------------------------------------------------------------------------------ */

nlm_status nlm_language_read(nlm_grammar_state *state, const char *text, size_t length, size_t *out_count,
                             nlm_error *err) {
    nlm_grammar *g = state->grammar;
    nlm_status status = NLM_OK;
    uint32_t at = NLM_STACKS_NONE;
    *out_count = 0;
    enter(g);
    /* A text of any length: in parts, each with work of its own. */
    for (at = state->at; *out_count < length;) {
        const size_t part = length - *out_count < 4096 ? length - *out_count : 4096;
        size_t count = 0;
        nlm_walk_renew(&g->walk);
        at = nlm_walk_text(&g->walk, at, text + *out_count, part, &count);
        *out_count += count;
        if (at == NLM_STACKS_NONE) break;
    }
    if (g->walk.stacks.status != NLM_OK) {
        status = nlm_stacks_explain(&g->walk.stacks, err);
    } else if (at != NLM_STACKS_NONE) {
        state->at = at;
    } else {
        status =
            nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_GRAMMAR_AT, "byte %zu of the text, 0x%02X, may not come there",
                     *out_count, (unsigned)(unsigned char)text[*out_count]);
    }
    leave(g);
    return status;
}

/* The state after a token; NLM_STACKS_NONE: it may not come. */
static uint32_t after_token(nlm_grammar *g, uint32_t at, int32_t id) {
    nlm_piece piece;
    size_t count;
    if (nlm_tokenizer_is_end(g->tokenizer, id)) return g->walk.stacks.sets[at].shortest == 0 ? at : NLM_STACKS_NONE;
    if (nlm_tokenizer_piece(g->tokenizer, id, &piece, NULL) != NLM_OK || piece.is_hidden) return NLM_STACKS_NONE;
    if (piece.length == 0) return NLM_STACKS_NONE; /* it could come for ever */
    return nlm_walk_text(&g->walk, at, piece.text, piece.length, &count);
}

bool nlm_language_allows(nlm_grammar_state *state, int32_t id) {
    nlm_grammar *g = state->grammar;
    enter(g);
    const bool is_allowed = after_token(g, state->at, id) != NLM_STACKS_NONE;
    leave(g);
    return is_allowed;
}

nlm_status nlm_language_accept(nlm_grammar_state *state, int32_t id, nlm_error *err) {
    nlm_grammar *g = state->grammar;
    nlm_status status = NLM_OK;
    enter(g);
    const uint32_t at = after_token(g, state->at, id);
    if (g->walk.stacks.status != NLM_OK) {
        status = nlm_stacks_explain(&g->walk.stacks, err);
    } else if (at == NLM_STACKS_NONE) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_GRAMMAR_AT, "token %d may not come there", id);
    } else {
        state->at = at;
    }
    leave(g);
    return status;
}

/* The mask of a state, made if it is not there. */
static nlm_status find_mask(nlm_grammar *g, uint32_t at, const uint32_t **out, nlm_error *err) {
    *out = g->walk.stacks.sets[at].mask;
    if (*out) return NLM_OK;
    uint32_t *mask = calloc(mask_words(g) + 1, sizeof *mask);
    if (!mask) return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for a mask");
    const nlm_status status = nlm_walk_tokens(&g->walk, at, g->trie, mask, err);
    if (status != NLM_OK) {
        free(mask);
        return status;
    }
    if (g->walk.stacks.sets[at].shortest == 0) {
        for (uint32_t i = 0; i < g->trie->n_ends; i++) {
            mask[(uint32_t)g->trie->ends[i] / 32] |= 1u << ((uint32_t)g->trie->ends[i] % 32);
        }
    }
    g->walk.stacks.sets[at].mask = mask;
    g->walk.stacks.n_masks++;
    *out = mask;
    return NLM_OK;
}

static bool is_empty(const uint32_t *words, size_t count) {
    uint32_t any = 0;
    for (size_t i = 0; i < count; i++) any |= words[i];
    return any == 0;
}

nlm_status nlm_language_mask(nlm_grammar_state *state, uint32_t *bits, size_t n_words, nlm_error *err) {
    nlm_grammar *g = state->grammar;
    const size_t needed = mask_words(g);
    if (n_words < needed) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_GRAMMAR_AT, "a mask of %zu words; %zu are needed", n_words,
                        needed);
    }
    const uint32_t *mask = NULL;
    enter(g);
    nlm_status status = find_mask(g, state->at, &mask, err);
    if (status == NLM_OK) memcpy(bits, mask, needed * sizeof *bits);
    const bool is_complete = g->walk.stacks.sets[state->at].shortest == 0;
    leave(g);
    if (status != NLM_OK) return status;
    memset(bits + needed, 0, (n_words - needed) * sizeof *bits);
    if (!is_empty(bits, needed)) return NLM_OK;
    return nlm_fail(err, NLM_NOT_FOUND, NLM_GRAMMAR_AT,
                    is_complete ? "the text is complete, and the vocabulary has no token that ends it"
                                : "the vocabulary has no token that could come next");
}
