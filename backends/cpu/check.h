/* Checking an op's arguments against a table: what a backend's query() does first. */
#ifndef NLM_CPU_CHECK_H
#define NLM_CPU_CHECK_H

#include <nlm/plugin.h>

/* The sizes a table's letters stand for: dims.of['M' - 'A']. */
typedef struct nlm_cpu_dims {
    int64_t of[26];
} nlm_cpu_dims;

static inline int64_t nlm_cpu_dim(const nlm_cpu_dims *dims, char letter) {
    return dims->of[letter - 'A'];
}

/* Whether args are sound: struct_size, flags, and for each tensor presence, rank, shape, type, layout
 * and strides; then the op's own rules. The layout is row-major, or for a weight `packed_layout` (a
 * backend without one passes NLM_LAYOUT_ROW_MAJOR). NLM_OK with *out_dims filled, or NLM_UNSUPPORTED
 * with out->reason. Pure. */
nlm_status nlm_cpu_check(nlm_op op, const void *args, uint32_t packed_layout, nlm_cpu_dims *out_dims,
                         nlm_caps_v1 *out);

#endif
