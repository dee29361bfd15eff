/* The sides of a product as strips: from rows as they lie in memory, turned or not, of any type of weight. */
#include "cpu/decode.h"
#include "cpu/vector/product.h"
#include "cpu/vector/vector.h"

/* Rows of f32 that packing reads: V_LANES of them, and V_LANES floats past their columns. */
typedef struct rows_f32 {
    const float *data;
    int64_t stride; /* floats */
} rows_f32;

/* The room: staged rows, then columns of a panel. */
#define ROOM_STRIDE (PRODUCT_STAGED + V_LANES)

int64_t nlm_vector_pack_room(void) {
    return V_LANES * ROOM_STRIDE + (PRODUCT_STAGED + BLOCK) * PANEL_ROWS;
}

nlm_tensor nlm_vector_rows_of(const nlm_tensor *t, int64_t from, int64_t rows) {
    nlm_tensor view = *t;
    const nlm_panel_format *format = t->layout ? nlm_vector_panel_format_find(t->dtype) : NULL;
    const int64_t bytes = format ? (int64_t)panel_bytes(format, t->shape[1]) / PANEL_ROWS : t->stride_bytes[0];
    view.data = (uint8_t *)t->data + from * bytes;
    view.shape[0] = rows;
    return view;
}

/* ---- rows that are not f32 --------------------------------------------------------------------- */

static void decode_halves(nlm_dtype dtype, const uint16_t *from, int64_t n, float *out) {
    int64_t c = 0;
    for (; c + V_LANES <= n; c += V_LANES)
        vf_store(out + c, dtype == NLM_F16 ? vf_load_f16(from + c) : vf_load_bf16(from + c));
    nlm_cpu_decode(dtype, from + c, out + c, n - c);
}

/* Columns [first, first + n) of a row-major row. */
static void decode_row(const nlm_tensor *t, int64_t row, int64_t first, int64_t n, float *out) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    const int64_t block = type->block_elements, aligned = first / block * block;
    const uint8_t *from = (const uint8_t *)nlm_kit_at(t, row) + first / block * type->block_bytes;
    float whole[PANEL_MAX_BLOCKS * BLOCK];
    if (t->dtype == NLM_F16 || t->dtype == NLM_BF16) {
        decode_halves(t->dtype, (const uint16_t *)(const void *)from, n, out);
        return;
    }
    if (first == aligned && n % block == 0) {
        nlm_cpu_decode(t->dtype, from, out, n);
        return;
    }
    for (int64_t at = aligned; at < first + n; at += block, from += type->block_bytes) {
        const int64_t skipped = at < first ? first - at : 0, end = first + n - at < block ? first + n - at : block;
        nlm_cpu_decode(t->dtype, from, whole, block);
        memcpy(out + at + skipped - first, whole + skipped, (size_t)(end - skipped) * sizeof *out);
    }
}

/* Block `block` of a quantised panel, [BLOCK][PANEL_ROWS]. */
static void open_block(const nlm_matmul_weight *w, const uint8_t *panel, int64_t block, float *out) {
    const nlm_matmul_kernels *k = w->kernels;
    const int is_signed = k->form == QUANT_FORM_q8 && V_Q8_OFFSET == 0;
    _Alignas(64) int32_t q[8 * PANEL_ROWS];
    _Alignas(64) float scale[2 * PANEL_ROWS], min[PANEL_ROWS];
    nlm_vector_open_quant[k - nlm_vector_quant_kernels](panel, block, 1, OPEN_UNSIGNED, (uint8_t *)q, scale, min);
    for (int c = 0; c < BLOCK; c++) {
        const vi group = vi_load(q + c / 4 * PANEL_ROWS);
        const vi byte = c % 4 == 0   ? vi_shl32(group, 24)
                        : c % 4 == 1 ? vi_shl32(group, 16)
                        : c % 4 == 2 ? vi_shl32(group, 8)
                                     : group;
        const vf value = vf_from_i32(is_signed ? vi_sra32(byte, 24) : vi_shr32(byte, 24));
        const vf s = vf_load(scale + c * k->halves / BLOCK * PANEL_ROWS);
        const vf m = k->has_min ? vf_load(min) : vf_zero();
        vf_store(out + c * PANEL_ROWS, vf_fma(vf_sub(value, vf_set1(is_signed ? 0.0f : (float)k->offset)), s, m));
    }
}

/* Columns [first, first + n) of the panel of rows [row, row + PANEL_ROWS), as rows: by way of `columns`. */
static void open_rows(const nlm_tensor *t, int64_t row, int64_t first, int64_t n, float *columns, float *out) {
    const nlm_matmul_weight w = nlm_vector_matmul_weight_of(t);
    const uint8_t *panel = w.panels + (uint64_t)(row / PANEL_ROWS) * panel_bytes(w.format, t->shape[1]);
    const int64_t skipped = w.kernels->is_quant ? first % BLOCK : 0;
    for (int64_t at = 0; at < skipped + n && w.kernels->is_quant; at += BLOCK)
        open_block(&w, panel, (first + at) / BLOCK, columns + at * PANEL_ROWS);
    if (!w.kernels->is_quant) w.kernels->open_plain(panel + first * w.format->bytes, n, columns);
    for (int64_t c = 0; c < n; c += V_LANES) {
        vf lanes[V_LANES];
        for (int i = 0; i < V_LANES; i++)
            lanes[i] = c + i < n ? vf_load(columns + (skipped + c + i) * PANEL_ROWS) : vf_zero();
        v_transpose(lanes, out + c, ROOM_STRIDE);
    }
}

/* Columns [first, first + n) of rows [row, row + V_LANES), f32 and zeros past `rows` and up to column `reach`; n and
 * reach are at most PRODUCT_STAGED, and n may be negative: a panel that makes up a pair has no columns, or no rows.
 */
static rows_f32 stage(const nlm_tensor *t, int64_t row, int64_t rows, int64_t first, int64_t n, int64_t reach,
                      float *room) {
    const int64_t count = rows - row < V_LANES ? rows - row : V_LANES, end = n > reach ? n : reach;
    for (int64_t r = 0; r < V_LANES; r++) {
        const int64_t there = r < count && n > 0 ? n : 0;
        memset(room + r * ROOM_STRIDE + there, 0, (size_t)(end + V_LANES - there) * sizeof *room);
    }
    if (t->layout != NLM_LAYOUT_ROW_MAJOR && count > 0) {
        open_rows(t, row, first, n, room + V_LANES * ROOM_STRIDE, room);
        return (rows_f32){room, ROOM_STRIDE};
    }
    for (int64_t r = 0; r < count; r++) decode_row(t, row + r, first, n, room + r * ROOM_STRIDE);
    return (rows_f32){room, ROOM_STRIDE};
}

/* The same; where they are, if all of V_LANES rows and `reach` columns may be read there. */
static rows_f32 rows_at(const nlm_strips *s, int64_t row, int64_t rows, int64_t first, int64_t n, int64_t reach) {
    const nlm_tensor *t = &s->side->t;
    if (t->dtype != NLM_F32 || t->layout || row + V_LANES > rows || first + reach > t->shape[1])
        return stage(t, row, rows, first, n, reach, s->room);
    return (rows_f32){(const float *)nlm_kit_at(t, row) + first, t->stride_bytes[0] / (int64_t)sizeof(float)};
}

/* ---- strips ------------------------------------------------------------------------------------ */

/* Four columns of V_LANES rows, of which n count. A vector is longer than a strip is wide: what is past that is
 * written over by what follows. */
V_INLINE void pack_four(rows_f32 rows, int64_t n, int width, float *out) {
    vi quads[4];
    v_quads((const uint8_t *)rows.data, rows.stride * (int64_t)sizeof(float), quads);
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        if (i < n) vf_store(out + i * width, vf_bits(quads[i]));
    }
}

/* n columns; those of the rows that follow come nearer where is_followed. */
V_INLINE void pack_columns(rows_f32 rows, int64_t n, int width, int is_followed, float *out) {
    int64_t k = 0;
    for (; k + 4 <= n; k += 4) {
        for (int r = 0; is_followed && k % 16 == 0 && r < width; r++)
            nlm_vector_expect(rows.data + (width + r) * rows.stride + k);
        pack_four((rows_f32){rows.data + k, rows.stride}, 4, width, out + k * width);
    }
    if (k < n) pack_four((rows_f32){rows.data + k, rows.stride}, n - k, width, out + k * width);
}

static void pack_straight(const nlm_strips *s, int64_t strip, float *out) {
    for (int64_t at = 0; at < s->columns; at += PRODUCT_STAGED) {
        const int64_t left = s->columns - at, n = left < PRODUCT_STAGED ? left : PRODUCT_STAGED;
        const rows_f32 rows = rows_at(s, strip * s->width, s->limit, s->first + at, n, (n + 3) / 4 * 4);
        const int is_followed = rows.data != s->room && (strip + 2) * s->width <= s->limit;
        if (s->width == PANEL_ROWS)
            pack_columns(rows, n, PANEL_ROWS, is_followed, out + at * PANEL_ROWS);
        else
            pack_columns(rows, n, GEMM_F32_TOKENS, is_followed, out + at * GEMM_F32_TOKENS);
    }
}

/* Rows of the depth from d on, n of them, and strips [at, end) of `rows`; the next rows come nearer meanwhile. */
V_INLINE void turn_rows(const nlm_strips *s, rows_f32 rows, int64_t d, int64_t n, int64_t at, int64_t end,
                        int width) {
    const int64_t ahead = rows.data != s->room && d + 2 * V_LANES <= s->columns ? V_LANES * rows.stride : 0;
    for (int64_t strip = at; strip < end; strip++) {
        float *out = s->out + (strip - s->from) * s->pitch + d * width;
        const float *in = rows.data + (strip - at) * width;
        for (int64_t r = 0; r < n; r++) {
            if (strip % 2 == 0) nlm_vector_expect(in + r * rows.stride + ahead);
            vf_store(out + r * width, vf_load(in + r * rows.stride));
        }
    }
}

/* How many strips from `at` on are turned together: those that can be read where they are, or the last. */
static int64_t together_from(const nlm_strips *s, int64_t at) {
    const int64_t left = s->to - at, most = PRODUCT_STAGED / s->width, count = left < most ? left : most;
    const int64_t in_place = (s->side->t.shape[1] - at * s->width - V_LANES) / s->width + 1;
    return in_place < count && in_place > 0 ? in_place : count;
}

/* Rows of the depth, V_LANES at a time, and of these all strips. */
static void pack_turned(const nlm_strips *s) {
    for (int64_t d = 0; d < s->columns; d += V_LANES) {
        const int64_t left = s->columns - d, n = left < V_LANES ? left : V_LANES;
        for (int64_t at = s->from, end; at < s->to; at = end) {
            end = at + together_from(s, at);
            const int64_t first = at * s->width, reach = (end - at - 1) * s->width + V_LANES;
            const int64_t columns = (end * s->width < s->limit ? end * s->width : s->limit) - first;
            const rows_f32 rows = rows_at(s, s->first + d, s->first + s->columns, first, columns, reach);
            if (s->width == PANEL_ROWS)
                turn_rows(s, rows, d, n, at, end, PANEL_ROWS);
            else
                turn_rows(s, rows, d, n, at, end, GEMM_F32_TOKENS);
        }
    }
}

void nlm_vector_pack_strips(const nlm_strips *s) {
    if (s->side->is_turned) {
        pack_turned(s);
        return;
    }
    for (int64_t strip = s->from; strip < s->to; strip++)
        pack_straight(s, strip, s->out + (strip - s->from) * s->pitch);
}
