/* Results for people and for programs. */
#ifndef NLM_BENCH_REPORT_H
#define NLM_BENCH_REPORT_H

#include "common/json.h"
#include "nlm-bench/run.h"

void report_print(const settings *set, const run_result *r);
/* Adds one run to the open object: prefill.tok_s, decode.tok_s and step.us with their quantiles, ttft_ms,
 * decode.bw_frac, prefill.peak_frac, rss_peak_bytes, backend, threads, probe.read_gb_s, probe.f32_gflop_s
 * and what was run. What was not measured is null. */
void report_json(const settings *set, const run_result *r, nlm_json *json);
void report_samples_json(const run_result *r, nlm_json *json);
/* {count, median, min, max, p50, p95, p99}, or null without a sample. */
void report_stats_json(const samples *s, const char *key, nlm_json *json);

#endif
