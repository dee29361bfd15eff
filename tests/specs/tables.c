/* All tables, and the cases that a line with several types stands for. */
#include <stdio.h>
#include <string.h>

#include "spec.h"
#include "tensor/dtype.h"

const spec_table *spec_tables(size_t *out_count) {
    static const spec_table tables[] = {
#define NLM_OP(number, name) {number, spec_##name##_rows},
#include <nlm/ops.def>
#undef NLM_OP
    };
    *out_count = sizeof tables / sizeof *tables;
    return tables;
}

/* ops.def has the fused ops behind those they are made of, then those of training, and what came later. */
int spec_level(nlm_op op) {
    if (nlm_op_spec_of(op)->parts || op == NLM_OP_sample || op == NLM_OP_advance) return 2;
    return op > NLM_OP_dt_bc_scan ? 3 : 1;
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
