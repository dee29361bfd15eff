/* What parameters begin with when nothing was trained yet. */
#ifndef NLM_TRAIN_INITIAL_H
#define NLM_TRAIN_INITIAL_H

#include "model/parameters.h"

/* Fills `out` [elements] for parameter number `index`: the same for the same seed on every machine, whatever order
 * parameters are filled in.
 * Source   Llama: normal, 0.02, what is added to the residual stream by 1/sqrt(2 layers) of it; Mamba: the
 * reference's, A = 1 .. N, D = 1, steps log-uniform between 0.001 and 0.1 (Gu & Dao 2023). */
void nlm_initial_fill(const nlm_trained *trained, const nlm_hparams *h, uint64_t seed, uint32_t index, float *out);

#endif
