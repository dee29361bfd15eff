/* A step of the optimizer: one pass over all that it reads and writes. */
#include "cpu/decode.h"
#include "cpu/vector/vector.h"

#define PIECE 64 /* weights of other types pass through f32 so many at a time */

typedef struct step {
    vf beta1, beta2, rest1, rest2; /* rest: 1 - beta */
    vf scale, keep, rate, bias1, bias2, eps;
} step;

static step step_of(const nlm_adamw_args *args) {
    const float *rates = args->rates->data;
    return (step){.beta1 = vf_set1(args->beta1),
                  .beta2 = vf_set1(args->beta2),
                  .rest1 = vf_set1(1 - args->beta1),
                  .rest2 = vf_set1(1 - args->beta2),
                  .scale = vf_set1(rates[1]),
                  .keep = vf_set1(1 - rates[0] * args->weight_decay),
                  .rate = vf_set1(rates[0]),
                  .bias1 = vf_set1(rates[2]),
                  .bias2 = vf_set1(rates[3]),
                  .eps = vf_set1(args->eps)};
}

/* Updates numbers; see nlm_adamw_args. With cpu_scalar's roundings: where weights are rounded again, another last bit
 * would be another weight. Memory is slower than the divisions. */
static void update(const step *s, float *w, float *dw, float *m, float *v, int64_t count) {
    for (int64_t i = 0; i < count; i += V_LANES) {
        const int n = (int)(count - i < V_LANES ? count - i : V_LANES);
        const vf g = vf_mul(s->scale, vf_load_n(dw + i, n));
        const vf mean = vf_add(vf_mul(s->beta1, vf_load_n(m + i, n)), vf_mul(s->rest1, g));
        const vf square = vf_add(vf_mul(s->beta2, vf_load_n(v + i, n)), vf_mul(vf_mul(s->rest2, g), g));
        const vf root = vf_add(vf_sqrt(vf_div(square, s->bias2)), s->eps);
        const vf by = vf_div(vf_mul(s->rate, vf_div(mean, s->bias1)), root);
        vf_store_n(w + i, vf_sub(vf_mul(vf_load_n(w + i, n), s->keep), by), n);
        vf_store_n(m + i, mean, n);
        vf_store_n(v + i, square, n);
        vf_store_n(dw + i, vf_zero(), n);
    }
}

/* The same of weights that are not f32, by way of the master or of a copy. */
static void update_rounded(const nlm_adamw_args *args, const step *s, int64_t row, int64_t from, int64_t n) {
    const nlm_tensor *w = args->w;
    char *weights = (char *)nlm_kit_at(w, row) + from * nlm_dtype_find(w->dtype)->block_bytes;
    float room[PIECE], *values = room;
    if (args->master)
        values = (float *)nlm_kit_at(args->master, row) + from;
    else
        nlm_cpu_decode(w->dtype, weights, room, n);
    update(s, values, (float *)nlm_kit_at(args->dw, row) + from, (float *)nlm_kit_at(args->m, row) + from,
           (float *)nlm_kit_at(args->v, row) + from, n);
    nlm_cpu_encode(w->dtype, values, weights, n);
}

/* Slices elements. */
nlm_status nlm_vector_adamw(const nlm_exec_v1 *x, const nlm_adamw_args *args) {
    const int is_plain = args->w->dtype == NLM_F32 && !args->master;
    const step s = step_of(args);
    nlm_kit_cells cells = nlm_cpu_cells(x, args->w);
    while (nlm_kit_cells_next(&cells)) {
        const int64_t row = cells.row, from = cells.from;
        if (is_plain) {
            update(&s, (float *)nlm_kit_at(args->w, row) + from, (float *)nlm_kit_at(args->dw, row) + from,
                   (float *)nlm_kit_at(args->m, row) + from, (float *)nlm_kit_at(args->v, row) + from,
                   cells.to - from);
            continue;
        }
        for (int64_t c = from; c < cells.to; c += PIECE)
            update_rounded(args, &s, row, c, cells.to - c < PIECE ? cells.to - c : PIECE);
    }
    return NLM_OK;
}
