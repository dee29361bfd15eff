/* Row-major GGUF blocks into panels. */
#include <stddef.h>

#include "cpu/vector/panel_formats.h"

/* What a call of format->pack reads and writes at most. */
#define ROW_BYTES_MAX 256
#define OUT_BYTES_MAX 4096

static const nlm_panel_format formats[] = {
#define PANEL_ROW(NAME, name, columns, bytes) {NLM_##NAME, columns, bytes, pack_##name},
    PANEL_LIST(PANEL_ROW)
#undef PANEL_ROW
};

#define CHECK_BYTES(NAME, name, columns, bytes) \
    _Static_assert((columns == 1 ? PANEL_ROWS : 1) * (bytes) <= OUT_BYTES_MAX, #name " outgrows the staging area");
PANEL_LIST(CHECK_BYTES)

const nlm_panel_format *nlm_vector_panel_format_find(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].dtype == dtype) return &formats[i];
    }
    return NULL;
}

/* Columns and bytes of one block of the source type. */
static void source_block(nlm_dtype dtype, int32_t *columns, int64_t *bytes) {
    switch (dtype) {
#define SOURCE_CASE(NAME, name, number, elements, block_bytes) \
    case NLM_##NAME:                                           \
        *columns = elements;                                   \
        *bytes = block_bytes;                                  \
        return;
        NLM_DTYPE_LIST(SOURCE_CASE)
#undef SOURCE_CASE
    }
    *columns = 1;
    *bytes = 0;
}

/* One call of format->pack. */
typedef struct pack_step {
    int64_t columns, in_bytes; /* of a row */
    int64_t out_bytes;
} pack_step;

static pack_step step_of(const nlm_panel_format *format) {
    int32_t block_columns;
    int64_t block_bytes;
    source_block(format->dtype, &block_columns, &block_bytes);
    const int64_t records = format->columns == 1 ? PANEL_ROWS : 1, columns = records * format->columns;
    return (pack_step){columns, columns / block_columns * block_bytes, records * format->bytes};
}

/* A step that the weight does not fill: what it lacks is zeros. */
static void pack_edge(const nlm_panel_format *format, const pack_step *step, const uint8_t *in, int64_t stride,
                      int64_t rows, int64_t row_bytes, uint8_t *out, int64_t out_bytes) {
    uint8_t staged[PANEL_ROWS * ROW_BYTES_MAX] = {0}, packed[OUT_BYTES_MAX];
    for (int64_t r = 0; r < rows; r++) memcpy(staged + r * ROW_BYTES_MAX, in + r * stride, (size_t)row_bytes);
    format->pack(staged, ROW_BYTES_MAX, packed);
    memcpy(out, packed, (size_t)(out_bytes < step->out_bytes ? out_bytes : step->out_bytes));
}

static void pack_panel(const nlm_panel_format *format, const uint8_t *in, int64_t stride, int64_t rows,
                       int64_t row_bytes, uint8_t *out, int64_t out_bytes) {
    const pack_step step = step_of(format);
    for (; out_bytes > 0; out_bytes -= step.out_bytes, row_bytes -= step.in_bytes) {
        if (rows == PANEL_ROWS && row_bytes >= step.in_bytes)
            format->pack(in, stride, out);
        else
            pack_edge(format, &step, in, stride, rows, row_bytes < step.in_bytes ? row_bytes : step.in_bytes, out,
                      out_bytes);
        in += step.in_bytes;
        out += step.out_bytes;
    }
}

void nlm_vector_panel_pack(const nlm_panel_format *format, const nlm_tensor *w, int64_t row_from, int64_t row_to,
                           uint8_t *packed) {
    int32_t block_columns;
    int64_t block_bytes;
    source_block(format->dtype, &block_columns, &block_bytes);
    const uint64_t bytes = panel_bytes(format, w->shape[1]);
    for (int64_t row = row_from; row < row_to; row += PANEL_ROWS) {
        const int64_t rows = row_to - row < PANEL_ROWS ? row_to - row : PANEL_ROWS;
        pack_panel(format, (const uint8_t *)w->data + row * w->stride_bytes[0], w->stride_bytes[0], rows,
                   w->shape[1] / block_columns * block_bytes, packed + (uint64_t)(row / PANEL_ROWS) * bytes,
                   (int64_t)bytes);
    }
}
