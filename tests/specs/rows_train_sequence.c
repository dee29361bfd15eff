/* Rows: the gradients of attention, convolution and scan. */
#include "rows.h"

const char *const spec_attention_plain_bwd_rows[] = {NULL};
const char *const spec_conv1d_causal_bwd_rows[] = {NULL};
const char *const spec_ssm_scan_bwd_rows[] = {NULL};
