/* Engine, model, session and sampler of one run. */
#include "nlm-run/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-run/grammar.h"
#include "nlm-run/statistics.h"

#define DEFAULT_MAX_TOKENS 256

static nlm_status open_engine(run *r, nlm_error *err) {
    const uint32_t flags = (r->set->has_profile ? NLM_ENGINE_PROFILE : 0u) | NLM_ENGINE_BIND_CALLER;
    return nlm_shared_open_engine(&r->set->shared, flags, &r->engine, err);
}

static nlm_status open_model(run *r, nlm_error *err) {
    const nlm_model_options options = {
        .flags = NLM_MODEL_NO_PROMPT_CACHE, .progress = progress_show, .progress_user = &r->progress};
    r->progress.label = "loading";
    const nlm_status status = nlm_shared_load_model(&r->set->shared, r->engine, options, &r->model, err);
    progress_end(&r->progress);
    return status;
}

static uint64_t choose_seed(const settings *set) {
    if (set->shared.seed != NLM_NO_SEED) return (uint64_t)set->shared.seed;
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec * 2654435761u ^ (uint64_t)getpid() << 16) & INT32_MAX;
}

static nlm_status read_context(run *r, nlm_error *err) {
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(r->model, &info, err));
    r->context = info.context_length;
    return NLM_OK;
}

nlm_status run_open(run *r, const settings *set, nlm_error *err) {
    *r = (run){.set = set,
               .seed = choose_seed(set),
               .ended_by = "nothing",
               .out.ends_line = true,
               .out.is_silent = set->is_json,
               .out.keeps = set->is_json || set->is_chat,
               .out.escapes = !set->is_raw && isatty(STDOUT_FILENO)};
    NLM_TRY(open_engine(r, err));
    NLM_TRY(open_model(r, err));
    NLM_TRY(read_context(r, err));
    NLM_TRY(run_open_sampler(r, err));
    NLM_TRY(grammar_open(set, r->model, &r->grammar, err));
    NLM_TRY(nlm_session_create(r->model, &r->session, err));
    nlm_session_set_progress(r->session, progress_show, &r->progress);
    if (set->is_json) nlm_json_begin_object(&r->json, NULL);
    return NLM_OK;
}

void run_close(run *r) {
    nlm_json_release(&r->json);
    nlm_str_release(&r->out.text);
    nlm_session_destroy(r->session);
    nlm_sampler_destroy(r->sampler);
    nlm_grammar_state_destroy(r->grammar);
    nlm_model_unload(r->model);
    nlm_engine_destroy(r->engine);
}

static uint64_t max_tokens(const settings *set) {
    if (set->max_tokens == NLM_RUN_NOT_SET) return set->is_chat ? 0 : DEFAULT_MAX_TOKENS;
    return set->max_tokens < 0 ? 0 : (uint64_t)set->max_tokens;
}

static nlm_status check_output(const run *r, nlm_error *err) {
    if (r->out.text.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the text");
    if (!r->out.write_errno) return NLM_OK;
    return nlm_fail(err, NLM_IO, "stdout", "%s", strerror(r->out.write_errno));
}

nlm_status run_extend(run *r, const int32_t *ids, size_t count, nlm_error *err) {
    r->progress.label = "reading the prompt";
    const nlm_status status = nlm_session_extend(r->session, ids, count, err);
    progress_end(&r->progress);
    if (status == NLM_OK) return NLM_OK;
    r->ended_by = status == NLM_CANCELLED ? "interrupt" : status == NLM_LIMIT ? "full context" : "error";
    if (status != NLM_LIMIT) return status;
    size_t held = 0;
    nlm_session_tokens(r->session, &held);
    return nlm_fail(err, NLM_LIMIT, "",
                    "the context is full: it has %" PRIu32
                    " tokens, %zu are taken and %zu would follow; "
                    "--context N makes it longer%s",
                    r->context, held, count,
                    r->set->is_chat ? ", --overflow drop goes on without the oldest turns" : "");
}

nlm_status run_generate(run *r, uint64_t *n_tokens, nlm_error *err) {
    const uint64_t limit = max_tokens(r->set);
    r->ended_by = statistics_ended_by(NLM_ENDED_BY_TOKENS);
    if (r->set->max_tokens == 0 || (limit && *n_tokens >= limit)) return NLM_OK;
    nlm_constraint constraint = {.struct_size = sizeof constraint};
    if (r->grammar && *n_tokens == 0) NLM_TRY(nlm_grammar_state_reset(r->grammar, err));
    if (r->grammar) NLM_TRY(nlm_grammar_state_constraint(r->grammar, &constraint, err));
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = r->set->ignores_end ? NLM_GENERATE_IGNORE_END : 0u,
                                          .max_tokens = limit ? limit - *n_tokens : 0,
                                          .stops = r->set->stops.items,
                                          .n_stops = r->set->stops.count,
                                          .constraint = r->grammar ? &constraint : NULL,
                                          .ahead = (uint32_t)r->set->ahead};
    nlm_generate_result result = {.struct_size = sizeof result};
    r->ended_by = "error";
    NLM_TRY(nlm_session_generate(r->session, r->sampler, &options, output_text, &r->out, &result, err));
    NLM_TRY(nlm_session_flush_text(r->session, output_text, &r->out, err));
    *n_tokens += result.n_tokens;
    r->n_generated += result.n_tokens;
    r->ended_by = interrupt_came() ? "interrupt" : statistics_ended_by(result.ended_by);
    return check_output(r, err);
}

nlm_status run_text(run *r, const int32_t *ids, size_t count, nlm_error *err) {
    uint64_t n_tokens = 0;
    nlm_status status = count ? run_extend(r, ids, count, err) : NLM_OK;
    if (status == NLM_OK) status = run_generate(r, &n_tokens, err);
    if (r->set->is_json)
        nlm_json_text(&r->json, "text", r->out.text.data ? r->out.text.data : "", r->out.text.length);
    if (isatty(STDOUT_FILENO)) output_newline(&r->out);
    return status;
}

/* ---- reports ------------------------------------------------------------------------------ */

static nlm_status read_profile(const run *r, uint32_t form, char **out_text, nlm_error *err) {
    size_t length = 0;
    NLM_TRY(nlm_engine_profile(r->engine, form, NULL, 0, &length, err));
    *out_text = malloc(length + 1);
    if (!*out_text) return nlm_fail(err, NLM_OUT_OF_MEMORY, "profile", "no memory for %zu bytes", length);
    const nlm_status status = nlm_engine_profile(r->engine, form, *out_text, length + 1, &length, err);
    if (status != NLM_OK) free(*out_text);
    return status;
}

static nlm_status report_profile(run *r, nlm_error *err) {
    if (!r->set->has_profile) return NLM_OK;
    char *text = NULL;
    NLM_TRY(read_profile(r, r->set->is_json ? NLM_PROFILE_JSON : NLM_PROFILE_TEXT, &text, err));
    if (r->set->is_json) {
        nlm_json_raw(&r->json, "profile", text);
    } else {
        output_separate(&r->out);
        fprintf(stderr, "%s", text);
    }
    free(text);
    return NLM_OK;
}

nlm_status run_report(run *r, const nlm_error *failure, nlm_error *err) {
    statistics s = {.set = r->set,
                    .engine.struct_size = sizeof s.engine,
                    .model.struct_size = sizeof s.model,
                    .metrics.struct_size = sizeof s.metrics,
                    .seed = r->seed,
                    .n_generated = r->n_generated,
                    .ended_by = r->ended_by};
    NLM_TRY(nlm_engine_describe(r->engine, &s.engine, err));
    NLM_TRY(nlm_model_describe(r->model, &s.model, err));
    NLM_TRY(nlm_session_metrics(r->session, &s.metrics, err));
    s.meters = meters_read(r->engine);
    if (r->set->is_json && failure) nlm_json_string(&r->json, "error", failure->msg);
    if (r->set->is_json) statistics_json(&s, &r->json);
    NLM_TRY(report_profile(r, err));
    if (r->set->is_json) return nlm_json_print(&r->json, stdout, err);
    if (r->set->is_quiet) return NLM_OK;
    output_separate(&r->out);
    statistics_print(&s);
    return NLM_OK;
}
