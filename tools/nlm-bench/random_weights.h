/* Random weights for a file in memory (nlm_gguf_writer_map), a function of tensor and row alone. */
#ifndef NLM_BENCH_RANDOM_WEIGHTS_H
#define NLM_BENCH_RANDOM_WEIGHTS_H

#include "base/threads.h"
#include "format/gguf.h"

/* Fills every tensor: matrices [N, K] with variance 1/K in their own type, norms with 1, Mamba's A with
 * -1..-d_state, dt so that steps are 0.001 to 0.1. Each row begins elsewhere in a run of random blocks.
 * Errors OUT_OF_MEMORY. */
nlm_status random_weights_fill(const nlm_gguf *gguf, nlm_pool *pool, nlm_error *err);

/* Rows that were packed, dropped (now zeros) and nevertheless read since get their values back: a weight may
 * be wanted in a packed and in its own layout. Call after a run that reads what later ones read. */
nlm_status random_weights_restore(const nlm_gguf *gguf, nlm_error *err);

/* A vector with the variance that activations have; for inputs. */
void random_floats(uint64_t seed, float *out, size_t count);

#endif
