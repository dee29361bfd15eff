/* A trie of tokens, laid out in the order it is walked. */
#include "text/token_trie.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX (1u << 24)
#define FEW_NODES 16u /* below a node: walking them costs no more than asking for their bytes */

static int compare_tokens(const void *a, const void *b) {
    const nlm_trie_token *left = a, *right = b;
    const uint32_t common = left->text.length < right->text.length ? left->text.length : right->text.length;
    const int order = memcmp(left->text.data, right->text.data, common);
    if (order) return order;
    if (left->text.length != right->text.length) return left->text.length < right->text.length ? -1 : 1;
    return left->id < right->id ? -1 : 1;
}

static uint32_t common_prefix(nlm_bytes a, nlm_bytes b) {
    uint32_t n = 0;
    while (n < a.length && n < b.length && a.data[n] == b.data[n]) n++;
    return n;
}

/* In sorted tokens. */
static uint64_t count_nodes(const nlm_trie_token *tokens, size_t count, uint32_t *out_depth) {
    uint64_t n = 0;
    *out_depth = 0;
    for (size_t i = 0; i < count; i++) {
        n += tokens[i].text.length - (i ? common_prefix(tokens[i - 1].text, tokens[i].text) : 0);
        if (tokens[i].text.length > *out_depth) *out_depth = tokens[i].text.length;
    }
    return n;
}

/* way: [depth] the nodes from the root to where the latest token ended. */
static void fill_nodes(nlm_token_trie *trie, const nlm_trie_token *tokens, size_t count, uint32_t *way) {
    uint32_t n_nodes = 0, length = 0;
    for (size_t i = 0; i < count; i++) {
        const nlm_bytes text = tokens[i].text;
        const uint32_t common = i ? common_prefix(tokens[i - 1].text, text) : 0;
        while (length > common) trie->nodes[way[--length]].end = n_nodes;
        for (; length < text.length; length++) {
            trie->nodes[n_nodes] =
                (nlm_trie_node){.first_token = (uint32_t)i, .depth = length, .byte = (uint8_t)text.data[length]};
            way[length] = n_nodes++;
        }
        trie->tokens[i] = tokens[i].id;
    }
    while (length > 0) trie->nodes[way[--length]].end = n_nodes;
    trie->nodes[n_nodes] = (nlm_trie_node){.first_token = (uint32_t)count, .end = n_nodes};
}

/* The nodes on the way to where a walk is, and the bytes seen below each. */
typedef struct open_node {
    nlm_byte_set below;
    uint32_t node;
} open_node;

static void close_nodes(nlm_token_trie *trie, open_node *open, uint32_t from, uint32_t to) {
    for (uint32_t depth = from; depth-- > to;) {
        const nlm_trie_node *node = &trie->nodes[open[depth].node];
        if (node->bytes != NLM_TRIE_FEW) trie->byte_sets[node->bytes] = open[depth].below;
        if (depth == 0) return;
        nlm_byte_set *above = &open[depth - 1].below;
        nlm_byte_set_add(above, (uint8_t)node->byte);
        for (int i = 0; i < 4; i++) above->words[i] |= open[depth].below.words[i];
    }
}

/* The bytes below each node that has many, its own not counted. open: [depth] */
static void fill_byte_sets(nlm_token_trie *trie, open_node *open) {
    uint32_t n_sets = 1, n_open = 0;
    for (uint32_t i = 0; i < trie->n_nodes; i++) {
        nlm_trie_node *node = &trie->nodes[i];
        close_nodes(trie, open, n_open, node->depth);
        open[node->depth] = (open_node){.node = i};
        n_open = node->depth + 1;
        if (node->end - i > FEW_NODES) node->bytes = n_sets++ & 0xFFFFFFu;
    }
    close_nodes(trie, open, n_open, 0);
}

static uint32_t count_byte_sets(const nlm_token_trie *trie) {
    uint32_t n = 1;
    for (uint32_t i = 0; i < trie->n_nodes; i++) n += trie->nodes[i].end - i > FEW_NODES;
    return n;
}

nlm_status nlm_token_trie_create(nlm_trie_token *tokens, size_t count, const int32_t *ends, size_t n_ends,
                                 nlm_token_trie **out, nlm_error *err) {
    uint32_t depth;
    *out = NULL;
    if (count) qsort(tokens, count, sizeof *tokens, compare_tokens);
    const uint64_t n_nodes = count_nodes(tokens, count, &depth);
    if (n_nodes >= NODES_MAX) {
        return nlm_fail(err, NLM_LIMIT, "tokenizer",
                        "the trie of the tokens has %llu nodes; at most %u are supported",
                        (unsigned long long)n_nodes, NODES_MAX - 1);
    }
    nlm_token_trie *trie = calloc(1, sizeof *trie);
    uint32_t *way = malloc(((size_t)depth + 1) * sizeof *way);
    if (trie) {
        trie->n_nodes = (uint32_t)n_nodes;
        trie->depth = depth;
        trie->n_tokens = (uint32_t)count;
        trie->nodes = malloc((n_nodes + 1) * sizeof *trie->nodes);
        trie->tokens = malloc((count + 1) * sizeof *trie->tokens);
        trie->ends = malloc((n_ends + 1) * sizeof *trie->ends);
        trie->n_ends = (uint32_t)n_ends;
    }
    bool has_memory = trie && way && trie->nodes && trie->tokens && trie->ends;
    if (has_memory) {
        fill_nodes(trie, tokens, count, way);
        if (n_ends) memcpy(trie->ends, ends, n_ends * sizeof *ends);
        trie->n_byte_sets = count_byte_sets(trie);
        trie->byte_sets = calloc(trie->n_byte_sets, sizeof *trie->byte_sets);
        has_memory = trie->byte_sets != NULL;
    }
    open_node *open = malloc(((size_t)depth + 1) * sizeof *open);
    has_memory = has_memory && open;
    if (has_memory) fill_byte_sets(trie, open);
    free(open);
    free(way);
    if (!has_memory) {
        nlm_token_trie_destroy(trie);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for a trie of %zu tokens", count);
    }
    *out = trie;
    return NLM_OK;
}

void nlm_token_trie_destroy(nlm_token_trie *trie) {
    if (!trie) return;
    free(trie->nodes);
    free(trie->tokens);
    free(trie->byte_sets);
    free(trie->ends);
    free(trie);
}
