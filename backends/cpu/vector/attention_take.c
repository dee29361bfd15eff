/* Taking a group of query rows through a tile: scores, their weights, the sum of the values. A score is
 * summed in the order of the head's elements, a sum of values in the order of positions, so that neither
 * depends on how many rows go together or on the form the tile has.
 * Source: Dao et al. 2022; Milakov & Gimelshein 2018 (online softmax). */
#include <math.h>

#include "cpu/vector/attention.h"

#define TILE           ATTENTION_TILE
#define GROUP          ATTENTION_GROUP
#define UNROLL_ROWS    _Pragma("GCC unroll 8")
#define UNROLL_TILE    _Pragma("GCC unroll 8")
#define UNROLL_VECTORS _Pragma("GCC unroll 4")

/* Fetches `bytes` of f16 from element c of a row on, as far as the row's lines go in whole steps. */
V_INLINE void fetch(const void *row, int64_t c, int64_t bytes) {
    const char *at = (const char *)row + 2 * c;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

/* scores[r][j ..] = q[r] . keys for V vectors of positions. */
V_INLINE void scores_at(int R, int V, int is_half, const float *q, const nlm_attention_tile *tile, int64_t j,
                        float *scores) {
    const int64_t size = tile->size, head = tile->head;
    vf acc[GROUP][V_CHUNK];
    UNROLL_ROWS for (int r = 0; r < R; r++) {
        UNROLL_VECTORS for (int v = 0; v < V; v++) acc[r][v] = vf_zero();
    }
    for (int64_t c = 0; c < size; c++) {
        vf k[V_CHUNK];
        /* every step a row, and of that as much as this pass is of the tile */
        if (is_half) fetch(tile->next_k[c % TILE], c / TILE * TILE + j, 2 * V * V_LANES);
        UNROLL_VECTORS for (int v = 0; v < V; v++) {
            const int64_t at = c * TILE + j + v * V_LANES;
            k[v] = is_half ? vf_load_f16(tile->half_keys + at) : vf_load(tile->keys + at);
        }
        UNROLL_ROWS for (int r = 0; r < R; r++) {
            const vf value = vf_set1(q[r * head + c]);
            UNROLL_VECTORS for (int v = 0; v < V; v++) acc[r][v] = vf_fma(k[v], value, acc[r][v]);
        }
    }
    UNROLL_ROWS for (int r = 0; r < R; r++) {
        UNROLL_VECTORS for (int v = 0; v < V; v++) vf_store(scores + r * TILE + j + v * V_LANES, acc[r][v]);
    }
}

/* How many vectors of accumulators a row has, so that those of R rows stay in registers. */
V_INLINE int vectors_of(int R) {
    return R <= 6 ? V_CHUNK : V_CHUNK / 2;
}

/* The first `width` positions; some more may be written. */
V_INLINE void scores_of(int R, int is_half, const float *q, const nlm_attention_tile *tile, int64_t width,
                        float *scores) {
    const int V = vectors_of(R);
    int64_t j = 0;
    for (; j + V_CHUNK / 2 * V_LANES < width; j += V * V_LANES) scores_at(R, V, is_half, q, tile, j, scores);
    if (j < width) scores_at(R, V_CHUNK / 2, is_half, q, tile, j, scores);
}

/* sums[r][c ..] = sums[r][c ..] * shrink[r] + p[r] . values, positions [from, to). */
V_INLINE void sums_at(int R, int V, int is_half, const float *p, const float *shrink, const nlm_attention_tile *tile,
                      int64_t c, int64_t from, int64_t to, float *sums) {
    const int64_t head = tile->head;
    vf acc[GROUP][V_CHUNK];
    UNROLL_ROWS for (int r = 0; r < R; r++) {
        UNROLL_VECTORS for (int v = 0; v < V; v++) acc[r][v] =
            vf_mul(vf_load(sums + r * head + c + v * V_LANES), vf_set1(shrink[r]));
    }
    for (int64_t j = from; j < to; j++) {
        const uint16_t *half_row = is_half ? (const uint16_t *)tile->v[j] : NULL;
        vf row[V_CHUNK];
        if (is_half) fetch(tile->next_v[j], c, 2 * V * V_LANES);
        UNROLL_VECTORS for (int v = 0; v < V; v++) {
            const int64_t at = c + v * V_LANES;
            row[v] = is_half ? vf_load_f16(half_row + at) : vf_load(tile->values + j * head + at);
        }
        UNROLL_ROWS for (int r = 0; r < R; r++) {
            const vf weight = vf_set1(p[r * TILE + j]);
            UNROLL_VECTORS for (int v = 0; v < V; v++) acc[r][v] = vf_fma(row[v], weight, acc[r][v]);
        }
    }
    UNROLL_ROWS for (int r = 0; r < R; r++) {
        UNROLL_VECTORS for (int v = 0; v < V; v++) vf_store(sums + r * head + c + v * V_LANES, acc[r][v]);
    }
}

V_INLINE void sums_of(int R, int is_half, const float *p, const float *shrink, const nlm_attention_tile *tile,
                      int64_t from, int64_t to, float *sums) {
    const int V = vectors_of(R);
    int64_t c = 0;
    for (; c + V * V_LANES <= tile->head; c += V * V_LANES)
        sums_at(R, V, is_half, p, shrink, tile, c, from, to, sums);
    for (; c < tile->head; c += V_LANES) sums_at(R, 1, is_half, p, shrink, tile, c, from, to, sums);
}

typedef void (*scores_fn)(const float *q, const nlm_attention_tile *tile, int64_t width, float *scores);
typedef void (*sums_fn)(const float *p, const float *shrink, const nlm_attention_tile *tile, int64_t from, int64_t to,
                        float *sums);

/* X(rows, is_half) */
#define KERNELS(X)          KERNELS_OF(X, 0) KERNELS_OF(X, 1)
#define KERNELS_OF(X, half) X(1, half) X(2, half) X(3, half) X(4, half) X(5, half) X(6, half) X(7, half) X(8, half)

#define DEFINE(R, half)                                                                                              \
    static void scores_##half##_##R(const float *q, const nlm_attention_tile *tile, int64_t width, float *scores) {  \
        scores_of(R, half, q, tile, width, scores);                                                                  \
    }                                                                                                                \
    static void sums_##half##_##R(const float *p, const float *shrink, const nlm_attention_tile *tile, int64_t from, \
                                  int64_t to, float *sums) {                                                         \
        sums_of(R, half, p, shrink, tile, from, to, sums);                                                           \
    }
KERNELS(DEFINE)
#undef DEFINE

static const struct {
    scores_fn scores;
    sums_fn sums;
} kernels[2][GROUP + 1] = {
#define LIST(R, half) [half][R] = {scores_##half##_##R, sums_##half##_##R},
    KERNELS(LIST)
#undef LIST
};

/* ---- weights ------------------------------------------------------------------------------ */

/* The part of a tile that the rows of a group see: row r [from[r], to[r]), all of them [least, width). */
typedef struct group_view {
    int64_t from[GROUP], to[GROUP];
    int64_t least, width;
} group_view;

static int64_t clip(int64_t position) {
    return position < 0 ? 0 : position > TILE ? TILE : position;
}

static void find_view(const nlm_attention_group *group, int64_t tile, group_view *out) {
    out->least = TILE;
    out->width = 0;
    for (int64_t r = 0; r < group->count; r++) {
        const int64_t from = clip(group->first[group->row + r] - tile), to = clip(group->end[group->row + r] - tile);
        out->from[r] = from;
        out->to[r] = to;
        if (from >= to) continue;
        if (from < out->least) out->least = from;
        if (to > out->width) out->width = to;
    }
}

V_INLINE int64_t whole_vectors(int64_t n) {
    return (n + V_LANES - 1) / V_LANES * V_LANES;
}

/* The greatest of the scores in [from, to); those of the same vectors outside do not count. */
static float mask_and_find_greatest(float *scores, int64_t from, int64_t to) {
    const int64_t end = whole_vectors(to);
    for (int64_t j = 0; j < from; j++) scores[j] = -INFINITY;
    for (int64_t j = to; j < end; j++) scores[j] = -INFINITY;
    vf greatest = vf_load(scores);
    for (int64_t j = V_LANES; j < end; j += V_LANES) greatest = vf_max(greatest, vf_load(scores + j));
    return vf_hmax(greatest);
}

/* The same of a whole tile. */
V_INLINE float find_greatest(const float *scores) {
    vf greatest = vf_load(scores);
    UNROLL_TILE for (int j = V_LANES; j < TILE; j += V_LANES) greatest = vf_max(greatest, vf_load(scores + j));
    return vf_hmax(greatest);
}

V_INLINE vf weigh_vector(float *scores, vf greatest) {
    const vf p = vf_exp2(vf_sub(vf_load(scores), greatest));
    vf_store(scores, p);
    return p;
}

/* p = 2^(score - greatest) and their sum; zeros from `end` to `width`, in whole vectors. */
V_INLINE float weigh(float *scores, float greatest, int64_t end, int64_t width) {
    const vf largest = vf_set1(greatest);
    vf total = vf_zero();
    if (end == TILE) {
        UNROLL_TILE for (int j = 0; j < TILE; j += V_LANES) total = vf_add(total, weigh_vector(scores + j, largest));
        return vf_sum(total);
    }
    int64_t j = 0;
    for (; j < end; j += V_LANES) total = vf_add(total, weigh_vector(scores + j, largest));
    for (; j < width; j += V_LANES) vf_store(scores + j, vf_zero());
    return vf_sum(total);
}

/* scores become p; shrink[r] is what the sums so far are worth now. */
static void weigh_group(const nlm_attention_group *group, const group_view *view, const nlm_attention_state *state,
                        float *scores, float *shrink) {
    float *greatest = state->greatest + group->row, *weight = state->weight + group->row;
    float step[2 * V_LANES] = {0};
    for (int64_t r = 0; r < group->count; r++) {
        if (view->from[r] >= view->to[r]) continue;
        const int is_whole = view->from[r] == 0 && view->to[r] == TILE;
        const float largest = is_whole ? find_greatest(scores + r * TILE)
                                       : mask_and_find_greatest(scores + r * TILE, view->from[r], view->to[r]);
        if (largest <= greatest[r]) continue;
        step[r] = greatest[r] - largest;
        greatest[r] = largest;
    }
    vf_store(shrink, vf_exp2(vf_load(step)));
    for (int64_t r = 0; r < group->count; r++) {
        const int64_t end = view->from[r] < view->to[r] ? whole_vectors(view->to[r]) : 0;
        weight[r] = weight[r] * shrink[r] + weigh(scores + r * TILE, greatest[r], end, view->width);
    }
}

void nlm_vector_attention_take(const nlm_attention_group *group, const nlm_attention_rows *rows,
                               const nlm_attention_tile *tile, const nlm_attention_state *state) {
    group_view view;
    find_view(group, rows->tile, &view);
    if (view.width == 0) return;
    float scores[GROUP * TILE], shrink[V_LANES];
    kernels[tile->is_half][group->count].scores(group->q + group->row * tile->head, tile, view.width, scores);
    weigh_group(group, &view, state, scores, shrink);
    kernels[tile->is_half][group->count].sums(scores, shrink, tile, view.least, view.width,
                                              state->sums + group->row * tile->head);
}

void nlm_vector_attention_products(int64_t count, const float *rows, const nlm_attention_tile *tile, int64_t width,
                                   float *out) {
    kernels[0][count].scores(rows, tile, width, out);
}

void nlm_vector_attention_add(int64_t count, const float *p, const nlm_attention_tile *tile, int64_t from, int64_t to,
                              float *sums) {
    static const float as_they_are[GROUP] = {1, 1, 1, 1, 1, 1, 1, 1};
    kernels[0][count].sums(p, as_they_are, tile, from, to, sums);
}

/* ---- rows before and after ------------------------------------------------------------------ */

void nlm_vector_attention_scale_row(const float *q, int64_t size, float scale, float *out) {
    const float scale_log2 = (float)((double)scale * ATTENTION_LOG2E);
    int64_t c = 0;
    for (; c + V_LANES <= size; c += V_LANES) vf_store(out + c, vf_mul(vf_load(q + c), vf_set1(scale_log2)));
    for (; c < size; c++) out[c] = q[c] * scale_log2;
}

void nlm_vector_attention_clear(const nlm_attention_state *state, int64_t rows, int64_t head) {
    memset(state->sums, 0, (size_t)(rows * head) * sizeof(float));
    for (int64_t row = 0; row < rows; row++) {
        state->greatest[row] = -INFINITY;
        state->weight[row] = 0.0f;
    }
}

/* Adding 0 makes -0 of what is too small for f32 the 0 that it is beside other rows. */
void nlm_vector_attention_finish_row(const nlm_attention_state *state, int64_t row, int64_t size, float *y,
                                     float *lse) {
    const float *sums = state->sums + row * nlm_vector_attention_padded(size);
    const float weight = state->weight[row];
    const vf inverse = vf_set1(1.0f / weight);
    for (int64_t c = 0; c < size; c += V_LANES) {
        const vf value = vf_add(vf_mul(vf_load(sums + c), inverse), vf_zero());
        vf_store_n(y + c, value, (int)(size - c < V_LANES ? size - c : V_LANES));
    }
    if (lse) *lse = state->greatest[row] * (float)(1 / ATTENTION_LOG2E) + logf(weight);
}
