/* Results as a table and as JSON. */
#include "nlm-bench/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "common/terminal.h"
#include "tensor/dtype.h"

/* ---- what follows from the samples -------------------------------------------------------- */

typedef struct derived {
    stats of[RUN_N_SERIES];
    double decode_gb_s, prefill_gflop_s, forward_gflop_s;             /* of the best repetition */
    double bw_frac, cache_frac, prefill_peak_frac, forward_peak_frac; /* best over best probe */
    double prefill_own_frac, forward_own_frac, barrier_share;
} derived;

static derived derive(const settings *set, const run_result *r) {
    derived d;
    for (int i = 0; i < RUN_N_SERIES; i++) d.of[i] = stats_of(&r->series[i]);
    const double steps_s = d.of[RUN_DECODE_TOK_S].max / (double)set->batch;
    const double prefills_s = d.of[RUN_PREFILL_TOK_S].max / (double)(set->batch * set->prompt);
    d.decode_gb_s = steps_s * (double)r->step_bytes * 1e-9;
    d.prefill_gflop_s = prefills_s * r->prefill_flop * 1e-9;
    d.forward_gflop_s = r->forward_flop * 1e-6 / d.of[RUN_FORWARD_MS].min;
    d.bw_frac = d.decode_gb_s / d.of[RUN_READ_GB_S].max;
    d.cache_frac = d.decode_gb_s / d.of[RUN_READ_SAME_GB_S].max;
    d.prefill_peak_frac = d.prefill_gflop_s / d.of[RUN_F32_GFLOP_S].max;
    d.forward_peak_frac = d.forward_gflop_s / d.of[RUN_F32_GFLOP_S].max;
    d.prefill_own_frac = d.prefill_gflop_s / d.of[RUN_OWN_GFLOP_S].max;
    d.forward_own_frac = d.forward_gflop_s / d.of[RUN_OWN_GFLOP_S].max;
    d.barrier_share = r->waits_per_step * d.of[RUN_BARRIER_US].min / d.of[RUN_STEP_US].min;
    if (!r->has_host_memory) d.bw_frac = d.cache_frac = d.prefill_peak_frac = d.forward_peak_frac = NAN;
    if (!r->has_host_memory) d.prefill_own_frac = d.forward_own_frac = d.barrier_share = NAN;
    return d;
}

static double forward_tok_s(const settings *set, double ms) {
    return (double)(set->forward * set->batch) * 1e3 / ms;
}

static const char *type_name(const settings *set) {
    return set->preset ? nlm_dtype_name(set->dtype) : NULL;
}

/* ---- for people --------------------------------------------------------------------------- */

static void print_rates(const char *label, const char *unit, const stats *s) {
    printf("%-9s %.4g %s median (min %.4g, p95 %.4g, p99 %.4g, max %.4g; %zu samples)\n", label, s->median, unit,
           s->min, s->p95, s->p99, s->max, s->count);
}

static void print_model(const settings *set, const run_result *r) {
    const char *type = type_name(set);
    const char *name = set->preset ? set->preset_name : set->model;
    printf("model     ");
    nlm_write_shown(stdout, name, strlen(name));
    printf(": %s%s%s, %.1f M parameters, %.1f MB, loaded in %.3f s\n", r->family, type ? ", random " : "",
           type ? type : "", (double)r->parameters * 1e-6, (double)r->file_bytes * 1e-6, r->load_seconds);
    if (type && r->n_other_matrices) {
        printf("          %u matrices are f16: their rows are no multiple of a block of %s\n", r->n_other_matrices,
               type);
    }
    printf("backend   %s (%s); %s\n", r->backend, r->device, r->threads_reason);
    meters_print(stdout, "device    ", &r->meters);
}

/* The CPU's, and that of the backend's instruction set where it is another. */
static void print_of_peak(const run_result *r, double peak_frac, double own_frac) {
    printf("%.3f of peak", peak_frac);
    if (strcmp(r->own_isa, r->probe_isa) != 0) printf(", %.3f of that of %s", own_frac, r->own_isa);
    putchar('\n');
}

static void print_work(const settings *set, const run_result *r, const derived *d) {
    if (set->forward) {
        const stats *ms = &d->of[RUN_FORWARD_MS];
        print_rates("forward", "ms", ms);
        printf("          %lld tokens, logits of %s: %.4g tok/s median; best %.4g GFLOP/s, ", (long long)set->forward,
               set->has_all_logits ? "all" : "the last", forward_tok_s(set, ms->median), d->forward_gflop_s);
        print_of_peak(r, d->forward_peak_frac, d->forward_own_frac);
        return;
    }
    if (set->prompt) {
        print_rates("prefill", "tok/s", &d->of[RUN_PREFILL_TOK_S]);
        printf("          first token after %.4g ms; best %.4g GFLOP/s, ", d->of[RUN_TTFT_MS].median,
               d->prefill_gflop_s);
        print_of_peak(r, d->prefill_peak_frac, d->prefill_own_frac);
    }
    if (!set->gen) return;
    print_rates("decode", "tok/s", &d->of[RUN_DECODE_TOK_S]);
    printf("          best %.4g GB/s, %.3f of the read bandwidth (%.3f of reading as much again and again)\n",
           d->decode_gb_s, d->bw_frac, d->cache_frac);
    print_rates("step", "us", &d->of[RUN_STEP_US]);
    if (!set->has_barriers) return;
    printf("barriers  %.4g a step, %.3g us each at best: %.3f of the best step\n", r->waits_per_step,
           d->of[RUN_BARRIER_US].min, d->barrier_share);
}

void report_print(const settings *set, const run_result *r) {
    const derived d = derive(set, r);
    print_model(set, r);
    print_work(set, r, &d);
    if (isfinite(r->decode_joules)) {
        printf("energy    %.4g J a token of the prefill, %.4g J a token decoded (packages)\n", r->prefill_joules,
               r->decode_joules);
    }
    printf("memory    %.1f MB at most\n", (double)r->rss_peak_bytes * 1e-6);
    printf("probe     %.4g GB/s read, %.4g GFLOP/s f32 (%s, best)\n", d.of[RUN_READ_GB_S].max,
           d.of[RUN_F32_GFLOP_S].max, r->probe_isa);
}

/* ---- for programs ------------------------------------------------------------------------- */

void report_stats_json(const samples *s, const char *key, nlm_json *json) {
    if (s->count == 0) {
        nlm_json_f64(json, key, NAN);
        return;
    }
    const stats of = stats_of(s);
    nlm_json_begin_object(json, key);
    nlm_json_u64(json, "count", of.count);
    nlm_json_f64(json, "median", of.median);
    nlm_json_f64(json, "min", of.min);
    nlm_json_f64(json, "max", of.max);
    nlm_json_f64(json, "p50", of.p50);
    nlm_json_f64(json, "p95", of.p95);
    nlm_json_f64(json, "p99", of.p99);
    nlm_json_end(json);
}

static void add_subject(const settings *set, const run_result *r, nlm_json *json) {
    nlm_json_string(json, "version", nlm_version());
    nlm_json_string(json, set->preset ? "preset" : "model", set->preset ? set->preset_name : set->model);
    if (set->preset) nlm_json_string(json, "type", type_name(set));
    nlm_json_string(json, "family", r->family);
    nlm_json_u64(json, "parameters", r->parameters);
    nlm_json_u64(json, "file_bytes", r->file_bytes);
    nlm_json_u64(json, "weight_bytes_per_token", r->weight_bytes_per_token);
    nlm_json_u64(json, "matrices_of_other_types", r->n_other_matrices);
    nlm_json_f64(json, "load_seconds", r->load_seconds);
    nlm_json_string(json, "backend", r->backend);
    nlm_json_i64(json, "device_id", set->device_id);
    nlm_json_string(json, "device", r->device);
    nlm_json_string(json, "cpu", nlm_cpu_name());
    nlm_json_u64(json, "threads", r->threads);
    nlm_json_string(json, "threads_reason", r->threads_reason);
    meters_json(&r->meters, json);
    nlm_json_i64(json, "prompt", set->forward ? 0 : set->prompt);
    nlm_json_i64(json, "gen", set->forward ? 0 : set->gen);
    nlm_json_i64(json, "depth", set->depth);
    nlm_json_i64(json, "batch", set->batch);
    nlm_json_i64(json, "ahead", set->ahead);
    nlm_json_i64(json, "repeat", set->repeat);
    nlm_json_i64(json, "warmup", set->warmup);
}

static void add_forward(const settings *set, const run_result *r, const derived *d, nlm_json *json) {
    if (!set->forward) return;
    nlm_json_begin_object(json, "forward");
    nlm_json_i64(json, "tokens", set->forward);
    nlm_json_string(json, "logits", set->has_all_logits ? "all" : "last");
    report_stats_json(&r->series[RUN_FORWARD_MS], "ms", json);
    nlm_json_f64(json, "tok_s", forward_tok_s(set, d->of[RUN_FORWARD_MS].median));
    nlm_json_f64(json, "gflop_s", d->forward_gflop_s);
    nlm_json_f64(json, "peak_frac", d->forward_peak_frac);
    nlm_json_f64(json, "own_peak_frac", d->forward_own_frac);
    nlm_json_end(json);
}

void report_json(const settings *set, const run_result *r, nlm_json *json) {
    const derived d = derive(set, r);
    add_subject(set, r, json);
    nlm_json_begin_object(json, "prefill");
    report_stats_json(&r->series[RUN_PREFILL_TOK_S], "tok_s", json);
    nlm_json_f64(json, "flop", r->prefill_flop);
    nlm_json_f64(json, "gflop_s", d.prefill_gflop_s);
    nlm_json_f64(json, "peak_frac", d.prefill_peak_frac);
    nlm_json_f64(json, "own_peak_frac", d.prefill_own_frac);
    nlm_json_f64(json, "joules_per_token", r->prefill_joules);
    nlm_json_end(json);
    nlm_json_begin_object(json, "decode");
    report_stats_json(&r->series[RUN_DECODE_TOK_S], "tok_s", json);
    nlm_json_u64(json, "bytes_per_step", r->step_bytes);
    nlm_json_f64(json, "gb_s", d.decode_gb_s);
    nlm_json_f64(json, "bw_frac", d.bw_frac);
    nlm_json_f64(json, "cache_frac", d.cache_frac);
    nlm_json_f64(json, "joules_per_token", r->decode_joules);
    nlm_json_end(json);
    nlm_json_begin_object(json, "step");
    report_stats_json(&r->series[RUN_STEP_US], "us", json);
    nlm_json_f64(json, "barriers", r->waits_per_step);
    nlm_json_f64(json, "barrier_us", d.of[RUN_BARRIER_US].min);
    nlm_json_end(json);
    nlm_json_f64(json, "ttft_ms", d.of[RUN_TTFT_MS].median);
    add_forward(set, r, &d, json);
    nlm_json_u64(json, "rss_peak_bytes", r->rss_peak_bytes);
    nlm_json_begin_object(json, "probe");
    nlm_json_f64(json, "read_gb_s", d.of[RUN_READ_GB_S].max);
    nlm_json_f64(json, "read_same_size_gb_s", d.of[RUN_READ_SAME_GB_S].max);
    nlm_json_f64(json, "f32_gflop_s", d.of[RUN_F32_GFLOP_S].max);
    nlm_json_string(json, "isa", r->probe_isa);
    nlm_json_f64(json, "own_f32_gflop_s", d.of[RUN_OWN_GFLOP_S].max);
    nlm_json_string(json, "own_isa", r->own_isa);
    nlm_json_end(json);
}

void report_samples_json(const run_result *r, nlm_json *json) {
    nlm_json_u64(json, "threads", r->threads);
    for (int i = 0; i < RUN_N_SERIES; i++) {
        nlm_json_begin_array(json, run_series_name(i));
        for (size_t j = 0; j < r->series[i].count; j++) nlm_json_f64(json, NULL, r->series[i].values[j]);
        nlm_json_end(json);
    }
}
