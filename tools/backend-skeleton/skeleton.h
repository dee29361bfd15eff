/* What the files of this backend share. */
#ifndef SKELETON_H
#define SKELETON_H

#include <nlm/plugin_kit.h>

/* The ops this backend has. Each is an ops/<op>.c with two functions: the slot skeleton_<op>, and
 * skeleton_query_<op>, which says whether the slot can run with these arguments and what it needs. */
#define SKELETON_OPS(X) X(matmul)

#define SKELETON_DECLARE(op)                                                     \
    nlm_status skeleton_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args); \
    nlm_status skeleton_query_##op(const void *args, uint32_t nth, nlm_caps_v1 *out);
SKELETON_OPS(SKELETON_DECLARE)
#undef SKELETON_DECLARE

#endif
