/* One run: a model on so many threads, in a process of its own, so that its peak memory is its own. */
#ifndef NLM_BENCH_RUN_H
#define NLM_BENCH_RUN_H

#include "common/meters.h"
#include "nlm-bench/settings.h"
#include "nlm-bench/stats.h"

/* X(NAME, name in --samples-json, samples a repetition: 1, or gen for one a step) */
#define RUN_SERIES(X)                                 \
    X(PREFILL_TOK_S, "prefill_tok_s", 1)              \
    X(DECODE_TOK_S, "decode_tok_s", 1)                \
    X(STEP_US, "step_us", gen)                        \
    X(TTFT_MS, "ttft_ms", 1)                          \
    X(FORWARD_MS, "forward_ms", 1)                    \
    X(READ_GB_S, "probe_read_gb_s", 1)                \
    X(READ_SAME_GB_S, "probe_read_same_size_gb_s", 1) \
    X(F32_GFLOP_S, "probe_f32_gflop_s", 1)            \
    X(OWN_GFLOP_S, "probe_own_f32_gflop_s", 1)        \
    X(BARRIER_US, "probe_barrier_us", 1)

enum {
#define RUN_ENUM(NAME, name, per_repetition) RUN_##NAME,
    RUN_SERIES(RUN_ENUM)
#undef RUN_ENUM
        RUN_N_SERIES
};

typedef struct run_result {
    nlm_status status;
    nlm_error error;
    samples series[RUN_N_SERIES];
    char backend[64], device[96], threads_reason[192], family[16], probe_isa[16], own_isa[16];
    nlm_device_metrics meters;
    uint32_t threads, n_other_matrices;
    bool has_host_memory; /* else the probes say nothing about the device */
    uint64_t parameters, file_bytes, weight_bytes_per_token, step_bytes, rss_peak_bytes;
    double prefill_flop, forward_flop; /* of one repetition */
    double load_seconds;
    double waits_per_step;                /* of its threads for each other; NaN: nothing was decoded */
    double prefill_joules, decode_joules; /* a token; NaN: cannot be read */
} run_result;

/* The name of a series. */
const char *run_series_name(int series);

/* Runs in a child process; the result, from mmap, holds its failure too. NULL: there is no memory (err). */
run_result *run_in_child(const settings *set, uint32_t threads, nlm_error *err);
void run_free(const settings *set, run_result *result);

/* measure.c: what the child does. */
nlm_status run_measure(const settings *set, uint32_t threads, run_result *out, nlm_error *err);

#endif
