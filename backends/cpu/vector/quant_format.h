/* The quantised formats as constants for kernels to be specialised with. */
#ifndef NLM_CPU_QUANT_FORMAT_H
#define NLM_CPU_QUANT_FORMAT_H

#include "cpu/vector/kernels.h"

/* What differs between the types; a constant wherever it is used, so that nothing of it is left at run time. */
typedef struct nlm_quant_format {
    nlm_pair_fn pair;
    nlm_scales_fn scales;
    int offset, halves, has_min, most, is_small, plane_bits;
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
                                                   blocks,                   \
                                                   name##_record_bytes};
QUANT_LIST(FORMAT)
#undef FORMAT

#endif
