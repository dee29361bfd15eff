/* XXH64, of a whole or of pieces as they come. */
#include "base/checksum.h"

#include <string.h>

#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

enum { STRIPE = 32 };

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the checksum reads little-endian words in place"
#endif

static uint64_t rotate(uint64_t value, int bits) {
    return value << bits | value >> (64 - bits);
}

static uint64_t load_u64(const unsigned char *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t round_lane(uint64_t lane, uint64_t word) {
    return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

static void add_stripe(uint64_t lanes[4], const unsigned char *at) {
    for (int i = 0; i < 4; i++) lanes[i] = round_lane(lanes[i], load_u64(at + 8 * i));
}

void nlm_checksum_init(nlm_checksum *sum) {
    *sum = (nlm_checksum){.lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, 0 - PRIME_1}};
}

void nlm_checksum_update(nlm_checksum *sum, const void *data, size_t bytes) {
    const unsigned char *at = data;
    const size_t pending = sum->bytes % STRIPE;
    sum->bytes += bytes;
    if (pending + bytes < STRIPE) {
        if (bytes) memcpy(sum->pending + pending, at, bytes);
        return;
    }
    if (pending) {
        const size_t missing = STRIPE - pending;
        memcpy(sum->pending + pending, at, missing);
        add_stripe(sum->lanes, sum->pending);
        at += missing;
        bytes -= missing;
    }
    for (; bytes >= STRIPE; at += STRIPE, bytes -= STRIPE) add_stripe(sum->lanes, at);
    if (bytes) memcpy(sum->pending, at, bytes);
}

static uint64_t merge_lanes(const uint64_t lanes[4]) {
    uint64_t hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int i = 0; i < 4; i++) hash = (hash ^ round_lane(0, lanes[i])) * PRIME_1 + PRIME_4;
    return hash;
}

static uint64_t add_tail(uint64_t hash, const unsigned char *at, size_t bytes) {
    for (; bytes >= 8; at += 8, bytes -= 8) {
        hash = rotate(hash ^ round_lane(0, load_u64(at)), 27) * PRIME_1 + PRIME_4;
    }
    if (bytes >= 4) {
        uint32_t word;
        memcpy(&word, at, sizeof word);
        hash = rotate(hash ^ word * PRIME_1, 23) * PRIME_2 + PRIME_3;
        at += 4;
        bytes -= 4;
    }
    for (; bytes > 0; at++, bytes--) hash = rotate(hash ^ *at * PRIME_5, 11) * PRIME_1;
    return hash;
}

uint64_t nlm_checksum_value(const nlm_checksum *sum) {
    uint64_t hash = sum->bytes >= STRIPE ? merge_lanes(sum->lanes) : PRIME_5;
    hash = add_tail(hash + sum->bytes, sum->pending, sum->bytes % STRIPE);
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

uint64_t nlm_checksum_of(const void *data, size_t bytes) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, data, bytes);
    return nlm_checksum_value(&sum);
}
