/* A plugin of ABI 1.0: compiled from the headers beside it, never from today's, and run by today's host. */
#include <nlm/plugin_kit.h>

static void needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = sizeof(float) * (uint64_t)nlm_dim(dims, 'K');
}

static const nlm_kit_op matmul_alone = {.op = NLM_OP_matmul, .needs = needs};
static const nlm_kit_backend has = {.ops = &matmul_alone, .n_ops = 1, .weight_types = NLM_TYPES_DECODED};

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    return nlm_kit_query(&has, self, op, args, nth, out);
}

static nlm_status matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    const nlm_tensor *w = args->w;
    const int64_t rows = nlm_live_rows(x, args->x);
    const nlm_kit_range slice = nlm_kit_slice(x, w->shape[0], 1);
    for (int64_t n = slice.from; n < slice.to; n++) {
        const float *w_row = nlm_kit_row_f32(w, n, x->scratch);
        for (int64_t m = 0; m < rows; m++) {
            const float *x_row = nlm_kit_at(args->x, m);
            double sum = 0;
            for (int64_t k = 0; k < w->shape[1]; k++) sum += (double)x_row[k] * (double)w_row[k];
            if (args->bias) sum += (double)((const float *)args->bias->data)[n];
            if (args->residual) sum += (double)((const float *)nlm_kit_at(args->residual, m))[n];
            ((float *)nlm_kit_at(args->y, m))[n] = (float)sum;
        }
    }
    return NLM_OK;
}

static const nlm_ops_v1 ops = {.struct_size = sizeof ops, .matmul = matmul};
static const nlm_device_info_v1 info = {.struct_size = sizeof info,
                                        .kind = NLM_DEVICE_SLICED,
                                        .flags = NLM_DEVICE_HOST_MEMORY,
                                        .name = "frozen",
                                        .arch = "any"};
static const nlm_device_v1 device = {
    .struct_size = sizeof device, .self = (void *)&info, .ops = &ops, .describe = nlm_kit_describe, .query = query};

NLM_KIT_PLUGIN("frozen", "1.0", "a plugin of ABI 1.0", 0, device)
