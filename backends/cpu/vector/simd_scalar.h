/* The shim in plain C, for tests: with it the shared bodies run on any machine in the shape of any instruction set.
 * NLM_SCALAR_SHIM is the name of the header that has the shape. What a shim leaves open, as the greatest of numbers
 * one of which is NaN, is as AVX2 has it. */
#ifndef NLM_CPU_SIMD_SCALAR_H
#define NLM_CPU_SIMD_SCALAR_H

#include <math.h>
#include <nlm/dtype.h>

#include NLM_SCALAR_SHIM

typedef union vf {
    float f[V_LANES];
    int32_t bits[V_LANES];
} vf;
typedef union vi {
    int32_t d[V_LANES];
    uint32_t u[V_LANES];
    int16_t w[2 * V_LANES];
    uint16_t uw[2 * V_LANES];
    int8_t b[4 * V_LANES];
    uint8_t ub[4 * V_LANES];
} vi;
#define VF_FN    static inline vf
#define VI_FN    static inline vi
/* Nothing is gained by a copy of a body for each of its formats, and compilers take minutes to make them. */
#define V_INLINE static inline

/* A result whose `count` elements `field[i]` are `value`. */
#define V_EACH(type, field, count, value)                   \
    type r;                                                 \
    for (int i = 0; i < (count); i++) r.field[i] = (value); \
    return r
#define V_EACH_FLOAT(value) V_EACH(vf, f, V_LANES, value)
#define V_EACH_BITS(value)  V_EACH(vf, bits, V_LANES, value)
#define V_EACH_DWORD(value) V_EACH(vi, u, V_LANES, (uint32_t)(value))
#define V_EACH_WORD(value)  V_EACH(vi, uw, 2 * V_LANES, (uint16_t)(value))
#define V_EACH_BYTE(value)  V_EACH(vi, ub, 4 * V_LANES, (uint8_t)(value))

VF_FN vf_set1(float a) {
    V_EACH_FLOAT(a);
}
VF_FN vf_zero(void) {
    return vf_set1(0);
}
/* The first n lanes, the rest zeros. */
VF_FN vf_load_n(const float *p, int n) {
    vf r = vf_zero();
    memcpy(r.f, p, (size_t)(n < V_LANES ? n : V_LANES) * sizeof *p);
    return r;
}
VF_FN vf_load(const float *p) {
    return vf_load_n(p, V_LANES);
}
VF_FN vf_load_f16(const void *p) {
    V_EACH_FLOAT(nlm_load_f16((const uint8_t *)p + 2 * i));
}
VF_FN vf_load_bf16(const void *p) {
    vf r;
    for (int i = 0; i < V_LANES; i++) nlm_block_bf16((const uint8_t *)p + 2 * i, &r.f[i]);
    return r;
}
/* V_LANES bytes as integers */
VF_FN vf_load_u8(const void *p) {
    V_EACH_FLOAT((float)((const uint8_t *)p)[i]);
}
VF_FN vf_load_i8(const void *p) {
    V_EACH_FLOAT((float)((const int8_t *)p)[i]);
}
static inline void vf_store_n(float *p, vf a, int n) {
    memcpy(p, a.f, (size_t)(n < V_LANES ? n : V_LANES) * sizeof *p);
}
static inline void vf_store(float *p, vf a) {
    vf_store_n(p, a, V_LANES);
}
static inline void vf_store_f16(void *p, vf a) {
    for (int i = 0; i < V_LANES; i++) {
        const uint16_t half = nlm_f16_from_f32(a.f[i]);
        memcpy((uint8_t *)p + 2 * i, &half, sizeof half);
    }
}
VF_FN vf_add(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] + b.f[i]);
}
VF_FN vf_sub(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] - b.f[i]);
}
VF_FN vf_mul(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] * b.f[i]);
}
VF_FN vf_div(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] / b.f[i]);
}
/* The second where one is NaN, or both are zeros. */
VF_FN vf_max(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}
VF_FN vf_min(vf a, vf b) {
    V_EACH_FLOAT(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}
/* a*b + c, one rounding */
VF_FN vf_fma(vf a, vf b, vf c) {
    V_EACH_FLOAT(fmaf(a.f[i], b.f[i], c.f[i]));
}
/* acc + a*b, one rounding, for a tile of sums that fills the registers. */
VF_FN vf_accumulate(vf acc, vf a, vf b) {
    return vf_fma(a, b, acc);
}
VF_FN vf_neg(vf a) {
    V_EACH_BITS(a.bits[i] ^ INT32_MIN);
}
/* Neighbours change places: lanes 1 0 3 2 ... */
VF_FN vf_swap_pairs(vf a) {
    V_EACH_BITS(a.bits[i ^ 1]);
}
VF_FN vf_abs(vf a) {
    V_EACH_BITS(a.bits[i] & INT32_MAX);
}
VF_FN vf_sqrt(vf a) {
    V_EACH_FLOAT(sqrtf(a.f[i]));
}
VF_FN vf_round(vf a) {
    V_EACH_FLOAT(rintf(a.f[i]));
}
/* To nearest even; NaN and what an integer does not hold as x86 has them. */
static inline int32_t v_integer(float a) {
    const float whole = rintf(a);
    return whole >= -0x1p31f && whole < 0x1p31f ? (int32_t)whole : INT32_MIN;
}
/* Within [-most - 1, most]: what does not fit is the nearest that does. */
static inline int32_t v_saturated(int32_t a, int32_t most) {
    return a > most ? most : a < -most - 1 ? -most - 1 : a;
}
/* a * 2^n, n whole, a and the result normal */
VF_FN vf_scale2(vf a, vf n) {
    V_EACH_BITS((int32_t)((uint32_t)a.bits[i] + ((uint32_t)v_integer(n.f[i]) << 23)));
}
/* 0 where x < limit, else a: also where x is NaN */
VF_FN vf_unless_lt(vf a, vf x, vf limit) {
    V_EACH_FLOAT(x.f[i] < limit.f[i] ? 0 : a.f[i]);
}
/* The upper half of the lanes is added to the lower, until one is left. */
static inline float vf_sum(vf a) {
    for (int n = V_LANES / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) a.f[i] += a.f[n + i];
    }
    return a.f[0];
}
static inline float vf_hmax(vf a) {
    for (int n = V_LANES / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) a.f[i] = a.f[i] > a.f[n + i] ? a.f[i] : a.f[n + i];
    }
    return a.f[0];
}
/* The greater of magnitudes, NaN above all: their bits are ordered as integers. */
VF_FN vf_max_magnitude(vf a, vf b) {
    V_EACH_BITS(a.bits[i] > b.bits[i] ? a.bits[i] : b.bits[i]);
}
static inline float vf_hmax_magnitude(vf a) {
    int best = 0;
    for (int i = 1; i < V_LANES; i++) best = a.bits[i] > a.bits[best] ? i : best;
    return a.f[best];
}
/* Rounded to nearest even, V_LANES bytes; within [-128, 127]. */
static inline void vf_store_i8(void *p, vf a) {
    for (int i = 0; i < V_LANES; i++) ((int8_t *)p)[i] = (int8_t)v_saturated(v_integer(a.f[i]), INT8_MAX);
}

VI_FN vi_load(const void *p) {
    vi r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void vi_store(void *p, vi a) {
    memcpy(p, &a, sizeof a);
}
/* half a vector from each */
VI_FN vi_load_2(const void *low, const void *high) {
    vi r;
    memcpy(&r, low, sizeof r / 2);
    memcpy(r.b + sizeof r / 2, high, sizeof r / 2);
    return r;
}
VF_FN vf_bits(vi a) {
    V_EACH_BITS(a.d[i]);
}
VF_FN vf_from_i32(vi a) {
    V_EACH_FLOAT((float)a.d[i]);
}
VI_FN vi_set1(int32_t a) {
    V_EACH_DWORD(a);
}
VI_FN vi_set1_i16(int16_t a) {
    V_EACH_WORD(a);
}
VI_FN vi_set1_u8(uint8_t a) {
    V_EACH_BYTE(a);
}
VI_FN vi_and(vi a, vi b) {
    V_EACH_DWORD(a.u[i] & b.u[i]);
}
VI_FN vi_or(vi a, vi b) {
    V_EACH_DWORD(a.u[i] | b.u[i]);
}
/* V_LANES bytes as dwords */
VI_FN vi_load_u8(const void *p) {
    V_EACH_DWORD(((const uint8_t *)p)[i]);
}
VI_FN vi_load_i8(const void *p) {
    V_EACH_DWORD(((const int8_t *)p)[i]);
}
/* The low words and dwords of the products. */
VI_FN vi_mul16(vi a, vi b) {
    V_EACH_WORD((uint32_t)a.uw[i] * b.uw[i]);
}
VI_FN vi_mul32(vi a, vi b) {
    V_EACH_DWORD(a.u[i] * b.u[i]);
}
VI_FN vi_add(vi a, vi b) {
    V_EACH_DWORD(a.u[i] + b.u[i]);
}
VI_FN vi_sub16(vi a, vi b) {
    V_EACH_WORD(a.uw[i] - b.uw[i]);
}
VI_FN vi_sub_u8(vi a, vi b) {
    V_EACH_BYTE(a.ub[i] - b.ub[i]);
}
VI_FN vi_shl32(vi a, int n) {
    V_EACH_DWORD(a.u[i] << n);
}
VI_FN vi_shr32(vi a, int n) {
    V_EACH_DWORD(a.u[i] >> n);
}
VI_FN vi_sra32(vi a, int n) {
    V_EACH_DWORD(a.d[i] >> n);
}
VI_FN vi_shl16(vi a, int n) {
    V_EACH_WORD(a.uw[i] << n);
}
VI_FN vi_shr16(vi a, int n) {
    V_EACH_WORD(a.uw[i] >> n);
}
VI_FN vi_sra16(vi a, int n) {
    V_EACH_WORD(a.w[i] >> n);
}

/* Sums of 2 products of words. */
VI_FN vi_dot2_by(vi a, vi b) {
    V_EACH_DWORD((uint32_t)(a.w[2 * i] * b.w[2 * i]) + (uint32_t)(a.w[2 * i + 1] * b.w[2 * i + 1]));
}
/* A vector of words of weights. */
typedef vi vw;
static inline vw vw_at(const void *p) {
    return vi_load(p);
}
/* acc[lane] += sum of 2 products of words */
VI_FN vi_dot2(vi acc, vw w, vi a) {
    return vi_add(acc, vi_dot2_by(w, a));
}
/* acc + sums of 2 products of bytes, w unsigned, in words that hold them. */
VI_FN vi_dot2_bytes(vi acc, vi w, vi a) {
    V_EACH_WORD(acc.w[i] + v_saturated(w.ub[2 * i] * a.b[2 * i] + w.ub[2 * i + 1] * a.b[2 * i + 1], INT16_MAX));
}
/* acc[lane] += sum of 4: w (a byte, unsigned where V_Q8_OFFSET makes it so) * a (signed byte). */
VI_FN vi_dot4(vi acc, vi w, vi a) {
    for (int i = 0; i < 4 * V_LANES; i++)
        acc.u[i / 4] += (uint32_t)((V_Q8_OFFSET ? (int)w.ub[i] : (int)w.b[i]) * a.b[i]);
    return acc;
}
/* The same for w unsigned and at most 63. */
VI_FN vi_dot4_small(vi acc, vi w, vi a) {
    return vi_dot4(acc, w, a);
}
/* Adds `value` to the bytes whose bit is set in bits[0..V_LANES/2): bit i of byte j is byte 8j+i. */
VI_FN vi_add_where(vi a, const uint8_t *bits, vi value) {
    V_EACH_BYTE(a.ub[i] + (bits[i / 8] >> i % 8 & 1) * value.ub[i]);
}
/* The top bit of each byte, as vi_add_where takes them. */
static inline void vi_store_bits(uint8_t *bits, vi a) {
    memset(bits, 0, V_LANES / 2);
    for (int i = 0; i < 4 * V_LANES; i++) bits[i / 8] = (uint8_t)(bits[i / 8] | (a.ub[i] >> 7) << i % 8);
}
/* out[c][r] = lane c of in[r], any 32-bit lanes; the stride in floats. */
static inline void v_transpose(const vf in[V_LANES], float *out, int64_t out_stride) {
    for (int c = 0; c < V_LANES; c++) {
        for (int r = 0; r < V_LANES; r++) memcpy(out + c * out_stride + r, &in[r].bits[c], sizeof *out);
    }
}
/* out[k] lane r: dword k of the 16 bytes of row r. */
static inline void v_quads(const uint8_t *in, int64_t stride_bytes, vi out[4]) {
    for (int k = 0; k < 4; k++) {
        for (int r = 0; r < V_LANES; r++) memcpy(&out[k].d[r], in + r * stride_bytes + 4 * k, 4);
    }
}
/* 16 bytes, as vi_lookup takes them. */
VI_FN vi_load_table(const void *p) {
    V_EACH_BYTE(((const uint8_t *)p)[i % 16]);
}
/* Each byte of `index`, at most 15, becomes the byte of the table in that place. */
VI_FN vi_lookup(vi table, vi index) {
    V_EACH_BYTE(table.ub[index.ub[i]]);
}
/* Byte i of lane r becomes byte i * V_LANES + r. */
VI_FN vi_planes(vi a) {
    V_EACH_BYTE(a.ub[i % V_LANES * 4 + i / V_LANES]);
}
/* Half i of lane r becomes half i * V_LANES + r. */
VI_FN vi_halves(vi a) {
    V_EACH_WORD(a.uw[i % V_LANES * 2 + i / V_LANES]);
}
/* 16 floats, scaled and rounded to nearest even, split into (high << bits) + low, low in [-2^(bits-1), 2^(bits-1)).
 * Returns the sum of the 16 integers. */
static inline int32_t v_split16(const float *x, float scale, int bits, int8_t *high, int8_t *low) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) {
        const int32_t q = v_integer(x[i] * scale), top = (q + (1 << (bits - 1))) >> bits;
        high[i] = (int8_t)v_saturated(top, INT8_MAX);
        low[i] = (int8_t)v_saturated(q - top * (1 << bits), INT8_MAX);
        sum += q;
    }
    return sum;
}
/* 32 floats, scaled and rounded to nearest even, as words of 16 bits, those of every four as 0 2 1 3; returns the sum
 * of the integers. */
static inline int32_t v_round32(const float *x, float scale, int16_t *out) {
    static const int8_t place[4] = {0, 2, 1, 3};
    int32_t sum = 0;
    for (int i = 0; i < 32; i++) {
        const int32_t q = v_integer(x[i] * scale);
        out[i / 4 * 4 + place[i % 4]] = (int16_t)v_saturated(q, INT16_MAX);
        sum += q;
    }
    return sum;
}

#endif
