/* What a run took, in time and memory. */
#include "nlm-run/statistics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/terminal.h"

static const char *const ended_by_texts[] = {
    [NLM_ENDED_BY_MODEL] = "model",     [NLM_ENDED_BY_TOKENS] = "max_tokens",    [NLM_ENDED_BY_STOP] = "stop",
    [NLM_ENDED_BY_CALLBACK] = "output", [NLM_ENDED_BY_CONTEXT] = "full context",
};

const char *statistics_ended_by(int32_t ended_by) {
    const int32_t count = (int32_t)(sizeof ended_by_texts / sizeof *ended_by_texts);
    return ended_by > 0 && ended_by < count ? ended_by_texts[ended_by] : "nothing";
}

static double mib(uint64_t bytes) {
    return (double)bytes / (1 << 20);
}

void statistics_print(const statistics *s) {
    const nlm_metrics *m = &s->metrics;
    fputs("model     ", stderr);
    nlm_write_shown(stderr, s->set->shared.model, strlen(s->set->shared.model));
    fprintf(stderr, ": %s, %.1f MiB, loaded in %.3f s\n", s->model.family, mib(s->model.file_bytes),
            s->model.load_seconds);
    fprintf(stderr, "backend   %s, device_id %" PRId32 " (%s); %s\n", m->backend, m->device_id, s->engine.device,
            s->engine.threads_reason);
    meters_print(stderr, "device    ", &s->meters);
    fprintf(stderr, "prompt    %" PRIu64 " tokens in %.3f s, %.1f tokens/s\n", m->prompt_tokens, m->prompt_seconds,
            m->prompt_tokens_per_second);
    fprintf(stderr, "generate  %" PRIu64 " tokens, %.1f tokens/s, first after %.3f s, ended by %s", s->n_generated,
            m->decode_tokens_per_second, m->first_token_seconds, s->ended_by);
    if (s->set->shared.temperature > 0) fprintf(stderr, ", seed %" PRIu64, s->seed);
    fprintf(stderr, "\nmemory    %.1f MiB, at most %.1f MiB; cache %.1f MiB; %.1f MiB of weights read a token\n",
            mib(m->rss_bytes), mib(m->rss_peak_bytes), mib(m->cache_bytes), mib(m->weight_bytes_per_token));
}

void statistics_json(const statistics *s, nlm_json *json) {
    const nlm_metrics *m = &s->metrics;
    nlm_json_string(json, "ended_by", s->ended_by);
    nlm_json_string(json, "model", s->set->shared.model);
    nlm_json_string(json, "family", s->model.family);
    nlm_json_string(json, "backend", m->backend);
    nlm_json_i64(json, "device_id", m->device_id);
    nlm_json_string(json, "device", s->engine.device);
    nlm_json_u64(json, "threads", m->threads);
    nlm_json_string(json, "threads_reason", s->engine.threads_reason);
    if (s->set->shared.temperature > 0) nlm_json_u64(json, "seed", s->seed);
    nlm_json_f64(json, "load_seconds", s->model.load_seconds);
    nlm_json_u64(json, "prompt_tokens", m->prompt_tokens);
    nlm_json_f64(json, "prompt_seconds", m->prompt_seconds);
    nlm_json_f64(json, "prompt_tokens_per_second", m->prompt_tokens_per_second);
    nlm_json_u64(json, "generated_tokens", s->n_generated);
    nlm_json_f64(json, "decode_seconds", m->decode_seconds);
    nlm_json_f64(json, "decode_tokens_per_second", m->decode_tokens_per_second);
    nlm_json_f64(json, "first_token_seconds", m->first_token_seconds);
    nlm_json_u64(json, "file_bytes", m->file_bytes);
    nlm_json_u64(json, "weight_bytes_per_token", m->weight_bytes_per_token);
    nlm_json_u64(json, "cache_bytes", m->cache_bytes);
    nlm_json_u64(json, "activation_bytes", m->activation_bytes);
    nlm_json_u64(json, "rss_bytes", m->rss_bytes);
    nlm_json_u64(json, "rss_peak_bytes", m->rss_peak_bytes);
    meters_json(&s->meters, json);
}
