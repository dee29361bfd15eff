/* Finite automata over code points: made, joined and turned into trees. */
#include "text/grammar_dfa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define STATES_MAX (1u << 17)
#define CELLS_MAX  (1u << 24) /* states times classes */

static const nlm_dfa nothing = {0};

static bool is_ok(const nlm_rules *rules) {
    return rules->status == NLM_OK;
}

static void too_large(nlm_rules *rules) {
    nlm_rules_fail(rules, NLM_LIMIT, NLM_GRAMMAR_AT,
                   "a pattern, with what else is asked of the same string, has too many states");
}

nlm_dfa *nlm_dfa_new(nlm_rules *rules, uint32_t n_states, uint32_t n_classes) {
    if (n_states > STATES_MAX || (uint64_t)n_states * n_classes > CELLS_MAX) too_large(rules);
    nlm_dfa *dfa = nlm_rules_alloc(rules, 1, sizeof *dfa);
    const size_t cells = (size_t)n_states * n_classes;
    uint32_t *bounds = nlm_rules_alloc(rules, (size_t)n_classes + 1, sizeof *bounds);
    uint32_t *next = nlm_rules_alloc(rules, cells + 1, sizeof *next);
    uint8_t *is_final = nlm_rules_alloc(rules, (size_t)n_states + 1, 1);
    if (!dfa || !bounds || !next || !is_final) return NULL;
    memset(next, 0xFF, cells * sizeof *next); /* NLM_DFA_DEAD */
    bounds[n_classes] = NLM_CODE_MAX + 1;
    *dfa = (nlm_dfa){n_states, n_classes, bounds, next, is_final};
    return dfa;
}

/* ---- trimming -------------------------------------------------------------------------------- */

/* Which states lead to a final one: from the final ones back, until nothing is found. */
static bool find_useful(nlm_rules *rules, const nlm_dfa *dfa, uint8_t *is_useful) {
    const size_t cells = (size_t)dfa->n_states * dfa->n_classes;
    uint32_t *first = nlm_rules_alloc(rules, (size_t)dfa->n_states + 1, sizeof *first);
    uint32_t *from = nlm_rules_alloc(rules, cells + 1, sizeof *from);
    uint32_t *todo = nlm_rules_alloc(rules, (size_t)dfa->n_states + 1, sizeof *todo);
    if (!first || !from || !todo) return false;
    uint32_t n_todo = 0;
    for (size_t i = 0; i < cells; i++) {
        if (dfa->next[i] != NLM_DFA_DEAD) first[dfa->next[i]]++;
    }
    for (uint32_t i = 1; i <= dfa->n_states; i++) first[i] += first[i - 1];
    for (size_t i = cells; i-- > 0;) {
        if (dfa->next[i] != NLM_DFA_DEAD) from[--first[dfa->next[i]]] = (uint32_t)(i / dfa->n_classes);
    }
    for (uint32_t i = 0; i < dfa->n_states; i++) {
        is_useful[i] = dfa->is_final[i] != 0;
        if (is_useful[i]) todo[n_todo++] = i;
    }
    while (n_todo) {
        const uint32_t state = todo[--n_todo];
        for (uint32_t i = first[state]; i < first[state + 1]; i++) {
            if (is_useful[from[i]]) continue;
            is_useful[from[i]] = 1;
            todo[n_todo++] = from[i];
        }
    }
    return true;
}

const nlm_dfa *nlm_dfa_trim(nlm_rules *rules, const nlm_dfa *dfa) {
    uint8_t *is_useful = nlm_rules_alloc(rules, (size_t)dfa->n_states + 1, 1);
    uint32_t *number = nlm_rules_alloc(rules, (size_t)dfa->n_states + 1, sizeof *number);
    if (!is_useful || !number || !find_useful(rules, dfa, is_useful)) return &nothing;
    uint32_t n_states = 0;
    for (uint32_t i = 0; i < dfa->n_states; i++) number[i] = is_useful[i] ? n_states++ : NLM_DFA_DEAD;
    if (n_states == dfa->n_states) return dfa;
    if (n_states == 0 || !is_useful[0]) return &nothing;
    nlm_dfa *kept = nlm_dfa_new(rules, n_states, dfa->n_classes);
    if (!kept) return &nothing;
    memcpy(kept->bounds, dfa->bounds, (dfa->n_classes + 1) * sizeof *kept->bounds);
    for (uint32_t i = 0; i < dfa->n_states; i++) {
        if (!is_useful[i]) continue;
        kept->is_final[number[i]] = dfa->is_final[i];
        for (uint32_t c = 0; c < dfa->n_classes; c++) {
            const uint32_t next = dfa->next[(size_t)i * dfa->n_classes + c];
            if (next != NLM_DFA_DEAD) kept->next[(size_t)number[i] * dfa->n_classes + c] = number[next];
        }
    }
    return kept;
}

/* ---- making ---------------------------------------------------------------------------------- */

const nlm_dfa *nlm_dfa_of_length(nlm_rules *rules, uint32_t least, uint32_t most) {
    if (most < least) return &nothing;
    const uint32_t last = most == NLM_NO_LIMIT ? least : most;
    if (last >= STATES_MAX) too_large(rules);
    nlm_dfa *dfa = is_ok(rules) ? nlm_dfa_new(rules, last + 1, 1) : NULL;
    if (!dfa) return &nothing;
    for (uint32_t i = 0; i <= last; i++) {
        dfa->is_final[i] = i >= least;
        if (i < last) dfa->next[i] = i + 1;
    }
    if (most == NLM_NO_LIMIT) dfa->next[last] = last;
    return dfa;
}

static int compare_numbers(const void *a, const void *b) {
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static uint32_t class_of(const nlm_dfa *dfa, uint32_t code) {
    uint32_t low = 0, high = dfa->n_classes - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (dfa->bounds[middle] <= code) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static uint32_t next_code(const char **at) {
    size_t length = 1;
    const uint32_t code = nlm_utf8_next(*at, strlen(*at), &length);
    *at += length;
    return code < NLM_UTF8_INVALID ? code : 0xFFFD;
}

const nlm_dfa *nlm_dfa_of_words(nlm_rules *rules, const char *const *words, size_t count) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) n += strlen(words[i]);
    uint32_t *bounds = nlm_rules_alloc(rules, 2 * n + 2, sizeof *bounds);
    if (!bounds || count == 0) return &nothing;
    uint32_t n_bounds = 1, n_states = 1; /* bounds[0] is 0 */
    for (size_t i = 0; i < count; i++) {
        for (const char *at = words[i]; *at; n_states++) {
            const uint32_t code = next_code(&at);
            bounds[n_bounds++] = code;
            bounds[n_bounds++] = code + 1;
        }
    }
    qsort(bounds, n_bounds, sizeof *bounds, compare_numbers);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < n_bounds; i++) {
        if (bounds[i] != bounds[kept - 1] && bounds[i] <= NLM_CODE_MAX) bounds[kept++] = bounds[i];
    }
    nlm_dfa *dfa = nlm_dfa_new(rules, n_states, kept);
    if (!dfa) return &nothing;
    memcpy(dfa->bounds, bounds, kept * sizeof *bounds);
    uint32_t n_used = 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t state = 0;
        for (const char *at = words[i]; *at;) {
            uint32_t *next = &dfa->next[(size_t)state * kept + class_of(dfa, next_code(&at))];
            if (*next == NLM_DFA_DEAD) *next = n_used++;
            state = *next;
        }
        dfa->is_final[state] = 1;
    }
    dfa->n_states = n_used;
    return dfa;
}

/* ---- joining --------------------------------------------------------------------------------- */

/* Pairs of states that were reached, numbered as they were. */
typedef struct pairs {
    uint64_t *items; /* a << 32 | b */
    size_t count, capacity;
    uint32_t *slots; /* [n_slots] pair + 1 */
    size_t n_slots;
} pairs;

static size_t pair_slot(const pairs *p, uint64_t pair) {
    size_t slot = (size_t)(pair * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (p->n_slots - 1);
    while (p->slots[slot] && p->items[p->slots[slot] - 1] != pair) slot = (slot + 1) & (p->n_slots - 1);
    return slot;
}

static uint32_t number_pair(nlm_rules *rules, pairs *p, uint32_t a, uint32_t b) {
    const uint64_t pair = (uint64_t)a << 32 | b;
    if (2 * p->count >= p->n_slots) {
        p->n_slots = p->n_slots ? 2 * p->n_slots : 64;
        p->slots = nlm_rules_alloc(rules, p->n_slots, sizeof *p->slots);
        for (size_t i = 0; p->slots && i < p->count; i++) p->slots[pair_slot(p, p->items[i])] = (uint32_t)i + 1;
    }
    if (p->count == STATES_MAX) too_large(rules);
    uint64_t *items = nlm_rules_grow(rules, p->items, p->count, &p->capacity, sizeof *items);
    if (!items || !p->slots) return 0;
    p->items = items;
    const size_t slot = pair_slot(p, pair);
    if (p->slots[slot] == 0) {
        items[p->count++] = pair;
        p->slots[slot] = (uint32_t)p->count;
    }
    return p->slots[slot] - 1;
}

/* The classes of both, each cut where the other is. */
static uint32_t join_bounds(const nlm_dfa *a, const nlm_dfa *b, uint32_t *out) {
    uint32_t i = 0, j = 0, n = 0;
    while (i < a->n_classes || j < b->n_classes) {
        const uint32_t x = i < a->n_classes ? a->bounds[i] : UINT32_MAX,
                       y = j < b->n_classes ? b->bounds[j] : UINT32_MAX;
        out[n++] = x < y ? x : y;
        i += x <= y;
        j += y <= x;
    }
    return n;
}

const nlm_dfa *nlm_dfa_intersect(nlm_rules *rules, const nlm_dfa *a, const nlm_dfa *b) {
    pairs p = {0};
    size_t n_next = 0, capacity = 0;
    uint32_t *next = NULL;
    uint32_t *bounds = nlm_rules_alloc(rules, (size_t)a->n_classes + b->n_classes + 1, sizeof *bounds);
    if (!bounds || a->n_states == 0 || b->n_states == 0) return &nothing;
    const uint32_t n_classes = join_bounds(a, b, bounds);
    number_pair(rules, &p, 0, 0);
    for (size_t i = 0; i < p.count && is_ok(rules); i++) {
        const uint32_t x = (uint32_t)(p.items[i] >> 32), y = (uint32_t)p.items[i];
        if (n_next > CELLS_MAX) too_large(rules);
        for (uint32_t c = 0; c < n_classes && is_ok(rules); c++) {
            const uint32_t to_x = a->next[(size_t)x * a->n_classes + class_of(a, bounds[c])];
            const uint32_t to_y = b->next[(size_t)y * b->n_classes + class_of(b, bounds[c])];
            const bool is_dead = to_x == NLM_DFA_DEAD || to_y == NLM_DFA_DEAD;
            const uint32_t to = is_dead ? NLM_DFA_DEAD : number_pair(rules, &p, to_x, to_y);
            next = nlm_rules_grow(rules, next, n_next, &capacity, sizeof *next);
            if (next) next[n_next++] = to;
        }
    }
    nlm_dfa *both = is_ok(rules) ? nlm_dfa_new(rules, (uint32_t)p.count, n_classes) : NULL;
    if (!both) return &nothing;
    memcpy(both->bounds, bounds, n_classes * sizeof *bounds);
    memcpy(both->next, next, n_next * sizeof *next);
    for (size_t i = 0; i < p.count; i++) {
        both->is_final[i] = a->is_final[p.items[i] >> 32] && b->is_final[(uint32_t)p.items[i]];
    }
    return nlm_dfa_trim(rules, both);
}

/* One more state, which what was dead leads to. */
const nlm_dfa *nlm_dfa_complement(nlm_rules *rules, const nlm_dfa *a) {
    const uint32_t n_classes = a->n_states ? a->n_classes : 1, dead = a->n_states;
    nlm_dfa *other = nlm_dfa_new(rules, a->n_states + 1, n_classes);
    if (!other) return &nothing;
    if (a->n_states) memcpy(other->bounds, a->bounds, (a->n_classes + 1) * sizeof *a->bounds);
    for (size_t i = 0; i < (size_t)a->n_states * n_classes; i++) {
        other->next[i] = a->next[i] == NLM_DFA_DEAD ? dead : a->next[i];
    }
    for (uint32_t c = 0; c < n_classes; c++) other->next[(size_t)dead * n_classes + c] = dead;
    for (uint32_t i = 0; i <= dead; i++) other->is_final[i] = i == dead || !a->is_final[i];
    return nlm_dfa_trim(rules, other);
}

bool nlm_dfa_is_empty(const nlm_dfa *dfa) {
    return dfa->n_states == 0;
}

bool nlm_dfa_matches(const nlm_dfa *dfa, const char *text) {
    uint32_t state = 0;
    if (dfa->n_states == 0) return false;
    while (*text && state != NLM_DFA_DEAD) {
        state = dfa->next[(size_t)state * dfa->n_classes + class_of(dfa, next_code(&text))];
    }
    return state != NLM_DFA_DEAD && dfa->is_final[state];
}

/* ---- as a tree ------------------------------------------------------------------------------- */

/* Code points that do not stand in a JSON string as they are, and how they do: bit 0 .. 31 of a set of them are those
 * below U+0020, then the quote and the backslash. */
#define N_SPECIAL 34

static uint32_t special_code(unsigned bit) {
    return bit < 32 ? bit : bit == 32 ? '"' : '\\';
}

static const nlm_tree *escape_of(nlm_rules *rules, uint32_t code) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    char escape[8];
    const char *known = code ? strchr(codes, (int)code) : NULL;
    if (known) {
        snprintf(escape, sizeof escape, "\\%c", letters[known - codes]);
    } else {
        snprintf(escape, sizeof escape, "\\u%04X", code & 0xFFu);
    }
    return nlm_tree_string(rules, escape);
}

/* A graph being made. Edges that have many escapes have mostly the same: these are one rule. */
typedef struct graph_maker {
    nlm_rules *rules;
    const nlm_dfa *dfa;
    bool is_in_string;
    uint64_t specials; /* that `escapes` is of; 0: none yet */
    const nlm_tree *escapes;
} graph_maker;

static const nlm_tree *escapes_of(graph_maker *m, uint64_t specials) {
    if (specials == m->specials) return m->escapes;
    nlm_tree *choice = nlm_tree_choice(m->rules);
    unsigned count = 0;
    for (unsigned bit = 0; bit < N_SPECIAL; bit++) {
        if (!(specials >> bit & 1)) continue;
        nlm_tree_add(m->rules, choice, escape_of(m->rules, special_code(bit)));
        count++;
    }
    if (count < 4) return choice;
    const uint32_t rule = nlm_rules_add(m->rules, NULL, 0);
    if (is_ok(m->rules)) m->rules->items[rule].body = choice;
    m->specials = specials;
    m->escapes = nlm_tree_rule(m->rules, rule);
    return m->escapes;
}

/* Adds what stands as it is to the set; returns the bits of what does not. */
static uint64_t add_range(graph_maker *m, nlm_code_set *set, uint32_t first, uint32_t last) {
    uint64_t specials = 0;
    if (!m->is_in_string) {
        nlm_code_set_add(m->rules, set, first, last);
        return 0;
    }
    for (unsigned bit = 0; bit < N_SPECIAL; bit++) {
        const uint32_t code = special_code(bit);
        if (code < first || code > last) continue;
        specials |= UINT64_C(1) << bit;
        if (code > first) nlm_code_set_add(m->rules, set, first, code - 1);
        first = code + 1;
    }
    if (first <= last) nlm_code_set_add(m->rules, set, first, last);
    return specials;
}

/* A tree of the code points of those classes that lead to `state`, where `to` says of each where it leads. */
static const nlm_tree *tree_of_classes(graph_maker *m, const uint32_t *to, uint32_t state) {
    nlm_code_set set = {0};
    uint64_t specials = 0;
    for (uint32_t c = 0; c < m->dfa->n_classes; c++) {
        if (to[c] == state) specials |= add_range(m, &set, m->dfa->bounds[c], m->dfa->bounds[c + 1] - 1);
    }
    nlm_code_set_finish(&set);
    const nlm_tree *plain = nlm_tree_set(m->rules, &set);
    if (specials == 0) return plain;
    nlm_tree *choice = nlm_tree_choice(m->rules);
    if (set.count) nlm_tree_add(m->rules, choice, plain);
    nlm_tree_add(m->rules, choice, escapes_of(m, specials));
    return choice;
}

const nlm_tree *nlm_dfa_tree(nlm_rules *rules, const nlm_dfa *dfa, bool is_in_string) {
    graph_maker m = {.rules = rules, .dfa = dfa, .is_in_string = is_in_string};
    if (dfa->n_states == 0) return nlm_tree_choice(rules);
    nlm_tree *graph = nlm_tree_graph(rules, dfa->n_states);
    for (uint32_t i = 0; i < dfa->n_states && is_ok(rules); i++) {
        const uint32_t *to = dfa->next + (size_t)i * dfa->n_classes;
        graph->graph.is_final[i] = dfa->is_final[i];
        for (uint32_t c = 0; c < dfa->n_classes && is_ok(rules); c++) {
            bool is_first = to[c] != NLM_DFA_DEAD && (c == 0 || to[c] != to[c - 1]);
            for (uint32_t before = 0; is_first && before < c; before++) is_first = to[before] != to[c];
            rules->n_parts += is_first ? dfa->n_classes / 16 : 0; /* the time that this takes counts too */
            if (is_first) nlm_tree_connect(rules, graph, i, to[c], tree_of_classes(&m, to, to[c]));
        }
    }
    return graph;
}
