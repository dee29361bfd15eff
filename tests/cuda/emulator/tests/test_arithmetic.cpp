// Each arithmetic instruction beside plain C, on random and on particular operands. The PTX is written here.
#include <cfenv>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "rig.h"

namespace {

using u64 = uint64_t;
using u32 = uint32_t;
using i32 = int32_t;
using i64 = int64_t;

float f(u64 bits) {
    const u32 low = static_cast<u32>(bits);
    float x;
    std::memcpy(&x, &low, 4);
    return x;
}
double g(u64 bits) {
    double x;
    std::memcpy(&x, &bits, 8);
    return x;
}
u64 of(float x) {
    u32 bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
u64 of(double x) {
    u64 bits;
    std::memcpy(&bits, &x, 8);
    return bits;
}

// Short floating-point numbers by their definition: all their values, and the nearest of them by search.
struct short_format {
    int fraction, bias, n_exponents;
    double value(u32 bits) const {
        const int e = static_cast<int>(bits >> fraction) & (n_exponents - 1);
        const int m = static_cast<int>(bits & ((1u << fraction) - 1));
        const double size = std::ldexp((e ? 1 << fraction : 0) + m, (e ? e : 1) - bias - fraction);
        return bits >> fraction & static_cast<u32>(n_exponents) ? -size : size;
    }
    u32 sign() const {
        return static_cast<u32>(n_exponents) << fraction;
    }
    // Of a finite number; ties to even; infinity stands where the next power of two would.
    u32 nearest(long double x) const {
        const long double size = std::fabs(x);
        u32 low = 0, high = static_cast<u32>(n_exponents - 1) << fraction;
        while (high - low > 1) {
            const u32 middle = (low + high) / 2;
            (value(middle) <= size ? low : high) = middle;
        }
        const long double top = high == static_cast<u32>(n_exponents - 1) << fraction
                                    ? std::ldexp(1.0L, n_exponents - 1 - bias)
                                    : static_cast<long double>(value(high));
        const long double below = size - value(low), above = top - size;
        const u32 bits = below < above || (below == above && !(low & 1)) ? low : high;
        return bits | (std::signbit(x) ? sign() : 0);
    }
};
const short_format half = {10, 15, 32}, brain = {7, 127, 256};

// Exact sums of products of halves fit a long double's 64 bits of fraction.
u64 in_half(const short_format &k, u64 a, u64 b, u64 c,
            const std::function<long double(double, double, double)> &op) {
    return k.nearest(op(k.value(a & 0xffff), k.value(b & 0xffff), k.value(c & 0xffff)));
}

template <typename F>
auto rounded(int mode, F op) {
    std::fesetround(mode);
    const auto value = op();
    std::fesetround(FE_TONEAREST);
    return value;
}

enum operands { words, singles, doubles, halves, brains };

struct row {
    const char *ptx; // registers: %a %b %c to %d, of 16, 32 or 64 bits as `bits` says; %e: 64, %w: 32, %h: 16, %p
    int bits;
    operands kind;
    std::function<u64(u64, u64, u64)> reference;
};

#define ROW(ptx, bits, kind, ...)                                                                            \
    {                                                                                                        \
        ptx, bits, kind, []([[maybe_unused]] u64 a, [[maybe_unused]] u64 b, [[maybe_unused]] u64 c) -> u64 { \
            return __VA_ARGS__;                                                                              \
        }                                                                                                    \
    }
#define A32 static_cast<u32>(a)
#define B32 static_cast<u32>(b)
#define C32 static_cast<u32>(c)
#define SA  static_cast<i32>(a)
#define SB  static_cast<i32>(b)
#define SC  static_cast<i32>(c)
#define LA  static_cast<i64>(a)
#define LB  static_cast<i64>(b)

u32 rotated(u32 x, u32 by) {
    return by ? x << by | x >> (32 - by) : x;
}
i64 clamped(i64 x, i64 low, i64 high) {
    return x < low ? low : x > high ? high : x;
}
// Beside a NaN stands the number; -0 is less than +0.
template <typename T>
T lesser(T x, T y) {
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) ? y : x;
    if (x == y) return std::signbit(x) ? x : y;
    return x < y ? x : y;
}
template <typename T>
T greater(T x, T y) {
    return -lesser(-x, -y);
}
u32 bytes_picked(u32 a, u32 b, u32 s) {
    unsigned char from[8], to[4];
    std::memcpy(from, &a, 4);
    std::memcpy(from + 4, &b, 4);
    for (int i = 0; i < 4; i++) {
        const u32 n = s >> 4 * i & 15;
        to[i] = n < 8 ? from[n] : from[n - 8] > 127 ? 255 : 0;
    }
    u32 y;
    std::memcpy(&y, to, 4);
    return y;
}
i64 to_int(double x, double low, double high) {
    return std::isnan(x) ? 0 : static_cast<i64>(std::fmin(std::fmax(x, low), high));
}

const row rows[] = {
    // Integers of 32 bits.
    ROW("add.s32 %d, %a, %b;", 32, words, A32 + B32),
    ROW("sub.u32 %d, %a, %b;", 32, words, A32 - B32),
    ROW("mul.lo.s32 %d, %a, %b;", 32, words, A32 *B32),
    ROW("mul.hi.u32 %d, %a, %b;", 32, words, u64{A32} * B32 >> 32),
    ROW("mul.hi.s32 %d, %a, %b;", 32, words, static_cast<u32>(i64{SA} * SB >> 32)),
    ROW("mad.lo.u32 %d, %a, %b, %c;", 32, words, A32 *B32 + C32),
    ROW("mad.hi.u32 %d, %a, %b, %c;", 32, words, static_cast<u32>((u64{A32} * B32 >> 32) + C32)),
    ROW("mul.wide.u32 %e, %a, %b;", 32, words, u64{A32} * B32),
    ROW("mul.wide.s32 %e, %a, %b;", 32, words, static_cast<u64>(i64{SA} * SB)),
    ROW("mul24.lo.u32 %d, %a, %b;", 32, words, static_cast<u32>((A32 & 0xffffff) * u64{B32 & 0xffffff})),
    ROW("mul24.hi.s32 %d, %a, %b;", 32, words,
        static_cast<u32>((i64{static_cast<i32>(A32 << 8) / 256} * i64{static_cast<i32>(B32 << 8) / 256}) >> 16)),
    ROW("add.sat.s32 %d, %a, %b;", 32, words, static_cast<u32>(clamped(i64{SA} + SB, INT32_MIN, INT32_MAX))),
    ROW("sub.sat.s32 %d, %a, %b;", 32, words, static_cast<u32>(clamped(i64{SA} - SB, INT32_MIN, INT32_MAX))),
    ROW("min.s32 %d, %a, %b;", 32, words, static_cast<u32>(SA < SB ? SA : SB)),
    ROW("max.u32 %d, %a, %b;", 32, words, A32 > B32 ? A32 : B32),
    ROW("or.b32 %b, %b, 1; div.u32 %d, %a, %b;", 32, words, A32 / (B32 | 1)),
    ROW("or.b32 %b, %b, 2; rem.u32 %d, %a, %b;", 32, words, A32 % (B32 | 2)),
    ROW("or.b32 %b, %b, 2; div.s32 %d, %a, %b;", 32, words, static_cast<u32>(i64{SA} / static_cast<i32>(B32 | 2))),
    ROW("or.b32 %b, %b, 2; rem.s32 %d, %a, %b;", 32, words, static_cast<u32>(i64{SA} % static_cast<i32>(B32 | 2))),
    ROW("abs.s32 %d, %a;", 32, words, static_cast<u32>(SA < 0 ? 0 - A32 : A32)),
    ROW("neg.s32 %d, %a;", 32, words, 0 - A32),
    ROW("and.b32 %d, %a, %b;", 32, words, A32 &B32),
    ROW("xor.b32 %d, %a, %b;", 32, words, A32 ^ B32),
    ROW("not.b32 %d, %a;", 32, words, static_cast<u32>(~A32)),
    ROW("cnot.b32 %d, %a;", 32, words, A32 == 0),
    ROW("and.b32 %b, %b, 63; shl.b32 %d, %a, %b;", 32, words, (b & 63) > 31 ? 0 : A32 << (b & 63)),
    ROW("and.b32 %b, %b, 63; shr.u32 %d, %a, %b;", 32, words, (b & 63) > 31 ? 0 : A32 >> (b & 63)),
    ROW("and.b32 %b, %b, 63; shr.s32 %d, %a, %b;", 32, words, static_cast<u32>(i64{SA} >> (b & 63))),
    ROW("shf.l.wrap.b32 %d, %a, %a, %b;", 32, words, rotated(A32, B32 & 31)),
    ROW("shf.r.clamp.b32 %d, %a, %b, 8;", 32, words, static_cast<u32>((u64{B32} << 32 | A32) >> 8)),
    ROW("popc.b32 %d, %a;", 32, words, static_cast<u32>(__builtin_popcount(A32))),
    ROW("clz.b32 %d, %a;", 32, words, A32 ? static_cast<u32>(__builtin_clz(A32)) : 32),
    ROW("brev.b32 %d, %a; brev.b32 %d, %d; brev.b32 %d, %d;", 32, words, [&] {
        u32 y = 0;
        for (int i = 0; i < 32; i++) y = y << 1 | (A32 >> i & 1);
        return y;
    }()),
    ROW("bfind.u32 %d, %a;", 32, words, A32 ? static_cast<u32>(31 - __builtin_clz(A32)) : ~0u),
    ROW("bfe.u32 %d, %a, 5, 9;", 32, words, A32 >> 5 & 511),
    ROW("bfe.s32 %d, %a, 5, 9;", 32, words, static_cast<u32>(static_cast<i32>(A32 << 18) >> 23)),
    ROW("bfe.s32 %d, %a, 28, 9;", 32, words, static_cast<u32>(SA >> 28)),
    ROW("bfi.b32 %d, %a, %b, 7, 11;", 32, words, (B32 & ~(2047u << 7)) | (A32 & 2047) << 7),
    ROW("prmt.b32 %d, %a, %b, %c;", 32, words, bytes_picked(A32, B32, C32)),
    ROW("lop3.b32 %d, %a, %b, %c, 0xe8;", 32, words, (A32 & B32) | (A32 & C32) | (B32 & C32)),
    ROW("lop3.b32 %d, %a, %b, %c, 0x1b;", 32, words, [&] {
        u32 y = 0;
        for (int i = 0; i < 32; i++) {
            const u32 k = (A32 >> i & 1) * 4 + (B32 >> i & 1) * 2 + (C32 >> i & 1);
            y |= (0x1bu >> k & 1) << i;
        }
        return y;
    }()),
    ROW("sad.s32 %d, %a, %b, %c;", 32, words, static_cast<u32>(C32 + static_cast<u64>(std::llabs(i64{SA} - SB)))),
    ROW("dp4a.s32.u32 %d, %a, %b, %c;", 32, words, [&] {
        i64 sum = SC;
        for (int i = 0; i < 4; i++) sum += i64{static_cast<signed char>(a >> 8 * i)} * static_cast<unsigned char>(b >> 8 * i);
        return static_cast<u32>(sum);
    }()),
    ROW("dp2a.hi.s32.s32 %d, %a, %b, %c;", 32, words, [&] {
        i64 sum = SC;
        for (int i = 0; i < 2; i++) sum += i64{static_cast<short>(a >> 16 * i)} * static_cast<signed char>(b >> (16 + 8 * i));
        return static_cast<u32>(sum);
    }()),
    ROW("slct.b32.s32 %d, %a, %b, %c;", 32, words, SC >= 0 ? A32 : B32),
    ROW("{ .reg .pred q; setp.ne.b32 q, %c, 0; setp.lt.and.s32 %p, %a, %b, q; selp.b32 %d, %a, %b, %p; }", 32, words,
        SA < SB && C32 ? A32 : B32),
    ROW("setp.hi.u32 %p, %a, %b; selp.b32 %d, %c, %b, %p;", 32, words, A32 > B32 ? C32 : B32),
    ROW("set.ge.u32.s32 %d, %a, %b;", 32, words, SA >= SB ? ~0u : 0),
    // Of 64, and carries.
    ROW("add.s64 %d, %a, %b;", 64, words, a + b),
    ROW("mul.lo.s64 %d, %a, %b;", 64, words, a *b),
    ROW("mul.hi.u64 %d, %a, %b;", 64, words, static_cast<u64>(static_cast<unsigned __int128>(a) * b >> 64)),
    ROW("mul.hi.s64 %d, %a, %b;", 64, words, static_cast<u64>(static_cast<__int128>(LA) * LB >> 64)),
    ROW("mad.lo.s64 %d, %a, %b, %c;", 64, words, a *b + c),
    ROW("or.b64 %b, %b, 2; div.s64 %d, %a, %b;", 64, words, static_cast<u64>(LA / static_cast<i64>(b | 2))),
    ROW("or.b64 %b, %b, 2; rem.u64 %d, %a, %b;", 64, words, a % (b | 2)),
    ROW("shr.s64 %d, %a, 13;", 64, words, static_cast<u64>(LA >> 13)),
    ROW("shl.b64 %d, %a, 63;", 64, words, a << 63),
    ROW("popc.b64 %w, %a;", 64, words, static_cast<u64>(__builtin_popcountll(a))),
    ROW("clz.b64 %w, %a;", 64, words, a ? static_cast<u64>(__builtin_clzll(a)) : 64),
    ROW("brev.b64 %d, %a;", 64, words, [&] {
        u64 y = 0;
        for (int i = 0; i < 64; i++) y = y << 1 | (a >> i & 1);
        return y;
    }()),
    ROW("bfe.u64 %d, %a, 30, 20;", 64, words, a >> 30 & 0xfffff),
    ROW("{ .reg .b32 l, h, m, n; mov.b64 {l, h}, %a; mov.b64 {m, n}, %b; add.cc.u32 l, l, m; addc.u32 h, h, n; "
        "mov.b64 %d, {l, h}; }", 64, words, a + b),
    ROW("{ .reg .b32 l, h, m, n; mov.b64 {l, h}, %a; mov.b64 {m, n}, %b; sub.cc.u32 l, l, m; subc.u32 h, h, n; "
        "mov.b64 %d, {l, h}; }", 64, words, a - b),
    ROW("{ .reg .b32 l, h, m, n, x, y; mov.b64 {l, h}, %a; mov.b64 {m, n}, %b; mul.lo.u32 x, l, m; mul.hi.u32 y, l, m; "
        "mad.lo.cc.u32 x, l, 5, x; madc.hi.u32 y, l, 5, y; mov.b64 %d, {x, y}; }", 64, words,
        u64{A32} * B32 + u64{A32} * 5),
    // Of 16.
    ROW("add.u16 %d, %a, %b;", 16, words, (a + b) & 0xffff),
    ROW("mul.lo.u16 %d, %a, %b;", 16, words, (a & 0xffff) * (b & 0xffff) & 0xffff),
    ROW("mul.wide.s16 %w, %a, %b;", 16, words, static_cast<u32>(i32{static_cast<short>(a)} * static_cast<short>(b))),
    ROW("max.s16 %d, %a, %b;", 16, words, static_cast<uint16_t>(std::max(static_cast<short>(a), static_cast<short>(b)))),
    ROW("shr.s16 %d, %a, 3;", 16, words, static_cast<uint16_t>(static_cast<short>(a) >> 3)),
    // Conversions of integers.
    ROW("cvt.s32.s8 %d, %a;", 32, words, static_cast<u32>(i32{static_cast<signed char>(a)})),
    ROW("cvt.u32.u8 %d, %a;", 32, words, a & 255),
    ROW("cvt.s64.s32 %e, %a;", 32, words, static_cast<u64>(i64{SA})),
    ROW("cvt.sat.s8.s32 %d, %a;", 32, words, static_cast<u32>(clamped(SA, -128, 127))),
    ROW("cvt.sat.u8.s32 %d, %a;", 32, words, static_cast<u32>(clamped(SA, 0, 255))),
    ROW("cvt.rn.f32.s32 %d, %a;", 32, words, of(static_cast<float>(SA))),
    ROW("cvt.rz.f32.u32 %d, %a;", 32, words, of(rounded(FE_TOWARDZERO, [&] {
            volatile double x = A32;
            volatile float y = static_cast<float>(x);
            return static_cast<float>(y);
        }))),
    ROW("cvt.rn.f64.u64 %d, %a;", 64, words, of(static_cast<double>(a))),
    ROW("cvt.rn.f32.s64 %w, %a;", 64, words, of(static_cast<float>(LA))),
    ROW("cvt.rn.f16.s32 %h, %a;", 32, words, std::abs(double{static_cast<double>(SA)}) >= 65520
                                                 ? (SA < 0 ? 0xfc00u : 0x7c00u)
                                                 : half.nearest(SA)),
    // f32.
    ROW("add.f32 %d, %a, %b;", 32, singles, of(f(a) + f(b))),
    ROW("sub.rn.f32 %d, %a, %b;", 32, singles, of(f(a) - f(b))),
    ROW("mul.f32 %d, %a, %b;", 32, singles, of(f(a) * f(b))),
    ROW("div.rn.f32 %d, %a, %b;", 32, singles, of(f(a) / f(b))),
    ROW("fma.rn.f32 %d, %a, %b, %c;", 32, singles, of(std::fma(f(a), f(b), f(c)))),
    ROW("add.rz.f32 %d, %a, %b;", 32, singles, of(rounded(FE_TOWARDZERO, [&] {
            volatile float x = f(a), y = f(b), z = x + y;
            return static_cast<float>(z);
        }))),
    ROW("mul.rp.f32 %d, %a, %b;", 32, singles, of(rounded(FE_UPWARD, [&] {
            volatile float x = f(a), y = f(b), z = x * y;
            return static_cast<float>(z);
        }))),
    ROW("fma.rm.f32 %d, %a, %b, %c;", 32, singles, of(rounded(FE_DOWNWARD, [&] {
            volatile float x = f(a), y = f(b), w = f(c);
            volatile float z = std::fma(x, y, w);
            return static_cast<float>(z);
        }))),
    ROW("add.sat.f32 %d, %a, %b;", 32, singles, of(std::isnan(f(a) + f(b)) ? 0 : std::fmin(std::fmax(f(a) + f(b), 0.0f), 1.0f) + 0.0f)),
    ROW("min.f32 %d, %a, %b;", 32, singles, of(lesser(f(a), f(b)))),
    ROW("max.f32 %d, %a, %b;", 32, singles, of(greater(f(a), f(b)))),
    ROW("max.NaN.f32 %d, %a, %b;", 32, singles, of(std::isnan(f(a)) || std::isnan(f(b)) ? NAN : std::fmax(f(a), f(b)))),
    ROW("abs.f32 %d, %a;", 32, singles, a & 0x7fffffff),
    ROW("neg.f32 %d, %a;", 32, singles, A32 ^ 0x80000000u),
    ROW("copysign.f32 %d, %a, %b;", 32, singles, (A32 & 0x80000000u) | (B32 & 0x7fffffff)),
    ROW("sqrt.rn.f32 %d, %a;", 32, singles, of(std::sqrt(f(a)))),
    ROW("rcp.rn.f32 %d, %a;", 32, singles, of(1 / f(a))),
    ROW("mul.ftz.f32 %d, %a, 0f0A000000;", 32, singles, of([&] {
            const float x = std::fpclassify(f(a)) == FP_SUBNORMAL ? std::copysign(0.0f, f(a)) : f(a);
            const float y = x * f(0x0a000000);
            return std::fpclassify(y) == FP_SUBNORMAL ? std::copysign(0.0f, y) : y;
        }())),
    ROW("setp.lt.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", 32, singles, f(a) < f(b)),
    ROW("setp.geu.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", 32, singles, !(f(a) < f(b))),
    ROW("setp.ne.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", 32, singles, f(a) < f(b) || f(a) > f(b)),
    ROW("setp.neu.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", 32, singles, f(a) != f(b)),
    ROW("setp.nan.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", 32, singles, std::isnan(f(a)) || std::isnan(f(b))),
    ROW("testp.subnormal.f32 %p, %a; selp.u32 %d, 1, 0, %p;", 32, singles, std::fpclassify(f(a)) == FP_SUBNORMAL),
    ROW("cvt.rzi.s32.f32 %d, %a;", 32, singles, static_cast<u32>(to_int(std::trunc(f(a)), INT32_MIN, INT32_MAX))),
    ROW("cvt.rni.u32.f32 %d, %a;", 32, singles, static_cast<u32>(to_int(std::nearbyint(f(a)), 0, UINT32_MAX))),
    ROW("cvt.rmi.s32.f32 %d, %a;", 32, singles, static_cast<u32>(to_int(std::floor(f(a)), INT32_MIN, INT32_MAX))),
    ROW("cvt.rzi.s8.f32 %d, %a;", 32, singles, static_cast<u32>(to_int(std::trunc(f(a)), -128, 127))),
    ROW("cvt.rpi.f32.f32 %d, %a;", 32, singles, of(std::ceil(f(a)))),
    ROW("cvt.f64.f32 %e, %a;", 32, singles, of(double{f(a)})),
    ROW("cvt.rn.tf32.f32 %d, %a; and.b32 %d, %d, 0xffffe000;", 32, singles, std::isfinite(f(a)) ? [&] {
        const u32 low = A32 & 0x1fff, up = low > 0x1000 || (low == 0x1000 && A32 & 0x2000);
        return (A32 & ~0x1fffu) + (up ? 0x2000 : 0);
    }() : A32 & 0xffffe000u),
    // f64.
    ROW("add.f64 %d, %a, %b;", 64, doubles, of(g(a) + g(b))),
    ROW("mul.rn.f64 %d, %a, %b;", 64, doubles, of(g(a) * g(b))),
    ROW("fma.rn.f64 %d, %a, %b, %c;", 64, doubles, of(std::fma(g(a), g(b), g(c)))),
    ROW("div.rn.f64 %d, %a, %b;", 64, doubles, of(g(a) / g(b))),
    ROW("sqrt.rn.f64 %d, %a;", 64, doubles, of(std::sqrt(g(a)))),
    ROW("max.f64 %d, %a, %b;", 64, doubles, of(greater(g(a), g(b)))),
    ROW("setp.gt.f64 %p, %a, %b; selp.b64 %d, %a, %b, %p;", 64, doubles, g(a) > g(b) ? a : b),
    ROW("cvt.rn.f32.f64 %w, %a;", 64, doubles, of(static_cast<float>(g(a)))),
    ROW("cvt.rm.f32.f64 %w, %a;", 64, doubles, of(rounded(FE_DOWNWARD, [&] {
            volatile double x = g(a);
            volatile float y = static_cast<float>(x);
            return static_cast<float>(y);
        }))),
    ROW("cvt.rzi.s32.f64 %w, %a;", 64, doubles, std::isnan(g(a)) ? 0x80000000u
        : static_cast<u32>(to_int(std::trunc(g(a)), INT32_MIN, INT32_MAX))),
    // Halves.
    ROW("cvt.f32.f16 %w, %a;", 16, halves, of(static_cast<float>(half.value(a & 0xffff)))),
    ROW("cvt.f32.bf16 %w, %a;", 16, brains, of(static_cast<float>(brain.value(a & 0xffff)))),
    ROW("add.f16 %d, %a, %b;", 16, halves, in_half(half, a, b, c, [](double x, double y, double) { return 0.0L + x + y; })),
    ROW("sub.f16 %d, %a, %b;", 16, halves, in_half(half, a, b, c, [](double x, double y, double) { return 0.0L + x - y; })),
    ROW("mul.f16 %d, %a, %b;", 16, halves, in_half(half, a, b, c, [](double x, double y, double) { return 1.0L * x * y; })),
    ROW("fma.rn.f16 %d, %a, %b, %c;", 16, halves, in_half(half, a, b, c, [](double x, double y, double z) { return 1.0L * x * y + z; })),
    ROW("fma.rn.bf16 %d, %a, %b, %c;", 16, brains, in_half(brain, a, b, c, [](double x, double y, double z) { return 1.0L * x * y + z; })),
    ROW("mul.bf16 %d, %a, %b;", 16, brains, in_half(brain, a, b, c, [](double x, double y, double) { return 1.0L * x * y; })),
    ROW("max.f16 %d, %a, %b;", 16, halves, half.value(a & 0xffff) > half.value(b & 0xffff) ? a & 0xffff : b & 0xffff),
    ROW("neg.f16 %d, %a;", 16, halves, (a & 0xffff) ^ 0x8000),
    ROW("setp.lt.f16 %p, %a, %b; selp.b16 %d, %a, %b, %p;", 16, halves,
        half.value(a & 0xffff) < half.value(b & 0xffff) ? a & 0xffff : b & 0xffff),
    ROW("cvt.rzi.s32.f16 %w, %a;", 16, halves, static_cast<u32>(static_cast<i32>(half.value(a & 0xffff)))),
    ROW("{ .reg .b32 x, y, z; mov.b32 x, {%a, %b}; mov.b32 y, {%b, %c}; mul.f16x2 z, x, y; mov.b32 {%h, %d}, z; mov.b16 %d, %d; }", 16,
        halves, in_half(half, b, c, c, [](double x, double y, double) { return 1.0L * x * y; })),
    ROW("{ .reg .b32 z; cvt.rn.f16x2.f32 z, %a, %b; shr.u32 %d, z, 16; }", 32, singles,
        !std::isfinite(f(a)) || std::fabs(f(a)) >= 65520 ? (std::isnan(f(a)) ? 0x7fff : std::signbit(f(a)) ? 0xfc00 : 0x7c00)
                                                         : half.nearest(f(a))),
    ROW("cvt.rn.bf16.f32 %h, %a; cvt.u32.u16 %d, %h;", 32, singles,
        std::isnan(f(a)) ? 0x7fff : std::isinf(f(a)) ? A32 >> 16 : brain.nearest(f(a))),
};

u64 draw(std::mt19937_64 &random, operands kind, int bits) {
    static const u64 particular32[] = {0,          1,          0x80000000, 0x7fffffff, 0xffffffff, 0x3f800000,
                                       0x00800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001, 0x477fe000,
                                       0x477ff000, 0x4f000000, 0xcf000000, 0x3f000000};
    static const u64 particular64[] = {
        0, 1, 1ull << 63, ~0ull, 0x3ff0000000000000, 0x7ff8000000000000, 0x41dfffffffc00000};
    const u64 r = random();
    if (kind == halves || kind == brains) {
        const u64 top = kind == halves ? 0x7c00 : 0x7f80; // finite, and no product or sum that is not
        u64 x = r & 0xffff;
        if (kind == halves && (x & 0x7c00) > 0x4c00) x ^= 0x4000;
        if (kind == brains) x = (x & 0x80ff) | (0x3c + (x >> 8 & 7)) << 8;
        return (x & top) == top ? 0 : x;
    }
    if (r % 7 == 0) return bits == 64 ? particular64[r / 7 % 7] : particular32[r / 7 % 16];
    const u64 x = random();
    if (kind == singles && r % 3) return (x & 0x807fffff) | (110 + r / 64 % 36) << 23;
    if (kind == doubles && r % 3) return (x & 0x800fffffffffffff) | (1000 + r / 64 % 46) << 52;
    return x;
}

std::string ptx_of_rows() {
    std::string text = ".version 7.8\n.target sm_90\n.address_size 64\n";
    int n = 0;
    for (const row &r : rows) {
        const std::string b = std::to_string(r.bits);
        text += ".visible .entry k" + std::to_string(n++) + "(.param .u64 o, .param .u64 i) {\n" +
                ".reg .pred %p; .reg .b" + b +
                " %a, %b, %c, %d; .reg .b16 %h; .reg .b32 %w, %t; .reg .b64 %e, %i, %o, %x;\n" +
                "ld.param.u64 %i, [i]; ld.param.u64 %o, [o]; mov.u32 %t, %tid.x; mul.wide.u32 %x, %t, 24; add.u64 "
                "%i, %i, %x;" +
                "mul.wide.u32 %x, %t, 8; add.u64 %o, %o, %x;\n" + "ld.global.b" + b + " %a, [%i]; ld.global.b" + b +
                " %b, [%i+8]; ld.global.b" + b + " %c, [%i+16];\n" + r.ptx + "\n";
        const std::string ptx = r.ptx;
        const auto stores = [&](const char *name) { return ptx.find(std::string(name) + ",") != std::string::npos; };
        const bool is_wide = stores("%e"), is_word = stores("%w"), is_half = stores("%h") && !stores("%d");
        text += is_wide   ? "st.global.b64 [%o], %e;"
                : is_word ? "st.global.b32 [%o], %w;"
                : is_half ? "st.global.b16 [%o], %h;"
                          : "st.global.b" + b + " [%o], %d;";
        text += "\nret;\n}\n";
    }
    return text;
}

bool are_same(const row &r, u64 got, u64 wanted) {
    if (got == wanted) return true;
    if (r.kind == singles)
        return std::isnan(f(got)) && std::isnan(f(wanted)) && (std::strstr(r.ptx, "%e") == nullptr);
    if (r.kind == doubles || std::strstr(r.ptx, "f64.f32")) return std::isnan(g(got)) && std::isnan(g(wanted));
    return false;
}

} // namespace

int main() {
    char why[4000] = "";
    const emu_module *module = emu_module_open(ptx_of_rows().c_str(), why, sizeof why);
    CHECK(module != nullptr, why);
    if (!module) return 1;
    std::mt19937_64 random(7);
    int n = 0;
    for (const row &r : rows) {
        constexpr unsigned COUNT = 512;
        std::vector<u64> in(3 * COUNT);
        for (u64 &x : in) x = draw(random, r.kind, r.bits);
        const rig::buffer<u64> from(in);
        const rig::buffer<u64> to(std::vector<u64>(COUNT, 0));
        rig::shape s;
        s.block.x = COUNT;
        const std::string said = rig::run(&module->kernels[n++], s, 1, to.data, from.data);
        CHECK(said.empty(), said);
        unsigned n_wrong = 0;
        std::string example;
        for (unsigned i = 0; i < COUNT; i++) {
            const u64 wanted = r.reference(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
            if (are_same(r, to.data[i], wanted)) continue;
            char text[200];
            std::snprintf(text, sizeof text, "%llx %llx %llx gives %llx, not %llx",
                          static_cast<unsigned long long>(in[3 * i]), static_cast<unsigned long long>(in[3 * i + 1]),
                          static_cast<unsigned long long>(in[3 * i + 2]), static_cast<unsigned long long>(to.data[i]),
                          static_cast<unsigned long long>(wanted));
            if (!n_wrong++) example = text;
        }
        CHECK(n_wrong == 0, std::string(r.ptx) + ": " + std::to_string(n_wrong) + " wrong: " + example);
    }
    emu_module_close(module);
    return rig::result();
}
