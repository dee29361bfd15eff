/* nlm-bench: how fast a model or a single op runs, against the machine's limits. */
#include <stdio.h>

#include "base/cpu.h"
#include "base/status.h"
#include "common/interrupt.h"
#include "common/json.h"
#include "common/output.h"
#include "nlm-bench/compare.h"
#include "nlm-bench/micro.h"
#include "nlm-bench/random_weights.h"
#include "nlm-bench/report.h"
#include "nlm-bench/server_load.h"
#include "nlm-bench/train.h"
#include "tensor/dtype.h"

#define LOG_WARNING 1

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    fprintf(stderr, "nlm-bench: %s%s\n", level == LOG_WARNING ? "warning: " : "", message);
}

/* Several runs are an array, one is an object of its own. */
static void begin_runs(const settings *set, nlm_json *json) {
    if (set->n_threads > 1) nlm_json_begin_array(json, NULL);
}

static void end_run(const settings *set, nlm_json *json) {
    if (set->n_threads > 1) nlm_json_end(json);
}

/* ---- a model ------------------------------------------------------------------------------ */

typedef struct outputs {
    nlm_json results, samples;
} outputs;

static nlm_status run_model(const settings *set, uint32_t threads, outputs *out, nlm_error *err) {
    run_result *result = run_in_child(set, threads, err);
    if (!result) return err->code;
    const nlm_status status = result->status;
    if (status != NLM_OK) *err = result->error;
    if (status == NLM_OK) {
        nlm_json_begin_object(&out->samples, NULL);
        report_samples_json(result, &out->samples);
        end_run(set, &out->samples);
    }
    if (status == NLM_OK && set->is_json) {
        nlm_json_begin_object(&out->results, NULL);
        report_json(set, result, &out->results);
        end_run(set, &out->results);
    } else if (status == NLM_OK) {
        report_print(set, result);
    }
    run_free(set, result);
    return status;
}

static nlm_status run_models(const settings *set, nlm_error *err) {
    outputs out = {0};
    nlm_status status = set->samples_path ? nlm_check_place(set->samples_path, err) : NLM_OK;
    begin_runs(set, &out.results);
    begin_runs(set, &out.samples);
    for (size_t i = 0; status == NLM_OK && i < set->n_threads; i++) {
        if (i > 0 && !set->is_json) printf("\n");
        status = run_model(set, set->threads[i], &out, err);
    }
    if (status == NLM_OK && set->is_json) status = nlm_json_print(&out.results, stdout, err);
    if (status == NLM_OK && set->samples_path) status = nlm_json_write(&out.samples, set->samples_path, err);
    nlm_json_release(&out.results);
    nlm_json_release(&out.samples);
    return status;
}

/* ---- a file ------------------------------------------------------------------------------- */

static nlm_status save_preset(const settings *set, nlm_error *err) {
    nlm_gguf *gguf = NULL;
    nlm_pool *pool = NULL;
    const nlm_pool_options pool_options = {.threads = set->threads[0]};
    NLM_TRY(nlm_pool_create(&pool_options, &pool, err));
    nlm_status status = nlm_preset_gguf(set->preset, set->dtype, &gguf, err);
    if (status == NLM_OK) status = random_weights_fill(gguf, pool, err);
    if (status == NLM_OK) {
        nlm_interrupt_begin_files();
        status = nlm_interrupt_end_files(nlm_gguf_save(gguf, set->save_path, err));
    }
    if (gguf) nlm_gguf_close(gguf);
    nlm_pool_destroy(pool);
    return status;
}

/* ---- what runs on an engine --------------------------------------------------------------------------- */

static nlm_status sweep_engine(const settings *set, nlm_engine *engine, nlm_json *json, nlm_error *err) {
    nlm_engine_info info = {.struct_size = sizeof info};
    double read_gb_s = 0, f32_gflop_s = 0;
    NLM_TRY(nlm_engine_describe(engine, &info, err));
    if (!json) {
        printf("backend   %s (%s); %s; %s\n", info.backend, info.device, info.threads_reason,
               nlm_dtype_name(set->dtype));
        NLM_TRY(micro_run(set, engine, NULL, &read_gb_s, &f32_gflop_s, err));
        printf("probe     %.4g GB/s read, %.4g GFLOP/s f32\n", read_gb_s, f32_gflop_s);
        return NLM_OK;
    }
    nlm_json_begin_object(json, NULL);
    nlm_json_string(json, "version", nlm_version());
    nlm_json_string(json, "type", nlm_dtype_name(set->dtype));
    nlm_json_string(json, "backend", info.backend);
    nlm_json_i64(json, "device_id", info.device_id);
    nlm_json_string(json, "device", info.device);
    nlm_json_string(json, "cpu", nlm_cpu_name());
    nlm_json_u64(json, "threads", info.threads);
    nlm_json_begin_array(json, "micro");
    const nlm_status status = micro_run(set, engine, json, &read_gb_s, &f32_gflop_s, err);
    nlm_json_end(json);
    nlm_json_begin_object(json, "probe");
    nlm_json_f64(json, "read_gb_s", read_gb_s);
    nlm_json_f64(json, "f32_gflop_s", f32_gflop_s);
    nlm_json_end(json);
    end_run(set, json);
    return status;
}

static nlm_status train_engine(const settings *set, nlm_engine *engine, nlm_json *json, nlm_error *err) {
    if (json) nlm_json_begin_object(json, NULL);
    const nlm_status status = train_run(set, engine, json, err);
    if (json) end_run(set, json);
    return status;
}

typedef nlm_status (*measure_fn)(const settings *set, nlm_engine *engine, nlm_json *json, nlm_error *err);

/* One after the other for each number of threads. */
static nlm_status run_engines(const settings *set, measure_fn measure, nlm_error *err) {
    nlm_json json = {0};
    nlm_status status = NLM_OK;
    begin_runs(set, &json);
    for (size_t i = 0; status == NLM_OK && i < set->n_threads; i++) {
        nlm_engine *engine = NULL;
        if (i > 0 && set->train && !set->is_json) printf("\n");
        status = settings_open_engine(set, set->threads[i], &engine, err);
        if (status == NLM_OK) status = measure(set, engine, set->is_json ? &json : NULL, err);
        nlm_engine_destroy(engine);
    }
    if (status == NLM_OK && set->is_json) status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}

int main(int argc, char **argv) {
    settings set;
    int first = 0;
    const int code = settings_read(argc, argv, &first, &set);
    if (code != NLM_OPTIONS_GO_ON) return code;
    if (set.sweeps && !(set.is_micro && micro_knows_sweeps(set.sweeps))) {
        return nlm_tell_usage(&nlm_bench_command,
                              "--sweeps: --micro has gemv, gemm, attention, scan, barrier and device");
    }
    nlm_set_log(log_line, NULL, LOG_WARNING);
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = set.save_path       ? save_preset(&set, &err)
                              : set.is_compare    ? compare_files(argv[first], argv[first + 1], set.is_json, &err)
                              : set.servers.count ? server_load_run(&set, &err)
                              : set.is_micro      ? run_engines(&set, sweep_engine, &err)
                              : set.train         ? run_engines(&set, train_engine, &err)
                                                  : run_models(&set, &err);
    if (status != NLM_OK) {
        nlm_tell(&nlm_bench_command, &err);
        return nlm_open_exit_code(&err, set.backend);
    }
    return nlm_stdout_finish(&nlm_bench_command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
