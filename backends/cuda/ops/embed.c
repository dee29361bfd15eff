/* Rows of the embedding by token. */
#include "launch.h"

nlm_status nlm_cuda_embed(const nlm_exec_v1 *x, const nlm_embed_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_embed,
        .args = args,
        .kernel = {"embed",
                   "embed",
                   {{"ACT", nlm_cuda_type_name(args->y), 0},
                    {"W", nlm_cuda_type_name(args->w), 0},
                    {"PACKED", NULL, args->w->layout != NLM_LAYOUT_ROW_MAJOR}}},
        .grid = {nlm_live_rows(x, args->ids)},
        .threads = 128,
        .is_early = true,
    };
    return nlm_cuda_launch(x, &work);
}
