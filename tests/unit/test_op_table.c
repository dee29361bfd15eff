/* The table of ops against the argument structs that it describes. */
#include "unit/check.h"

#include "exec/op_spec.h"

/* Fields and scalars follow each other without a gap and fill the struct: one that is added and not listed here
 * leaves bytes that nobody knows. */
static void the_table_covers_every_byte_of_the_arguments(void) {
    for (nlm_op op = 1; op < NLM_OP_END; op++) {
        const nlm_op_spec *spec = nlm_op_spec_of(op);
        uint32_t at = 2 * sizeof(uint32_t);
        for (uint32_t i = 0; i < spec->n_fields; i++, at += (uint32_t)sizeof(const nlm_tensor *))
            CU_ASSERT_EQUAL(spec->fields[i].offset, at);
        for (const nlm_op_scalar *s = spec->scalars; s->name; s++) {
            if (s->kind == NLM_SCALAR_FLAG) continue;
            CU_ASSERT_EQUAL(s->offset, at);
            at += (uint32_t)sizeof(float);
        }
        if (at != spec->args_bytes) printf("\n%s: %u of %u bytes are known\n", spec->name, at, spec->args_bytes);
        CU_ASSERT_EQUAL(at, spec->args_bytes);
        CU_ASSERT_EQUAL(nlm_args_bytes(spec, 0), spec->args_bytes);
    }
}

static void weights_have_a_place_in_the_answer_of_query(void) {
    for (nlm_op op = 1; op < NLM_OP_END; op++) {
        const nlm_op_spec *spec = nlm_op_spec_of(op);
        for (uint32_t i = 0; i < spec->n_fields; i++)
            CU_ASSERT_TRUE(nlm_weight_index(spec, &spec->fields[i]) < NLM_CAPS_WEIGHTS);
    }
}

/* The one appended field of a grown matmul. */
static void an_appended_field_counts_with_its_flag_alone(void) {
    nlm_op_field fields[6];
    nlm_op_spec grown = *nlm_op_spec_of(NLM_OP_matmul);
    memcpy(fields, grown.fields, 5 * sizeof *fields);
    fields[5] = fields[2];
    fields[5].offset = grown.args_bytes;
    fields[5].flag = 4;
    grown.fields = fields;
    grown.n_fields = 6;
    CU_ASSERT_EQUAL(nlm_args_bytes(&grown, 0), grown.args_bytes);
    CU_ASSERT_EQUAL(nlm_args_bytes(&grown, 3), grown.args_bytes);
    CU_ASSERT_EQUAL(nlm_args_bytes(&grown, 4), grown.args_bytes + 8);
}

static const check_case cases[] = {
    CHECK_CASE(the_table_covers_every_byte_of_the_arguments),
    CHECK_CASE(weights_have_a_place_in_the_answer_of_query),
    CHECK_CASE(an_appended_field_counts_with_its_flag_alone),
};
CHECK_MAIN("op_table", cases)
