/* Steps of training, and what their parts take. */
#ifndef NLM_BENCH_TRAIN_H
#define NLM_BENCH_TRAIN_H

#include "common/json.h"
#include "nlm-bench/settings.h"

/* Measures set->repeat steps on one engine. For people a few lines; json not NULL: adds to the open object what was
 * run, train.tok_s and train.ms with their quantiles, the medians of train.parts, train.peak_frac, memory and
 * probe.f32_gflop_s. */
nlm_status train_run(const settings *set, nlm_engine *engine, nlm_json *json, nlm_error *err);

#endif
