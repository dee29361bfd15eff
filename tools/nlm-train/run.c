/* The training loop. */
#include "nlm-train/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "common/interrupt.h"
#include "common/terminal.h"
#include "tensor/dtype.h"
#include "train/checkpoint.h"

/* ---- opening --------------------------------------------------------------------------------------- */

static int32_t index_of(const char *const *names, const char *name) {
    int32_t i = 0;
    while (names[i] && strcmp(names[i], name) != 0) i++;
    return i;
}

static nlm_trainer_options trainer_options(const run *r) {
    static const char *const kinds[] = {
#define NAME(name, spelling) spelling,
        NLM_SCHEDULE_LIST(NAME)
#undef NAME
            NULL};
    const settings *s = r->set;
    const uint64_t steps = (uint64_t)s->steps;
    return (nlm_trainer_options){
        .shape = r->shape,
        .parameters = {.dtype = nlm_dtype_from_name(s->dtype)->dtype,
                       .lora_rank = (int32_t)s->lora_rank,
                       .lora_alpha = (float)(s->lora_alpha >= 0 ? s->lora_alpha : 2 * (double)s->lora_rank),
                       .lora_targets = s->lora_targets.count ? r->targets : NULL},
        .recompute = strcmp(s->checkpoint, "layer") == 0 ? NLM_RECOMPUTE_LAYERS
                     : strcmp(s->checkpoint, "up") == 0  ? NLM_RECOMPUTE_UP
                                                         : NLM_RECOMPUTE_CHEAP,
        .accumulates = s->accumulate > 1,
        .is_new = s->model == NULL,
        .is_filled_later = true,
        .n_lanes = nlm_batch_lanes(&r->shape),
        .seed = (uint64_t)s->seed,
        .loss = {(float)s->smoothing, (float)s->z_loss},
        .optimizer = {(float)s->beta1, (float)s->beta2, (float)s->eps, (float)s->weight_decay},
        .clip_norm = s->clip_norm,
        .schedule = {.kind = (nlm_schedule_kind)index_of(kinds, s->schedule),
                     .rate = s->rate,
                     .floor = s->floor,
                     .steps = steps,
                     .warmup = s->warmup >= 0 ? (uint64_t)s->warmup : steps / 50,
                     .decay = s->decay >= 0 ? (uint64_t)s->decay : steps / 5}};
}

static nlm_status open_dataset(run *r, nlm_error *err) {
    const settings *s = r->set;
    nlm_str cache = {0};
    const char *folder = s->cache ? s->cache : run_path(r, "data", &cache);
    const nlm_dataset_options options = {.paths = s->data.items,
                                         .n_paths = s->data.count,
                                         .separator = s->separator,
                                         .json_field = s->json_field,
                                         .own_chat = r->own_chat,
                                         .chat = r->chat,
                                         .cache_folder = folder,
                                         .validation = s->validation,
                                         .seed = (uint64_t)s->seed};
    nlm_status status =
        folder ? nlm_file_make_folder(folder, err) : nlm_fail(err, NLM_OUT_OF_MEMORY, "data", "no memory");
    if (status == NLM_OK) status = nlm_dataset_open(r->tokenizer, &options, &r->dataset, err);
    nlm_str_release(&cache);
    return status;
}

static nlm_status make_parts(run *r, nlm_error *err) {
    const settings *s = r->set;
    const int64_t tokens = s->rows * s->length;
    const int64_t sequences = s->sequences > 0 ? s->sequences : s->rows * (2 + s->length / 64);
    if (tokens > 1 << 28 || sequences < s->rows || sequences > tokens) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "batch",
                        "rows %" PRId64 ", length %" PRId64 " and sequences %" PRId64
                        ": expected at least as many sequences as rows, and at most 2^28 tokens",
                        s->rows, s->length, sequences);
    }
    r->shape = (nlm_batch_shape){.rows = (int32_t)s->rows,
                                 .length = (int32_t)s->length,
                                 .max_seqs = (int32_t)sequences,
                                 .carries = s->carries,
                                 .burn_in = (int32_t)s->burn_in};
    const size_t count = (size_t)s->accumulate;
    r->memory = calloc(count, sizeof *r->memory);
    r->parts = calloc(count, sizeof *r->parts);
    if (!r->memory || !r->parts) return nlm_fail(err, NLM_OUT_OF_MEMORY, "batch", "no memory for %zu parts", count);
    for (size_t i = 0; i < count; i++) {
        NLM_TRY(nlm_train_batch_create(&r->shape, &r->memory[i], err));
        r->parts[i] = *r->memory[i];
    }
    return NLM_OK;
}

/* What decides which numbers come out, and a checkpoint does not hold. */
static void identify(run *r) {
    const settings *s = r->set;
    nlm_str_printf(&r->identity,
                   "seed %" PRId64 ", %" PRId64 " x %" PRId64 " tokens in %d sequences, %" PRId64
                   " parts a step, data %016" PRIx64,
                   s->seed, s->rows, s->length, r->shape.max_seqs, s->accumulate,
                   nlm_dataset_fingerprint(r->dataset));
    if (s->carries) nlm_str_puts(&r->identity, ", states carried");
    if (s->burn_in > 0) nlm_str_printf(&r->identity, ", %" PRId64 " tokens of burn-in", s->burn_in);
}

static nlm_status resume(run *r, nlm_error *err) {
    const settings *s = r->set;
    bool is_found = false;
    if (strcmp(s->resume, "no") == 0) return NLM_OK;
    NLM_TRY(nlm_checkpoint_restore(r->trainer, s->output, r->identity.data, &is_found, err));
    if (is_found || strcmp(s->resume, "auto") == 0) return NLM_OK;
    return nlm_fail(err, NLM_NOT_FOUND, s->output, "has no checkpoint to resume from");
}

/* Each target is a part of some name: else it is misspelt. */
static nlm_status check_targets(const run *r, nlm_error *err) {
    nlm_parameters *parameters = nlm_trainer_parameters(r->trainer);
    for (const char *const *target = r->targets; *target && r->set->lora_rank > 0; target++) {
        uint32_t i = 0;
        while (i < nlm_parameters_count(parameters) && !strstr(nlm_parameters_at(parameters, i)->name, *target)) i++;
        if (i == nlm_parameters_count(parameters))
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "lora.targets", "no matrix of the model has '%s' in its name",
                            *target);
    }
    return NLM_OK;
}

static nlm_status open_trainer(run *r, nlm_error *err) {
    r->targets = calloc(r->set->lora_targets.count + 1, sizeof *r->targets);
    if (!r->targets) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm-train", "no memory");
    for (size_t i = 0; i < r->set->lora_targets.count; i++) r->targets[i] = r->set->lora_targets.items[i];
    const nlm_trainer_options options = trainer_options(r);
    NLM_TRY(nlm_trainer_create(&r->engine->env, r->model, &options, &r->trainer, err));
    NLM_TRY(check_targets(r, err));
    identify(r);
    if (!r->identity.data) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm-train", "no memory");
    return NLM_OK;
}

/* Two runs in one folder would write over each other's checkpoints and log. */
static nlm_status take_output(run *r, nlm_error *err) {
    const char *output = r->set->output;
    bool is_taken = false;
    NLM_TRY(nlm_file_lock_folder(output, &r->lock, &is_taken, err));
    if (!is_taken) return NLM_OK;
    return nlm_fail(err, NLM_IO, output,
                    "another nlm-train writes to this folder; wait until it ends, or give another --output");
}

nlm_status run_open(run *r, const settings *set, nlm_error *err) {
    *r = (run){.set = set, .lock = -1};
    const nlm_engine_options options = {
        .struct_size = sizeof options,
        .flags = NLM_ENGINE_BIND_CALLER | (set->has_fallback ? 0 : NLM_ENGINE_NO_FALLBACK),
        .backend = set->backend,
        .device_id = (int32_t)set->device_id,
        .threads = (uint32_t)set->threads,
        .registry = set->registry,
        .backend_options = set->backend_options};
    NLM_TRY(nlm_engine_create(&options, &r->engine, err));
    NLM_TRY(run_open_model(r, err));
    NLM_TRY(nlm_file_make_folder(set->output, err));
    if (!set->is_plan) NLM_TRY(take_output(r, err));
    NLM_TRY(make_parts(r, err));
    NLM_TRY(open_dataset(r, err));
    NLM_TRY(open_trainer(r, err));
    return report_plan(r, err);
}

void run_close(run *r) {
    if (r->log) fclose(r->log);
    nlm_trainer_destroy(r->trainer);
    nlm_dataset_close(r->dataset);
    for (int64_t i = 0; r->memory && i < r->set->accumulate; i++) nlm_train_batch_destroy(r->memory[i]);
    free(r->memory);
    free(r->parts);
    free(r->targets);
    nlm_tokenizer_destroy(r->tokenizer);
    nlm_chat_own_destroy(r->own_chat);
    nlm_model_close(r->model);
    nlm_engine_destroy(r->engine);
    nlm_str_release(&r->identity);
    if (r->lock >= 0) close(r->lock);
}

/* ---- training ---------------------------------------------------------------------------------------- */

const char *run_path(const run *r, const char *name, nlm_str *out) {
    nlm_str_printf(out, "%s/%s", r->set->output, name);
    return out->data;
}

static nlm_status take_step(run *r, nlm_error *err) {
    const int64_t n = r->set->accumulate;
    const uint64_t first = nlm_trainer_steps(r->trainer) * (uint64_t)n;
    for (int64_t i = 0; i < n; i++)
        nlm_dataset_batch(r->dataset, NLM_SPLIT_TRAIN, &r->shape, first + (uint64_t)i, &r->parts[i]);
    nlm_trainer_metrics metrics;
    NLM_TRY(nlm_trainer_step(r->trainer, r->parts, (int32_t)n, &metrics, err));
    return report_step(r, &metrics, err);
}

static nlm_status validate(run *r, nlm_error *err) {
    const uint64_t all = nlm_dataset_batches(r->dataset, NLM_SPLIT_VALIDATION, &r->shape);
    const uint64_t count = all < (uint64_t)r->set->validation_batches ? all : (uint64_t)r->set->validation_batches;
    double sum = 0;
    int64_t counted = 0;
    for (uint64_t i = 0; i < count; i++) {
        double loss;
        nlm_dataset_batch(r->dataset, NLM_SPLIT_VALIDATION, &r->shape, i, r->parts);
        NLM_TRY(nlm_trainer_evaluate(r->trainer, r->parts, &loss, err));
        sum += loss;
        counted += r->parts[0].n_counted;
    }
    return counted > 0 ? report_validation(r, sum / (double)counted, err) : NLM_OK;
}

static bool is_due(const run *r, int64_t every, uint64_t step) {
    return every > 0 && (step % (uint64_t)every == 0 || step == (uint64_t)r->set->steps);
}

/* Checkpoints that are old are removed, and with them what a run that was killed had begun to write. */
static nlm_status save(run *r, nlm_error *err) {
    NLM_TRY(nlm_checkpoint_save(r->trainer, r->set->output, r->identity.data, (int32_t)r->set->keep, err));
    nlm_file_remove_abandoned(r->set->output, ".safetensors");
    nlm_file_remove_abandoned(r->set->output, ".gguf");
    return NLM_OK;
}

/* What keeps a sample from being made does not keep the model from being trained. */
static void show_sample(run *r) {
    nlm_error why = NLM_ERROR_INIT;
    if (report_sample(r, &why) != NLM_OK) nlm_log(NLM_LOG_WARN, "no sample: %s: %s", why.where, why.msg);
}

static nlm_status after_step(run *r, nlm_error *err) {
    const settings *s = r->set;
    const uint64_t step = nlm_trainer_steps(r->trainer);
    if (is_due(r, s->validate_every, step)) NLM_TRY(validate(r, err));
    if (s->sample && is_due(r, s->sample_every, step)) show_sample(r);
    if (is_due(r, s->checkpoint_every, step) && !nlm_interrupt_came()) NLM_TRY(save(r, err));
    return NLM_OK;
}

/* A new model as f32, another in its own types or near them, or what was asked for. */
static nlm_dtype export_type(const run *r) {
    const char *name = r->set->export_type;
    if (name) return nlm_dtype_from_name(name)->dtype;
    return r->set->model ? NLM_EXPORT_AS_IT_IS : NLM_F32;
}

static nlm_status export_adapters(run *r, nlm_error *err) {
    nlm_str path = {0};
    nlm_status status = run_path(r, "adapter.safetensors", &path)
                            ? nlm_trainer_export_adapters(r->trainer, path.data, err)
                            : nlm_fail(err, NLM_OUT_OF_MEMORY, "adapter.safetensors", "no memory");
    if (status == NLM_OK) fprintf(stderr, "adapters    %s\n", path.data);
    nlm_str_release(&path);
    return status;
}

static nlm_status export_model(run *r, nlm_error *err) {
    nlm_str path = {0};
    nlm_status status = run_path(r, "model.gguf", &path)
                            ? nlm_trainer_export(r->trainer, export_type(r), path.data, err)
                            : nlm_fail(err, NLM_OUT_OF_MEMORY, "model.gguf", "no memory");
    if (status == NLM_OK) fprintf(stderr, "model       %s\n", path.data);
    nlm_str_release(&path);
    return status;
}

static nlm_status export_all(run *r, nlm_error *err) {
    const bool has_adapters = r->set->lora_rank > 0;
    if (has_adapters) NLM_TRY(export_adapters(r, err));
    return !has_adapters || r->set->merges_lora ? export_model(r, err) : NLM_OK;
}

nlm_status run_train(run *r, nlm_error *err) {
    NLM_TRY(nlm_trainer_fill(r->trainer, err));
    nlm_interrupt_catch(); /* from now on there is something to save: before, a signal ends the program at once */
    NLM_TRY(resume(r, err));
    NLM_TRY(report_open_log(r, err));
    NLM_TRY(speed_probe(r, err));
    r->first_step = nlm_trainer_steps(r->trainer);
    if (r->first_step > 0) fprintf(stderr, "resumed     after step %" PRIu64 "\n", r->first_step);
    while (nlm_trainer_steps(r->trainer) < (uint64_t)r->set->steps && !nlm_interrupt_came()) {
        NLM_TRY(take_step(r, err));
        NLM_TRY(after_step(r, err));
    }
    nlm_end_steps();
    if (nlm_interrupt_came()) {
        NLM_TRY(save(r, err));
        fprintf(stderr, "interrupted after step %" PRIu64 ", which is saved: the same command goes on\n",
                nlm_trainer_steps(r->trainer));
    }
    NLM_TRY(report_curve(r, err));
    return export_all(r, err);
}
