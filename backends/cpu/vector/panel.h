/* Packed weights: panels of V_LANES rows, each one sequential stream of records. The formats are in
 * panel_formats.h.
 *
 * Plain types: a record is one column, [V_LANES] elements.
 * Quantised types: a record holds 64 columns (256 for k-quants): first the scales of its rows, as the
 * file stores them, then the quants. Quants of a block of 32 columns are 8 groups of 4 columns; a group
 * is a vector whose 32-bit lane r holds the 4 columns of row r. Groups g and g+4 share a vector of
 * nibbles (low, high). Fifth bits are kept as a bit a byte; sixth and fifth bits of q6_k as 2 bits a
 * byte, groups 4j .. 4j+3 in vector j.
 * Rows past the weight's last and columns past its width are zero weights. */
#ifndef NLM_CPU_PANEL_H
#define NLM_CPU_PANEL_H

#include <nlm/tensor.h>

#include "cpu/vector/simd.h"

#define PANEL_ROWS           V_LANES
#define GROUP_BYTES          (4 * PANEL_ROWS) /* one vector */
#define BLOCK                32               /* columns a scale of the activations covers */
#define LAYOUT_PANEL         1u               /* the number query() names */
#define LAYOUT_PANEL_VERSION 1u               /* raised when the bytes of a panel change */

enum { PANEL_MAX_BLOCKS = 8 }; /* of 32 columns in a record */

typedef struct nlm_panel_format {
    nlm_dtype dtype;
    int32_t columns; /* of a record */
    uint32_t bytes;  /* of a record */
    /* Packs one record, of plain types PANEL_ROWS of them. `in`: where row 0 begins, PANEL_ROWS rows `stride`
     * bytes apart, in the file's layout. */
    void (*pack)(const uint8_t *in, int64_t stride, uint8_t *out);
} nlm_panel_format;

/* NULL for a type without a packed form. */
const nlm_panel_format *nlm_vector_panel_format_find(nlm_dtype dtype);

static inline int64_t panel_records(const nlm_panel_format *format, int64_t columns) {
    return (columns + format->columns - 1) / format->columns;
}
static inline uint64_t panel_bytes(const nlm_panel_format *format, int64_t columns) {
    return (uint64_t)panel_records(format, columns) * format->bytes;
}
static inline int64_t panel_count(int64_t rows) {
    return (rows + PANEL_ROWS - 1) / PANEL_ROWS;
}

/* Packs rows [row_from, row_to) of w (row_from a multiple of PANEL_ROWS) into `packed`. */
void nlm_vector_panel_pack(const nlm_panel_format *format, const nlm_tensor *w, int64_t row_from, int64_t row_to,
                           uint8_t *packed);

#endif
