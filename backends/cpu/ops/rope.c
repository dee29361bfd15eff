/* Rotary positions, in pairs of neighbours or of halves. */
#include <math.h>

#include "cpu/vector/vector.h"

/* The frequency of each pair, then cosine and sine of its angle at one position. */
void nlm_vector_rope_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = nlm_vector_rope_bytes(nlm_dim(dims, 'D'));
}

uint64_t nlm_vector_rope_bytes(int64_t head) {
    return (uint64_t)(head / 2) * (sizeof(double) + 2 * sizeof(float));
}

nlm_vector_rotation nlm_vector_rope_begin(const nlm_rope_args *args, void *scratch) {
    const int32_t pairs = args->n_rot / 2;
    nlm_vector_rotation rope = {args, scratch, NULL, NULL};
    rope.cosine = (float *)(void *)(rope.frequency + pairs);
    rope.sine = rope.cosine + pairs;
    const float *factors = args->freq_factors ? args->freq_factors->data : NULL;
    const double sign = args->flags & NLM_ROPE_INVERSE ? -1 : 1;
    for (int32_t i = 0; i < pairs; i++) {
        rope.frequency[i] = sign * (double)args->freq_scale * pow((double)args->freq_base, -2.0 * i / args->n_rot);
        if (factors) rope.frequency[i] /= (double)factors[i];
    }
    return rope;
}

/* Angles in double: as f32 they are off by 1e-3 at position 10,000. */
void nlm_vector_rope_at(nlm_vector_rotation *rope, int32_t pos) {
    for (int32_t i = 0; i < rope->args->n_rot / 2; i++) {
        const double angle = pos * rope->frequency[i];
        rope->cosine[i] = (float)cos(angle);
        rope->sine[i] = (float)sin(angle);
    }
}

void nlm_vector_rope_head(const nlm_vector_rotation *rope, int64_t size, const float *x, float *y) {
    const int32_t pairs = rope->args->n_rot / 2;
    const int is_half_split = (rope->args->flags & NLM_ROPE_HALF_SPLIT) != 0;
    const int32_t step = is_half_split ? 1 : 2, apart = is_half_split ? pairs : 1;
    for (int32_t i = 0; i < pairs; i++) {
        const float a = x[i * step], b = x[i * step + apart];
        y[i * step] = a * rope->cosine[i] - b * rope->sine[i];
        y[i * step + apart] = a * rope->sine[i] + b * rope->cosine[i];
    }
    for (int64_t c = rope->args->n_rot; c < size; c++) y[c] = x[c];
}

/* Slices tokens. */
nlm_status nlm_vector_rope(const nlm_exec_v1 *x, const nlm_rope_args *args) {
    const nlm_kit_range tokens = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    if (tokens.from >= tokens.to) return NLM_OK;
    nlm_vector_rotation rope = nlm_vector_rope_begin(args, x->scratch);
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        nlm_vector_rope_at(&rope, nlm_cpu_i32(args->pos)[t]);
        for (int64_t h = 0; h < args->x->shape[1]; h++)
            nlm_vector_rope_head(&rope, args->x->shape[2], nlm_kit_at2(args->x, t, h), nlm_kit_at2(args->y, t, h));
    }
    return NLM_OK;
}
