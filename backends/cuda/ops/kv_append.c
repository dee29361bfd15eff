/* New keys and values into the pages of the cache. */
#include "launch.h"

nlm_status nlm_cuda_kv_append(const nlm_exec_v1 *x, const nlm_kv_append_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_kv_append,
        .args = args,
        .kernel = {"kv_append",
                   "kv_append",
                   {{"ACT", nlm_cuda_type_name(args->k), 0},
                    {"KEY", nlm_cuda_type_name(args->k_cache), 0},
                    {"VALUE", nlm_cuda_type_name(args->v_cache), 0}}},
        .grid = {nlm_live_rows(x, args->k), 2},
        .threads = 256,
        .is_early = true,
    };
    return nlm_cuda_launch(x, &work);
}
