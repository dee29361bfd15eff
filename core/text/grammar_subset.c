/* Regular expressions to finite automata: Thompson's construction, then states that are sets of its states. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar_dfa.h"
#include "text/grammar_regex.h"

#define NFA_MAX   (1u << 18)
#define DFA_MAX   (1u << 16)
#define WORK_MAX  (UINT64_C(1) << 27)
#define DEPTH_MAX 1000

typedef enum arrow_kind { ARROW_EMPTY, ARROW_SET, ARROW_START, ARROW_END } arrow_kind;

typedef struct arrow {
    uint32_t from, to;
    arrow_kind kind;
    const nlm_code_set *set;
} arrow;

typedef struct subset {
    uint32_t first, count; /* of `members` */
    uint64_t hash;
} subset;

typedef struct maker {
    nlm_rules *rules;
    uint32_t n_states; /* of the NFA; 0 is its start, 1 its end */
    arrow *arrows;
    size_t n_arrows, capacity;
    uint32_t *first_arrow; /* [n_states + 1], once sorted */
    unsigned depth;
    uint64_t work;
    /* The DFA. */
    uint32_t n_classes, *bounds;
    subset *subsets;
    size_t n_subsets, subsets_capacity;
    uint32_t *members;
    size_t n_members, members_capacity;
    uint32_t *slots; /* [n_slots] subset + 1 by hash */
    size_t n_slots;
    uint32_t *stack, n_marked; /* [n_states] */
    uint8_t *is_marked;        /* [n_states] */
} maker;

static bool is_ok(const maker *m) {
    return m->rules->status == NLM_OK;
}

static void too_large(maker *m) {
    nlm_rules_fail(m->rules, NLM_LIMIT, NLM_GRAMMAR_AT,
                   "a pattern, with what else is asked of the same string, has too many states");
}

static uint32_t new_state(maker *m) {
    if (m->n_states == NFA_MAX) too_large(m);
    return is_ok(m) ? m->n_states++ : 0;
}

static void add_arrow(maker *m, uint32_t from, uint32_t to, arrow_kind kind, const nlm_code_set *set) {
    arrow *arrows = nlm_rules_grow(m->rules, m->arrows, m->n_arrows, &m->capacity, sizeof *arrows);
    if (!arrows) return;
    m->arrows = arrows;
    arrows[m->n_arrows++] = (arrow){from, to, kind, set};
}

static void add_tree(maker *m, const nlm_tree *tree, uint32_t from, uint32_t to);

static void add_repeat(maker *m, const nlm_tree *tree, uint32_t from, uint32_t to) {
    const uint32_t least = tree->repeat.least, most = tree->repeat.most;
    for (uint32_t i = 0; i < least && is_ok(m); i++) {
        const uint32_t next = new_state(m);
        add_tree(m, tree->repeat.item, from, next);
        from = next;
    }
    if (most == NLM_NO_LIMIT) {
        const uint32_t loop = new_state(m);
        add_arrow(m, from, loop, ARROW_EMPTY, NULL);
        add_tree(m, tree->repeat.item, loop, loop);
        from = loop;
    }
    for (uint32_t i = least; most != NLM_NO_LIMIT && i < most && is_ok(m); i++) {
        const uint32_t next = new_state(m);
        add_arrow(m, from, to, ARROW_EMPTY, NULL);
        add_tree(m, tree->repeat.item, from, next);
        from = next;
    }
    add_arrow(m, from, to, ARROW_EMPTY, NULL);
}

static void add_tree(maker *m, const nlm_tree *tree, uint32_t from, uint32_t to) {
    if (++m->depth > DEPTH_MAX) too_large(m);
    if (!is_ok(m)) return;
    switch (tree->kind) {
        case NLM_TREE_SET: add_arrow(m, from, to, ARROW_SET, &tree->set); break;
        case NLM_TREE_RULE:
            add_arrow(m, from, to, tree->rule == NLM_REGEX_START ? ARROW_START : ARROW_END, NULL);
            break;
        case NLM_TREE_CHOICE:
            for (size_t i = 0; i < tree->list.count; i++) add_tree(m, tree->list.items[i], from, to);
            break;
        case NLM_TREE_SEQUENCE:
            for (size_t i = 0; i < tree->list.count && is_ok(m); i++) {
                const uint32_t next = new_state(m);
                add_tree(m, tree->list.items[i], from, next);
                from = next;
            }
            add_arrow(m, from, to, ARROW_EMPTY, NULL);
            break;
        case NLM_TREE_REPEAT: add_repeat(m, tree, from, to); break;
        case NLM_TREE_TEXT:
        case NLM_TREE_GRAPH:
            nlm_rules_fail(m->rules, NLM_INTERNAL, NLM_GRAMMAR_AT, "a tree that is no pattern");
            break;
    }
    m->depth--;
}

static int compare_arrows(const void *a, const void *b) {
    const arrow *left = a, *right = b;
    return left->from < right->from ? -1 : left->from > right->from;
}

static int compare_numbers(const void *a, const void *b) {
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static void sort_arrows(maker *m) {
    uint32_t *first = nlm_rules_alloc(m->rules, (size_t)m->n_states + 1, sizeof *first);
    if (!first) return;
    qsort(m->arrows, m->n_arrows, sizeof *m->arrows, compare_arrows);
    for (size_t i = 0; i < m->n_arrows; i++) first[m->arrows[i].from + 1]++;
    for (uint32_t i = 0; i < m->n_states; i++) first[i + 1] += first[i];
    m->first_arrow = first;
}

/* Code points that every set has all or none of are one class. */
static void find_classes(maker *m) {
    size_t n = 2;
    for (size_t i = 0; i < m->n_arrows; i++) n += m->arrows[i].set ? 2 * m->arrows[i].set->count : 0;
    uint32_t *bounds = nlm_rules_alloc(m->rules, n, sizeof *bounds);
    if (!bounds) return;
    n = 0;
    bounds[n++] = 0;
    bounds[n++] = NLM_CODE_MAX + 1;
    for (size_t i = 0; i < m->n_arrows; i++) {
        const nlm_code_set *set = m->arrows[i].set;
        for (size_t r = 0; set && r < set->count; r++) {
            bounds[n++] = set->ranges[r].first;
            bounds[n++] = set->ranges[r].last + 1;
        }
    }
    qsort(bounds, n, sizeof *bounds, compare_numbers);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++) {
        if (bounds[i] != bounds[kept - 1]) bounds[kept++] = bounds[i];
    }
    m->bounds = bounds;
    m->n_classes = (uint32_t)kept - 1;
}

/* ---- sets of states -------------------------------------------------------------------------- */

static void mark(maker *m, uint32_t state) {
    if (m->is_marked[state]) return;
    m->is_marked[state] = 1;
    m->stack[m->n_marked++] = state;
}

/* Marks what those marked lead to without a code point. */
static void close_marked(maker *m, bool at_start, bool at_end) {
    for (uint32_t i = 0; i < m->n_marked; i++) { /* grows on the way */
        const uint32_t state = m->stack[i];
        for (uint32_t a = m->first_arrow[state]; a < m->first_arrow[state + 1]; a++) {
            const arrow_kind kind = m->arrows[a].kind;
            m->work++;
            if (kind == ARROW_EMPTY || (kind == ARROW_START && at_start) || (kind == ARROW_END && at_end)) {
                mark(m, m->arrows[a].to);
            }
        }
    }
    if (m->work > WORK_MAX) too_large(m);
}

static void unmark_all(maker *m) {
    for (uint32_t i = 0; i < m->n_marked; i++) m->is_marked[m->stack[i]] = 0;
    m->n_marked = 0;
}

static bool grow_slots(maker *m) {
    if (2 * m->n_subsets < m->n_slots) return true;
    const size_t n_slots = m->n_slots ? 2 * m->n_slots : 256;
    uint32_t *slots = nlm_rules_alloc(m->rules, n_slots, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 1; i < m->n_subsets; i++) { /* the first is found by nobody: only there ^ matches */
        size_t slot = (size_t)m->subsets[i].hash & (n_slots - 1);
        while (slots[slot]) slot = (slot + 1) & (n_slots - 1);
        slots[slot] = (uint32_t)i + 1;
    }
    m->slots = slots;
    m->n_slots = n_slots;
    return true;
}

static bool keep_members(maker *m) {
    while (m->n_members + m->n_marked > m->members_capacity) {
        uint32_t *members =
            nlm_rules_grow(m->rules, m->members, m->members_capacity, &m->members_capacity, sizeof *members);
        if (!members) return false;
        m->members = members;
    }
    memcpy(m->members + m->n_members, m->stack, m->n_marked * sizeof *m->stack);
    return true;
}

/* The number of the set of those marked, which are unmarked. */
static uint32_t take_marked(maker *m) {
    const uint32_t count = m->n_marked;
    if (count == 0) return NLM_DFA_DEAD;
    qsort(m->stack, count, sizeof *m->stack, compare_numbers);
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) hash = (hash ^ m->stack[i]) * UINT64_C(0x9E3779B97F4A7C15) ^ hash >> 31;
    m->work += count;
    if (m->n_subsets == DFA_MAX) too_large(m);
    uint32_t found = NLM_DFA_DEAD;
    if (is_ok(m) && grow_slots(m) && keep_members(m)) {
        size_t slot = (size_t)hash & (m->n_slots - 1);
        for (; m->slots[slot]; slot = (slot + 1) & (m->n_slots - 1)) {
            const subset *s = &m->subsets[m->slots[slot] - 1];
            if (s->hash == hash && s->count == count &&
                memcmp(m->members + s->first, m->stack, count * sizeof *m->stack) == 0)
                break;
        }
        if (m->slots[slot]) {
            found = m->slots[slot] - 1;
        } else {
            subset *subsets =
                nlm_rules_grow(m->rules, m->subsets, m->n_subsets, &m->subsets_capacity, sizeof *subsets);
            if (subsets) {
                m->subsets = subsets;
                found = (uint32_t)m->n_subsets++;
                subsets[found] = (subset){(uint32_t)m->n_members, count, hash};
                m->n_members += count;
                if (found) m->slots[slot] = found + 1;
            }
        }
    }
    unmark_all(m);
    return found;
}

static void mark_members(maker *m, uint32_t number) {
    const subset s = m->subsets[number];
    for (uint32_t i = 0; i < s.count; i++) mark(m, m->members[s.first + i]);
}

static uint32_t step(maker *m, uint32_t number, uint32_t class) {
    const subset s = m->subsets[number];
    for (uint32_t i = 0; i < s.count; i++) {
        const uint32_t state = m->members[s.first + i];
        for (uint32_t a = m->first_arrow[state]; a < m->first_arrow[state + 1]; a++) {
            const arrow *way = &m->arrows[a];
            if (!way->set) continue;
            m->work += way->set->count;
            if (nlm_code_set_has(way->set, m->bounds[class])) mark(m, way->to);
        }
    }
    close_marked(m, false, false);
    return take_marked(m);
}

static bool is_final(maker *m, uint32_t number) {
    mark_members(m, number);
    close_marked(m, number == 0, true);
    const bool found = m->is_marked[1];
    unmark_all(m);
    return found;
}

static const nlm_dfa *determinise(maker *m) {
    uint32_t *next = NULL;
    size_t capacity = 0, n_next = 0;
    mark(m, 0);
    close_marked(m, true, false);
    take_marked(m);
    for (uint32_t i = 0; i < m->n_subsets && is_ok(m); i++) {
        for (uint32_t c = 0; c < m->n_classes && is_ok(m); c++) {
            next = nlm_rules_grow(m->rules, next, n_next, &capacity, sizeof *next);
            if (next) next[n_next++] = step(m, i, c);
        }
    }
    nlm_dfa *dfa = is_ok(m) ? nlm_dfa_new(m->rules, (uint32_t)m->n_subsets, m->n_classes) : NULL;
    if (!dfa) return nlm_dfa_of_words(m->rules, NULL, 0);
    memcpy(dfa->bounds, m->bounds, (m->n_classes + 1) * sizeof *dfa->bounds);
    memcpy(dfa->next, next, n_next * sizeof *next);
    for (uint32_t i = 0; i < dfa->n_states; i++) dfa->is_final[i] = is_final(m, i);
    return nlm_dfa_trim(m->rules, dfa);
}

const nlm_dfa *nlm_dfa_of_tree(nlm_rules *rules, const nlm_tree *tree) {
    maker m = {.rules = rules, .n_states = 2};
    add_tree(&m, tree, 0, 1);
    sort_arrows(&m);
    find_classes(&m);
    m.stack = nlm_rules_alloc(rules, m.n_states, sizeof *m.stack);
    m.is_marked = nlm_rules_alloc(rules, m.n_states, 1);
    return is_ok(&m) ? determinise(&m) : nlm_dfa_of_words(rules, NULL, 0);
}
