/* The small i32 tensors: ids, positions, sequences, slots, pages. */
#include <stdlib.h>
#include <string.h>

#include "spec.h"

static int32_t *ints(spec_instance *in, const char *name) {
    spec_tensor *t = spec_find(in, name);
    return t ? t->desc.data : NULL;
}

/* A random order of 0 .. n-1, its first `count`. */
static void choose(spec_instance *in, int32_t *out, int64_t count, int64_t n) {
    for (int64_t i = 0; i < count; i++) {
        int64_t j;
        do {
            out[i] = (int32_t)spec_random_below(in, n);
            for (j = 0; j < i && out[j] != out[i]; j++) continue;
        } while (j < i);
    }
}

/* Positions of a cache that no query may see are NaN. */
static void poison_unseen(spec_instance *in, const char *cache_name, const uint8_t *is_seen) {
    const nlm_tensor *cache = &spec_find(in, cache_name)->desc;
    const size_t bytes = (size_t)cache->stride_bytes[2];
    for (int64_t row = 0; row < cache->shape[0] * cache->shape[2]; row++) {
        if (is_seen[row]) continue;
        for (int64_t g = 0; g < cache->shape[1]; g++) {
            memset((char *)cache->data + row / cache->shape[2] * cache->stride_bytes[0] + g * cache->stride_bytes[1] +
                       row % cache->shape[2] * cache->stride_bytes[2],
                   0xFF, bytes);
        }
    }
}

static void hide_cache(spec_instance *in) {
    const nlm_tensor *table = &spec_find(in, "block_table")->desc, *cache = &spec_find(in, "k_cache")->desc;
    const int64_t page_tokens = cache->shape[2], window = in->c.args.attention.window;
    const int32_t *slot = ints(in, "slot"), *pages = table->data;
    uint8_t *is_seen = calloc((size_t)(cache->shape[0] * page_tokens) + 1, 1);
    if (!is_seen) return;
    for (int s = 0; s < in->c.n_seqs; s++) {
        const int64_t end = in->c.past[s] + in->c.seqs[s];
        const int64_t start = window > 0 && in->c.past[s] + 1 > window ? in->c.past[s] + 1 - window : 0;
        for (int64_t j = start; j < end; j++) {
            is_seen[pages[slot[s] * table->shape[1] + j / page_tokens] * page_tokens + j % page_tokens] = 1;
        }
    }
    poison_unseen(in, "k_cache", is_seen);
    poison_unseen(in, "v_cache", is_seen);
    free(is_seen);
}

static void fill_pages(spec_instance *in) {
    spec_tensor *table = spec_find(in, "block_table");
    if (!table) return;
    const int64_t n_pages = in->c.dims['P' - 'A'], page_tokens = in->c.dims['B' - 'A'];
    const int32_t *slot = ints(in, "slot");
    int32_t *pages = malloc((size_t)(n_pages + 1) * sizeof *pages);
    if (!pages) return;
    choose(in, pages, n_pages, n_pages);
    int64_t next = 0;
    for (int s = 0; s < in->c.n_seqs; s++) {
        int32_t *row = (int32_t *)table->desc.data + slot[s] * table->desc.shape[1];
        for (int64_t j = 0; j < in->c.past[s] + in->c.seqs[s]; j += page_tokens) row[j / page_tokens] = pages[next++];
    }
    free(pages);
    if (in->c.op == NLM_OP_attention) hide_cache(in);
}

/* Breaks one thing that only a run can find. */
static void apply_bad(spec_instance *in) {
    const spec_case *c = &in->c;
    int32_t *ids = ints(in, "ids"), *pos = ints(in, "pos"), *slot = ints(in, "slot");
    int32_t *labels = ints(in, "labels"), *starts = ints(in, "seq_start"), *pages = ints(in, "block_table");
    const int64_t last = in->live_rows - 1, blocks = c->dims['M' - 'A'], page_tokens = c->dims['B' - 'A'];
    switch (c->bad) {
        case SPEC_BAD_id: ids[last] = (int32_t)c->dims['V' - 'A']; break;
        case SPEC_BAD_label: labels[last] = (int32_t)c->dims['N' - 'A']; break;
        case SPEC_BAD_negative_id: ids[last] = -1; break;
        case SPEC_BAD_page:
            pages[slot[c->n_seqs - 1] * blocks + pos[last] / page_tokens] = (int32_t)c->dims['P' - 'A'];
            break;
        case SPEC_BAD_no_page: pages[slot[c->n_seqs - 1] * blocks + pos[last] / page_tokens] = -1; break;
        case SPEC_BAD_pos: pos[last] = (int32_t)(blocks * page_tokens); break;
        case SPEC_BAD_negative_pos: pos[last] = -1; break;
        case SPEC_BAD_slot:
            slot[(in->has_sequences ? c->n_seqs : in->live_rows) - 1] = (int32_t)c->dims['L' - 'A'];
            break;
        case SPEC_BAD_seq_start: starts[c->n_seqs] = (int32_t)(in->live_rows + c->pad + 1); break;
        default: break;
    }
}

void spec_fill_batch(spec_instance *in) {
    const spec_case *c = &in->c;
    int32_t *ids = ints(in, "ids"), *pos = ints(in, "pos"), *labels = ints(in, "labels");
    for (int64_t i = 0; labels && i < in->live_rows; i++) {
        const int64_t label = spec_random_below(in, c->dims['N' - 'A']);
        const bool is_counted = i == 0 || spec_random_below(in, 3) > 0; /* of the others a third is not */
        labels[i] = (int32_t)(is_counted ? label : -1 - label);
    }
    if (c->op == NLM_OP_advance) ids = NULL; /* no vocabulary is known */
    for (int64_t i = 0; ids && i < in->live_rows; i++) ids[i] = (int32_t)spec_random_below(in, c->dims['V' - 'A']);
    for (int64_t i = 0; pos && i < in->live_rows; i++) pos[i] = (int32_t)(c->pos + i);
    for (int64_t i = 0; pos && c->is_scattered && i < in->live_rows; i++) {
        pos[i] = (int32_t)spec_random_below(in, c->pos + 1);
    }
    if (in->has_sequences) {
        int32_t *starts = ints(in, "seq_start"), *slot = ints(in, "slot"), row = 0;
        if (slot) choose(in, slot, c->n_seqs, c->dims['L' - 'A']);
        starts[0] = 0;
        for (int s = 0; s < c->n_seqs; s++) {
            for (int64_t i = 0; i < c->seqs[s]; i++, row++) {
                if (pos) pos[row] = (int32_t)(c->past[s] + i);
            }
            starts[s + 1] = row;
        }
        fill_pages(in);
        if (in->c.op == NLM_OP_attention_plain_bwd) spec_fill_attention(in);
    }
    if (c->op == NLM_OP_sample) spec_fill_sample(in);
    if (c->op == NLM_OP_advance) spec_fill_advance(in);
    apply_bad(in);
}
