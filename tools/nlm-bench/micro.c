/* Single ops over ranges of sizes, against the machine's limits. */
#include "nlm-bench/micro.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "common/probe.h"
#include "common/terminal.h"
#include "nlm-bench/micro_case.h"
#include "nlm-bench/report.h"
#include "tensor/dtype.h"

#define SAMPLE_NS      5000000u /* a sample repeats the op for about so long */
#define GREATEST_RUNS  100000
#define MATRIX_COLUMNS 4096

typedef struct sweep {
    const settings *set;
    nlm_engine *engine;
    nlm_json *json;
    probe probe;
    double read_gb_s, f32_gflop_s; /* the best so far */
    double *values;                /* [set->repeat] */
} sweep;

static void run_probes(sweep *s) {
    s->read_gb_s = fmax(s->read_gb_s, probe_read_gb_s(&s->probe));
    s->f32_gflop_s = fmax(s->f32_gflop_s, probe_f32_gflop_s(&s->probe, s->probe.kernels));
}

/* ---- a case ------------------------------------------------------------------------------- */

/* What a case is called, and how its numbers are named in JSON. */
typedef struct label {
    const char *sweep;
    const char *names[4];
    int64_t values[4];
} label;

static void report_case(const sweep *s, const label *l, const samples *us, double bytes, double flop) {
    const stats of = stats_of(us);
    const double gb_s = bytes * 1e-3 / of.min, gflop_s = flop * 1e-3 / of.min;
    if (!s->json) {
        char text[96] = "";
        for (int i = 0, used = 0; i < 4 && l->names[i]; i++) {
            used += snprintf(text + used, sizeof text - (size_t)used, "%s %" PRId64 "  ", l->names[i], l->values[i]);
        }
        printf("%-10s %-40s %12.3f us (min %.3f)", l->sweep, text, of.median, of.min);
        if (bytes > 0)
            printf("  %7.2f GB/s (%.3f)  %8.2f GFLOP/s (%.3f)", gb_s, gb_s / s->read_gb_s, gflop_s,
                   gflop_s / s->f32_gflop_s);
        printf("\n");
        return;
    }
    nlm_json_begin_object(s->json, NULL);
    nlm_json_string(s->json, "sweep", l->sweep);
    for (int i = 0; i < 4 && l->names[i]; i++) nlm_json_i64(s->json, l->names[i], l->values[i]);
    report_stats_json(us, "us", s->json);
    if (bytes > 0) {
        nlm_json_f64(s->json, "bytes", bytes);
        nlm_json_f64(s->json, "flop", flop);
        nlm_json_f64(s->json, "gb_s", gb_s);
        nlm_json_f64(s->json, "gflop_s", gflop_s);
        nlm_json_f64(s->json, "bw_frac", gb_s / s->read_gb_s);
        nlm_json_f64(s->json, "peak_frac", gflop_s / s->f32_gflop_s);
    }
    nlm_json_end(s->json);
}

/* Microseconds of one of n runs. */
static nlm_status time_runs(const micro_case *c, int64_t n, double *out_us, nlm_error *err) {
    const uint64_t start = nlm_clock_ns();
    for (int64_t i = 0; i < n; i++) NLM_TRY(nlm_program_run(c->program, NULL, err));
    *out_us = (double)(nlm_clock_ns() - start) * 1e-3 / (double)n;
    return NLM_OK;
}

static nlm_status measure_case(sweep *s, const micro_case *c, const label *l, nlm_error *err) {
    samples us = {.values = s->values, .capacity = (size_t)s->set->repeat};
    nlm_show_step("measuring %s", l->sweep);
    double once = 0;
    NLM_TRY(time_runs(c, 1, &once, err)); /* warm */
    NLM_TRY(time_runs(c, 1, &once, err));
    const double wanted = SAMPLE_NS * 1e-3 / fmax(once, 1e-3);
    const int64_t n = wanted < 1 ? 1 : wanted > GREATEST_RUNS ? GREATEST_RUNS : (int64_t)wanted;
    for (int64_t i = 0; i < s->set->repeat; i++) {
        double value = 0;
        NLM_TRY(time_runs(c, n, &value, err));
        samples_add(&us, value);
    }
    run_probes(s);
    nlm_end_steps();
    report_case(s, l, &us, c->bytes, c->flop);
    return NLM_OK;
}

/* ---- sweeps ------------------------------------------------------------------------------- */

static bool is_too_large(const sweep *s, double bytes) {
    return bytes > (double)s->set->max_mb * (1 << 20);
}

static nlm_status sweep_matmul(sweep *s, const char *name, int64_t m, int64_t n, int64_t k, nlm_error *err) {
    const double bytes = (double)n * (double)nlm_dtype_row_bytes(s->set->dtype, (uint64_t)k);
    if (is_too_large(s, bytes)) return NLM_OK;
    micro_case c = {.engine = s->engine};
    nlm_status status = micro_open_matmul(&c, s->set->dtype, m, n, k, err);
    const label l = {name, {"m", "n", "k"}, {m, n, k}};
    if (status == NLM_OK) status = measure_case(s, &c, &l, err);
    micro_close(&c);
    return status;
}

/* 0.5 MB to 1 GB. */
static nlm_status sweep_gemv(sweep *s, nlm_error *err) {
    const uint64_t row_bytes = nlm_dtype_row_bytes(s->set->dtype, MATRIX_COLUMNS);
    for (uint64_t bytes = 1u << 19; bytes <= 1u << 30; bytes *= 2) {
        const int64_t rows = (int64_t)(bytes / row_bytes / 32 * 32);
        NLM_TRY(sweep_matmul(s, "gemv", 1, rows > 0 ? rows : 32, MATRIX_COLUMNS, err));
    }
    return NLM_OK;
}

static nlm_status sweep_gemm(sweep *s, nlm_error *err) {
    static const int64_t rows[] = {1, 2, 4, 8, 16, 32, 128, 512};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        NLM_TRY(sweep_matmul(s, "gemm", rows[i], MATRIX_COLUMNS, MATRIX_COLUMNS, err));
    }
    NLM_TRY(sweep_matmul(s, "gemm", 1, 11008, 4096, err));
    return sweep_matmul(s, "gemm", 1024, 1024, 1024, err);
}

static nlm_status sweep_one_attention(sweep *s, int64_t heads, int64_t heads_kv, int64_t tokens, int64_t context,
                                      nlm_error *err) {
    const nlm_dtype_info *kv = nlm_dtype_from_name(s->set->kv_type ? s->set->kv_type : "f16");
    if (!kv) return nlm_fail(err, NLM_INVALID_ARGUMENT, "--kv-type", "'%s' is no type", s->set->kv_type);
    const micro_attention shape = {heads, heads_kv, tokens, context, kv->dtype};
    if (is_too_large(s, micro_attention_bytes(&shape))) return NLM_OK;
    micro_case c = {.engine = s->engine};
    nlm_status status = micro_open_attention(&c, &shape, err);
    const label l = {"attention", {"heads", "heads_kv", "tokens", "context"}, {heads, heads_kv, tokens, context}};
    if (status == NLM_OK) status = measure_case(s, &c, &l, err);
    micro_close(&c);
    return status;
}

/* Decode with as many heads of keys as queries, fewer, and one; prefill. */
static nlm_status sweep_attention(sweep *s, nlm_error *err) {
    static const int64_t heads[][2] = {{12, 12}, {32, 4}, {32, 1}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        for (int64_t context = 128; context <= 16384; context *= 2)
            NLM_TRY(sweep_one_attention(s, heads[i][0], heads[i][1], 1, context, err));
    }
    for (int64_t context = 128; context <= 4096; context *= 2) {
        NLM_TRY(sweep_one_attention(s, 32, 4, context < 512 ? context : 512, context, err));
    }
    return NLM_OK;
}

static nlm_status sweep_scan(sweep *s, nlm_error *err) {
    static const int64_t lengths[] = {1, 8, 64, 512};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        micro_case c = {.engine = s->engine};
        nlm_status status = micro_open_scan(&c, lengths[i], err);
        const label l = {"scan", {"tokens", "channels", "states"}, {lengths[i], MICRO_CHANNELS, MICRO_STATES}};
        if (status == NLM_OK) status = measure_case(s, &c, &l, err);
        micro_close(&c);
        NLM_TRY(status);
    }
    return NLM_OK;
}

/* Its time includes a thousandth of a region's begin and end. */
static nlm_status sweep_barrier(sweep *s, nlm_error *err) {
    (void)err;
    samples us = {.values = s->values, .capacity = (size_t)s->set->repeat};
    for (int64_t i = 0; i < s->set->repeat; i++) samples_add(&us, probe_barrier_us(s->engine->pool));
    const label l = {"barrier", {"threads"}, {nlm_pool_threads(s->engine->pool)}};
    report_case(s, &l, &us, 0, 0);
    return NLM_OK;
}

static void report_probe(const sweep *s, const nlm_probed_v1 *p, const char *reason) {
    if (!s->json) {
        printf("%-10s %-40s ", "device", p->name);
        if (reason)
            printf("- (%s)\n", reason);
        else if (p->expected > 0)
            printf("%12.4g %s, %.4g expected (%.3f)\n", p->value, p->unit, p->expected, p->value / p->expected);
        else
            printf("%12.4g %s\n", p->value, p->unit);
        return;
    }
    nlm_json_begin_object(s->json, NULL);
    nlm_json_string(s->json, "sweep", "device");
    nlm_json_string(s->json, "name", p->name);
    nlm_json_string(s->json, "unit", p->unit);
    nlm_json_f64(s->json, "value", reason ? NAN : p->value);
    nlm_json_f64(s->json, "expected", p->expected > 0 ? p->expected : NAN);
    if (reason) nlm_json_string(s->json, "reason", reason);
    nlm_json_end(s->json);
}

/* What the backend measures of its hardware, beside what its predictions reckon with. */
static nlm_status sweep_device(sweep *s, nlm_error *err) {
    for (uint32_t i = 0;; i++) {
        nlm_probed_v1 probed;
        nlm_error why = NLM_ERROR_INIT;
        nlm_show_step("measuring the device");
        const nlm_status status = nlm_device_probe(nlm_engine_device(s->engine), i, &probed, &why);
        nlm_end_steps();
        if (status == NLM_NOT_FOUND) return NLM_OK;
        if (status != NLM_OK && status != NLM_UNSUPPORTED) {
            nlm_error_give(err, &why);
            return status;
        }
        report_probe(s, &probed, status == NLM_OK ? NULL : why.msg);
    }
}

static const struct {
    const char *name;
    nlm_status (*run)(sweep *s, nlm_error *err);
} sweeps[] = {
    {"gemv", sweep_gemv}, {"gemm", sweep_gemm},       {"attention", sweep_attention},
    {"scan", sweep_scan}, {"barrier", sweep_barrier}, {"device", sweep_device},
};
#define N_SWEEPS (sizeof sweeps / sizeof *sweeps)

/* Is `name` one of a list separated by commas? */
static bool is_listed(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strcspn(at, ",") == length && memcmp(at, name, length) == 0) return true;
    }
    return false;
}

bool micro_knows_sweeps(const char *list) {
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        bool is_known = false;
        for (size_t i = 0; i < N_SWEEPS; i++) {
            is_known |=
                strlen(sweeps[i].name) == strcspn(at, ",") && memcmp(at, sweeps[i].name, strcspn(at, ",")) == 0;
        }
        if (!is_known) return false;
    }
    return true;
}

static nlm_status run_sweeps(sweep *s, nlm_error *err) {
    run_probes(s);
    for (size_t i = 0; i < N_SWEEPS; i++) {
        if (!s->set->sweeps || is_listed(s->set->sweeps, sweeps[i].name)) NLM_TRY(sweeps[i].run(s, err));
    }
    return NLM_OK;
}

nlm_status micro_run(const settings *set, nlm_engine *engine, nlm_json *json, double *out_read_gb_s,
                     double *out_f32_gflop_s, nlm_error *err) {
    sweep s = {.set = set, .engine = engine, .json = json};
    s.values = calloc((size_t)set->repeat, sizeof *s.values);
    if (!s.values) return nlm_fail(err, NLM_OUT_OF_MEMORY, "micro", "no memory for %" PRId64 " samples", set->repeat);
    nlm_status status = probe_open(&s.probe, engine->pool, (uint64_t)set->probe_mb << 20, err);
    if (status == NLM_OK) status = run_sweeps(&s, err);
    probe_close(&s.probe);
    free(s.values);
    *out_read_gb_s = s.read_gb_s;
    *out_f32_gflop_s = s.f32_gflop_s;
    return status;
}
