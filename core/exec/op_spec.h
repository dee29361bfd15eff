/* The ops as data: what each argument is, so that checks, inference, liveness, binding, cost and dumps
 * are written once and not per op. A new op needs its lines here, a builder call and a kernel. */
#ifndef NLM_EXEC_OP_SPEC_H
#define NLM_EXEC_OP_SPEC_H

#include <nlm/plugin.h>
#include <stdbool.h>

#define NLM_OP_MAX_FIELDS 16

/* How an op uses an argument. */
enum {
    NLM_FIELD_IN = 1,     /* read: an input, a weight or another op's result */
    NLM_FIELD_OUT = 2,    /* written: a result of this op */
    NLM_FIELD_READS = 4,  /* a state that is read */
    NLM_FIELD_WRITES = 8, /* a state that is written */
    NLM_FIELD_STATE = NLM_FIELD_READS | NLM_FIELD_WRITES,
    NLM_FIELD_OPTIONAL = 16,
    NLM_FIELD_MATMUL = 32, /* a weight here has NLM_ROLE_MATMUL and may be packed */
    NLM_FIELD_EMBED = 64,  /* a weight here has NLM_ROLE_EMBED and may be packed */
    NLM_FIELD_WEIGHT = NLM_FIELD_MATMUL | NLM_FIELD_EMBED
};

typedef enum nlm_field_types {
    NLM_TYPES_F32,
    NLM_TYPES_I32,
    NLM_TYPES_PLAIN,  /* f32 f16 bf16 i32 */
    NLM_TYPES_CACHE,  /* f32 f16 q8_0 */
    NLM_TYPES_WEIGHT, /* all but i32 */
} nlm_field_types;

typedef struct nlm_op_field {
    const char *name;
    uint32_t offset; /* of the tensor pointer in the argument struct */
    uint32_t use;    /* NLM_FIELD_* */
    nlm_field_types types;
    /* Dimensions separated by blanks: a letter (equal letters are equal sizes, first met first), a
     * letter with +1, -1 or /16 (rounded up), or a number; "*" alone is any shape; '|' separates
     * alternatives. The rows of a result have the row kind that its first letter has. */
    const char *shape;
    /* Of an OUT: the inputs, separated by blanks, whose memory it may take if they end here. */
    const char *in_place;
} nlm_op_field;

typedef struct nlm_op_spec {
    const char *name;
    uint32_t args_bytes;
    uint32_t n_fields;
    const nlm_op_field *fields; /* inputs before the outputs whose shape they give */
} nlm_op_spec;

/* One op's arguments, whichever op it is. */
typedef union nlm_any_args {
    struct {
        uint32_t struct_size;
        uint32_t flags;
    } head;
#define NLM_OP(number, name) nlm_##name##_args name;
#include <nlm/ops.def>
#undef NLM_OP
} nlm_any_args;

/* op: 1 .. NLM_OP_END-1. */
const nlm_op_spec *nlm_op_spec_of(nlm_op op);
/* The index of the field of that name, or -1; name[0..length). */
int nlm_op_spec_find(const nlm_op_spec *spec, const char *name, size_t length);
/* May this output take the memory of field `input`? */
bool nlm_op_field_may_take(const nlm_op_spec *spec, uint32_t output, uint32_t input);
bool nlm_field_accepts(nlm_field_types types, nlm_dtype dtype);
const char *nlm_field_types_text(nlm_field_types types); /* "f32, f16 or q8_0" */

static inline const nlm_tensor *nlm_args_tensor(const nlm_any_args *args, const nlm_op_field *field) {
    return *(const nlm_tensor *const *)(const void *)((const char *)args + field->offset);
}
static inline void nlm_args_set_tensor(nlm_any_args *args, const nlm_op_field *field, const nlm_tensor *tensor) {
    *(const nlm_tensor **)(void *)((char *)args + field->offset) = tensor;
}

#endif
