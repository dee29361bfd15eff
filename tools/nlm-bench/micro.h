/* Sweeps over single ops, planned and run as in a model: through the backend's slots, weights packed. */
#ifndef NLM_BENCH_MICRO_H
#define NLM_BENCH_MICRO_H

#include "common/json.h"
#include "nlm-bench/settings.h"

/* The names in --sweeps are known. */
bool micro_knows_sweeps(const char *list);

/* Runs the sweeps on one engine. For people a line a case; json not NULL: an object a case into the open
 * array, and read_gb_s and f32_gflop_s of the probes are given to the caller. */
nlm_status micro_run(const settings *set, nlm_engine *engine, nlm_json *json, double *out_read_gb_s,
                     double *out_f32_gflop_s, nlm_error *err);

#endif
