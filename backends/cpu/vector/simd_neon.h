/* The shim for AArch64: two NEON registers a vector, so that panels are those of 8 lanes. Dot products of bytes
 * take one instruction where the CPU has them (dotprod), else four. */
#ifndef NLM_CPU_SIMD_NEON_H
#define NLM_CPU_SIMD_NEON_H

#include <arm_neon.h>

#include "cpu/vector/shape_neon.h"

typedef struct vf {
    float32x4_t low, high;
} vf;
typedef struct vi {
    int32x4_t low, high;
} vi;
#define VF_FN static inline __attribute__((always_inline)) vf
#define VI_FN static inline __attribute__((always_inline)) vi

/* The halves seen as other lanes. */
#define V_F32(a) vreinterpretq_f32_s32(a)
#define V_S32(a) vreinterpretq_s32_f32(a)
#define V_S8(a)  vreinterpretq_s8_s32(a)
#define V_U8(a)  vreinterpretq_u8_s32(a)
#define V_U16(a) vreinterpretq_u16_s32(a)

VF_FN vf_zero(void) {
    return (vf){vdupq_n_f32(0), vdupq_n_f32(0)};
}
VF_FN vf_set1(float a) {
    return (vf){vdupq_n_f32(a), vdupq_n_f32(a)};
}
VF_FN vf_load(const float *p) {
    return (vf){vld1q_f32(p), vld1q_f32(p + 4)};
}
VF_FN vf_load_n(const float *p, int n) {
    if (n >= V_LANES) return vf_load(p);
    float part[V_LANES] = {0};
    for (int i = 0; i < n; i++) part[i] = p[i];
    return vf_load(part);
}
VF_FN vf_load_f16(const void *p) {
    const float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(p));
    return (vf){vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}
VF_FN vf_load_bf16(const void *p) {
    const uint16x8_t halves = vreinterpretq_u16_u8(vld1q_u8(p));
    return (vf){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)),
                vreinterpretq_f32_u32(vshll_high_n_u16(halves, 16))};
}
/* V_LANES bytes as integers */
VF_FN vf_load_u8(const void *p) {
    const uint16x8_t words = vmovl_u8(vld1_u8(p));
    return (vf){vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))};
}
VF_FN vf_load_i8(const void *p) {
    const int16x8_t words = vmovl_s8(vld1_s8(p));
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
}
static inline __attribute__((always_inline)) void vf_store(float *p, vf a) {
    vst1q_f32(p, a.low);
    vst1q_f32(p + 4, a.high);
}
static inline __attribute__((always_inline)) void vf_store_n(float *p, vf a, int n) {
    float part[V_LANES];
    if (n >= V_LANES) {
        vf_store(p, a);
        return;
    }
    vf_store(part, a);
    for (int i = 0; i < n; i++) p[i] = part[i];
}
static inline __attribute__((always_inline)) void vf_store_f16(void *p, vf a) {
    vst1q_u8(p, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.low), a.high)));
}
VF_FN vf_add(vf a, vf b) {
    return (vf){vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)};
}
VF_FN vf_sub(vf a, vf b) {
    return (vf){vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)};
}
VF_FN vf_mul(vf a, vf b) {
    return (vf){vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)};
}
VF_FN vf_div(vf a, vf b) {
    return (vf){vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)};
}
/* The second where one is NaN, as on x86: the instructions of that name give NaN. */
VF_FN vf_max(vf a, vf b) {
    return (vf){vbslq_f32(vcgtq_f32(a.low, b.low), a.low, b.low),
                vbslq_f32(vcgtq_f32(a.high, b.high), a.high, b.high)};
}
VF_FN vf_min(vf a, vf b) {
    return (vf){vbslq_f32(vcltq_f32(a.low, b.low), a.low, b.low),
                vbslq_f32(vcltq_f32(a.high, b.high), a.high, b.high)};
}
/* a*b + c, one rounding */
VF_FN vf_fma(vf a, vf b, vf c) {
    return (vf){vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
/* acc + a*b, one rounding, for a tile of sums that fills the registers. */
VF_FN vf_accumulate(vf acc, vf a, vf b) {
    return vf_fma(a, b, acc);
}
VF_FN vf_neg(vf a) {
    return (vf){vnegq_f32(a.low), vnegq_f32(a.high)};
}
/* Neighbours change places: lanes 1 0 3 2 ... */
VF_FN vf_swap_pairs(vf a) {
    return (vf){vrev64q_f32(a.low), vrev64q_f32(a.high)};
}
VF_FN vf_abs(vf a) {
    return (vf){vabsq_f32(a.low), vabsq_f32(a.high)};
}
VF_FN vf_sqrt(vf a) {
    return (vf){vsqrtq_f32(a.low), vsqrtq_f32(a.high)};
}
VF_FN vf_round(vf a) {
    return (vf){vrndnq_f32(a.low), vrndnq_f32(a.high)};
}
/* a * 2^n, n whole, a and the result normal */
VF_FN vf_scale2(vf a, vf n) {
    const int32x4_t low = vshlq_n_s32(vcvtq_s32_f32(n.low), 23), high = vshlq_n_s32(vcvtq_s32_f32(n.high), 23);
    return (vf){V_F32(vaddq_s32(V_S32(a.low), low)), V_F32(vaddq_s32(V_S32(a.high), high))};
}
/* 0 where x < limit, else a: also where x is NaN */
VF_FN vf_unless_lt(vf a, vf x, vf limit) {
    const int32x4_t low = vreinterpretq_s32_u32(vcltq_f32(x.low, limit.low));
    const int32x4_t high = vreinterpretq_s32_u32(vcltq_f32(x.high, limit.high));
    return (vf){V_F32(vbicq_s32(V_S32(a.low), low)), V_F32(vbicq_s32(V_S32(a.high), high))};
}
/* ((0+4)+(2+6)) + ((1+5)+(3+7)) */
static inline __attribute__((always_inline)) float vf_sum(vf a) {
    const float32x4_t four = vaddq_f32(a.low, a.high);
    return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}
static inline __attribute__((always_inline)) float vf_hmax(vf a) {
    return vmaxvq_f32(vmaxq_f32(a.low, a.high));
}
/* The greater of magnitudes, NaN above all: their bits are ordered as integers. */
VF_FN vf_max_magnitude(vf a, vf b) {
    return (vf){V_F32(vmaxq_s32(V_S32(a.low), V_S32(b.low))), V_F32(vmaxq_s32(V_S32(a.high), V_S32(b.high)))};
}
static inline __attribute__((always_inline)) float vf_hmax_magnitude(vf a) {
    const int32_t bits = vmaxvq_s32(vmaxq_s32(V_S32(a.low), V_S32(a.high)));
    float greatest;
    memcpy(&greatest, &bits, sizeof greatest);
    return greatest;
}

/* half a vector from each */
VI_FN vi_load_2(const void *low, const void *high) {
    return (vi){vreinterpretq_s32_u8(vld1q_u8(low)), vreinterpretq_s32_u8(vld1q_u8(high))};
}
VI_FN vi_load(const void *p) {
    return vi_load_2(p, (const uint8_t *)p + 16);
}
static inline __attribute__((always_inline)) void vi_store(void *p, vi a) {
    vst1q_u8(p, V_U8(a.low));
    vst1q_u8((uint8_t *)p + 16, V_U8(a.high));
}
/* Integers of 16 bits, within their range. */
static inline __attribute__((always_inline)) int16x8_t v_words(vi a) {
    return vmovn_high_s32(vmovn_s32(a.low), a.high);
}
/* Rounded to nearest even, V_LANES bytes; within [-128, 127]. */
static inline __attribute__((always_inline)) void vf_store_i8(void *p, vf a) {
    vst1_s8(p, vmovn_s16(v_words((vi){vcvtnq_s32_f32(a.low), vcvtnq_s32_f32(a.high)})));
}
VF_FN vf_bits(vi a) {
    return (vf){V_F32(a.low), V_F32(a.high)};
}
VI_FN vi_set1(int32_t a) {
    return (vi){vdupq_n_s32(a), vdupq_n_s32(a)};
}
VI_FN vi_set1_u8(uint8_t a) {
    return (vi){vreinterpretq_s32_u8(vdupq_n_u8(a)), vreinterpretq_s32_u8(vdupq_n_u8(a))};
}
VI_FN vi_and(vi a, vi b) {
    return (vi){vandq_s32(a.low, b.low), vandq_s32(a.high, b.high)};
}
VI_FN vi_or(vi a, vi b) {
    return (vi){vorrq_s32(a.low, b.low), vorrq_s32(a.high, b.high)};
}
VI_FN vi_sub_u8(vi a, vi b) {
    return (vi){vreinterpretq_s32_u8(vsubq_u8(V_U8(a.low), V_U8(b.low))),
                vreinterpretq_s32_u8(vsubq_u8(V_U8(a.high), V_U8(b.high)))};
}
/* V_LANES bytes as dwords */
VI_FN vi_load_u8(const void *p) {
    const uint16x8_t words = vmovl_u8(vld1_u8(p));
    return (vi){vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words))), vreinterpretq_s32_u32(vmovl_high_u16(words))};
}
VI_FN vi_load_i8(const void *p) {
    const int16x8_t words = vmovl_s8(vld1_s8(p));
    return (vi){vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)};
}
/* The low dwords of the products. */
VI_FN vi_mul32(vi a, vi b) {
    return (vi){vmulq_s32(a.low, b.low), vmulq_s32(a.high, b.high)};
}
VI_FN vi_add(vi a, vi b) {
    return (vi){vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}
/* As operators: counts may be constants that only the optimiser knows for such. */
VI_FN vi_shl32(vi a, int n) {
    return (vi){a.low << n, a.high << n};
}
VI_FN vi_shr32(vi a, int n) {
    return (vi){(int32x4_t)((uint32x4_t)a.low >> (uint32_t)n), (int32x4_t)((uint32x4_t)a.high >> (uint32_t)n)};
}
VI_FN vi_sra32(vi a, int n) {
    return (vi){a.low >> n, a.high >> n};
}
VI_FN vi_shr16(vi a, int n) {
    return (vi){(int32x4_t)(V_U16(a.low) >> (uint16_t)n), (int32x4_t)(V_U16(a.high) >> (uint16_t)n)};
}
VI_FN vi_shl16(vi a, int n) {
    return (vi){(int32x4_t)(V_U16(a.low) << (uint16_t)n), (int32x4_t)(V_U16(a.high) << (uint16_t)n)};
}
VF_FN vf_from_i32(vi a) {
    return (vf){vcvtq_f32_s32(a.low), vcvtq_f32_s32(a.high)};
}

/* acc[lane] += sum of 4: w (signed byte, as V_Q8_OFFSET is 0) * a (signed byte, not -128, so that two products fit
 * 16 bits). */
static inline __attribute__((always_inline)) int32x4_t v_dot4(int32x4_t acc, int8x16_t w, int8x16_t a) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, w, a);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(a)), high = vmull_high_s8(w, a);
    return vpadalq_s16(acc, vpaddq_s16(low, high));
#endif
}
VI_FN vi_dot4(vi acc, vi w, vi a) {
    return (vi){v_dot4(acc.low, V_S8(w.low), V_S8(a.low)), v_dot4(acc.high, V_S8(w.high), V_S8(a.high))};
}
/* The same for w unsigned and at most 63. */
VI_FN vi_dot4_small(vi acc, vi w, vi a) {
    return vi_dot4(acc, w, a);
}
/* Of each bit of a byte, those of two bytes. */
static inline __attribute__((always_inline)) uint8x16_t v_each_bit(void) {
    return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
}
static inline __attribute__((always_inline)) int32x4_t v_add_where(int32x4_t a, const uint8_t *bits,
                                                                   int32x4_t value) {
    const uint8x16_t spread = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
    const uint8x16_t is_set = vtstq_u8(spread, v_each_bit());
    return vreinterpretq_s32_u8(vaddq_u8(V_U8(a), vandq_u8(is_set, V_U8(value))));
}
/* Adds `value` to the bytes whose bit is set in bits[0..4): bit i of byte j is byte 8j+i. */
VI_FN vi_add_where(vi a, const uint8_t *bits, vi value) {
    return (vi){v_add_where(a.low, bits, value.low), v_add_where(a.high, bits + 2, value.high)};
}
/* out[k] = lane k of each of four. */
static inline __attribute__((always_inline)) void v_transpose_4(const int32x4_t in[4], int32x4_t out[4]) {
    const int64x2_t even_low = vreinterpretq_s64_s32(vtrn1q_s32(in[0], in[1]));
    const int64x2_t odd_low = vreinterpretq_s64_s32(vtrn2q_s32(in[0], in[1]));
    const int64x2_t even_high = vreinterpretq_s64_s32(vtrn1q_s32(in[2], in[3]));
    const int64x2_t odd_high = vreinterpretq_s64_s32(vtrn2q_s32(in[2], in[3]));
    out[0] = vreinterpretq_s32_s64(vtrn1q_s64(even_low, even_high));
    out[1] = vreinterpretq_s32_s64(vtrn1q_s64(odd_low, odd_high));
    out[2] = vreinterpretq_s32_s64(vtrn2q_s64(even_low, even_high));
    out[3] = vreinterpretq_s32_s64(vtrn2q_s64(odd_low, odd_high));
}
/* out[c][r] = lane c of in[r], any 32-bit lanes; the stride in floats. */
static inline __attribute__((always_inline)) void v_transpose(const vf in[V_LANES], float *out, int64_t out_stride) {
    for (int row = 0; row < V_LANES; row += 4) {
        int32x4_t low[4], high[4];
        for (int i = 0; i < 4; i++) {
            low[i] = V_S32(in[row + i].low);
            high[i] = V_S32(in[row + i].high);
        }
        v_transpose_4(low, low);
        v_transpose_4(high, high);
        for (int k = 0; k < 4; k++) {
            vst1q_f32(out + k * out_stride + row, V_F32(low[k]));
            vst1q_f32(out + (4 + k) * out_stride + row, V_F32(high[k]));
        }
    }
}
/* out[k] lane r: dword k of the 16 bytes of row r. */
static inline __attribute__((always_inline)) void v_quads(const uint8_t *in, int64_t stride_bytes, vi out[4]) {
    int32x4_t low[4], high[4];
    for (int i = 0; i < 4; i++) {
        const vi both = vi_load_2(in + i * stride_bytes, in + (4 + i) * stride_bytes);
        low[i] = both.low;
        high[i] = both.high;
    }
    v_transpose_4(low, low);
    v_transpose_4(high, high);
    for (int k = 0; k < 4; k++) out[k] = (vi){low[k], high[k]};
}
/* 16 bytes, as vi_lookup takes them. */
VI_FN vi_load_table(const void *p) {
    return vi_load_2(p, p);
}
/* Each byte of `index`, at most 15, becomes the byte of the table in that place. */
VI_FN vi_lookup(vi table, vi index) {
    return (vi){vreinterpretq_s32_u8(vqtbl1q_u8(V_U8(table.low), V_U8(index.low))),
                vreinterpretq_s32_u8(vqtbl1q_u8(V_U8(table.high), V_U8(index.high)))};
}
/* Byte i of lane r becomes byte i * V_LANES + r. */
VI_FN vi_planes(vi a) {
    static const uint8_t first[16] = {0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29};
    const uint8x16x2_t bytes = {{V_U8(a.low), V_U8(a.high)}};
    const uint8x16_t at = vld1q_u8(first);
    return (vi){vreinterpretq_s32_u8(vqtbl2q_u8(bytes, at)),
                vreinterpretq_s32_u8(vqtbl2q_u8(bytes, vaddq_u8(at, vdupq_n_u8(2))))};
}
/* Half i of lane r becomes half i * V_LANES + r. */
VI_FN vi_halves(vi a) {
    return (vi){vreinterpretq_s32_u16(vuzp1q_u16(V_U16(a.low), V_U16(a.high))),
                vreinterpretq_s32_u16(vuzp2q_u16(V_U16(a.low), V_U16(a.high)))};
}
/* The top bit of each byte, as vi_add_where takes them. */
static inline __attribute__((always_inline)) void vi_store_bits(uint8_t *bits, vi a) {
    const int32x4_t halves[2] = {a.low, a.high};
    for (int i = 0; i < 2; i++) {
        const uint8x16_t is_set = vreinterpretq_u8_s8(vshrq_n_s8(V_S8(halves[i]), 7));
        const uint8x16_t own = vandq_u8(is_set, v_each_bit());
        bits[2 * i] = vaddv_u8(vget_low_u8(own));
        bits[2 * i + 1] = vaddv_u8(vget_high_u8(own));
    }
}
/* 16 floats, scaled and rounded to nearest even, split into (high << bits) + low, low in [-2^(bits-1), 2^(bits-1)).
 * Returns the sum of the 16 integers. */
static inline __attribute__((always_inline)) int32_t v_split16(const float *x, float scale, int bits, int8_t *high,
                                                               int8_t *low) {
    int32x4_t sum = vdupq_n_s32(0);
    for (int i = 0; i < 16; i += 8) {
        const vf scaled = vf_mul(vf_load(x + i), vf_set1(scale));
        const vi q = {vcvtnq_s32_f32(scaled.low), vcvtnq_s32_f32(scaled.high)};
        const vi top = vi_sra32(vi_add(q, vi_set1(1 << (bits - 1))), bits), raised = vi_shl32(top, bits);
        const vi rest = {vsubq_s32(q.low, raised.low), vsubq_s32(q.high, raised.high)};
        vst1_s8(high + i, vmovn_s16(v_words(top)));
        vst1_s8(low + i, vmovn_s16(v_words(rest)));
        sum = vaddq_s32(sum, vaddq_s32(q.low, q.high));
    }
    return vaddvq_s32(sum);
}

#endif
