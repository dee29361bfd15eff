/* How much of what the machine can do a step takes, as nlm-bench --train reckons it. */
#include "common/probe.h"
#include "common/work.h"
#include "nlm-train/run.h"

/* Forward, and twice as much back: by the weights and by the activations. Of weights that adapters freeze the former
 * is not computed; the adapters' own products are left out. */
static double share_of_forward(const run *r) {
    return r->set->lora_rank > 0 ? 2 : 3;
}

static double flop_of(const work *w, const nlm_train_batch *batch, bool has_logits) {
    double flop = 0;
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        const uint64_t length = (uint64_t)(batch->seq_start[s + 1] - batch->seq_start[s]);
        flop += work_prefill_flop(w, length, 0, has_logits ? length : 0);
    }
    return flop;
}

double speed_flop(const run *r) {
    const work w = work_of(r->model, NULL, NLM_F32);
    double flop = 0;
    for (int64_t i = 0; i < r->set->accumulate; i++) {
        flop += share_of_forward(r) * flop_of(&w, &r->parts[i], true);
        for (int32_t h = 0; h < r->parts[i].n_history; h++) flop += flop_of(&w, &r->parts[i].history[h], false);
    }
    return flop;
}

nlm_status speed_probe(run *r, nlm_error *err) {
    probe p;
    r->peak = 0;
    if (!nlm_device_has_host_memory(nlm_engine_device(r->engine))) return NLM_OK;
    nlm_status status = probe_open(&p, r->engine->pool, 1 << 20, err); /* memory is not what is asked about */
    if (status == NLM_OK) r->peak = 1e9 * probe_f32_gflop_s(&p, p.kernels);
    probe_close(&p);
    return status;
}
