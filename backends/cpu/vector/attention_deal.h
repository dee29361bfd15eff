/* Who does which part of an attention: blocks of query rows, and for blocks of few rows chunks of the
 * positions they see. Every worker finds the same from the same batch. */
#ifndef NLM_CPU_VECTOR_ATTENTION_DEAL_H
#define NLM_CPU_VECTOR_ATTENTION_DEAL_H

#include <nlm/plugin.h>

#include "cpu/batch.h"

#define ATTENTION_CHUNK 256 /* positions; a multiple of a tile */

/* Query rows that go together: some tokens of a sequence, all heads of key/value head g. */
typedef struct nlm_attention_block {
    int32_t slot;
    int64_t token, rows; /* the first token; tokens times heads */
    int64_t g;
    int64_t first, end;           /* the positions its rows see */
    int64_t chunk_from, chunk_to; /* those of its chunks, numbered from position 0, that this worker does */
    int64_t split;                /* which one among the blocks that several workers share, or -1 */
} nlm_attention_block;

typedef struct nlm_attention_deal {
    const nlm_exec_v1 *x;
    const nlm_attention_args *args;
    nlm_cpu_batch batch;
    int64_t groups, shared; /* heads of keys, query heads of each */
    uint64_t cost;          /* of all blocks */
} nlm_attention_deal;

/* A walk over the blocks; begins as zeros. */
typedef struct nlm_attention_walk {
    int64_t sequence, g, token;
    uint64_t cost; /* of the blocks passed */
    int64_t n_split;
} nlm_attention_walk;

/* [first, end) */
typedef struct nlm_attention_seen {
    int64_t first, end;
} nlm_attention_seen;

/* Errors INVALID_ARGUMENT: as nlm_cpu_batch_read, and a position outside a slot. */
nlm_status nlm_vector_attention_deal(const nlm_exec_v1 *x, const nlm_attention_args *args, nlm_attention_deal *out);
/* The next block, or 0 when there is none. */
int nlm_vector_attention_next(const nlm_attention_deal *deal, nlm_attention_walk *walk, nlm_attention_block *out);
/* The positions that token t sees. */
nlm_attention_seen nlm_vector_attention_seen(const nlm_attention_deal *deal, int64_t t);

/* Greatest number of rows of a block, and of one that may be split. */
int64_t nlm_vector_attention_block_rows(int64_t shared);
int64_t nlm_vector_attention_split_rows(int64_t shared);
/* Greatest number of blocks that are split, of `blocks` that see up to `positions`. */
int64_t nlm_vector_attention_most_split(int64_t blocks, int64_t positions, uint32_t nth);

static inline int64_t nlm_vector_attention_chunks(int64_t positions) {
    return (positions + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
}

#endif
