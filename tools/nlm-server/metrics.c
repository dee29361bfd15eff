/* GET /metrics, as Prometheus reads it. */
#include <inttypes.h>

#include "nlm-server/routes.h"

static void head(nlm_str *out, const char *name, const char *type, const char *help) {
    nlm_str_printf(out, "# HELP nlm_%s %s\n# TYPE nlm_%s %s\n", name, help, name, type);
}

static void count(nlm_str *out, const char *name, const char *help, uint64_t value) {
    head(out, name, "counter", help);
    nlm_str_printf(out, "nlm_%s %" PRIu64 "\n", name, value);
}

static void gauge(nlm_str *out, const char *name, const char *help, double value) {
    head(out, name, "gauge", help);
    nlm_str_printf(out, "nlm_%s %.15g\n", name, value);
}

static void distribution(nlm_str *out, const char *name, const char *help, const histogram *h) {
    uint64_t below = 0;
    head(out, name, "histogram", help);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += h->counts[i];
        nlm_str_printf(out, "nlm_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, histogram_bounds[i], below);
    }
    nlm_str_printf(out, "nlm_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, h->count);
    nlm_str_printf(out, "nlm_%s_sum %.9g\nnlm_%s_count %" PRIu64 "\n", name, h->sum, name, h->count);
}

static void put_requests(const server *s, nlm_str *out) {
    static const char *const names[] = {"gone", "1xx", "2xx", "3xx", "4xx", "5xx"};
    head(out, "http_answers_total", "counter", "Answers by status; gone: the client went away.");
    for (size_t i = 0; i < 6; i++) {
        nlm_str_printf(out, "nlm_http_answers_total{status=\"%s\"} %" PRIu64 "\n", names[i], s->counts.by_class[i]);
    }
    gauge(out, "http_connections", "Connections open.", http_server_connections(s->http));
}

static void put_device(const server *s, nlm_str *out) {
    nlm_device_metrics m = {.struct_size = sizeof m};
    if (nlm_engine_device_metrics(s->engine, &m, NULL) != NLM_OK) return;
    if (m.known & NLM_KNOWN_MEMORY) {
        gauge(out, "device_memory_used_bytes", "Memory of the device in use.", (double)m.memory_used_bytes);
        gauge(out, "device_memory_total_bytes", "Memory of the device.", (double)m.memory_total_bytes);
    }
    if (m.known & NLM_KNOWN_UTILIZATION) {
        gauge(out, "device_utilization_ratio", "Part of the time in which the device ran something.",
              m.utilization_percent / 100.0);
    }
    if (m.known & NLM_KNOWN_POWER) gauge(out, "device_power_watts", "Power drawn.", m.power_milliwatts / 1000.0);
    if (m.known & NLM_KNOWN_TEMPERATURE)
        gauge(out, "device_temperature_celsius", "Temperature.", m.temperature_celsius);
    if (m.known & NLM_KNOWN_CLOCK) gauge(out, "device_clock_hertz", "Clock of the processors.", m.clock_mhz * 1e6);
    if (m.known & NLM_KNOWN_ECC) {
        count(out, "device_memory_errors_corrected_total", "Errors of the device's memory, corrected.",
              m.ecc_corrected);
        count(out, "device_memory_errors_total", "Errors of the device's memory, not corrected.", m.ecc_uncorrected);
    }
}

void metrics_answer(server *s, http_exchange *x) {
    nlm_str out = {0};
    scheduler_stats t;
    if (!s->set->has_metrics) {
        api_fail(s, x, 404, NULL, "server.metrics is off");
        return;
    }
    scheduler_get_stats(s->sched, &t);
    count(&out, "prompt_tokens_total", "Tokens of prompts computed.", t.prompt_tokens);
    count(&out, "cached_tokens_total", "Tokens of prompts that were not computed again.", t.cached_tokens);
    count(&out, "generated_tokens_total", "Tokens generated.", t.generated_tokens);
    count(&out, "requests_total", "Prompts taken into the queue.", t.tasks);
    count(&out, "requests_refused_total", "Prompts that found the queue full.", t.refused);
    count(&out, "texts_failed_total", "Texts that ended with an error.", t.failed);
    count(&out, "texts_cancelled_total", "Texts whose client went away.", t.cancelled);
    count(&out, "embedded_total", "Sequences embedded.", t.embedded);
    count(&out, "steps_total", "Steps of the engine.", t.steps);
    count(&out, "step_sequences_total", "Sequences in all steps: by steps, the size of a batch.", t.step_sequences);
    head(&out, "busy_seconds_total", "counter", "Time in steps.");
    nlm_str_printf(&out, "nlm_busy_seconds_total %.9g\n", t.busy_seconds);
    gauge(&out, "requests_reading", "Requests that are being read: tokenized, or their grammars compiled.",
          s->n_reading);
    gauge(&out, "texts_running", "Texts that have a slot.", t.running);
    gauge(&out, "texts_queued", "Texts that wait for a slot.", t.queued);
    gauge(&out, "slots", "Slots.", t.slots);
    distribution(&out, "first_token_seconds", "From the request to its first token.", &t.first_token);
    distribution(&out, "between_tokens_seconds", "From a token to the next of its text.", &t.between_tokens);
    distribution(&out, "queue_seconds", "From the request to its slot.", &t.queue_time);
    put_requests(s, &out);
    put_device(s, &out);
    if (out.has_failed)
        api_fail(s, x, 503, NULL, "no memory for the answer");
    else
        http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.length);
    nlm_str_release(&out);
}
