/* Integer instructions that C has no operator for. */
#ifndef EMU_RUNTIME_INTEGER_H
#define EMU_RUNTIME_INTEGER_H

/* Division by nothing gives all ones on a GPU, and no fault; nor does the one quotient that is too large. */
#define UNSIGNED_DIVISION(t, c)            \
    RUNTIME c div_##t(c a, c b) {          \
        return b ? (c)(a / b) : (c) ~(c)0; \
    }                                      \
    RUNTIME c rem_##t(c a, c b) {          \
        return b ? (c)(a % b) : a;         \
    }
#define SIGNED_DIVISION(t, c)                                            \
    RUNTIME c div_##t(c a, c b) {                                        \
        return !b ? (c)-1 : b == -1 ? (c)(0 - (uint64_t)a) : (c)(a / b); \
    }                                                                    \
    RUNTIME c rem_##t(c a, c b) {                                        \
        return !b ? a : b == -1 ? 0 : (c)(a % b);                        \
    }
UNSIGNED_DIVISION(u16, uint16_t)
UNSIGNED_DIVISION(u32, uint32_t)
UNSIGNED_DIVISION(u64, uint64_t)
SIGNED_DIVISION(s16, int16_t)
SIGNED_DIVISION(s32, int32_t)
SIGNED_DIVISION(s64, int64_t)

#define SATURATION(t, c, low, high)                              \
    RUNTIME c saturate_##t(__int128 x) {                         \
        return (c)(x < (low) ? (low) : x > (high) ? (high) : x); \
    }
SATURATION(u8, uint8_t, 0, UINT8_MAX)
SATURATION(s8, int8_t, INT8_MIN, INT8_MAX)
SATURATION(u16, uint16_t, 0, UINT16_MAX)
SATURATION(s16, int16_t, INT16_MIN, INT16_MAX)
SATURATION(u32, uint32_t, 0, UINT32_MAX)
SATURATION(s32, int32_t, INT32_MIN, INT32_MAX)
SATURATION(u64, uint64_t, 0, (__int128)UINT64_MAX)
SATURATION(s64, int64_t, INT64_MIN, INT64_MAX)

RUNTIME uint32_t popc_b32(uint32_t x) {
    return (uint32_t)__builtin_popcount(x);
}
RUNTIME uint32_t popc_b64(uint64_t x) {
    return (uint32_t)__builtin_popcountll(x);
}
RUNTIME uint32_t clz_b32(uint32_t x) {
    return x ? (uint32_t)__builtin_clz(x) : 32;
}
RUNTIME uint32_t clz_b64(uint64_t x) {
    return x ? (uint32_t)__builtin_clzll(x) : 64;
}
RUNTIME uint32_t brev_b32(uint32_t x) {
    uint32_t y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
RUNTIME uint64_t brev_b64(uint64_t x) {
    return (uint64_t)brev_b32((uint32_t)x) << 32 | brev_b32((uint32_t)(x >> 32));
}

/* The place of the highest bit that is not the sign. */
RUNTIME uint32_t bfind_u32(uint32_t x) {
    return x ? 31 - (uint32_t)__builtin_clz(x) : ~0u;
}
RUNTIME uint32_t bfind_s32(int32_t x) {
    return bfind_u32((uint32_t)(x < 0 ? ~x : x));
}
RUNTIME uint32_t bfind_u64(uint64_t x) {
    return x ? 63 - (uint32_t)__builtin_clzll(x) : ~0u;
}
RUNTIME uint32_t bfind_s64(int64_t x) {
    return bfind_u64((uint64_t)(x < 0 ? ~x : x));
}
RUNTIME uint32_t bfind_shiftamt_u32(uint32_t x) {
    return x ? 31 - bfind_u32(x) : ~0u;
}
RUNTIME uint32_t bfind_shiftamt_s32(int32_t x) {
    return bfind_shiftamt_u32((uint32_t)(x < 0 ? ~x : x));
}

/* Fields: the place and the length are bytes of their operands, and what lies past the top is the sign. */
RUNTIME uint64_t field_mask(uint32_t length) {
    return length >= 64 ? ~0ull : (1ull << length) - 1;
}
RUNTIME uint32_t bfe_u32(uint32_t a, uint32_t at, uint32_t length) {
    at &= 255;
    return at > 31 ? 0 : (uint32_t)(a >> at & field_mask(length & 255));
}
RUNTIME uint64_t bfe_u64(uint64_t a, uint32_t at, uint32_t length) {
    at &= 255;
    return at > 63 ? 0 : a >> at & field_mask(length & 255);
}
RUNTIME int64_t bfe_s64(int64_t a, uint32_t at, uint32_t length) {
    at &= 255;
    length &= 255;
    if (!length) return 0;
    const uint32_t top = at + length - 1 > 63 ? 63 : at + length - 1;
    const uint64_t sign = (uint64_t)a >> top & 1 ? ~0ull : 0;
    const uint64_t field = at > 63 ? sign : (uint64_t)a >> at;
    const uint32_t kept = at > 63 ? 0 : top - at + 1;
    return (int64_t)((field & field_mask(kept)) | (sign & ~field_mask(kept)));
}
RUNTIME int32_t bfe_s32(int32_t a, uint32_t at, uint32_t length) {
    at &= 255;
    return (int32_t)bfe_s64(a, at > 31 ? 63 : at, length);
}
RUNTIME uint64_t bfi_b64(uint64_t a, uint64_t b, uint32_t at, uint32_t length) {
    at &= 255;
    if (at > 63) return b;
    const uint64_t mask = field_mask(length & 255) << at;
    return (a << at & mask) | (b & ~mask);
}
RUNTIME uint32_t bfi_b32(uint32_t a, uint32_t b, uint32_t at, uint32_t length) {
    return (at & 255) > 31 ? b : (uint32_t)bfi_b64(a, b, at, length);
}
RUNTIME uint32_t bmsk_clamp_b32(uint32_t at, uint32_t length) {
    return at > 31 ? 0 : (uint32_t)(field_mask(length > 32 ? 32 : length) << at);
}
RUNTIME uint32_t bmsk_wrap_b32(uint32_t at, uint32_t length) {
    return (uint32_t)(field_mask(length & 31) << (at & 31));
}

#define DIFFERENCE(t, c)                                                                           \
    RUNTIME c sad_##t(c a, c b, c d) {                                                             \
        return (c)((uint64_t)d + (a < b ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b)); \
    }
DIFFERENCE(u16, uint16_t)
DIFFERENCE(s16, int16_t)
DIFFERENCE(u32, uint32_t)
DIFFERENCE(s32, int32_t)
DIFFERENCE(u64, uint64_t)
DIFFERENCE(s64, int64_t)

RUNTIME uint32_t low_24_u32(uint32_t x) {
    return x & 0xffffff;
}
RUNTIME int32_t low_24_s32(int32_t x) {
    return (int32_t)((uint32_t)x << 8) >> 8;
}

/* Byte i of the result is the one that bits 0 to 2 of the selector's four bits i name; where bit 3 is set, its sign
 * alone. */
#define PRMT_BYTE(i) ((uint32_t)(uint8_t)(bytes >> ((selector >> 4 * (i)&7) * 8)) << 8 * (i))
RUNTIME uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t y = PRMT_BYTE(0) | PRMT_BYTE(1) | PRMT_BYTE(2) | PRMT_BYTE(3);
    for (int i = 0; selector & 0x8888 && i < 4; i++) {
        if (selector >> 4 * i & 8) y = (y & ~(255u << 8 * i)) | (y >> 8 * i & 128 ? 255u << 8 * i : 0);
    }
    return y;
}
/* Bit k of the table is the result where the bits of a, b, c are those of k. */
RUNTIME uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t y = 0;
    for (int k = 0; k < 8; k++) {
        if (table >> k & 1) y |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    }
    return y;
}
RUNTIME uint32_t shf_l_wrap(uint32_t a, uint32_t b, uint32_t by) {
    return (uint32_t)(((uint64_t)b << 32 | a) << (by & 31) >> 32);
}
RUNTIME uint32_t shf_r_wrap(uint32_t a, uint32_t b, uint32_t by) {
    return (uint32_t)(((uint64_t)b << 32 | a) >> (by & 31));
}
RUNTIME uint32_t shf_l_clamp(uint32_t a, uint32_t b, uint32_t by) {
    return by > 31 ? a : shf_l_wrap(a, b, by);
}
RUNTIME uint32_t shf_r_clamp(uint32_t a, uint32_t b, uint32_t by) {
    return by > 31 ? b : shf_r_wrap(a, b, by);
}

/* Sums of products of bytes; of halves with bytes. */
#define DOT_OF_BYTES(t, u, ct, cu)                                                                          \
    RUNTIME uint32_t dp4a_##t##_##u(uint32_t a, uint32_t b, uint32_t c) {                                   \
        for (int i = 0; i < 4; i++) c += (uint32_t)((int32_t)(ct)(a >> 8 * i) * (int32_t)(cu)(b >> 8 * i)); \
        return c;                                                                                           \
    }
DOT_OF_BYTES(u32, u32, uint8_t, uint8_t)
DOT_OF_BYTES(u32, s32, uint8_t, int8_t)
DOT_OF_BYTES(s32, u32, int8_t, uint8_t)
DOT_OF_BYTES(s32, s32, int8_t, int8_t)
#define DOT_OF_HALVES(part, at, t, u, ct, cu)                                                                       \
    RUNTIME uint32_t dp2a_##part##_##t##_##u(uint32_t a, uint32_t b, uint32_t c) {                                  \
        for (int i = 0; i < 2; i++) c += (uint32_t)((int32_t)(ct)(a >> 16 * i) * (int32_t)(cu)(b >> (8 * i + at))); \
        return c;                                                                                                   \
    }
#define DOT_OF_BOTH_HALVES(t, u, ct, cu) DOT_OF_HALVES(lo, 0, t, u, ct, cu) DOT_OF_HALVES(hi, 16, t, u, ct, cu)
DOT_OF_BOTH_HALVES(u32, u32, uint16_t, uint8_t)
DOT_OF_BOTH_HALVES(u32, s32, uint16_t, int8_t)
DOT_OF_BOTH_HALVES(s32, u32, int16_t, uint8_t)
DOT_OF_BOTH_HALVES(s32, s32, int16_t, int8_t)

#endif
