/* Prefixes of earlier prompts by content, the least recently used given up first. */
#include "session/prompt_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/status.h"

#define NONE NLM_PROMPT_NONE

typedef struct block {
    uint64_t hash;      /* of the tokens from the beginning to this block's end */
    uint64_t last_used; /* cache->clock at that time */
    int32_t parent;     /* the block before, or NONE */
    int32_t next;       /* in the bucket; for an unused block, of the free ones */
    int32_t n_tokens;
    int32_t n_children;
    int32_t payload;
    bool is_used;
} block;

struct nlm_prompt_cache {
    nlm_prompt_cache_options options;
    block *blocks;    /* [max_blocks] */
    int32_t *tokens;  /* [max_blocks, block_tokens] */
    int32_t *buckets; /* [n_buckets]: first block of each, or NONE */
    uint32_t n_buckets;
    int32_t first_free;
    int32_t n_used;
    uint64_t clock;
};

nlm_status nlm_prompt_cache_create(const nlm_prompt_cache_options *options, nlm_prompt_cache **out, nlm_error *err) {
    *out = NULL;
    if (options->max_blocks < 1 || options->grain < 1 || options->block_tokens < options->grain ||
        options->block_tokens % options->grain != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "prompt cache",
                        "%d blocks of %d tokens, a multiple of %d, are not possible", options->max_blocks,
                        options->block_tokens, options->grain);
    }
    nlm_prompt_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt cache", "no memory");
    cache->options = *options;
    const size_t n = (size_t)options->max_blocks;
    cache->n_buckets = 1;
    while (cache->n_buckets < n) cache->n_buckets *= 2;
    cache->blocks = calloc(n, sizeof *cache->blocks);
    cache->tokens = calloc(n, sizeof *cache->tokens * (size_t)options->block_tokens);
    cache->buckets = malloc(cache->n_buckets * sizeof *cache->buckets);
    if (!cache->blocks || !cache->tokens || !cache->buckets) {
        nlm_prompt_cache_destroy(cache);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt cache", "no memory for %zu blocks", n);
    }
    for (uint32_t i = 0; i < cache->n_buckets; i++) cache->buckets[i] = NONE;
    for (int32_t i = 0; i < options->max_blocks; i++) {
        cache->blocks[i].next = i + 1 < options->max_blocks ? i + 1 : NONE;
    }
    *out = cache;
    return NLM_OK;
}

void nlm_prompt_cache_destroy(nlm_prompt_cache *cache) {
    if (!cache) return;
    for (int32_t i = 0; cache->blocks && i < cache->options.max_blocks; i++) {
        if (cache->blocks[i].is_used) cache->options.release(cache->options.user, cache->blocks[i].payload);
    }
    free(cache->blocks);
    free(cache->tokens);
    free(cache->buckets);
    free(cache);
}

static int32_t *tokens_of(const nlm_prompt_cache *cache, int32_t index) {
    return cache->tokens + (size_t)index * (size_t)cache->options.block_tokens;
}

static int32_t *bucket_of(const nlm_prompt_cache *cache, uint64_t hash) {
    return &cache->buckets[(hash ^ hash >> 32) & (cache->n_buckets - 1)];
}

static uint64_t hash_after(const nlm_prompt_cache *cache, int32_t parent, const int32_t *ids, int32_t n) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    if (parent != NONE) nlm_checksum_update(&sum, &cache->blocks[parent].hash, sizeof cache->blocks[parent].hash);
    nlm_checksum_update(&sum, ids, (size_t)n * sizeof *ids);
    return nlm_checksum_value(&sum);
}

/* The block of tokens ids[0..n) after `parent`, or NONE. */
static int32_t find_child(const nlm_prompt_cache *cache, int32_t parent, const int32_t *ids, int32_t n) {
    const uint64_t hash = hash_after(cache, parent, ids, n);
    for (int32_t i = *bucket_of(cache, hash); i != NONE; i = cache->blocks[i].next) {
        const block *b = &cache->blocks[i];
        if (b->hash != hash || b->parent != parent || b->n_tokens != n) continue;
        if (memcmp(tokens_of(cache, i), ids, (size_t)n * sizeof *ids) == 0) return i;
    }
    return NONE;
}

/* The longest block with which ids[0..n) begins after `parent`, or NONE. */
static int32_t find_longest_child(const nlm_prompt_cache *cache, int32_t parent, const int32_t *ids, int32_t n) {
    const int32_t grain = cache->options.grain;
    int32_t length = n < cache->options.block_tokens ? n - n % grain : cache->options.block_tokens;
    for (; length > 0; length -= grain) {
        const int32_t found = find_child(cache, parent, ids, length);
        if (found != NONE) return found;
    }
    return NONE;
}

/* As nlm_prompt_cache_find, touching each block; *out_last is the last one, or NONE. */
static int32_t walk(nlm_prompt_cache *cache, const int32_t *ids, int32_t n, int32_t *out_payloads, int32_t capacity,
                    int32_t *out_count, int32_t *out_last) {
    int32_t covered = 0, count = 0, last = NONE;
    cache->clock++;
    while (count < capacity) {
        const int32_t found = find_longest_child(cache, last, ids + covered, n - covered);
        if (found == NONE) break;
        block *b = &cache->blocks[found];
        b->last_used = cache->clock;
        covered += b->n_tokens;
        last = found;
        if (out_payloads) out_payloads[count] = b->payload;
        count++;
    }
    *out_count = count;
    *out_last = last;
    return covered;
}

int32_t nlm_prompt_cache_find(nlm_prompt_cache *cache, const int32_t *ids, int32_t n, int32_t *out_payloads,
                              int32_t capacity, int32_t *out_count) {
    int32_t last;
    return walk(cache, ids, n, out_payloads, capacity, out_count, &last);
}

static void unlink_block(nlm_prompt_cache *cache, int32_t index) {
    int32_t *at = bucket_of(cache, cache->blocks[index].hash);
    while (*at != index) at = &cache->blocks[*at].next;
    *at = cache->blocks[index].next;
}

/* Least recently used among those no block follows, `spared` excepted; NONE if there is none. */
static int32_t find_victim(const nlm_prompt_cache *cache, int32_t spared) {
    int32_t victim = NONE;
    for (int32_t i = 0; i < cache->options.max_blocks; i++) {
        const block *b = &cache->blocks[i];
        if (!b->is_used || b->n_children > 0 || i == spared) continue;
        if (victim == NONE || b->last_used < cache->blocks[victim].last_used) victim = i;
    }
    return victim;
}

static bool evict_sparing(nlm_prompt_cache *cache, int32_t spared) {
    const int32_t victim = find_victim(cache, spared);
    if (victim == NONE) return false;
    block *b = &cache->blocks[victim];
    unlink_block(cache, victim);
    if (b->parent != NONE) cache->blocks[b->parent].n_children--;
    b->is_used = false;
    b->next = cache->first_free;
    cache->first_free = victim;
    cache->n_used--;
    cache->options.release(cache->options.user, b->payload);
    return true;
}

bool nlm_prompt_cache_evict(nlm_prompt_cache *cache) {
    return evict_sparing(cache, NONE);
}

static bool is_length(const nlm_prompt_cache *cache, int32_t n) {
    return n >= 1 && n <= cache->options.block_tokens && n % cache->options.grain == 0;
}

/* There is a free one. */
static int32_t place(nlm_prompt_cache *cache, const nlm_prompt_block *from, uint64_t last_used) {
    const int32_t index = cache->first_free;
    block *b = &cache->blocks[index];
    cache->first_free = b->next;
    cache->n_used++;
    *b = (block){.hash = hash_after(cache, from->parent, from->tokens, from->n_tokens),
                 .last_used = last_used,
                 .parent = from->parent,
                 .n_tokens = from->n_tokens,
                 .payload = from->payload,
                 .is_used = true};
    memcpy(tokens_of(cache, index), from->tokens, (size_t)from->n_tokens * sizeof *from->tokens);
    int32_t *bucket = bucket_of(cache, b->hash);
    b->next = *bucket;
    *bucket = index;
    if (from->parent != NONE) cache->blocks[from->parent].n_children++;
    return index;
}

bool nlm_prompt_cache_add(nlm_prompt_cache *cache, const int32_t *ids, int32_t from, int32_t to, int32_t payload) {
    int32_t count, parent;
    const int32_t n = to - from;
    if (!is_length(cache, n)) return false;
    if (walk(cache, ids, from, NULL, INT32_MAX, &count, &parent) != from) return false;
    if (find_child(cache, parent, ids + from, n) != NONE) return false;
    if (cache->first_free == NONE && !evict_sparing(cache, parent)) return false;
    place(cache, &(nlm_prompt_block){parent, n, payload, ids + from}, cache->clock);
    return true;
}

int32_t nlm_prompt_cache_blocks(const nlm_prompt_cache *cache) {
    return cache->n_used;
}

int32_t nlm_prompt_cache_capacity(const nlm_prompt_cache *cache) {
    return cache->options.max_blocks;
}

/* ---- for files ---------------------------------------------------------------------------- */

typedef struct listed {
    uint64_t last_used;
    int32_t depth, handle;
} listed;

static int compare_listed(const void *left, const void *right) {
    const listed *a = left, *b = right;
    if (a->last_used != b->last_used) return a->last_used > b->last_used ? -1 : 1;
    if (a->depth != b->depth) return a->depth < b->depth ? -1 : 1;
    return a->handle < b->handle ? -1 : 1;
}

static int32_t depth_of(const nlm_prompt_cache *cache, int32_t handle) {
    int32_t depth = 0;
    while ((handle = cache->blocks[handle].parent) != NONE) depth++;
    return depth;
}

/* Who uses a block uses those before it: none of these was used earlier. */
bool nlm_prompt_cache_list(const nlm_prompt_cache *cache, int32_t *out_handles) {
    listed *all = calloc((size_t)cache->n_used + 1, sizeof *all);
    int32_t n = 0;
    if (!all) return false;
    for (int32_t i = 0; i < cache->options.max_blocks; i++) {
        if (cache->blocks[i].is_used) all[n++] = (listed){cache->blocks[i].last_used, depth_of(cache, i), i};
    }
    qsort(all, (size_t)n, sizeof *all, compare_listed);
    for (int32_t i = 0; i < n; i++) out_handles[i] = all[i].handle;
    free(all);
    return true;
}

nlm_prompt_block nlm_prompt_cache_block(const nlm_prompt_cache *cache, int32_t handle) {
    const block *b = &cache->blocks[handle];
    return (nlm_prompt_block){b->parent, b->n_tokens, b->payload, tokens_of(cache, handle)};
}

bool nlm_prompt_cache_has_room(const nlm_prompt_cache *cache) {
    return cache->first_free != NONE;
}

int32_t nlm_prompt_cache_put(nlm_prompt_cache *cache, const nlm_prompt_block *from, uint64_t age,
                             int32_t *out_known) {
    *out_known =
        is_length(cache, from->n_tokens) ? find_child(cache, from->parent, from->tokens, from->n_tokens) : NONE;
    if (*out_known != NONE || !is_length(cache, from->n_tokens) || !nlm_prompt_cache_has_room(cache)) return NONE;
    if (cache->clock < age) cache->clock = age;
    return place(cache, from, age);
}
