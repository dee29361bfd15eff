/* Steps of training: opening, repetitions with a probe between them, and the report. */
#include "nlm-bench/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/status.h"
#include "common/probe.h"
#include "common/terminal.h"
#include "common/work.h"
#include "nlm-bench/report.h"
#include "session/engine.h"
#include "tensor/dtype.h"
#include "train/trainer.h"

/* X(NAME, name): tokens a second, then milliseconds; the parts in the order of a step. */
#define SERIES(X)           \
    X(TOK_S, "tok_s")       \
    X(STEP, "step")         \
    X(FORWARD, "forward")   \
    X(BACKWARD, "backward") \
    X(NORM, "norm")         \
    X(ADAMW, "adamw")       \
    X(PROBE, "f32_gflop_s")

enum {
#define SERIES_ENUM(NAME, name) SERIES_##NAME,
    SERIES(SERIES_ENUM)
#undef SERIES_ENUM
        N_SERIES
};

static const char *const series_names[] = {
#define SERIES_TEXT(NAME, name) name,
    SERIES(SERIES_TEXT)
#undef SERIES_TEXT
};

#define FIRST_PART SERIES_FORWARD
#define LAST_PART  SERIES_ADAMW

typedef struct bench {
    const settings *set;
    nlm_engine *engine;
    nlm_model *model;
    nlm_trainer *trainer;
    probe probe;
    int32_t *tokens; /* what the batch's lists lie in */
    nlm_train_batch batch;
    double *values;
    samples series[N_SERIES];
    double flop; /* of a step */
} bench;

/* ---- opening ------------------------------------------------------------------------------------ */

static nlm_status open_model(bench *b, nlm_error *err) {
    if (!b->set->preset) return nlm_model_open(b->set->train, &b->model, err);
    nlm_gguf *gguf = NULL;
    NLM_TRY(nlm_preset_gguf(b->set->preset, NLM_F32, &gguf, err));
    return nlm_model_take_gguf(gguf, &b->model, err);
}

static nlm_status open_trainer(bench *b, nlm_error *err) {
    const int32_t rows = (int32_t)b->set->rows;
    const nlm_trainer_options options = {
        .shape = {.rows = rows, .length = (int32_t)b->set->length, .max_seqs = rows},
        .parameters = {.dtype = b->set->dtype},
        .recompute = b->set->recompute,
        .is_new = b->set->preset != NULL,
        .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
        .clip_norm = 1,
        .schedule = {.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e-4, .steps = 1000},
    };
    return nlm_trainer_create(&b->engine->env, b->model, &options, &b->trainer, err);
}

/* Random tokens, each row a sequence; what is to follow counts everywhere. */
static nlm_status make_batch(bench *b, nlm_error *err) {
    const int32_t rows = (int32_t)b->set->rows, length = (int32_t)b->set->length, count = rows * length;
    const int32_t n_vocab = nlm_model_hparams(b->model)->n_vocab;
    b->tokens = calloc(3 * (size_t)count + (size_t)rows + 1, sizeof *b->tokens);
    if (!b->tokens) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm-bench", "no memory for %d tokens", count);
    b->batch = (nlm_train_batch){.ids = b->tokens,
                                 .labels = b->tokens + count,
                                 .pos = b->tokens + 2 * (size_t)count,
                                 .seq_start = b->tokens + 3 * (size_t)count,
                                 .n_tokens = count,
                                 .n_seqs = rows,
                                 .n_counted = count};
    uint32_t state = 12345;
    for (int32_t i = 0; i < 2 * count; i++) {
        state = state * 1664525u + 1013904223u;
        b->tokens[i] = (int32_t)((state >> 8) % (uint32_t)n_vocab);
    }
    for (int32_t i = 0; i < count; i++) b->batch.pos[i] = i % length;
    for (int32_t i = 0; i <= rows; i++) b->batch.seq_start[i] = i * length;
    return NLM_OK;
}

static nlm_status make_series(bench *b, nlm_error *err) {
    const size_t repeat = (size_t)b->set->repeat;
    b->values = calloc(repeat * N_SERIES, sizeof *b->values);
    if (!b->values) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm-bench", "no memory for %zu samples", repeat);
    for (size_t i = 0; i < N_SERIES; i++)
        b->series[i] = (samples){.values = b->values + i * repeat, .capacity = repeat};
    return NLM_OK;
}

static nlm_status open_bench(bench *b, nlm_error *err) {
    NLM_TRY(open_model(b, err));
    NLM_TRY(open_trainer(b, err));
    NLM_TRY(make_batch(b, err));
    NLM_TRY(make_series(b, err));
    const work w = work_of(b->model, NULL, NLM_F32);
    const uint64_t length = (uint64_t)b->set->length;
    b->flop = 3 * (double)b->set->rows * work_prefill_flop(&w, length, 0, length);
    return probe_open(&b->probe, b->engine->pool, 1 << 20, err); /* memory is not what is asked about */
}

static void close_bench(bench *b) {
    probe_close(&b->probe);
    nlm_trainer_destroy(b->trainer);
    nlm_model_close(b->model);
    free(b->tokens);
    free(b->values);
}

/* ---- repetitions ---------------------------------------------------------------------------------- */

static nlm_status repetition(bench *b, bool is_counted, nlm_error *err) {
    nlm_trainer_metrics metrics;
    double loss;
    const uint64_t start_ns = nlm_clock_ns();
    NLM_TRY(nlm_trainer_evaluate(b->trainer, &b->batch, &loss, err));
    const double forward = (double)(nlm_clock_ns() - start_ns) * 1e-9;
    NLM_TRY(nlm_trainer_step(b->trainer, &b->batch, 1, &metrics, err));
    if (!is_counted) return NLM_OK;
    const double of[N_SERIES] = {
        [SERIES_TOK_S] = (double)b->batch.n_tokens / metrics.seconds,
        [SERIES_STEP] = metrics.seconds * 1e3,
        [SERIES_FORWARD] = forward * 1e3,
        [SERIES_BACKWARD] = fmax(metrics.gradient_seconds - forward, 0) * 1e3,
        [SERIES_NORM] = metrics.norm_seconds * 1e3,
        [SERIES_ADAMW] = metrics.update_seconds * 1e3,
        [SERIES_PROBE] = probe_f32_gflop_s(&b->probe, b->probe.kernels),
    };
    for (int i = 0; i < N_SERIES; i++) samples_add(&b->series[i], of[i]);
    return NLM_OK;
}

/* The first repetition plans the forward pass. */
static nlm_status repeat(bench *b, nlm_error *err) {
    const int64_t warmup = b->set->warmup > 0 ? b->set->warmup : 1, total = warmup + b->set->repeat;
    for (int64_t i = 0; i < total; i++) {
        nlm_show_step("%s, %lld of %lld", i < warmup ? "warming up" : "measuring", (long long)i + 1,
                      (long long)total);
        NLM_TRY(repetition(b, i >= warmup, err));
    }
    return NLM_OK;
}

/* ---- the report ------------------------------------------------------------------------------------- */

typedef struct result {
    stats of[N_SERIES];
    double gflop_s, peak_frac; /* of the best repetition, over the best probe */
    nlm_trainer_memory memory;
    nlm_engine_info engine;
    const char *family;
    uint64_t parameters;
} result;

static nlm_status summarize(const bench *b, result *out, nlm_error *err) {
    *out = (result){.engine = {.struct_size = sizeof out->engine},
                    .family = nlm_model_family_name(b->model),
                    .parameters = nlm_parameters_elements(nlm_trainer_parameters(b->trainer))};
    for (int i = 0; i < N_SERIES; i++) out->of[i] = stats_of(&b->series[i]);
    out->gflop_s = b->flop / out->of[SERIES_STEP].min * 1e-6;
    const bool is_here = nlm_device_has_host_memory(nlm_engine_device(b->engine));
    out->peak_frac = is_here ? out->gflop_s / out->of[SERIES_PROBE].max : NAN;
    nlm_trainer_memory_of(b->trainer, &out->memory);
    return nlm_engine_describe(b->engine, &out->engine, err);
}

static void print_result(const bench *b, const result *r) {
    const stats *rate = &r->of[SERIES_TOK_S];
    const nlm_trainer_memory *m = &r->memory;
    printf("model     ");
    nlm_write_shown(stdout, b->set->train, strlen(b->set->train));
    printf(": %s, %.1f M parameters of %s, %lld rows of %lld tokens\n", r->family, (double)r->parameters * 1e-6,
           nlm_dtype_name(b->set->dtype), (long long)b->set->rows, (long long)b->set->length);
    printf("backend   %s (%s); %s\n", r->engine.backend, r->engine.device, r->engine.threads_reason);
    printf("train     %.4g tok/s median (min %.4g, max %.4g; %zu steps)\n", rate->median, rate->min, rate->max,
           rate->count);
    printf("          a step of %.4g ms: forward %.4g, backward %.4g, norm %.3g, AdamW %.4g\n",
           r->of[SERIES_STEP].median, r->of[SERIES_FORWARD].median, r->of[SERIES_BACKWARD].median,
           r->of[SERIES_NORM].median, r->of[SERIES_ADAMW].median);
    printf("          %.4g GFLOP; best %.4g GFLOP/s, %.3f of peak\n", b->flop * 1e-9, r->gflop_s, r->peak_frac);
    printf("memory    parameters %.1f MB, gradients %.1f, optimizer %.1f, states %.1f, activations %.1f\n",
           (double)m->parameters * 1e-6, (double)m->gradients * 1e-6, (double)m->optimizer * 1e-6,
           (double)m->states * 1e-6, (double)m->activations * 1e-6);
    printf("probe     %.4g GFLOP/s f32 (%s)\n", r->of[SERIES_PROBE].max, b->probe.kernels->isa);
}

static void add_subject(const bench *b, const result *r, nlm_json *json) {
    const settings *set = b->set;
    nlm_json_string(json, "version", nlm_version());
    nlm_json_string(json, set->preset ? "preset" : "model", set->train);
    nlm_json_string(json, "type", nlm_dtype_name(set->dtype));
    nlm_json_string(json, "family", r->family);
    nlm_json_u64(json, "parameters", r->parameters);
    nlm_json_string(json, "backend", r->engine.backend);
    nlm_json_i64(json, "device_id", r->engine.device_id);
    nlm_json_string(json, "device", r->engine.device);
    nlm_json_string(json, "cpu", nlm_cpu_name());
    nlm_json_u64(json, "threads", r->engine.threads);
    nlm_json_string(json, "threads_reason", r->engine.threads_reason);
    nlm_json_i64(json, "rows", set->rows);
    nlm_json_i64(json, "length", set->length);
    nlm_json_i64(json, "repeat", set->repeat);
    nlm_json_i64(json, "warmup", set->warmup);
}

static void add_result(const bench *b, const result *r, nlm_json *json) {
    add_subject(b, r, json);
    nlm_json_begin_object(json, "train");
    report_stats_json(&b->series[SERIES_TOK_S], "tok_s", json);
    report_stats_json(&b->series[SERIES_STEP], "ms", json);
    nlm_json_begin_object(json, "parts_ms");
    for (int i = FIRST_PART; i <= LAST_PART; i++) nlm_json_f64(json, series_names[i], r->of[i].median);
    nlm_json_end(json);
    nlm_json_f64(json, "flop", b->flop);
    nlm_json_f64(json, "gflop_s", r->gflop_s);
    nlm_json_f64(json, "peak_frac", r->peak_frac);
    nlm_json_end(json);
    nlm_json_begin_object(json, "memory");
    nlm_json_u64(json, "parameters", r->memory.parameters);
    nlm_json_u64(json, "gradients", r->memory.gradients);
    nlm_json_u64(json, "optimizer", r->memory.optimizer);
    nlm_json_u64(json, "states", r->memory.states);
    nlm_json_u64(json, "activations", r->memory.activations);
    nlm_json_end(json);
    nlm_json_begin_object(json, "probe");
    nlm_json_f64(json, "f32_gflop_s", r->of[SERIES_PROBE].max);
    nlm_json_string(json, "isa", b->probe.kernels->isa);
    nlm_json_end(json);
}

nlm_status train_run(const settings *set, nlm_engine *engine, nlm_json *json, nlm_error *err) {
    bench b = {.set = set, .engine = engine};
    result r;
    nlm_status status = open_bench(&b, err);
    if (status == NLM_OK) status = repeat(&b, err);
    if (status == NLM_OK) status = summarize(&b, &r, err);
    if (status == NLM_OK && json) add_result(&b, &r, json);
    if (status == NLM_OK && !json) print_result(&b, &r);
    close_bench(&b);
    return status;
}
