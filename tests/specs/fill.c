/* What tensors hold before an op. */
#include <math.h>
#include <string.h>

#include "spec.h"
#include "tensor/dtype.h"

/* An activation as the case's data= wants it. */
static double activation(spec_instance *in, int64_t row, int64_t column) {
    static const double edges[] = {
        0,          -0.0,       1,        0x1p-24,  -0x1p-25,       0x1.8p-24,     0x1p-14,
        65504,      65519.99,   65520,    -65536,   1.00048828125,  1.00146484375, 1.0009765625,
        1.00390625, 1.01171875, 0x1p-126, 0x1p-149, 0x1.fffffep127, INFINITY,      -INFINITY,
        NAN};
    const double normal = spec_normal(in);
    const bool is_special = spec_uniform(in) < 1.0 / 3 || row == 1, is_the_one = row % 2 == 0 && column == 5;
    switch (in->c.data) {
        case SPEC_DATA_tiny: return normal * 1e-6;
        case SPEC_DATA_faint: return normal * 1e-37;
        case SPEC_DATA_huge: return normal * 1e4;
        case SPEC_DATA_mixed: return normal * pow(10, 6 * spec_uniform(in) - 3);
        case SPEC_DATA_wide: return 200 * spec_uniform(in) - 100;
        case SPEC_DATA_masked: return is_special ? -INFINITY : 4 * normal;
        case SPEC_DATA_nan: return is_special ? NAN : normal;
        case SPEC_DATA_one_nan: return is_the_one ? NAN : normal;
        case SPEC_DATA_one_inf: return is_the_one ? -INFINITY : normal;
        case SPEC_DATA_equal: return 1;
        case SPEC_DATA_ties: return (double)spec_random_below(in, 4);
        case SPEC_DATA_edges: return edges[spec_random_below(in, (int64_t)(sizeof edges / sizeof *edges))];
        default: return normal;
    }
}

/* How far the numbers of a weight are from 0, so that a product is of the size of what it multiplies. */
static double deviation(const spec_tensor *t) {
    const bool is_matrix = (t->field->role & NLM_ROLE_MATMUL) && t->desc.shape[1] > 0;
    return is_matrix ? 1 / sqrt((double)t->desc.shape[1]) : 1;
}

static bool is_scan(nlm_op op) {
    return op == NLM_OP_ssm_scan || op == NLM_OP_dt_bc_scan || op == NLM_OP_ssm_scan_bwd;
}

/* The scan's parameters: decays a, steps dt around softplus(-3) = 0.05. */
static double scan_content(spec_instance *in, const spec_tensor *t, int64_t row, int64_t column) {
    const char *name = t->field->name;
    if (strcmp(name, "a") == 0) return -(double)(column + 1) * exp(0.3 * spec_normal(in));
    if (strcmp(name, "b_dt") == 0) return spec_normal(in) - 3;
    if (strcmp(name, "w_dt") == 0) return 0.3 * spec_normal(in) * deviation(t);
    if (strcmp(name, "w_x") == 0) return spec_normal(in) * deviation(t);
    if (strcmp(name, "dt") == 0)
        return in->c.data == SPEC_DATA_wide ? activation(in, row, column) : 1.5 * spec_normal(in) - 3;
    if (strcmp(name, "x") == 0 && in->c.data == SPEC_DATA_one_nan) return activation(in, row, column);
    return spec_normal(in);
}

/* What the optimizer is given. */
static double adamw_content(spec_instance *in, const spec_tensor *t, int64_t row, int64_t column) {
    static const double rates[] = {1e-3, 0.5, 0.1, 0.05};
    const char *name = t->field->name;
    if (strcmp(name, "rates") == 0) return rates[column % 4] * (1 + 0.1 * spec_uniform(in));
    if (strcmp(name, "dw") == 0) return activation(in, row, column);
    if (strcmp(name, "m") == 0) return 0.5 * activation(in, row, column);
    if (strcmp(name, "v") == 0) return pow(0.5 * activation(in, row, column), 2);
    return spec_normal(in);
}

/* What one element of a tensor holds, by the tensor's part in its op; `row` and `column` are its first and
 * last index. */
static double content(spec_instance *in, const spec_tensor *t, int64_t row, int64_t column) {
    const char *name = t->field->name;
    if (is_scan(in->c.op)) return scan_content(in, t, row, column);
    if (in->c.op == NLM_OP_adamw) return adamw_content(in, t, row, column);
    if (strcmp(name, "cuts") == 0) return spec_cut(row, column);
    if (t->field->types == NLM_TYPES_WEIGHT) return spec_normal(in) * deviation(t);
    const bool is_norm = in->c.op == NLM_OP_rms_norm || in->c.op == NLM_OP_rms_norm_bwd;
    if (strcmp(name, "norm_w") == 0 || (is_norm && strcmp(name, "w") == 0)) {
        return 1 + 0.2 * spec_normal(in);
    }
    if (strcmp(name, "freq_factors") == 0) return 1 + 7 * spec_uniform(in);
    return (t->is_state && t->is_written) || t->rows != SPEC_ROWS_TOKENS ? spec_normal(in)
                                                                         : activation(in, row, column);
}

static void fill_plain(spec_instance *in, spec_tensor *t) {
    const nlm_tensor *d = &t->desc;
    const int64_t rows = t->rows == SPEC_ROWS_TOKENS || in->c.rank ? in->live_rows : d->shape[0];
    int64_t i[NLM_MAX_RANK];
    for (i[0] = 0; i[0] < rows; i[0]++) {
        for (i[1] = 0; i[1] < d->shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < d->shape[2]; i[2]++) {
                for (i[3] = 0; i[3] < d->shape[3]; i[3]++) {
                    uint8_t *at = d->data;
                    for (int j = 0; j < d->rank; j++) at += i[j] * d->stride_bytes[j];
                    spec_store(d->dtype, at, content(in, t, i[0], i[d->rank - 1]));
                }
            }
        }
    }
}

/* The lanes of the last channel tile that stand for no channel are zero. */
static void clear_spare_lanes(spec_instance *in, spec_tensor *t) {
    const nlm_tensor *d = &t->desc;
    const int64_t used = in->c.dims['C' - 'A'] % NLM_SSM_TILE;
    if (used == 0) return;
    for (int64_t slot = 0; slot < d->shape[0]; slot++) {
        for (int64_t n = 0; n < d->shape[2]; n++) {
            char *lanes = (char *)d->data + slot * d->stride_bytes[0] + (d->shape[1] - 1) * d->stride_bytes[1] +
                          n * d->stride_bytes[2];
            memset(lanes + used * (int64_t)sizeof(float), 0, (size_t)(NLM_SSM_TILE - used) * sizeof(float));
        }
    }
}

/* Is it written without being read? A gradient that is replaced holds NaN before. */
static bool is_plain_output(const spec_instance *in, const spec_tensor *t) {
    const bool is_gradient = t->is_sum && (t->field->use & NLM_FIELD_OUT);
    return t->is_written && (!t->is_state || (is_gradient && !(in->c.args.head.flags & NLM_GRADIENT_ADD)));
}

void spec_fill_tensors(spec_instance *in) {
    for (int i = 0; i < in->n_tensors; i++) {
        spec_tensor *t = &in->tensors[i];
        if (is_plain_output(in, t) || (t->desc.dtype == NLM_I32 && in->c.op != NLM_OP_copy)) continue;
        if (nlm_dtype_find(t->desc.dtype)->block_elements > 1) {
            spec_fill_blocks(in, &t->desc, t->is_state ? 1 : deviation(t));
        } else {
            fill_plain(in, t);
        }
        const bool has_tiles = t->is_state && t->desc.rank == 4;
        if (is_scan(in->c.op) && has_tiles) clear_spare_lanes(in, t);
    }
}
