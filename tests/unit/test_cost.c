/* What ops are said to move and to compute. */
#include "unit/check.h"

#include "base/status.h"
#include "exec/program_impl.h"
#include "specs/spec.h"

static bool build(const char *row, spec_instance *out) {
    nlm_error err = NLM_ERROR_INIT;
    spec_case c;
    return spec_parse(row, &c, &err) == NLM_OK && spec_build(&c, 1, out, &err) == NLM_OK;
}

static nlm_cost cost_of(const spec_instance *in) {
    static nlm_device device = {.info = {.flags = NLM_DEVICE_HOST_MEMORY}};
    const nlm_step step = {.op = in->c.op, .device = &device, .args = in->args};
    return nlm_step_cost(&step, in->live);
}

/* Bytes and operations worked out by hand. */
static const struct {
    const char *row;
    uint64_t bytes, flop;
} known[] = {
    {"matmul/M=2,N=3,K=5,bias", 4 * (10 + 15 + 3 + 6), 60},
    {"matmul/M=2,N=3,K=5,pad=4", 4 * (10 + 15 + 6), 60},
    {"embed/R=2,V=100,N=7", 4 * (2 + 14 + 14), 0},
    {"conv1d_causal/seqs=2+1,past=0+0,C=5,K=4,state_out=state", 4 * (15 + 20 + 15 + 2 * 2 * 15 + 3 + 2), 120},
    {"kv_append/seqs=3,past=5,G=2,D=4,B=8", 4 * (24 + 24 + 24 + 24 + 3 + 2 + 1 + 6), 0},
    {"matmul_dw/M=2,N=3,K=5,db", 4 * (6 + 10 + 15 + 3), 60},
    {"matmul_dw/M=2,N=3,K=5,db,accumulate", 4 * (6 + 10 + 2 * (15 + 3)), 60},
    {"embed_bwd/R=2,V=100,N=7", 4 * (2 + 14 + 2 * 14), 14},
    {"sum_sq/R=2,N=3", 4 * (6 + 1), 12},
    {"sum_sq/N=6,x@1,accumulate", 4 * (6 + 2), 12},
    {"adamw/R=2,N=3,w:f16,master", 2 * 2 * 6 + 2 * 4 * 4 * 6 + 4 * 4, 72},
    {"accumulate/R=2,N=3", 4 * (6 + 2 * 6), 6},
};

static void bytes_are_those_of_what_is_read_and_written(void) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        spec_instance in;
        CU_ASSERT_TRUE_FATAL(build(known[i].row, &in));
        const nlm_cost cost = cost_of(&in);
        if (cost.bytes != known[i].bytes || cost.flop != known[i].flop)
            printf("\n%s: %llu bytes, %llu operations\n", known[i].row, (unsigned long long)cost.bytes,
                   (unsigned long long)cost.flop);
        CU_ASSERT_EQUAL(cost.bytes, known[i].bytes);
        CU_ASSERT_EQUAL(cost.flop, known[i].flop);
        spec_release(&in);
    }
}

static bool ask(void *user, const spec_table *table, const char *row) {
    spec_instance in;
    (void)table;
    if (!build(row, &in)) return false;
    CU_ASSERT_TRUE(in.live_rows == 0 || cost_of(&in).bytes > 0);
    spec_release(&in);
    ++*(int *)user;
    return true;
}

static void every_op_has_a_cost(void) {
    size_t n_tables;
    const spec_table *tables = spec_tables(&n_tables);
    for (size_t i = 0; i < n_tables; i++) {
        char row[SPEC_NAME_BYTES];
        int n_asked = 0;
        for (const char *const *line = tables[i].rows; *line; line++) {
            snprintf(row, sizeof row, "%s/%s", nlm_op_spec_of(tables[i].op)->name, *line);
            if (!strstr(row, "refuse=") && !strstr(row, "bad=")) spec_spell_out(ask, &n_asked, &tables[i], row);
        }
        CU_ASSERT_TRUE(n_asked > 0);
    }
}

static const check_case cases[] = {
    CHECK_CASE(bytes_are_those_of_what_is_read_and_written),
    CHECK_CASE(every_op_has_a_cost),
};
CHECK_MAIN("cost", cases)
