/* What the host needs beside the public table of ops: one op's arguments, whichever op it is. */
#ifndef NLM_EXEC_OP_SPEC_H
#define NLM_EXEC_OP_SPEC_H

#include <nlm/op_check.h>
#include <stdbool.h>

typedef union nlm_any_args {
    struct {
        uint32_t struct_size;
        uint32_t flags;
    } head;
#define NLM_OP(number, name) nlm_##name##_args name;
#include <nlm/ops.def>
#undef NLM_OP
} nlm_any_args;

/* The index of the field of that name, or -1; name[0..length). */
int nlm_op_spec_find(const nlm_op_spec *spec, const char *name, size_t length);
/* May this output take the memory of field `input`? */
bool nlm_op_field_may_take(const nlm_op_spec *spec, uint32_t output, uint32_t input);

static inline const nlm_tensor *nlm_args_tensor(const nlm_any_args *args, const nlm_op_field *field) {
    return *(const nlm_tensor *const *)(const void *)((const char *)args + field->offset);
}
static inline void nlm_args_set_tensor(nlm_any_args *args, const nlm_op_field *field, const nlm_tensor *tensor) {
    *(const nlm_tensor **)(void *)((char *)args + field->offset) = tensor;
}

#endif
