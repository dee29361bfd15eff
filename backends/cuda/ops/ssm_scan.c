/* The selective scan of Mamba. */
#include "launch.h"

#define LONG    512 /* tokens from which a sequence is scanned in segments, if it is worth it */
#define SEGMENT 128

/* Are sequences so long, and channels so few, that scanning twice is faster? A
 * sequence's numbers then depend on how a prompt is cut into runs. */
static bool has_segments(const nlm_cuda_device *d, int64_t rows, int64_t channels, int64_t states) {
    const int64_t tiles = nlm_cuda_div_up(channels, NLM_SSM_TILE);
    return rows >= LONG && tiles < 2 * d->n_multiprocessors && states <= 64 && !d->is_batch_invariant;
}

/* The carries of ssm_scan.cu. */
void nlm_cuda_ssm_scan_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)nth;
    const int64_t rows = nlm_dim(dims, 'T'), channels = nlm_dim(dims, 'C'), states = nlm_dim(dims, 'N');
    if (!has_segments(self, rows, channels, states)) return;
    const int64_t tiles = nlm_cuda_div_up(channels, NLM_SSM_TILE), carries = rows / SEGMENT + rows / LONG + 1;
    out->workspace_bytes = sizeof(float[NLM_SSM_TILE]) * (uint64_t)(carries * tiles * (states + 1));
}

nlm_status nlm_cuda_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    const int64_t states = args->a->shape[1], sequences = nlm_live_rows(x, args->slot);
    nlm_cuda_work work = {
        .op = NLM_OP_ssm_scan,
        .args = args,
        .kernel = {"ssm_scan", "ssm_scan", {{"ACT", nlm_cuda_type_name(args->x), 0}, {"STATES", NULL, (int)states}}},
        .grid = {sequences, args->state->shape[1]},
        .threads = 128,
    };
    if (!has_segments(x->device, args->x->shape[0], args->x->shape[1], states)) return nlm_cuda_launch(x, &work);
    work.grid[0] = sequences > 0 ? nlm_live_rows(x, args->x) / SEGMENT + sequences : 0;
    work.kernel.defines[2] = (nlm_cuda_define){"SEGMENT", NULL, SEGMENT};
    work.kernel.defines[3] = (nlm_cuda_define){"LONG", NULL, LONG};
    work.kernel.name = "ssm_scan_carries";
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel.name = "ssm_scan_segments";
    return nlm_cuda_launch(x, &work);
}
