/* The measured work: loading, repetitions, and the probes between them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rss.h"
#include "base/status.h"
#include "common/probe.h"
#include "common/terminal.h"
#include "common/work.h"
#include "nlm-bench/energy.h"
#include "nlm-bench/random_weights.h"
#include "nlm-bench/run.h"
#include "session/ahead.h"
#include "session/runtime.h"
#include "tensor/dtype.h"

typedef struct bench {
    const settings *set;
    run_result *out;
    nlm_engine *engine;
    nlm_model *model;
    nlm_session **sessions; /* [set->batch] */
    int32_t *ids;           /* [n_ids] the tokens of every sequence */
    int32_t *step_ids;      /* [set->batch] */
    size_t n_ids;
    float *rows; /* logits of a forward pass, or NULL */
    energy_meter meter;
    double prefill_joules, decode_joules; /* of the counted repetitions */
    bool is_counted;
} bench;

static double seconds_since(uint64_t start) {
    const uint64_t ns = nlm_clock_ns() - start;
    return (double)(ns ? ns : 1) * 1e-9;
}

static void count(const bench *b, int series, double value) {
    if (b->is_counted) samples_add(&b->out->series[series], value);
}

/* ---- opening ------------------------------------------------------------------------------ */

static size_t tokens_per_sequence(const settings *set) {
    if (set->forward) return (size_t)set->forward;
    return (size_t)(set->depth + set->prompt + set->gen) +
           (set->ahead ? 2 : 1); /* one to begin with when there is no prompt */
}

static nlm_status load(bench *b, nlm_error *err) {
    const settings *set = b->set;
    const nlm_model_options options = {
        .struct_size = sizeof options,
        .flags = NLM_MODEL_NO_PROMPT_CACHE | (set->has_no_mmap ? NLM_MODEL_NO_MMAP : 0u),
        .context_length = (uint32_t)b->n_ids,
        .parallel = (uint32_t)set->batch,
        .kv_type = set->kv_type,
        .pack_cache = set->pack_cache};
    if (!set->preset) return nlm_model_load(b->engine, set->model, &options, &b->model, err);
    nlm_gguf *gguf = NULL;
    nlm_model *model = NULL;
    NLM_TRY(nlm_preset_gguf(set->preset, set->dtype, &gguf, err));
    const nlm_status status = random_weights_fill(gguf, b->engine->pool, err);
    if (status != NLM_OK) {
        nlm_gguf_close(gguf);
        return status;
    }
    NLM_TRY(nlm_model_take_gguf(gguf, &model, err));
    return nlm_model_load_open(b->engine, model, &options, &b->model, err);
}

static nlm_status make_ids(bench *b, int32_t n_vocab, nlm_error *err) {
    b->ids = calloc(b->n_ids, sizeof *b->ids);
    b->step_ids = calloc((size_t)b->set->batch, sizeof *b->step_ids);
    b->sessions = calloc((size_t)b->set->batch, sizeof(nlm_session *));
    if (b->set->forward && b->set->has_all_logits) b->rows = calloc(b->n_ids * (size_t)n_vocab, sizeof *b->rows);
    if (!b->ids || !b->step_ids || !b->sessions || (b->set->forward && b->set->has_all_logits && !b->rows)) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm-bench", "no memory for %zu tokens", b->n_ids);
    }
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < b->n_ids; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b->ids[i] = (int32_t)(state % (uint64_t)n_vocab);
    }
    return NLM_OK;
}

static nlm_status open_sessions(bench *b, nlm_error *err) {
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(b->model, &info, err));
    NLM_TRY(make_ids(b, info.n_vocab, err));
    for (int64_t i = 0; i < b->set->batch; i++) NLM_TRY(nlm_session_create(b->model, &b->sessions[i], err));
    return NLM_OK;
}

/* ---- a repetition ------------------------------------------------------------------------- */

static nlm_status reset_all(bench *b, nlm_error *err) {
    for (int64_t i = 0; i < b->set->batch; i++) NLM_TRY(nlm_session_reset(b->sessions[i], err));
    return NLM_OK;
}

static nlm_status extend_all(bench *b, size_t from, size_t n, nlm_error *err) {
    if (n == 0) return NLM_OK;
    for (int64_t i = 0; i < b->set->batch; i++) NLM_TRY(nlm_session_extend(b->sessions[i], b->ids + from, n, err));
    return NLM_OK;
}

static nlm_status prefill(bench *b, nlm_error *err) {
    const size_t depth = (size_t)b->set->depth, n = (size_t)b->set->prompt;
    int32_t id;
    if (n == 0) return NLM_OK;
    (void)energy_joules(&b->meter);
    const uint64_t start = nlm_clock_ns();
    NLM_TRY(nlm_session_extend(b->sessions[0], b->ids + depth, n, err));
    double seconds = seconds_since(start);
    NLM_TRY(nlm_session_sample(b->sessions[0], NULL, &id, err));
    count(b, RUN_TTFT_MS, seconds_since(start) * 1e3);
    const uint64_t others = nlm_clock_ns();
    for (int64_t i = 1; i < b->set->batch; i++) {
        NLM_TRY(nlm_session_extend(b->sessions[i], b->ids + depth, n, err));
    }
    if (b->set->batch > 1) seconds += seconds_since(others);
    if (b->is_counted) b->prefill_joules += energy_joules(&b->meter);
    count(b, RUN_PREFILL_TOK_S, (double)(b->set->batch * b->set->prompt) / seconds);
    return NLM_OK;
}

/* With --ahead: one sequence goes on with what it would say. */
static nlm_status decode_ahead(bench *b, nlm_error *err) {
    if (b->set->gen == 0) return NLM_OK;
    if (b->set->depth + b->set->prompt == 0) NLM_TRY(nlm_session_extend(b->sessions[0], b->ids, 1, err));
    NLM_TRY(nlm_ahead_decode(b->sessions[0], 1, 1, err)); /* computed with the others */
    (void)energy_joules(&b->meter);
    const uint64_t start = nlm_clock_ns(), waits = nlm_pool_waits(b->engine->pool);
    NLM_TRY(nlm_ahead_decode(b->sessions[0], (uint32_t)b->set->ahead, (int32_t)b->set->gen, err));
    const double seconds = seconds_since(start);
    b->out->waits_per_step = (double)(nlm_pool_waits(b->engine->pool) - waits) / (double)b->set->gen;
    if (b->is_counted) b->decode_joules += energy_joules(&b->meter);
    count(b, RUN_STEP_US, seconds * 1e6 / (double)b->set->gen);
    count(b, RUN_DECODE_TOK_S, (double)b->set->gen / seconds);
    return NLM_OK;
}

static nlm_status decode(bench *b, nlm_error *err) {
    const size_t first = (size_t)(b->set->depth + b->set->prompt), batch = (size_t)b->set->batch;
    if (b->set->gen == 0) return NLM_OK;
    (void)energy_joules(&b->meter);
    const uint64_t start = nlm_clock_ns(), waits = nlm_pool_waits(b->engine->pool);
    for (size_t t = 0; t < (size_t)b->set->gen; t++) {
        for (size_t i = 0; i < batch; i++) b->step_ids[i] = b->ids[first + t];
        const uint64_t step = nlm_clock_ns();
        NLM_TRY(nlm_sessions_decode(b->sessions, b->step_ids, batch, err));
        count(b, RUN_STEP_US, seconds_since(step) * 1e6);
    }
    const double seconds = seconds_since(start);
    b->out->waits_per_step = (double)(nlm_pool_waits(b->engine->pool) - waits) / (double)b->set->gen;
    if (b->is_counted) b->decode_joules += energy_joules(&b->meter);
    count(b, RUN_DECODE_TOK_S, (double)(b->set->gen * b->set->batch) / seconds);
    return NLM_OK;
}

static nlm_status forward(bench *b, nlm_error *err) {
    const uint64_t start = nlm_clock_ns();
    for (int64_t i = 0; i < b->set->batch; i++) {
        NLM_TRY(b->rows ? nlm_session_extend_logits(b->sessions[i], b->ids, b->n_ids, b->rows, err)
                        : nlm_session_extend(b->sessions[i], b->ids, b->n_ids, err));
    }
    count(b, RUN_FORWARD_MS, seconds_since(start) * 1e3);
    return NLM_OK;
}

static nlm_status repetition(bench *b, nlm_error *err) {
    NLM_TRY(reset_all(b, err));
    if (b->set->forward) return forward(b, err);
    NLM_TRY(extend_all(b, 0, (size_t)b->set->depth, err));
    NLM_TRY(prefill(b, err));
    return b->set->ahead ? decode_ahead(b, err) : decode(b, err);
}

/* ---- all of them -------------------------------------------------------------------------- */

static nlm_status warm_up(bench *b, nlm_error *err) {
    /* a preset's first one finds the rows to restore */
    const int64_t least = b->set->preset ? 1 : 0;
    for (int64_t i = 0; i < b->set->warmup || i < least; i++) {
        nlm_show_step("warming up, %lld of %lld", (long long)i + 1,
                      (long long)(b->set->warmup > least ? b->set->warmup : least));
        NLM_TRY(repetition(b, err));
        if (b->set->preset && i == 0) NLM_TRY(random_weights_restore(nlm_model_gguf(b->model), err));
    }
    return NLM_OK;
}

/* Of the instruction set that the backend was built for. */
static const probe_kernels *own_kernels(const bench *b) {
    return probe_kernels_of(nlm_engine_device(b->engine)->info.arch);
}

static void run_probes(const bench *b, const probe *p) {
    samples_add(&b->out->series[RUN_READ_GB_S], probe_read_gb_s(p));
    samples_add(&b->out->series[RUN_READ_SAME_GB_S], probe_read_same_gb_s(p, b->out->step_bytes));
    samples_add(&b->out->series[RUN_F32_GFLOP_S], probe_f32_gflop_s(p, p->kernels));
    samples_add(&b->out->series[RUN_OWN_GFLOP_S], probe_f32_gflop_s(p, own_kernels(b)));
    samples_add(&b->out->series[RUN_BARRIER_US], probe_barrier_us(b->engine->pool));
}

static void show_repetition(const bench *b, int64_t index) {
    nlm_show_step("measuring, %lld of %lld", (long long)index + 1, (long long)b->set->repeat);
}

/* The first repetition comes before the probes' buffer, which would count as memory of the run. */
static nlm_status repeat(bench *b, nlm_error *err) {
    probe p = {0};
    b->is_counted = true;
    show_repetition(b, 0);
    nlm_status status = repetition(b, err);
    b->out->rss_peak_bytes = nlm_rss_peak_bytes();
    if (status == NLM_OK) status = probe_open(&p, b->engine->pool, (uint64_t)b->set->probe_mb << 20, err);
    if (status == NLM_OK) run_probes(b, &p);
    for (int64_t i = 1; status == NLM_OK && i < b->set->repeat; i++) {
        show_repetition(b, i);
        status = repetition(b, err);
        run_probes(b, &p);
    }
    if (p.kernels) snprintf(b->out->probe_isa, sizeof b->out->probe_isa, "%s", p.kernels->isa);
    snprintf(b->out->own_isa, sizeof b->out->own_isa, "%s", own_kernels(b)->isa);
    probe_close(&p);
    const bool is_forward = b->set->forward > 0;
    const double sequences = (double)(b->set->batch * b->set->repeat);
    b->out->prefill_joules = is_forward ? NAN : b->prefill_joules / (sequences * (double)b->set->prompt);
    b->out->decode_joules = is_forward ? NAN : b->decode_joules / (sequences * (double)b->set->gen);
    return status;
}

static nlm_status describe(const bench *b, nlm_error *err) {
    run_result *out = b->out;
    nlm_engine_info engine = {.struct_size = sizeof engine};
    nlm_model_info model = {.struct_size = sizeof model};
    NLM_TRY(nlm_engine_describe(b->engine, &engine, err));
    NLM_TRY(nlm_model_describe(b->model, &model, err));
    snprintf(out->backend, sizeof out->backend, "%s", engine.backend);
    snprintf(out->device, sizeof out->device, "%s", engine.device);
    snprintf(out->threads_reason, sizeof out->threads_reason, "%s", engine.threads_reason);
    snprintf(out->family, sizeof out->family, "%s", model.family);
    out->threads = engine.threads;
    out->meters = meters_read(b->engine);
    out->has_host_memory = nlm_device_has_host_memory(nlm_engine_device(b->engine));
    out->file_bytes = model.file_bytes;
    out->load_seconds = model.load_seconds;
    const settings *set = b->set;
    const nlm_dtype_info *kv = nlm_dtype_from_name(set->kv_type ? set->kv_type : "f16");
    const work w = work_of(b->model, set->preset ? &set->dtype : NULL, kv ? kv->dtype : NLM_F16);
    const uint64_t batch = (uint64_t)set->batch, prompt = (uint64_t)set->prompt, depth = (uint64_t)set->depth;
    const uint64_t n = (uint64_t)set->forward;
    out->parameters = w.parameters;
    out->n_other_matrices = w.n_other_matrices;
    out->weight_bytes_per_token = w.weight_bytes;
    /* the context grows by one a step: its mean */
    out->step_bytes = work_step_bytes(&w, batch, depth + prompt + (uint64_t)set->gen / 2);
    out->prefill_flop = (double)batch * work_prefill_flop(&w, prompt, depth, 1);
    out->forward_flop = (double)batch * work_prefill_flop(&w, n, 0, set->has_all_logits ? n : 1);
    return NLM_OK;
}

static void release(bench *b) {
    for (int64_t i = 0; b->sessions && i < b->set->batch; i++) nlm_session_destroy(b->sessions[i]);
    nlm_model_unload(b->model);
    nlm_engine_destroy(b->engine);
    free(b->sessions);
    free(b->ids);
    free(b->step_ids);
    free(b->rows);
}

nlm_status run_measure(const settings *set, uint32_t threads, run_result *out, nlm_error *err) {
    bench b = {.set = set, .out = out, .n_ids = tokens_per_sequence(set)};
    out->waits_per_step = NAN;
    nlm_show_step("loading");
    nlm_status status = settings_open_engine(set, threads, &b.engine, err);
    if (status == NLM_OK) status = load(&b, err);
    if (status == NLM_OK) status = open_sessions(&b, err);
    energy_open(&b.meter);
    if (status == NLM_OK) status = warm_up(&b, err);
    if (status == NLM_OK) status = describe(&b, err);
    if (status == NLM_OK) status = repeat(&b, err);
    nlm_end_steps();
    release(&b);
    return status;
}
