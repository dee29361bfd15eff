/* A step of the optimizer, the reference. */
#include <math.h>

#include "cpu/decode.h"
#include "scalar.h"

/* Weights of other types pass through f32 so many at a time. */
#define PIECE 64

/* Updates n numbers; see nlm_adamw_args. What the loop needs is in locals: a store to w could else change it, for all
 * the compiler knows. */
static void update(const nlm_adamw_args *args, float *w, float *dw, float *m, float *v, int64_t n) {
    const float *rates = args->rates->data;
    const float rate = rates[0], scale = rates[1], bias1 = rates[2], bias2 = rates[3], eps = args->eps;
    const float beta1 = args->beta1, beta2 = args->beta2, keep = 1 - rate * args->weight_decay;
    for (int64_t i = 0; i < n; i++) {
        const float g = scale * dw[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        w[i] = w[i] * keep - rate * (m[i] / bias1) / (sqrtf(v[i] / bias2) + eps);
        dw[i] = 0;
    }
}

/* Columns [from, from + n) of a row, at most PIECE of them. */
static void update_piece(const nlm_adamw_args *args, int64_t row, int64_t from, int64_t n) {
    const nlm_tensor *w = args->w;
    char *weights = (char *)nlm_kit_at(w, row) + from * nlm_dtype_find(w->dtype)->block_bytes;
    float room[PIECE], *values = room;
    if (args->master) {
        values = (float *)nlm_kit_at(args->master, row) + from;
    } else {
        nlm_cpu_decode(w->dtype, weights, room, n);
    }
    update(args, values, (float *)nlm_kit_at(args->dw, row) + from, (float *)nlm_kit_at(args->m, row) + from,
           (float *)nlm_kit_at(args->v, row) + from, n);
    nlm_cpu_encode(w->dtype, values, weights, n);
}

/* Slices elements. */
nlm_status nlm_scalar_adamw(const nlm_exec_v1 *x, const nlm_adamw_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->w);
    while (nlm_kit_cells_next(&cells)) {
        for (int64_t c = cells.from; c < cells.to; c += PIECE)
            update_piece(args, cells.row, c, cells.to - c < PIECE ? cells.to - c : PIECE);
    }
    return NLM_OK;
}
