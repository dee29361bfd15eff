/* Sets of stacks: made once, found by hash, joined with a memory of what was joined before. */
#include "text/grammar_stacks.h"

#include <stdlib.h>
#include <string.h>

#define SETS_MAX        (1u << 22)
#define ENTRIES_MAX     (1u << 23)
#define DEPTH_MAX       2048u /* of calls within calls, and so of unions within unions */
#define FIRST_SLOTS     256u
#define FIRST_UNIONS    1024u
#define GREATEST_UNIONS (1u << 16)

static void fail(nlm_stacks *s, nlm_status status) {
    if (s->status == NLM_OK) s->status = status;
}

nlm_status nlm_stacks_explain(const nlm_stacks *s, nlm_error *err) {
    if (s->status == NLM_OUT_OF_MEMORY) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its states");
    }
    return nlm_fail(err, s->status, NLM_GRAMMAR_AT,
                    s->work == 0 ? "it is too ambiguous: there are too many ways to read the text so far"
                                 : "the text so far is within more than %u rules, or has too many states",
                    DEPTH_MAX);
}

bool nlm_stacks_spend(nlm_stacks *s, uint32_t work) {
    if (s->work > work) {
        s->work -= work;
        return s->status == NLM_OK;
    }
    s->work = 0;
    fail(s, NLM_LIMIT);
    return false;
}

static uint32_t hash_entries(const nlm_stack_entry *entries, uint32_t count) {
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ entries[i].position) * UINT64_C(0x9E3779B97F4A7C15);
        hash = (hash ^ hash >> 29 ^ entries[i].below) * UINT64_C(0xBF58476D1CE4E5B9);
    }
    return (uint32_t)(hash >> 32);
}

static uint32_t find_slot(const nlm_stacks *s, const nlm_stack_entry *entries, uint32_t count, uint32_t hash) {
    uint32_t slot = hash & (s->n_slots - 1);
    for (; s->slots[slot]; slot = (slot + 1) & (s->n_slots - 1)) {
        const nlm_stack_set *set = &s->sets[s->slots[slot]];
        if (set->hash == hash && set->count == count &&
            memcmp(s->entries + set->first, entries, count * sizeof *entries) == 0)
            break;
    }
    return slot;
}

static bool grow_slots(nlm_stacks *s) {
    if (2 * s->n_sets < s->n_slots) return true;
    const uint32_t n_slots = s->n_slots ? 2 * s->n_slots : FIRST_SLOTS;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    free(s->slots);
    s->slots = slots;
    s->n_slots = n_slots;
    for (uint32_t i = 1; i < s->n_sets; i++) {
        uint32_t slot = s->sets[i].hash & (n_slots - 1);
        while (slots[slot]) slot = (slot + 1) & (n_slots - 1);
        slots[slot] = i;
    }
    return true;
}

static bool grow(void **items, uint32_t needed, uint32_t *capacity, size_t element_bytes) {
    if (needed <= *capacity) return true;
    uint32_t larger = *capacity ? *capacity : 64;
    while (larger < needed) larger *= 2;
    void *moved = realloc(*items, larger * element_bytes);
    if (!moved) return false;
    *items = moved;
    *capacity = larger;
    return true;
}

static bool make_room(nlm_stacks *s, uint32_t count) {
    if (s->n_sets == SETS_MAX || s->n_entries > ENTRIES_MAX - count || count > ENTRIES_MAX) {
        fail(s, NLM_LIMIT);
        return false;
    }
    void *sets = s->sets, *entries = s->entries;
    const bool has_room = grow(&sets, s->n_sets + 1, &s->sets_capacity, sizeof *s->sets);
    s->sets = sets;
    const bool has_entries = grow(&entries, s->n_entries + count, &s->entries_capacity, sizeof *s->entries);
    s->entries = entries;
    if (has_room && has_entries && grow_slots(s)) return true;
    fail(s, NLM_OUT_OF_MEMORY);
    return false;
}

static uint32_t add_distances(uint32_t a, uint32_t b) {
    const uint64_t sum = (uint64_t)a + b;
    return sum >= NLM_NEVER ? NLM_NEVER - 1 : (uint32_t)sum;
}

/* What is known of a set from its entries. */
static nlm_stack_set describe(const nlm_stacks *s, const nlm_stack_entry *entries, uint32_t count) {
    nlm_stack_set set = {.count = count, .shortest = NLM_NEVER};
    for (uint32_t i = 0; i < count; i++) {
        const nlm_stack_set *below = &s->sets[entries[i].below];
        const bool is_bottom = entries[i].position == NLM_BOTTOM;
        const uint32_t distance =
            is_bottom ? 0 : add_distances(s->program->shortest[entries[i].position], below->shortest);
        if (distance < set.shortest) set.shortest = distance;
        if (!is_bottom && below->depth + 1 > set.depth) set.depth = below->depth + 1;
    }
    return set;
}

uint32_t nlm_stacks_set(nlm_stacks *s, const nlm_stack_entry *entries, uint32_t count) {
    if (s->status != NLM_OK || count == 0) return NLM_STACKS_NONE;
    const uint32_t hash = hash_entries(entries, count);
    const uint32_t found = s->slots[find_slot(s, entries, count, hash)];
    if (found) return found;
    nlm_stack_set set = describe(s, entries, count);
    if (set.depth > DEPTH_MAX) fail(s, NLM_LIMIT);
    if (s->status != NLM_OK || !make_room(s, count)) return NLM_STACKS_NONE;
    set.hash = hash;
    set.first = s->n_entries;
    memcpy(s->entries + s->n_entries, entries, count * sizeof *entries);
    s->n_entries += count;
    s->slots[find_slot(s, entries, count, hash)] = s->n_sets;
    s->sets[s->n_sets] = set;
    return s->n_sets++;
}

nlm_status nlm_stacks_begin(nlm_stacks *s, const nlm_pushdown *program) {
    const nlm_stack_entry bottom = {NLM_BOTTOM, NLM_STACKS_NONE};
    s->program = program;
    s->status = NLM_OK;
    s->unions = calloc(FIRST_UNIONS, sizeof *s->unions);
    s->n_unions = s->unions ? FIRST_UNIONS : 0;
    if (!s->unions || !make_room(s, 1)) return NLM_OUT_OF_MEMORY;
    s->sets[0] = (nlm_stack_set){.shortest = NLM_NEVER};
    s->n_sets = 1;
    return nlm_stacks_set(s, &bottom, 1) == NLM_STACKS_EMPTY ? NLM_OK : NLM_OUT_OF_MEMORY;
}

static void drop_caches(nlm_stacks *s) {
    for (uint32_t i = 0; i < s->n_sets; i++) {
        free(s->sets[i].next);
        free(s->sets[i].mask);
    }
    s->n_tables = s->n_masks = 0;
}

void nlm_stacks_release(nlm_stacks *s) {
    drop_caches(s);
    free(s->sets);
    free(s->entries);
    free(s->slots);
    free(s->unions);
    *s = (nlm_stacks){0};
}

uint64_t nlm_stacks_bytes(const nlm_stacks *s) {
    return (uint64_t)s->sets_capacity * sizeof *s->sets + (uint64_t)s->entries_capacity * sizeof *s->entries +
           (uint64_t)s->n_slots * sizeof *s->slots + (uint64_t)s->n_unions * sizeof *s->unions +
           s->n_tables * 256 * sizeof(uint32_t);
}

/* ---- unions ---------------------------------------------------------------------------------- */

static nlm_union *union_slot(const nlm_stacks *s, uint32_t a, uint32_t b) {
    const uint64_t key = (uint64_t)a << 32 | b;
    return &s->unions[(uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 40) & (s->n_unions - 1)];
}

/* Larger as there are more sets to join; what it held is found again by joining. */
static void grow_unions(nlm_stacks *s) {
    if (s->n_sets < s->n_unions || s->n_unions >= GREATEST_UNIONS) return;
    nlm_union *unions = calloc(2 * (size_t)s->n_unions, sizeof *unions);
    if (!unions) return;
    free(s->unions);
    s->unions = unions;
    s->n_unions *= 2;
}

/* The entries of both; those of the same position have what is below them joined. NULL after a failure. */
static nlm_stack_entry *merge(nlm_stacks *s, uint32_t a, uint32_t b, uint32_t *out_count) {
    const uint32_t n_a = s->sets[a].count, n_b = s->sets[b].count;
    if (!nlm_stacks_spend(s, n_a + n_b)) return NULL;
    nlm_stack_entry *merged = malloc(((size_t)n_a + n_b) * sizeof *merged);
    if (!merged) fail(s, NLM_OUT_OF_MEMORY);
    uint32_t i = 0, j = 0, n = 0;
    while (merged && (i < n_a || j < n_b)) { /* entries may move while sets are made */
        const nlm_stack_entry *x = i < n_a ? &s->entries[s->sets[a].first + i] : NULL;
        const nlm_stack_entry *y = j < n_b ? &s->entries[s->sets[b].first + j] : NULL;
        if (x && (!y || x->position < y->position)) {
            merged[n++] = *x;
            i++;
        } else if (y && (!x || y->position < x->position)) {
            merged[n++] = *y;
            j++;
        } else {
            const uint32_t position = x->position;
            merged[n++] = (nlm_stack_entry){position, nlm_stacks_union(s, x->below, y->below)};
            i++;
            j++;
        }
    }
    *out_count = n;
    return merged;
}

uint32_t nlm_stacks_union(nlm_stacks *s, uint32_t a, uint32_t b) {
    if (s->status != NLM_OK) return NLM_STACKS_NONE;
    if (a == b || b == NLM_STACKS_NONE) return a;
    if (a == NLM_STACKS_NONE) return b;
    if (a > b) {
        const uint32_t kept = a;
        a = b;
        b = kept;
    }
    const nlm_union *known = union_slot(s, a, b);
    if (known->a == a && known->b == b) return known->made;
    uint32_t count = 0;
    nlm_stack_entry *merged = merge(s, a, b, &count);
    const uint32_t made = merged ? nlm_stacks_set(s, merged, count) : NLM_STACKS_NONE;
    free(merged);
    if (s->status != NLM_OK) return NLM_STACKS_NONE;
    grow_unions(s);
    *union_slot(s, a, b) = (nlm_union){a, b, made};
    return made;
}

/* ---- compaction ------------------------------------------------------------------------------ */

/* Copies what is marked in `number` to a new store, from below, and writes the new numbers there. */
static nlm_status copy_marked(const nlm_stacks *from, nlm_stacks *to, uint32_t *number) {
    uint32_t greatest = 1;
    for (uint32_t i = 0; i < from->n_sets; i++) {
        if (number[i] && from->sets[i].count > greatest) greatest = from->sets[i].count;
    }
    nlm_stack_entry *entries = malloc(greatest * sizeof *entries);
    if (!entries) return NLM_OUT_OF_MEMORY;
    for (uint32_t i = 1; i < from->n_sets; i++) {
        const nlm_stack_set *set = &from->sets[i];
        if (!number[i]) continue;
        for (uint32_t e = 0; e < set->count; e++) {
            const nlm_stack_entry entry = from->entries[set->first + e];
            entries[e] = (nlm_stack_entry){entry.position, number[entry.below]};
        }
        number[i] = nlm_stacks_set(to, entries, set->count);
    }
    free(entries);
    return to->status;
}

nlm_status nlm_stacks_compact(nlm_stacks *s, uint32_t *const *roots, size_t count, nlm_error *err) {
    nlm_stacks fresh = {0};
    uint32_t *number = calloc(s->n_sets, sizeof *number);
    nlm_status status = number ? nlm_stacks_begin(&fresh, s->program) : NLM_OUT_OF_MEMORY;
    if (status == NLM_OK) {
        number[NLM_STACKS_EMPTY] = 1;
        for (size_t i = 0; i < count; i++) number[*roots[i]] = *roots[i] != NLM_STACKS_NONE;
        for (uint32_t i = s->n_sets; i-- > 1;) {
            const nlm_stack_set *set = &s->sets[i];
            for (uint32_t e = 0; number[i] && e < set->count; e++) {
                const uint32_t below = s->entries[set->first + e].below;
                if (below != NLM_STACKS_NONE) number[below] = 1;
            }
        }
        status = copy_marked(s, &fresh, number);
    }
    if (status != NLM_OK) {
        nlm_stacks_release(&fresh);
        free(number);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its states");
    }
    for (size_t i = 0; i < count; i++) *roots[i] = number[*roots[i]];
    free(number);
    nlm_stacks_release(s);
    *s = fresh;
    return NLM_OK;
}
