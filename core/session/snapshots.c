/* Snapshots: pages are retained, what is not paged is copied to memory of its own. */
#include "session/snapshots.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define WHERE "snapshots"

typedef struct snapshot {
    bool is_used;
    int32_t n_pages;
    unsigned char *slot; /* [states->slot_bytes], or NULL */
} snapshot;

struct nlm_snapshots {
    nlm_states *states;
    int32_t count, max_pages;
    snapshot *table; /* [count] */
    int32_t *pages;  /* [count][max_pages] */
    int32_t *list;   /* [n_blocks] those of a sequence being restored */
};

nlm_status nlm_snapshots_create(nlm_states *states, int32_t count, int32_t max_tokens, nlm_snapshots **out,
                                nlm_error *err) {
    *out = NULL;
    const nlm_cache_options *o = &states->cache->options;
    nlm_snapshots *snapshots = calloc(1, sizeof *snapshots);
    if (!snapshots) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a table of %d", count);
    snapshots->states = states;
    snapshots->count = count;
    snapshots->max_pages = max_tokens / o->page_tokens;
    snapshots->table = calloc((size_t)count, sizeof *snapshots->table);
    snapshots->pages = calloc((size_t)count * (size_t)snapshots->max_pages, sizeof *snapshots->pages);
    snapshots->list = calloc((size_t)o->n_blocks, sizeof *snapshots->list);
    if (!snapshots->table || !snapshots->pages || !snapshots->list) {
        nlm_snapshots_destroy(snapshots);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a table of %d", count);
    }
    *out = snapshots;
    return NLM_OK;
}

void nlm_snapshots_destroy(nlm_snapshots *snapshots) {
    if (!snapshots) return;
    for (int32_t i = 0; snapshots->table && i < snapshots->count; i++) free(snapshots->table[i].slot);
    free(snapshots->table);
    free(snapshots->pages);
    free(snapshots->list);
    free(snapshots);
}

static int32_t *pages_of(const nlm_snapshots *snapshots, int32_t number) {
    return snapshots->pages + (size_t)number * (size_t)snapshots->max_pages;
}

static nlm_status copy_slot(const nlm_snapshots *snapshots, int32_t slot, snapshot *out, nlm_error *err) {
    const nlm_states *states = snapshots->states;
    if (states->slot_bytes == 0) return NLM_OK;
    out->slot = malloc(states->slot_bytes);
    if (!out->slot) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for one more");
    const nlm_status status = nlm_states_read_slot(states, slot, out->slot, err);
    if (status == NLM_OK) return NLM_OK;
    free(out->slot);
    out->slot = NULL;
    return status;
}

static nlm_status find_unused(const nlm_snapshots *snapshots, int32_t *out_number, nlm_error *err) {
    int32_t number = 0;
    while (number < snapshots->count && snapshots->table[number].is_used) number++;
    *out_number = number;
    if (number < snapshots->count) return NLM_OK;
    return nlm_fail(err, NLM_LIMIT, WHERE, "all %d are in use", snapshots->count);
}

nlm_status nlm_snapshots_take(nlm_snapshots *snapshots, int32_t slot, int32_t from, int32_t to, int32_t *out_number,
                              nlm_error *err) {
    const nlm_states *states = snapshots->states;
    const int32_t page_tokens = states->cache->options.page_tokens;
    int32_t number;
    NLM_TRY(find_unused(snapshots, &number, err));
    snapshot *s = &snapshots->table[number];
    NLM_TRY(copy_slot(snapshots, slot, s, err));
    s->is_used = true;
    s->n_pages = states->pages ? (to - from) / page_tokens : 0;
    for (int32_t i = 0; i < s->n_pages; i++) {
        const int32_t page = nlm_states_blocks(states, slot)[from / page_tokens + i];
        pages_of(snapshots, number)[i] = page;
        nlm_kv_pages_retain(states->pages, page);
    }
    *out_number = number;
    return NLM_OK;
}

nlm_status nlm_snapshots_restore(const nlm_snapshots *snapshots, const int32_t *numbers, int32_t count, int32_t slot,
                                 nlm_error *err) {
    nlm_states *states = snapshots->states;
    int32_t n_pages = 0;
    for (int32_t i = 0; states->pages && i < count; i++) {
        const int32_t more = snapshots->table[numbers[i]].n_pages;
        memcpy(snapshots->list + n_pages, pages_of(snapshots, numbers[i]), (size_t)more * sizeof *snapshots->list);
        n_pages += more;
    }
    if (states->pages) nlm_kv_pages_adopt(states->pages, slot, snapshots->list, n_pages);
    if (states->slot_bytes == 0) return NLM_OK;
    return nlm_states_write_slot(states, slot, snapshots->table[numbers[count - 1]].slot, err);
}

void nlm_snapshots_drop(nlm_snapshots *snapshots, int32_t number) {
    snapshot *s = &snapshots->table[number];
    for (int32_t i = 0; i < s->n_pages; i++) {
        nlm_kv_pages_release_page(snapshots->states->pages, pages_of(snapshots, number)[i]);
    }
    free(s->slot);
    *s = (snapshot){0};
}

/* ---- as bytes ----------------------------------------------------------------------------- */

static uint64_t page_bytes(const nlm_states *states) {
    return states->token_bytes * (uint64_t)states->cache->options.page_tokens;
}

uint64_t nlm_snapshots_bytes(const nlm_snapshots *snapshots, int32_t n_tokens) {
    return snapshots->states->token_bytes * (uint64_t)n_tokens + snapshots->states->slot_bytes;
}

nlm_status nlm_snapshots_read(const nlm_snapshots *snapshots, int32_t number, void *out, nlm_error *err) {
    const nlm_states *states = snapshots->states;
    const snapshot *s = &snapshots->table[number];
    unsigned char *at = out;
    for (int32_t i = 0; i < s->n_pages; i++, at += page_bytes(states)) {
        NLM_TRY(nlm_states_read_page(states, pages_of(snapshots, number)[i], at, err));
    }
    if (states->slot_bytes) memcpy(at, s->slot, states->slot_bytes);
    return NLM_OK;
}

/* The snapshot is in use already: what it has so far can be dropped. */
static nlm_status fill(nlm_snapshots *snapshots, int32_t number, int32_t n_pages, const unsigned char *at,
                       nlm_error *err) {
    const nlm_states *states = snapshots->states;
    snapshot *s = &snapshots->table[number];
    for (; s->n_pages < n_pages; at += page_bytes(states)) {
        const int32_t page = nlm_kv_pages_take(states->pages);
        if (page < 0) return nlm_fail(err, NLM_LIMIT, WHERE, "no page is free");
        pages_of(snapshots, number)[s->n_pages++] = page;
        NLM_TRY(nlm_states_write_page(states, page, at, err));
    }
    if (states->slot_bytes == 0) return NLM_OK;
    s->slot = malloc(states->slot_bytes);
    if (!s->slot) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for one more");
    memcpy(s->slot, at, states->slot_bytes);
    return NLM_OK;
}

nlm_status nlm_snapshots_put(nlm_snapshots *snapshots, int32_t n_tokens, const void *bytes, int32_t *out_number,
                             nlm_error *err) {
    const nlm_states *states = snapshots->states;
    const int32_t n_pages = states->pages ? n_tokens / states->cache->options.page_tokens : 0;
    NLM_TRY(find_unused(snapshots, out_number, err));
    snapshots->table[*out_number].is_used = true;
    const nlm_status status = fill(snapshots, *out_number, n_pages, bytes, err);
    if (status != NLM_OK) nlm_snapshots_drop(snapshots, *out_number);
    return status;
}
