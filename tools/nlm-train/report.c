/* What a training run says: its plan, its progress, the log, samples and the curve of the loss. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nlm/nlm.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/status.h"
#include "common/terminal.h"
#include "nlm-train/run.h"
#include "tensor/dtype.h"

#define MIB (1.0 / (1 << 20))

/* ---- the plan ----------------------------------------------------------------------------------- */

nlm_status report_plan(run *r, nlm_error *err) {
    nlm_trainer_memory m;
    nlm_trainer_memory_of(r->trainer, &m);
    const uint64_t all = m.parameters + m.gradients + m.optimizer + m.states + m.activations;
    const uint64_t available = nlm_memory_available("");
    const uint64_t parameters = nlm_parameters_elements(nlm_trainer_parameters(r->trainer));
    const nlm_device *device = nlm_engine_device(r->engine);
    const uint64_t batches = nlm_dataset_batches(r->dataset, NLM_SPLIT_TRAIN, &r->shape);
    if (!r->set->is_quiet || r->set->is_plan) {
        fprintf(stderr, "model       %s, %.2f million parameters (%s)\n", nlm_model_family_name(r->model),
                (double)parameters * 1e-6, r->set->dtype);
        fprintf(stderr,
                "data        %" PRIu64 " tokens in %" PRIu64 " documents to train on, %" PRIu64
                " tokens to validate with\n",
                nlm_dataset_tokens(r->dataset, NLM_SPLIT_TRAIN), nlm_dataset_documents(r->dataset, NLM_SPLIT_TRAIN),
                nlm_dataset_tokens(r->dataset, NLM_SPLIT_VALIDATION));
        fprintf(stderr, "steps       %" PRId64 " of %" PRId64 " x %d x %d tokens, %.2f times the data\n",
                r->set->steps, r->set->accumulate, r->shape.rows, r->shape.length,
                batches ? (double)(r->set->steps * r->set->accumulate) / (double)batches : 0);
        fprintf(stderr, "backend     %s, device_id %u (%s); %s\n", device->backend, device->device_id,
                device->info.name, nlm_pool_reason(r->engine->pool));
        fprintf(stderr,
                "memory      %.1f MiB: parameters %.1f, gradients %.1f, optimizer %.1f, states %.1f, a step %.1f\n",
                (double)all * MIB, (double)m.parameters * MIB, (double)m.gradients * MIB, (double)m.optimizer * MIB,
                (double)m.states * MIB, (double)m.activations * MIB);
    }
    if (available == 0 || all <= available) return NLM_OK;
    const bool is_model = all - m.activations > available;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "memory", "%.1f MiB are needed and %.1f are there: %s", (double)all * MIB,
                    (double)available * MIB,
                    is_model ? "a smaller model" : "fewer batch.rows, or train.checkpoint = \"layer\"");
}

/* ---- the log ---------------------------------------------------------------------------------------- */

/* Lines of steps that are done again are left out. */
static nlm_status keep_until(const char *path, uint64_t step, nlm_error *err) {
    FILE *old = fopen(path, "re");
    if (!old) return NLM_OK;
    nlm_file_writer *w = NULL;
    char *line = NULL;
    size_t capacity = 0;
    nlm_status status = nlm_file_writer_create(path, &w, err);
    for (ssize_t n; status == NLM_OK && (n = getline(&line, &capacity, old)) > 0;) {
        uint64_t number;
        if (sscanf(line, "{\"step\":%" SCNu64, &number) == 1 && number > step) continue;
        status = nlm_file_writer_write(w, line, (size_t)n, err);
    }
    fclose(old);
    free(line);
    if (status == NLM_OK) status = nlm_file_writer_commit(w, err);
    nlm_file_writer_destroy(w);
    return status;
}

nlm_status report_open_log(run *r, nlm_error *err) {
    nlm_str path = {0};
    const uint64_t step = nlm_trainer_steps(r->trainer);
    nlm_status status =
        run_path(r, "log.jsonl", &path) ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "log", "no memory");
    if (status == NLM_OK) status = keep_until(path.data, step, err);
    if (status == NLM_OK) r->log = fopen(path.data, step ? "ae" : "we");
    if (status == NLM_OK && !r->log) status = nlm_fail(err, NLM_IO, path.data, "cannot be written");
    nlm_str_release(&path);
    return status;
}

static nlm_status finish_line(run *r, nlm_error *err) {
    if (fputs("}\n", r->log) >= 0 && fflush(r->log) == 0) return NLM_OK;
    return nlm_fail(err, NLM_IO, "log.jsonl", "cannot be written: is the disk full?");
}

/* ---- progress ------------------------------------------------------------------------------------------ */

static void show_time(double seconds, char *out, size_t capacity) {
    const long all = seconds < 1e9 ? (long)seconds : 0;
    if (all >= 3600)
        snprintf(out, capacity, "%ld:%02ld:%02ld", all / 3600, all / 60 % 60, all % 60);
    else
        snprintf(out, capacity, "%ld:%02ld", all / 60, all % 60);
}

/* ", 0.540 of the f32 peak"; nothing where that is not known. */
static const char *show_share(const run *r, double flop, double seconds, char *out, size_t capacity) {
    out[0] = 0;
    if (r->peak > 0 && seconds > 0) snprintf(out, capacity, ", %.3f of the f32 peak", flop / seconds / r->peak);
    return out;
}

static void show_progress(run *r, const nlm_trainer_metrics *m) {
    const uint64_t left = (uint64_t)r->set->steps - m->step, done = m->step - r->first_step;
    char eta[32], share[48];
    show_time(r->seconds / (double)done * (double)left, eta, sizeof eta);
    show_share(r, r->flop, r->seconds, share, sizeof share);
    const bool is_line = m->step % (uint64_t)r->set->log_every == 0 || left == 0;
    if (isatty(STDERR_FILENO))
        nlm_show_step("step %" PRIu64 " of %" PRId64 "  loss %.4f  %.0f tokens/s%s  %s left", m->step, r->set->steps,
                      m->loss, r->tokens / r->seconds, share, eta);
    if (!is_line) return;
    nlm_end_steps();
    fprintf(stderr, "step %-6" PRIu64 " loss %.4f  norm %.3f  rate %.2e  %.0f tokens/s%s  %s left\n", m->step,
            r->recent_loss / (double)r->recent_steps, m->norm, m->rate, r->tokens / r->seconds, share, eta);
}

nlm_status report_step(run *r, const nlm_trainer_metrics *m, nlm_error *err) {
    r->seconds += m->seconds;
    r->tokens += (double)m->n_tokens;
    const double flop = speed_flop(r);
    r->flop += flop;
    r->recent_loss += m->loss;
    r->recent_steps++;
    if (!r->set->is_quiet) show_progress(r, m);
    if (m->step % (uint64_t)r->set->log_every == 0) r->recent_loss = 0, r->recent_steps = 0;
    fprintf(r->log,
            "{\"step\":%" PRIu64 ",\"loss\":%.9g,\"norm\":%.9g,\"rate\":%.9g,\"tokens\":%" PRId64 ",\"seconds\":%.6f",
            m->step, m->loss, m->norm, m->rate, m->n_tokens, m->seconds);
    if (r->peak > 0 && m->seconds > 0) fprintf(r->log, ",\"peak_frac\":%.4g", flop / m->seconds / r->peak);
    return finish_line(r, err);
}

nlm_status report_validation(run *r, double loss, nlm_error *err) {
    const uint64_t step = nlm_trainer_steps(r->trainer);
    nlm_end_steps();
    if (!r->set->is_quiet)
        fprintf(stderr, "step %-6" PRIu64 " validation loss %.4f, perplexity %.3f\n", step, loss, exp(loss));
    fprintf(r->log, "{\"step\":%" PRIu64 ",\"validation_loss\":%.9g,\"perplexity\":%.9g", step, loss, exp(loss));
    return finish_line(r, err);
}

/* ---- samples ---------------------------------------------------------------------------------------------- */

static int32_t print_piece(void *user, const char *text, size_t length) {
    (void)user;
    return nlm_write_shown(stderr, text, length) ? 0 : 1;
}

/* The prompt, and what the model makes of it, greedily. */
static nlm_status continue_prompt(run *r, nlm_session *session, nlm_error *err) {
    nlm_ids ids = {0};
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .max_tokens = (uint64_t)r->set->sample_tokens};
    nlm_status status =
        nlm_tokenizer_encode(r->tokenizer, r->set->sample, strlen(r->set->sample), NLM_ENCODE_BOS, &ids, err);
    if (status == NLM_OK) status = nlm_session_extend(session, ids.data, ids.count, err);
    nlm_ids_release(&ids);
    fprintf(stderr, "sample      %s", r->set->sample);
    if (status == NLM_OK) status = nlm_session_generate(session, NULL, &options, print_piece, NULL, NULL, err);
    fputs("\n", stderr);
    return status;
}

static nlm_status generate(run *r, const char *path, nlm_error *err) {
    nlm_model *model = NULL;
    nlm_session *session = NULL;
    NLM_TRY(nlm_model_load(r->engine, path, NULL, &model, err));
    nlm_status status = nlm_session_create(model, &session, err);
    if (status == NLM_OK) status = continue_prompt(r, session, err);
    nlm_session_destroy(session);
    nlm_model_unload(model);
    return status;
}

nlm_status report_sample(run *r, nlm_error *err) {
    nlm_str path = {0};
    nlm_end_steps();
    nlm_status status =
        run_path(r, "sample.gguf", &path) ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "sample", "no memory");
    if (status == NLM_OK) status = nlm_trainer_export(r->trainer, NLM_F32, path.data, err);
    if (status == NLM_OK) {
        status = generate(r, path.data, err);
        unlink(path.data);
    }
    nlm_str_release(&path);
    return status;
}
