/* All tables, and the cases that a line with several types stands for. */
#include <stdio.h>
#include <string.h>

#include "spec.h"
#include "tensor/dtype.h"

const spec_table *spec_tables(size_t *out_count) {
#define LEVEL_1(op) \
    { NLM_OP_##op, 1, spec_##op##_rows }
#define LEVEL_2(op) \
    { NLM_OP_##op, 2, spec_##op##_rows }
    static const spec_table tables[] = {
        LEVEL_1(embed),
        LEVEL_1(matmul),
        LEVEL_1(rms_norm),
        LEVEL_1(rope),
        LEVEL_1(kv_append),
        LEVEL_1(attention),
        LEVEL_1(silu_mul),
        LEVEL_1(add),
        LEVEL_1(mul),
        LEVEL_1(scale),
        LEVEL_1(softmax),
        LEVEL_1(conv1d_causal),
        LEVEL_1(ssm_scan),
        LEVEL_1(copy),
        LEVEL_1(argmax),
        LEVEL_2(gate_up_silu_mul),
        LEVEL_2(qkv_rope_append),
        LEVEL_2(norm_matmul),
        LEVEL_2(norm_xz_conv),
        LEVEL_2(dt_bc_scan),
    };
    *out_count = sizeof tables / sizeof *tables;
    return tables;
}

#define HAS_SMALL_BLOCKS(NAME, name, number, elements, bytes) | ((elements) <= 32 ? NLM_TYPE_BIT(NAME) : 0)

/* A word and the set of types it stands for. */
static const struct {
    const char *item;
    uint64_t types;
} sets[] = {
    {"w:all", NLM_TYPES_DECODED},
    {"w:blocks", NLM_TYPES_DECODED &(UINT64_C(0) NLM_DTYPE_LIST(HAS_SMALL_BLOCKS))},
    {"w:plain", NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(BF16)},
    {"cache:all", NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0)},
    {"cache:plain", NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16)},
};

/* Where the set is a whole item of the row, or NULL. */
static const char *find_item(const char *row, const char *item) {
    const size_t length = strlen(item);
    for (const char *at = strstr(row, item); at; at = strstr(at + 1, item)) {
        const bool starts = at == row || at[-1] == ',' || at[-1] == '/';
        if (starts && (at[length] == ',' || at[length] == 0)) return at;
    }
    return NULL;
}

bool spec_spell_out(spec_visit_fn visit, void *user, const spec_table *table, const char *name) {
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        const char *at = find_item(name, sets[s].item);
        if (!at) continue;
        const int kind = (int)(strchr(at, ':') + 1 - name);
        for (nlm_dtype type = 0; type < 64; type++) {
            if (!(sets[s].types >> type & 1)) continue;
            char spelled[SPEC_NAME_BYTES];
            snprintf(spelled, sizeof spelled, "%.*s%s%s", kind, name, nlm_dtype_name(type),
                     at + strlen(sets[s].item));
            if (!spec_spell_out(visit, user, table, spelled)) return false;
        }
        return true;
    }
    return visit(user, table, name);
}

void spec_for_each(spec_visit_fn visit, void *user) {
    size_t n_tables;
    const spec_table *tables = spec_tables(&n_tables);
    for (size_t i = 0; i < n_tables; i++) {
        for (const char *const *row = tables[i].rows; *row; row++) {
            char name[SPEC_NAME_BYTES];
            snprintf(name, sizeof name, "%s/%s", nlm_op_spec_of(tables[i].op)->name, *row);
            if (!spec_spell_out(visit, user, &tables[i], name)) return;
        }
    }
}
