/* The table behind nlm_cpu_check. */
#ifndef NLM_CPU_CHECK_TABLE_H
#define NLM_CPU_CHECK_TABLE_H

#include "cpu/check.h"

enum {
    NLM_CPU_OPTIONAL = 1,   /* may be NULL */
    NLM_CPU_OUTPUT = 2,     /* written: its elements must not overlap */
    NLM_CPU_ANY_STRIDE = 4, /* the innermost dimension need not be contiguous */
    NLM_CPU_STATE = 8,      /* an output that stands still in memory: contiguous */
    NLM_CPU_PACKED = 16     /* f32 that may be packed as weights are */
};

/* One tensor of an args struct. `shape` has a letter for each dimension: the first tensor that uses a
 * letter sets its size, the others must agree; "S+" is one more than S, "K-" one less, a digit itself,
 * "|" separates shapes of different rank. "*" is any shape. */
typedef struct nlm_cpu_arg {
    const char *name;
    uint32_t offset; /* of the nlm_tensor pointer in the struct */
    uint32_t traits;
    uint64_t dtypes; /* a bit per nlm_dtype */
    const char *shape;
} nlm_cpu_arg;

typedef struct nlm_cpu_rule {
    uint32_t args_bytes;
    uint32_t known_flags;
    uint32_t n_args;
    const nlm_cpu_arg *args;
    /* What shapes alone do not say; NULL if nothing. */
    nlm_status (*check)(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out);
} nlm_cpu_rule;

/* NULL for an op without a rule. */
const nlm_cpu_rule *nlm_cpu_rule_of(nlm_op op);

#endif
