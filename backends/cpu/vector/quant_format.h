/* The quantised formats as constants for kernels to be specialised with. */
#ifndef NLM_CPU_QUANT_FORMAT_H
#define NLM_CPU_QUANT_FORMAT_H

#include "cpu/vector/kernels.h"

/* What differs between the types; a constant wherever it is used, so that nothing of it is left at run time. */
typedef struct nlm_quant_format {
    nlm_pair_fn pair;
    nlm_scales_fn scales;
    int offset, halves, has_min, most, is_small, plane_bits, fold;
    int blocks, bytes; /* of a record */
} nlm_quant_format;

#define FORMAT(NAME, name, blocks, form)                                     \
    static const nlm_quant_format format_##name = {pair_##name,              \
                                                   scales_##name,            \
                                                   FORM_##form##_OFFSET,     \
                                                   FORM_##form##_HALVES,     \
                                                   FORM_##form##_HAS_MIN,    \
                                                   FORM_##form##_MOST,       \
                                                   FORM_##form##_IS_SMALL,   \
                                                   FORM_##form##_PLANE_BITS, \
                                                   FORM_##form##_FOLD,       \
                                                   blocks,                   \
                                                   name##_record_bytes};
QUANT_LIST(FORMAT)
#undef FORMAT

/* ---- beside activations of 8 bits --------------------------------------------------------------
 *
 * The products of a form's weights with a block of 32 bytes, or of half a block where halves have scales, are summed
 * in 32 bits; or those of a small form in words of 16 bits, each of half the columns: the sums wrap on their way, and
 * end where they should, as 16 * 15 * 127, 16 * 16 * 127 and 8 * 32 * 127 fit. So q is counted from `centre`: its
 * offset, or, of the 5 bits that have a min and no offset, 16, which the min makes up for. */
#define IS_OF_BYTES(form) (FORM_##form##_IS_SMALL || V_BYTE_SUM_BITS == 32)
V_INLINE int centre_of(const nlm_quant_format *f) {
    return f->has_min && f->most > 15 ? 16 : f->offset;
}
V_INLINE void scales_from_centre(const nlm_quant_format *f, const uint8_t *record, int b, vf *scale, vf *min) {
    f->scales(record, b, scale, min);
    if (centre_of(f) != f->offset) *min = vf_fma(scale[0], vf_set1((float)(centre_of(f) - f->offset)), *min);
}

#endif
