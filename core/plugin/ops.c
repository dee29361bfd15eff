/* The table of slots of a backend, with stubs for those it lacks. */
#include "plugin/loaded.h"

#include "base/status.h"

#include <stddef.h>
#include <string.h>

#define FIRST_SLOT offsetof(nlm_ops_v1, embed)
#define MAX_SIZE   65536u

static const char *const names[NLM_OP_END] = {
#define NLM_OP(number, name) [NLM_OP_##name] = #name,
#include <nlm/ops.def>
#undef NLM_OP
};

const char *nlm_op_name(nlm_op op) {
    return op < NLM_OP_END && names[op] ? names[op] : "unknown op";
}

nlm_op nlm_op_from_name(const char *name) {
    for (nlm_op op = 0; op < NLM_OP_END; op++) {
        if (names[op] && strcmp(names[op], name) == 0) return op;
    }
    return NLM_OP_NONE;
}

static nlm_status fail_lacking(const nlm_exec_v1 *x, nlm_op op) {
    return nlm_fail(x ? x->error : NULL, NLM_UNSUPPORTED, nlm_op_name(op), "the device has no op '%s'",
                    nlm_op_name(op));
}

#define NLM_OP(number, name)                                                              \
    static nlm_status lacks_##name(const nlm_exec_v1 *x, const nlm_##name##_args *args) { \
        (void)args;                                                                       \
        return fail_lacking(x, NLM_OP_##name);                                            \
    }
#include <nlm/ops.def>
#undef NLM_OP

nlm_status nlm_ops_copy(const nlm_ops_v1 *from, nlm_ops_v1 *to, nlm_error *err) {
    *to = (nlm_ops_v1){0};
    uint32_t size;
    memcpy(&size, &from->struct_size, sizeof size);
    if (size < FIRST_SLOT || size > MAX_SIZE || (size - FIRST_SLOT) % sizeof(void (*)(void)) != 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, "ops",
                        "the table of ops says it has %u bytes; expected %zu and a whole number of slots", size,
                        FIRST_SLOT);
    }
    memcpy(to, from, size < sizeof *to ? size : sizeof *to);
    to->struct_size = (uint32_t)sizeof *to;
#define NLM_OP(number, name) \
    if (!to->name) to->name = lacks_##name;
#include <nlm/ops.def>
#undef NLM_OP
    return NLM_OK;
}

bool nlm_ops_has(const nlm_ops_v1 *ops, nlm_op op) {
    switch (op) {
#define NLM_OP(number, name) \
    case NLM_OP_##name:      \
        return ops->name != lacks_##name;
#include <nlm/ops.def>
#undef NLM_OP
        default: return false;
    }
}

uint32_t nlm_ops_args_size(nlm_op op) {
    switch (op) {
#define NLM_OP(number, name) \
    case NLM_OP_##name:      \
        return (uint32_t)sizeof(nlm_##name##_args);
#include <nlm/ops.def>
#undef NLM_OP
        default: return 0;
    }
}
