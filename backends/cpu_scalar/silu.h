/* The gate of SwiGLU and Mamba, for large negative values too. */
#ifndef NLM_SCALAR_SILU_H
#define NLM_SCALAR_SILU_H

#include <math.h>

/* v / (1 + exp(-v)): exp overflowing to infinity gives the right 0. */
static inline float nlm_scalar_silu(float v) {
    return v / (1 + expf(-v));
}

/* silu'(v) = s (1 + v (1 - s)), s being 1 / (1 + exp(-v)); 1 - s is the s of -v, as a difference would lose what is
 * left of it where s is near 1. */
static inline float nlm_scalar_silu_slope(float v) {
    const float s = 1 / (1 + expf(-v)), rest = 1 / (1 + expf(v));
    return s * (1 + v * rest);
}

#endif
