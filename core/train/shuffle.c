/* A permutation from a block cipher of the size that is wanted, and the draw that splits documents. */
#include "train/shuffle.h"

#include "base/philox.h"

enum { ROUNDS = 6 };

/* What tells the draws of this file apart from each other, and from others of the same seed. */
enum { DRAW_SHUFFLE = 0x73686600, DRAW_SPLIT = 0x73706c00 };

static uint64_t permute_once(uint64_t value, int half_bits, uint64_t key, uint64_t pass) {
    const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const nlm_philox_block at = {{(uint32_t)right, (uint32_t)pass, (uint32_t)(pass >> 32), DRAW_SHUFFLE + round}};
        const uint64_t next = left ^ (nlm_philox(at, key).word[0] & mask);
        left = right;
        right = next;
    }
    return left << half_bits | right;
}

uint64_t nlm_shuffle(uint64_t count, uint64_t seed, uint64_t pass, uint64_t at) {
    int half_bits = 1;
    while (half_bits < 32 && count > UINT64_C(1) << 2 * half_bits) half_bits++;
    do at = permute_once(at, half_bits, seed, pass);
    while (at >= count);
    return at;
}

double nlm_document_draw(uint64_t seed, uint64_t document) {
    const nlm_philox_block at = {{(uint32_t)document, (uint32_t)(document >> 32), 0, DRAW_SPLIT}};
    const nlm_philox_block block = nlm_philox(at, seed);
    return (double)(((uint64_t)block.word[0] << 32 | block.word[1]) >> 11) * 0x1p-53;
}
