/* Builds the automaton that reads patterns from their ends, and steps through it. */
#include "text/reverse_trie.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

static unsigned char byte_from_end(nlm_bytes text, uint32_t depth) {
    return (unsigned char)text.data[text.length - 1 - depth];
}

/* How many bytes two texts have in common at their ends. */
static uint32_t common_end(nlm_bytes left, nlm_bytes right) {
    const uint32_t shorter = left.length < right.length ? left.length : right.length;
    uint32_t common = 0;
    while (common < shorter && byte_from_end(left, common) == byte_from_end(right, common)) common++;
    return common;
}

static int compare_patterns(const void *a, const void *b) {
    const nlm_pattern *left = a, *right = b;
    const uint32_t common = common_end(left->text, right->text);
    const bool left_ends = common == left->text.length, right_ends = common == right->text.length;
    if (left_ends && right_ends) return left->id < right->id ? -1 : 1;
    if (left_ends || right_ends) return left_ends ? -1 : 1;
    return byte_from_end(left->text, common) < byte_from_end(right->text, common) ? -1 : 1;
}

/* Sorts the patterns and drops doubles; returns how many states they make. */
static uint64_t sort_patterns(nlm_reverse_trie *trie) {
    qsort(trie->patterns, trie->count, sizeof *trie->patterns, compare_patterns);
    uint64_t n_states = 1;
    size_t kept = 0;
    for (size_t i = 0; i < trie->count; i++) {
        const nlm_bytes text = trie->patterns[i].text;
        const uint32_t common = kept ? common_end(trie->patterns[kept - 1].text, text) : 0;
        if (kept && common == text.length && common == trie->patterns[kept - 1].text.length) continue;
        n_states += text.length - common;
        trie->patterns[kept++] = trie->patterns[i];
    }
    trie->count = kept;
    return n_states;
}

static uint32_t find_child(const nlm_reverse_trie *trie, uint32_t state, unsigned char byte) {
    if (state == 0) return trie->of_root[byte];
    uint32_t low = trie->first_child[state], high = trie->first_child[state + 1];
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (trie->byte[middle] == byte) return middle;
        if (trie->byte[middle] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

uint32_t nlm_reverse_trie_step(const nlm_reverse_trie *trie, uint32_t state, unsigned char byte) {
    uint32_t next = find_child(trie, state, byte);
    while (next == 0 && state != 0) {
        state = trie->failure[state];
        next = find_child(trie, state, byte);
    }
    return next;
}

/* Patterns that agree in their last `depth` bytes. */
typedef struct range {
    uint32_t from, to, depth;
} range;

/* Gives `state`, which `patterns` lead to, its children, numbered from `next` on; returns the number after. */
static uint32_t add_children(nlm_reverse_trie *trie, range *ranges, uint32_t state, uint32_t next) {
    const range here = ranges[state];
    uint32_t from = here.from;
    if (here.depth > 0 && trie->patterns[from].text.length == here.depth) trie->longest[state] = ++from;
    trie->first_child[state] = next;
    while (from < here.to) {
        const unsigned char byte = byte_from_end(trie->patterns[from].text, here.depth);
        uint32_t to = from + 1;
        while (to < here.to && byte_from_end(trie->patterns[to].text, here.depth) == byte) to++;
        trie->byte[next] = byte;
        ranges[next++] = (range){from, to, here.depth + 1};
        from = to;
    }
    return next;
}

/* Where a child goes on from when nothing follows it; its parent's failure is known. */
static void set_failures(nlm_reverse_trie *trie, uint32_t state) {
    for (uint32_t child = trie->first_child[state]; child < trie->first_child[state + 1]; child++) {
        const uint32_t failure =
            state == 0 ? 0 : nlm_reverse_trie_step(trie, trie->failure[state], trie->byte[child]);
        trie->failure[child] = failure;
        if (trie->longest[child] == 0) trie->longest[child] = trie->longest[failure];
    }
}

static void build(nlm_reverse_trie *trie, range *ranges) {
    ranges[0] = (range){0, (uint32_t)trie->count, 0};
    uint32_t next = 1;
    for (uint32_t state = 0; state < trie->n_states; state++) next = add_children(trie, ranges, state, next);
    trie->first_child[trie->n_states] = next;
    for (uint32_t child = 1; child < trie->first_child[1]; child++) trie->of_root[trie->byte[child]] = child;
    for (uint32_t state = 0; state < trie->n_states; state++) set_failures(trie, state);
}

static nlm_status out_of_memory(nlm_error *err, size_t count) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for %zu special tokens", count);
}

nlm_status nlm_reverse_trie_create(const nlm_pattern *patterns, size_t count, nlm_reverse_trie *out, nlm_error *err) {
    *out = (nlm_reverse_trie){.count = count};
    if (count == 0) return NLM_OK;
    out->patterns = malloc(count * sizeof *patterns);
    if (!out->patterns) return out_of_memory(err, count);
    memcpy(out->patterns, patterns, count * sizeof *patterns);
    const uint64_t n_states = sort_patterns(out);
    if (n_states >= UINT32_MAX) {
        return nlm_fail(err, NLM_LIMIT, "tokenizer", "the special tokens have %llu bytes; at most %u are supported",
                        (unsigned long long)n_states, UINT32_MAX - 1);
    }
    out->first_child = malloc((size_t)(n_states + 1) * sizeof *out->first_child);
    out->failure = calloc((size_t)n_states, sizeof *out->failure);
    out->longest = calloc((size_t)n_states, sizeof *out->longest);
    out->byte = calloc((size_t)n_states, 1);
    range *ranges = malloc((size_t)n_states * sizeof *ranges);
    const bool has_memory = out->first_child && out->failure && out->longest && out->byte && ranges;
    out->n_states = (uint32_t)n_states;
    if (has_memory) build(out, ranges);
    free(ranges);
    return has_memory ? NLM_OK : out_of_memory(err, count);
}

void nlm_reverse_trie_release(nlm_reverse_trie *trie) {
    free(trie->patterns);
    free(trie->first_child);
    free(trie->failure);
    free(trie->longest);
    free(trie->byte);
    *trie = (nlm_reverse_trie){0};
}
