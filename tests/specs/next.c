/* What sample and advance are given. */
#include <math.h>
#include <string.h>

#include "spec.h"

/* A way of choosing for each slot, in turn. */
typedef struct way {
    float temperature, top_p, min_p;
    int32_t top_k;
} way;

static const way ways[] = {
    {0.8F, 0.95F, 0.05F, 40}, {1, 0.9F, 0, 0},  {8, 0, 0, 3000},       {1, 0, 0, 0},       {1, 0, 0.05F, 0},
    {100, 0.99F, 0, 0},       {0, 0, 0, 0},     {1.5F, 0.5F, 0.9F, 1}, {1, 0.5F, 0.3F, 0}, {2, 1, 0, 1 << 30},
    {0.3F, 0, 0, -1},         {1, 1e-6F, 0, 0}, {5, 0, 0.5F, 100},     {0.7F, 0, 0, 5},    {1e-3F, 0, 0.5F, 0},
    {INFINITY, 0, 0, 5},      {1, 0, 7, 0},     {NAN, NAN, NAN, 3},
};
#define N_WAYS (sizeof ways / sizeof *ways)

int64_t spec_ways(void) {
    return (int64_t)N_WAYS;
}

double spec_cut(int64_t slot, int64_t column) {
    const way *w = &ways[(size_t)slot % N_WAYS];
    return (double)(column == 0 ? w->temperature : column == 1 ? w->top_p : w->min_p);
}

static int32_t *row_of(spec_instance *in, const char *name, int64_t row) {
    const nlm_tensor *t = &spec_find(in, name)->desc;
    return (int32_t *)(void *)((char *)t->data + row * t->stride_bytes[0]);
}

void spec_fill_sample(spec_instance *in) {
    const int64_t n_slots = in->c.dims['L' - 'A'];
    for (int64_t s = 0; s < n_slots; s++) {
        int32_t *draw = row_of(in, "draws", s);
        draw[0] = ways[(size_t)s % N_WAYS].top_k;
        draw[1] = (int32_t)(uint32_t)spec_random(in);
        draw[2] = (int32_t)(uint32_t)spec_random(in);
    }
    for (int64_t r = 0; r < in->live_rows; r++) *row_of(in, "slot", r) = (int32_t)(r % n_slots);
}

/* A sixth of the rows end with a negative token, a quarter with a token that ends them, a twelfth as their count is
 * negative, some for lack of room. */
void spec_fill_advance(spec_instance *in) {
    const int64_t n_slots = in->c.dims['L' - 'A'], n_stops = in->c.dims['Z' - 'A'], columns = in->c.dims['C' - 'A'];
    static const int32_t negative[] = {-1, INT32_MIN, -2};
    int32_t *live = row_of(in, "live", 0);
    for (int64_t s = 0; s < n_slots; s++) {
        for (int64_t i = 0; i < n_stops; i++) row_of(in, "stops", s)[i] = (int32_t)spec_random_below(in, 60) - 20;
        for (int64_t i = 1; i < columns; i++) row_of(in, "tokens", s)[i] = (int32_t)spec_random_below(in, 40);
        *row_of(in, "tokens", s) = (int32_t)spec_random_below(in, columns);
    }
    for (int64_t r = 0; r < in->c.n_seqs; r++) {
        const int64_t lot = spec_random_below(in, 12), slot = *row_of(in, "slot", r);
        int32_t next = (int32_t)spec_random_below(in, 40);
        if (lot < 2) next = -1 - (int32_t)lot;
        if (lot > 8) next = row_of(in, "stops", slot)[lot % n_stops];
        if (lot == 5) *row_of(in, "tokens", slot) = negative[r % 3];
        *row_of(in, "next", r) = next;
        *row_of(in, "ids", r) = (int32_t)spec_random_below(in, 40);
        *row_of(in, "pos", r) = (int32_t)spec_random_below(in, 5000);
    }
    live[0] = 7;
    for (int kind = 1; kind < NLM_ROWS_KINDS; kind++) live[kind] = (int32_t)in->c.n_seqs;
}
