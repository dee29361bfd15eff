/* What a fused op stands for, read from the texts of nlm/op_table.h: for the planner, which puts it in the place of
 * its parts, and for nlm-conform, which runs them beside it. */
#ifndef NLM_EXEC_OP_PARTS_H
#define NLM_EXEC_OP_PARTS_H

#include "exec/op_spec.h"

#define NLM_OP_MAX_PARTS  6
#define NLM_OP_MAX_TEMPS  4 /* values between parts that nothing else uses */
#define NLM_OP_MAX_SLICES 3 /* into which parts cut the columns of one value, in turn */

/* A tensor of a part is one of the fused op, or a value between parts; or a slice of it. */
typedef struct nlm_part_link {
    uint32_t to; /* a field of the fused op, or the number of a temporary */
    bool is_temp;
    bool is_used;   /* else the part must not have the tensor */
    uint32_t slice; /* 0: all columns; 1 is the first slice */
} nlm_part_link;

typedef struct nlm_op_part {
    nlm_op op;
    const nlm_op_spec *spec;
    nlm_part_link links[NLM_OP_MAX_FIELDS]; /* by field of the part */
} nlm_op_part;

/* The parts of an op in an order in which they can run; returns how many, 0 for an op that is no fused one. */
uint32_t nlm_op_parts_read(nlm_op op, nlm_op_part *out_parts);

/* Of the number or the flags of a part (a line of its scalars) the offset in the fused op's arguments: flags have
 * that of the flags, which a part that knows any takes whole. -1: the fused op has no such number. */
int nlm_op_part_number(const nlm_op_spec *fused, const nlm_op_scalar *scalar);

#endif
