/* What the files of this backend share. */
#ifndef SKELETON_H
#define SKELETON_H

#include <nlm/plugin_kit.h>

/* What this backend has: X(op, the flags it knows, the layout wanted for its weights or 0, what it needs besides
 * its tensors or NULL). The slot of each is skeleton_<op>, in ops/<op>.c. */
#define SKELETON_OPS(X) X(matmul, 0, 0, skeleton_matmul_needs)

/* The types of its weights and of its cache of keys and values. */
#define SKELETON_WEIGHT_TYPES NLM_TYPES_DECODED
#define SKELETON_CACHE_TYPES  NLM_TYPE_BIT(F32)

#define SKELETON_DECLARE(op, flags, layout, needs)                               \
    nlm_status skeleton_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args); \
    void skeleton_##op##_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out);
SKELETON_OPS(SKELETON_DECLARE)
#undef SKELETON_DECLARE

#endif
