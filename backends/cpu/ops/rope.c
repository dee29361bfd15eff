/* Rotary positions, in pairs of neighbours or of halves. */
#include <math.h>

#include "cpu/vector/vector.h"

void nlm_vector_rope_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = nlm_vector_rope_bytes(nlm_dim(dims, 'D'));
}

uint64_t nlm_vector_rope_bytes(int64_t head) {
    return (uint64_t)(head / 2) * sizeof(double) + (uint64_t)head * 2 * sizeof(float);
}

static int is_half_split(const nlm_vector_rotation *rope) {
    return (rope->args->flags & NLM_ROPE_HALF_SPLIT) != 0;
}

/* The powers by products: in double their error is far below that of an angle in f32. */
nlm_vector_rotation nlm_vector_rope_begin(const nlm_rope_args *args, void *scratch) {
    const int32_t pairs = args->n_rot / 2;
    nlm_vector_rotation rope = {args, scratch, NULL, NULL};
    rope.cosine = (float *)(void *)(rope.frequency + pairs);
    rope.sine = rope.cosine + 2 * pairs;
    const float *factors = args->freq_factors ? args->freq_factors->data : NULL;
    const double step = pow((double)args->freq_base, -2.0 / args->n_rot);
    double frequency = args->flags & NLM_ROPE_INVERSE ? -(double)args->freq_scale : (double)args->freq_scale;
    for (int32_t i = 0; i < pairs; i++, frequency *= step)
        rope.frequency[i] = factors ? frequency / (double)factors[i] : frequency;
    return rope;
}

/* Cosine and sine to 2e-9. The angle less whole quarters of a turn, whose first part has few enough bits for exact
 * products with up to 2^20 of them; Taylor's series; then what the quarters change. Without branches, so that
 * compilers make vectors of it. */
V_INLINE void turn(double angle, float *cosine, float *sine) {
    const double quarters = rint(angle * 0.63661977236758134);
    const double x = angle - quarters * 1.5707963267341256 - quarters * 6.0771005065061922e-11, x2 = x * x;
    const double s = x + x * x2 * (-1.0 / 6 + x2 * (1.0 / 120 + x2 * (-1.0 / 5040 + x2 * (1.0 / 362880))));
    const double c =
        1 + x2 * (-0.5 + x2 * (1.0 / 24 + x2 * (-1.0 / 720 + x2 * (1.0 / 40320 + x2 * (-1.0 / 3628800)))));
    const double halves = rint(quarters * 0.5 - 0.25), odd = quarters - 2 * halves; /* rounded down */
    const double past_half = halves - 2 * rint(halves * 0.5 - 0.25);
    const double is_left = past_half + odd - 2 * past_half * odd;
    *cosine = (float)((1 - 2 * is_left) * (odd * s + (1 - odd) * c));
    *sine = (float)((1 - 2 * past_half) * (odd * c + (1 - odd) * s));
}

/* Angles in double: as f32 they are off by 1e-3 at position 10,000. */
void nlm_vector_rope_at(nlm_vector_rotation *rope, int32_t pos) {
    const int32_t pairs = rope->args->n_rot / 2;
    const double *frequency = rope->frequency;
    float *cosine = rope->cosine, *sine = rope->sine;
    for (int32_t i = 0; i < pairs; i++) turn(pos * frequency[i], &cosine[i], &sine[i]);
    if (is_half_split(rope)) return;
    for (int32_t i = pairs - 1; i >= 0; i--) {
        const float c = cosine[i], s = sine[i];
        cosine[2 * i] = cosine[2 * i + 1] = c;
        sine[2 * i] = -s;
        sine[2 * i + 1] = s;
    }
}

static int lanes(int32_t left) {
    return left < V_LANES ? left : V_LANES;
}

static void turn_halves(const nlm_vector_rotation *rope, const float *x, float *y) {
    const int32_t pairs = rope->args->n_rot / 2;
    for (int32_t i = 0; i < pairs; i += V_LANES) {
        const int n = lanes(pairs - i);
        const vf a = vf_load_n(x + i, n), b = vf_load_n(x + pairs + i, n);
        const vf c = vf_load_n(rope->cosine + i, n), s = vf_load_n(rope->sine + i, n);
        vf_store_n(y + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), n);
        vf_store_n(y + pairs + i, vf_add(vf_mul(a, s), vf_mul(b, c)), n);
    }
}

static void turn_neighbours(const nlm_vector_rotation *rope, const float *x, float *y) {
    for (int32_t i = 0; i < rope->args->n_rot; i += V_LANES) {
        const int n = lanes(rope->args->n_rot - i);
        const vf a = vf_load_n(x + i, n);
        const vf c = vf_load_n(rope->cosine + i, n), s = vf_load_n(rope->sine + i, n);
        vf_store_n(y + i, vf_add(vf_mul(a, c), vf_mul(vf_swap_pairs(a), s)), n);
    }
}

void nlm_vector_rope_head(const nlm_vector_rotation *rope, int64_t size, const float *x, float *y) {
    if (is_half_split(rope)) {
        turn_halves(rope, x, y);
    } else {
        turn_neighbours(rope, x, y);
    }
    for (int64_t c = rope->args->n_rot; c < size; c++) y[c] = x[c];
}

/* Slices heads, token by token. */
nlm_status nlm_vector_rope(const nlm_exec_v1 *x, const nlm_rope_args *args) {
    const int64_t heads = args->x->shape[1], size = args->x->shape[2];
    const nlm_kit_range mine = nlm_kit_slice(x, nlm_live_rows(x, args->x) * heads, 1);
    if (mine.from >= mine.to) return NLM_OK;
    nlm_vector_rotation rope = nlm_vector_rope_begin(args, x->scratch);
    for (int64_t i = mine.from; i < mine.to; i++) {
        const int64_t t = i / heads, h = i % heads;
        if (h == 0 || i == mine.from) nlm_vector_rope_at(&rope, nlm_cpu_i32(args->pos)[t]);
        nlm_vector_rope_head(&rope, size, nlm_kit_at2(args->x, t, h), nlm_kit_at2(args->y, t, h));
    }
    return NLM_OK;
}
