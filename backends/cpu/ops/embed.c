/* Rows of the embedding, taken out of panels where the weight is packed for the head too. */
#include "cpu/decode.h"
#include "cpu/vector/vector.h"

/* Row r of a quantised panel, a record at a time. */
static void decode_quant(const nlm_matmul_weight *w, const uint8_t *panel, int r, float *out, int64_t columns) {
    _Alignas(64) uint8_t q[PANEL_MAX_BLOCKS * BLOCK * PANEL_ROWS];
    _Alignas(64) float scale[PANEL_MAX_BLOCKS * 2 * PANEL_ROWS], min[PANEL_MAX_BLOCKS * PANEL_ROWS];
    const nlm_open_quant_fn open_records = nlm_vector_open_quant[w->kernels - nlm_vector_quant_kernels];
    const int halves = w->kernels->halves, width = BLOCK / halves;
    for (int64_t first = 0; first < columns; first += w->format->columns, panel += w->format->bytes) {
        open_records(panel, 0, w->format->columns / BLOCK, OPEN_UNSIGNED, q, scale, min);
        for (int32_t c = 0; c < w->format->columns && first + c < columns; c++) {
            const int value = q[(c / 4) * GROUP_BYTES + r * 4 + c % 4];
            const int is_signed = w->kernels->form == QUANT_FORM_q8 && V_Q8_OFFSET == 0;
            const int centred = is_signed ? (int8_t)value : value - w->kernels->offset;
            const float weight = scale[c / width * PANEL_ROWS + r] * (float)centred;
            out[first + c] = w->kernels->has_min ? weight + min[c / BLOCK * PANEL_ROWS + r] : weight;
        }
    }
}

static void decode_plain(const nlm_matmul_weight *w, const uint8_t *panel, int r, float *out, int64_t columns) {
    for (int64_t c = 0; c < columns; c++, panel += w->format->bytes)
        nlm_cpu_decode(w->kernels->dtype, panel + (size_t)r * w->format->bytes / PANEL_ROWS, &out[c], 1);
}

/* y[r,:] = w[ids[r],:]; slices rows. */
nlm_status nlm_vector_embed(const nlm_exec_v1 *x, const nlm_embed_args *args) {
    const int32_t *ids = nlm_cpu_i32(args->ids);
    const int64_t vocabulary = args->w->shape[0], columns = args->w->shape[1];
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->ids), 1);
    for (int64_t i = rows.from; i < rows.to; i++) {
        const int64_t id = ids[i];
        if (id < 0 || id >= vocabulary) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "embed", "ids[%lld] is %lld, expected 0 to %lld",
                                (long long)i, (long long)id, (long long)vocabulary - 1);
        }
        float *y = nlm_kit_at(args->y, i);
        if (args->w->layout == NLM_LAYOUT_ROW_MAJOR) {
            nlm_cpu_decode(args->w->dtype, nlm_kit_at(args->w, id), y, columns);
            continue;
        }
        const nlm_matmul_weight w = nlm_vector_matmul_weight_of(args->w);
        const uint8_t *panel = w.panels + (uint64_t)(id / PANEL_ROWS) * panel_bytes(w.format, columns);
        if (w.kernels->is_quant)
            decode_quant(&w, panel, (int)(id % PANEL_ROWS), y, columns);
        else
            decode_plain(&w, panel, (int)(id % PANEL_ROWS), y, columns);
    }
    return NLM_OK;
}
