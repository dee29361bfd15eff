/* Tiles of rows of activations, as gemm_planes.h takes them. */
#include "cpu/vector/activations.h"

uint64_t nlm_vector_quant_tile_bytes(int32_t tokens, int64_t columns) {
    return ROUND_UP((uint64_t)padded_blocks(columns) * BLOCK_BYTES * (uint64_t)tokens);
}

nlm_quant_tile nlm_vector_quant_tile_view(const nlm_gemm_planes *gemm, int64_t columns, int64_t block,
                                          const void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    const int8_t *q = memory;
    const float *d = (const float *)(const void *)(q + blocks * PLANES * BLOCK * tokens);
    const float *sum = d + blocks / GROUP_BLOCKS * tokens;
    const int32_t *sum16 = (const int32_t *)(const void *)(sum + blocks * tokens);
    return (nlm_quant_tile){q + block * PLANES * BLOCK * tokens, d + block / GROUP_BLOCKS * tokens,
                            sum + block * tokens, sum16 + block * 2 * tokens};
}

V_INLINE void put_pieces(const int8_t *row, int64_t blocks, int64_t tokens, int64_t m, int64_t piece, int8_t *tile) {
    const int64_t n = blocks * PLANES * BLOCK / piece;
    for (int64_t i = 0; i < n; i++) memcpy(tile + (i * tokens + m) * piece, row + i * piece, (size_t)piece);
}

/* By the sizes that there are, so that a copy is an instruction or two. */
static void put_bytes(const int8_t *row, int64_t blocks, int64_t tokens, int64_t m, int32_t piece, int8_t *tile) {
    if (piece == 4)
        put_pieces(row, blocks, tokens, m, 4, tile);
    else if (piece == 8)
        put_pieces(row, blocks, tokens, m, 8, tile);
    else
        put_pieces(row, blocks, tokens, m, PLANES * BLOCK, tile);
}

void nlm_vector_quant_tile_make(const nlm_gemm_planes *gemm, const float *x, int64_t x_stride, int32_t count,
                                int64_t columns, int32_t plane_bits, void *row, void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    int8_t *q = memory;
    float *d = (float *)(void *)(q + blocks * PLANES * BLOCK * tokens), *sum = d + blocks / GROUP_BLOCKS * tokens;
    int32_t *sum16 = (int32_t *)(void *)(sum + blocks * tokens);
    if (count < tokens) memset(memory, 0, (size_t)nlm_vector_quant_tile_bytes((int32_t)tokens, columns));
    for (int32_t m = 0; m < count; m++) {
        const nlm_quant_row r = nlm_vector_quant_row_make(x + m * x_stride, columns, plane_bits, row);
        for (int64_t g = 0; g < blocks / GROUP_BLOCKS; g++) d[g * tokens + m] = r.d[g];
        for (int64_t b = 0; b < blocks; b++) sum[b * tokens + m] = r.sum[b];
        for (int64_t h = 0; h < 2 * blocks; h++) sum16[h * tokens + m] = r.sum16[h];
        put_bytes(r.q, blocks, tokens, m, gemm->piece, q);
    }
}
