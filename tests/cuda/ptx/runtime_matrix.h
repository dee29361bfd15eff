/* Matrices that lie in the registers of a warp, lane by lane as PTX has it. */
#ifndef EMU_RUNTIME_MATRIX_H
#define EMU_RUNTIME_MATRIX_H

/* Up to four matrices of 8 x 8 halves: lane i has columns 2(i%4) and one more of row i/4; `row` is of the row whose
 * address this lane gave. */
struct rows {
    uint32_t words[4];
    char *row;
};

RUNTIME void move_rows(void *const *lanes, int n, int is_transposed, int is_load) {
    for (int lane = 0; lane < 32; lane++) {
        for (int matrix = 0; matrix < n; matrix++) {
            uint32_t *word = &((struct rows *)lanes[lane])->words[matrix];
            for (int half = 0; half < 2; half++) {
                const int major = lane / 4, minor = lane % 4 * 2 + half;
                const int row = is_transposed ? minor : major, column = is_transposed ? major : minor;
                char *at = ((const struct rows *)lanes[matrix * 8 + row])->row + 2 * column;
                if (is_load) {
                    memcpy((char *)word + 2 * half, at, 2);
                } else {
                    memcpy(at, (char *)word + 2 * half, 2);
                }
            }
        }
    }
}

#define MOVE_ROWS(name, n, is_transposed, is_load)                \
    RUNTIME const char *name(void *const *lanes, uint32_t mask) { \
        (void)mask;                                               \
        move_rows(lanes, n, is_transposed, is_load);              \
        return 0;                                                 \
    }
#define MOVE_ROWS_OF(n)                  \
    MOVE_ROWS(load_rows_##n, n, 0, 1)    \
    MOVE_ROWS(load_columns_##n, n, 1, 1) \
    MOVE_ROWS(store_rows_##n, n, 0, 0)   \
    MOVE_ROWS(store_columns_##n, n, 1, 0)
MOVE_ROWS_OF(1)
MOVE_ROWS_OF(2)
MOVE_ROWS_OF(4)
static emu_collective *const load_forms[2][5] = {{0, load_rows_1, load_rows_2, 0, load_rows_4},
                                                 {0, load_columns_1, load_columns_2, 0, load_columns_4}};
static emu_collective *const store_forms[2][5] = {{0, store_rows_1, store_rows_2, 0, store_rows_4},
                                                  {0, store_columns_1, store_columns_2, 0, store_columns_4}};

RUNTIME void load_rows(struct rows *m, uint32_t address, int n, int is_transposed, unsigned place) {
    if ((int)E->self->lane < 8 * n) m->row = E->shared(address, 16, EMU_READ, place);
    E->collective(load_forms[is_transposed][n], ~0u, m, place);
}
RUNTIME void store_rows(struct rows *m, uint32_t address, int n, int is_transposed, unsigned place) {
    if ((int)E->self->lane < 8 * n) m->row = E->shared(address, 16, EMU_WRITE, place);
    E->collective(store_forms[is_transposed][n], ~0u, m, place);
}

RUNTIME const char *transpose_lanes(void *const *lanes, uint32_t mask) {
    uint16_t all[8][8];
    (void)mask;
    for (int lane = 0; lane < 32; lane++) memcpy(&all[lane / 4][lane % 4 * 2], lanes[lane], 4);
    for (int lane = 0; lane < 32; lane++) {
        const uint16_t pair[2] = {all[lane % 4 * 2][lane / 4], all[lane % 4 * 2 + 1][lane / 4]};
        memcpy(lanes[lane], pair, 4);
    }
    return 0;
}
RUNTIME uint32_t transpose(uint32_t word, unsigned place) {
    E->collective(transpose_lanes, ~0u, &word, place);
    return word;
}

enum element { MMA_F16, MMA_BF16, MMA_TF32, MMA_S8, MMA_U8, MMA_E4M3, MMA_E5M2, MMA_F32, MMA_S32 };

/* A lane's part of C[16][8] += A[16][depth] B[depth][8]. */
struct fragments {
    int depth;
    enum element a_kind, b_kind, c_kind;
    int clamps;
    union {
        float f[4];
        uint32_t h[2];
        int32_t i[4];
    } c;
    uint32_t a[4], b[2];
};

RUNTIME int bits_of_element(enum element kind) {
    return kind == MMA_TF32 ? 32 : kind <= MMA_BF16 ? 16 : 8;
}
RUNTIME float float_element(enum element kind, uint32_t word, int at) {
    switch (kind) {
        case MMA_F16: return f32_of_f16((uint16_t)(word >> 16 * at));
        case MMA_BF16: return f32_of_bf16((uint16_t)(word >> 16 * at));
        case MMA_E4M3: return f32_of_e4m3((uint8_t)(word >> 8 * at));
        case MMA_E5M2: return f32_of_e5m2((uint8_t)(word >> 8 * at));
        default: return as_f32(word & ~0x1fffu); /* tf32: the low bits do not count */
    }
}
RUNTIME int32_t integer_element(enum element kind, uint32_t word, int at) {
    return kind == MMA_S8 ? (int8_t)(word >> 8 * at) : (uint8_t)(word >> 8 * at);
}

/* Where the elements of a lane stand: A's word w has row lane/4 + 8(w%2), B's word column lane/4; along the depth
 * a word has `per` neighbours, four lanes stand beside each other, and further words after them. */
#define AT_DEPTH(lane, word, e, per) ((lane) % 4 * (per) + (e) + (word)*4 * (per))

RUNTIME void multiply_floats(void *const *lanes) {
    float a[16][32], b[8][32], c[16][8];
    const struct fragments *shape = lanes[0];
    const int depth = shape->depth, per = 32 / bits_of_element(shape->a_kind), n_b = depth / (4 * per);
    for (int lane = 0; lane < 32; lane++) {
        const struct fragments *m = lanes[lane];
        for (int w = 0; w < 2 * n_b; w++) {
            for (int e = 0; e < per; e++) {
                a[lane / 4 + w % 2 * 8][AT_DEPTH(lane, w / 2, e, per)] = float_element(m->a_kind, m->a[w], e);
            }
        }
        for (int w = 0; w < n_b; w++) {
            for (int e = 0; e < per; e++)
                b[lane / 4][AT_DEPTH(lane, w, e, per)] = float_element(m->b_kind, m->b[w], e);
        }
        for (int i = 0; i < 4; i++) {
            float *to = &c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
            *to = m->c_kind == MMA_F16 ? f32_of_f16((uint16_t)(m->c.h[i / 2] >> 16 * (i % 2))) : m->c.f[i];
        }
    }
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float sum = 0;
            for (int k = 0; k < depth; k++) sum += a[row][k] * b[column][k];
            c[row][column] += sum;
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        struct fragments *m = lanes[lane];
        uint32_t halves[4];
        for (int i = 0; i < 4; i++) {
            const float value = c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
            if (m->c_kind == MMA_F32) m->c.f[i] = value;
            halves[i] = f16_of_f32(value);
        }
        if (m->c_kind == MMA_F32) continue;
        for (int i = 0; i < 2; i++) m->c.h[i] = halves[2 * i + 1] << 16 | halves[2 * i];
    }
}

RUNTIME void multiply_integers(void *const *lanes) {
    int32_t a[16][32], b[8][32];
    int64_t c[16][8];
    const struct fragments *shape = lanes[0];
    const int depth = shape->depth, n_b = depth / 16;
    for (int lane = 0; lane < 32; lane++) {
        const struct fragments *m = lanes[lane];
        for (int e = 0; e < 4; e++) {
            for (int w = 0; w < 2 * n_b; w++) {
                a[lane / 4 + w % 2 * 8][AT_DEPTH(lane, w / 2, e, 4)] = integer_element(m->a_kind, m->a[w], e);
            }
            for (int w = 0; w < n_b; w++)
                b[lane / 4][AT_DEPTH(lane, w, e, 4)] = integer_element(m->b_kind, m->b[w], e);
            c[lane / 4 + e / 2 * 8][lane % 4 * 2 + e % 2] = m->c.i[e];
        }
    }
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            for (int k = 0; k < depth; k++) c[row][column] += a[row][k] * b[column][k];
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        struct fragments *m = lanes[lane];
        for (int i = 0; i < 4; i++) {
            const int64_t value = c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
            m->c.i[i] = m->clamps ? saturate_s32(value) : (int32_t)(uint32_t)value;
        }
    }
}

RUNTIME const char *multiply_lanes(void *const *lanes, uint32_t mask) {
    (void)mask;
    const struct fragments *m = lanes[0];
    if (m->a_kind == MMA_S8 || m->a_kind == MMA_U8) {
        multiply_integers(lanes);
    } else {
        multiply_floats(lanes);
    }
    return 0;
}
RUNTIME void multiply(struct fragments *m, unsigned place) {
    E->collective(multiply_lanes, ~0u, m, place);
}

#endif
