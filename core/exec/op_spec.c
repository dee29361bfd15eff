/* Finding fields of an op by name. */
#include "exec/op_spec.h"

#include <string.h>

#define NLM_OP(number, name) \
    _Static_assert(sizeof nlm_fields_##name / sizeof *nlm_fields_##name <= NLM_OP_MAX_FIELDS, "too many fields");
#include <nlm/ops.def>
#undef NLM_OP

int nlm_op_spec_find(const nlm_op_spec *spec, const char *name, size_t length) {
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (nlm_text_is(spec->fields[i].name, name, length)) return (int)i;
    }
    return -1;
}

bool nlm_op_field_may_take(const nlm_op_spec *spec, uint32_t output, uint32_t input) {
    const char *list = spec->fields[output].in_place;
    while (*list) {
        const size_t length = strcspn(list, " ");
        if (nlm_op_spec_find(spec, list, length) == (int)input) return true;
        list += length;
        list += strspn(list, " ");
    }
    return false;
}
