/* Rows: the gradients of products, norms and gates, the loss, and the optimizer. */
#include "rows.h"

const char *const spec_matmul_dx_rows[] = {NULL};
const char *const spec_matmul_dw_rows[] = {NULL};
const char *const spec_rms_norm_bwd_rows[] = {NULL};
const char *const spec_silu_mul_bwd_rows[] = {NULL};
const char *const spec_embed_bwd_rows[] = {NULL};
const char *const spec_cross_entropy_rows[] = {NULL};
const char *const spec_sum_sq_rows[] = {NULL};
const char *const spec_adamw_rows[] = {NULL};
const char *const spec_exp_rows[] = {NULL};
const char *const spec_accumulate_rows[] = {NULL};
const char *const spec_sum_rows_rows[] = {NULL};
