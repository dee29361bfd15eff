/* Rotary positions with angles in double, the reference. */
#include <math.h>

#include "scalar.h"

/* The frequency of each pair, then cos and sin of its angle at one position. */
void nlm_scalar_rope_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const uint64_t pairs = (uint64_t)nlm_dim(dims, 'D') / 2;
    out->scratch_bytes = pairs * (sizeof(double) + 2 * sizeof(float));
}

static void fill_frequencies(const nlm_rope_args *args, double *frequency) {
    const float *factors = args->freq_factors ? args->freq_factors->data : NULL;
    for (int32_t i = 0; i < args->n_rot / 2; i++) {
        frequency[i] = (double)args->freq_scale * pow((double)args->freq_base, -2.0 * i / args->n_rot);
        if (factors) frequency[i] /= (double)factors[i];
    }
}

static void rotate_head(const nlm_rope_args *args, const float *cosine, const float *sine, const float *x, float *y) {
    const int32_t pairs = args->n_rot / 2;
    const int is_half_split = (args->flags & NLM_ROPE_HALF_SPLIT) != 0;
    for (int32_t i = 0; i < pairs; i++) {
        const int32_t first = is_half_split ? i : 2 * i, second = is_half_split ? i + pairs : 2 * i + 1;
        const float a = x[first], b = x[second];
        y[first] = a * cosine[i] - b * sine[i];
        y[second] = a * sine[i] + b * cosine[i];
    }
    for (int64_t c = args->n_rot; c < args->x->shape[2]; c++) y[c] = x[c];
}

/* Slices tokens. Angles are computed in double: f32 is off by 1e-3 at position 10,000. */
nlm_status nlm_scalar_rope(const nlm_exec_v1 *x, const nlm_rope_args *args) {
    const int32_t *pos = nlm_cpu_i32(args->pos);
    const int32_t pairs = args->n_rot / 2;
    double *frequency = x->scratch;
    float *cosine = (float *)(frequency + pairs), *sine = cosine + pairs;
    const double sign = args->flags & NLM_ROPE_INVERSE ? -1 : 1;
    const nlm_kit_range tokens = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    if (tokens.from < tokens.to) fill_frequencies(args, frequency);
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        for (int32_t i = 0; i < pairs; i++) {
            const double angle = sign * pos[t] * frequency[i];
            cosine[i] = (float)cos(angle);
            sine[i] = (float)sin(angle);
        }
        for (int64_t h = 0; h < args->x->shape[1]; h++) {
            rotate_head(args, cosine, sine, nlm_kit_at2(args->x, t, h), nlm_kit_at2(args->y, t, h));
        }
    }
    return NLM_OK;
}
