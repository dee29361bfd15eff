/* Generation: sample, append, give out text; and what a session has measured. */
#include <string.h>

#include "base/clock.h"
#include "base/rss.h"
#include "base/status.h"
#include "session/ahead.h"
#include "session/compute.h"
#include "session/logprobs.h"
#include "session/options.h"

#define KNOWN_FLAGS (NLM_GENERATE_IGNORE_END | NLM_GENERATE_SPECIAL)

typedef struct generation {
    nlm_session *session;
    nlm_choosing how;
    nlm_ahead ahead;
    nlm_generate_options options;
    nlm_text_fn on_text;
    void *user;
    nlm_generate_result result;
} generation;

/* Computes the token chosen before and chooses the next, counting the time. */
static nlm_status next_token(generation *g, int32_t *out_id, nlm_error *err) {
    nlm_session *session = g->session;
    nlm_counters *counters = &session->counters;
    const int32_t before = session->n_computed;
    const uint64_t start = nlm_clock_ns();
    const uint64_t left = g->options.max_tokens ? g->options.max_tokens - g->result.n_tokens : UINT64_MAX;
    bool is_given;
    NLM_TRY(nlm_ahead_next(&g->ahead, session, left, &is_given, out_id, err));
    if (!is_given) NLM_TRY(nlm_session_choose_next(session, &g->how, g->options.n_top > 0, out_id, err));
    const uint64_t end = nlm_clock_ns();
    counters->decode_tokens += (uint64_t)(session->n_computed - before);
    if (session->n_computed > before) counters->decode_ns += end - start;
    if (session->extended_at_ns) counters->first_token_ns = end - session->extended_at_ns;
    session->extended_at_ns = 0;
    return NLM_OK;
}

/* Gives out what is shown of the first n pending bytes, until the callback ends the generation. */
static void emit(generation *g, size_t n) {
    nlm_text_stream *stream = &g->session->stream;
    nlm_gate *gate = &g->session->runtime->engine->gate;
    while (n > 0 && g->result.ended_by != NLM_ENDED_BY_CALLBACK) {
        bool is_shown;
        const size_t run = nlm_text_stream_run(stream, n, &is_shown);
        if (is_shown) {
            g->result.n_bytes += run;
            nlm_gate_call_out(gate, true);
            if (g->on_text && g->on_text(g->user, stream->pending.data, run) != 0)
                g->result.ended_by = NLM_ENDED_BY_CALLBACK;
            nlm_gate_call_out(gate, false);
        }
        nlm_text_stream_drop(stream, run);
        n -= run;
    }
}

/* Gives out what can be no part of a stop string any more. A stop string behind it ends the generation, unless
 * the callback did: then the next call finds it. */
static void emit_ready(generation *g) {
    int32_t stop;
    emit(g, nlm_text_stream_ready(&g->session->stream, &stop));
    if (stop < 0 || g->result.ended_by) return;
    g->result.stop_index = stop;
    g->result.ended_by = NLM_ENDED_BY_STOP;
}

static bool is_stop_id(generation *g, int32_t id) {
    for (size_t i = 0; i < g->options.n_stop_ids; i++) {
        if (g->options.stop_ids[i] != id) continue;
        g->result.stop_index = (int32_t)i;
        return true;
    }
    return false;
}

/* What the token ends, if it is no part of the text. */
static void end_with(generation *g, int32_t id) {
    if (is_stop_id(g, id)) {
        g->result.ended_by = NLM_ENDED_BY_STOP_ID;
    } else if (!(g->options.flags & NLM_GENERATE_IGNORE_END) &&
               nlm_tokenizer_is_end(g->session->runtime->tokenizer, id)) {
        g->result.ended_by = NLM_ENDED_BY_MODEL;
    }
}

/* Tells the callback of a token that was chosen from session->row. Whether the callback goes on. */
static bool tell_token(const generation *g, int32_t id, const nlm_piece *piece) {
    const nlm_runtime *runtime = g->session->runtime;
    nlm_logprob top[NLM_LOGPROBS_MAX];
    const bool is_shown = !piece->is_hidden || (g->options.flags & NLM_GENERATE_SPECIAL);
    nlm_generated token = {.struct_size = sizeof token,
                           .id = id,
                           .text = is_shown ? piece->text : "",
                           .length = is_shown ? piece->length : 0,
                           .top = top,
                           .is_end = g->result.ended_by != 0};
    if (!g->options.on_token) return true;
    if (g->options.n_top > 0) {
        token.n_top = nlm_logprobs_top(g->session->row, runtime->hparams->n_vocab, g->options.n_top, top);
        token.logprob = nlm_logprob_of(g->session->row, runtime->hparams->n_vocab, id);
    }
    nlm_gate_call_out(&runtime->engine->gate, true);
    const int32_t answer = g->options.on_token(g->options.token_user, &token);
    nlm_gate_call_out(&runtime->engine->gate, false);
    return answer == 0;
}

static nlm_status take_token(generation *g, int32_t id, nlm_error *err) {
    nlm_session *session = g->session;
    nlm_piece piece;
    NLM_TRY(nlm_tokenizer_piece(session->runtime->tokenizer, id, &piece, err));
    end_with(g, id);
    const size_t held = session->stream.pending.length;
    if (!g->result.ended_by) {
        const bool is_hidden = piece.is_hidden && !(g->options.flags & NLM_GENERATE_SPECIAL);
        NLM_TRY(nlm_text_stream_add(&session->stream, piece.text, piece.length, is_hidden, err));
    }
    if (nlm_constraint_is_set(&g->how.constraint)) {
        const nlm_status status = nlm_constraint_accept(&g->how.constraint, &session->runtime->engine->gate, id, err);
        if (status != NLM_OK) nlm_text_stream_cut(&session->stream, held);
        NLM_TRY(status);
    }
    if (!g->result.ended_by) session->tokens[session->n_tokens++] = id; /* is_at_limit saw to the room */
    g->result.n_tokens++;
    const bool goes_on = tell_token(g, id, &piece);
    if (!goes_on && !g->result.ended_by) g->result.ended_by = NLM_ENDED_BY_CALLBACK;
    if (!g->result.ended_by) emit_ready(g);
    return NLM_OK;
}

static bool is_at_limit(generation *g) {
    const nlm_session *session = g->session;
    if (g->options.max_tokens && g->result.n_tokens >= g->options.max_tokens) {
        g->result.ended_by = NLM_ENDED_BY_TOKENS;
    } else if (session->n_tokens == session->runtime->context_length) {
        g->result.ended_by = NLM_ENDED_BY_CONTEXT;
    } else if (atomic_load(&session->is_cancelled) && !nlm_ahead_goes_on(&g->ahead, session)) {
        g->result.ended_by = NLM_ENDED_BY_CANCEL;
    }
    return g->result.ended_by != 0;
}

static nlm_status run(generation *g, nlm_error *err) {
    emit_ready(g); /* what the call before held back: these stop strings may be others */
    while (!g->result.ended_by && !is_at_limit(g)) {
        int32_t id = 0;
        NLM_TRY(next_token(g, &id, err));
        NLM_TRY(take_token(g, id, err));
    }
    return NLM_OK;
}

/* Whether the text may go on with the next call. */
static bool is_interrupted(const generation *g) {
    const int32_t ended_by = g->result.ended_by;
    return ended_by == NLM_ENDED_BY_TOKENS || ended_by == NLM_ENDED_BY_CALLBACK || ended_by == NLM_ENDED_BY_CANCEL;
}

/* Of a text that is over, what was held back in case a stop string came is part, and what stands behind a stop string
 * is not. */
static void finish_text(generation *g) {
    nlm_text_stream *stream = &g->session->stream;
    const int32_t ended_by = g->result.ended_by;
    if (is_interrupted(g)) return;
    if (ended_by != NLM_ENDED_BY_STOP) emit(g, nlm_text_stream_rest(stream));
    nlm_text_stream_clear(stream);
    g->result.ended_by = ended_by;
}

static nlm_status check_options(const nlm_session *session, const nlm_generate_options *options, nlm_error *err) {
    const uint32_t unknown = options->flags & ~(uint32_t)KNOWN_FLAGS;
    if (unknown)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_generate_options", "flags 0x%x are not known", unknown);
    if (options->reserved || options->reserved2)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_generate_options", "reserved fields are not 0");
    if (options->n_stops && !options->stops)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_generate_options", "n_stops is %zu, and stops is NULL",
                        options->n_stops);
    if (options->n_stop_ids && !options->stop_ids)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_generate_options", "n_stop_ids is %zu, and stop_ids is NULL",
                        options->n_stop_ids);
    if (options->n_top > NLM_LOGPROBS_MAX)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_generate_options", "n_top is %u; expected at most %d",
                        options->n_top, NLM_LOGPROBS_MAX);
    return nlm_session_check_ids(session, options->stop_ids, options->n_stop_ids, err);
}

nlm_status nlm_session_generate(nlm_session *session, nlm_sampler *sampler, const nlm_generate_options *options,
                                nlm_text_fn on_text, void *user, nlm_generate_result *out_result, nlm_error *error) {
    generation g = {
        .session = session, .how.sampler = sampler, .on_text = on_text, .user = user, .result.stop_index = -1};
    NLM_ENTER_SESSION(session, error);
    NLM_TRY(nlm_take_options(&g.options, sizeof g.options, options, "nlm_generate_options", error));
    NLM_TRY(check_options(session, &g.options, error));
    NLM_TRY(nlm_constraint_take(&g.how.constraint, g.options.constraint, error));
    NLM_TRY(nlm_runtime_check_text(session->runtime, error));
    NLM_TRY(nlm_session_check_sampler(session, sampler, error));
    NLM_TRY(nlm_session_check_holds(session, error));
    NLM_TRY(nlm_text_stream_begin(&session->stream, g.options.stops, g.options.n_stops, error));
    atomic_store(&session->is_cancelled, false);
    nlm_ahead_begin(&g.ahead, session, &g.how, &g.options);
    const nlm_status status = run(&g, error);
    nlm_ahead_end(&g.ahead, session);
    NLM_TRY(status); /* the next call goes on where the text is, as the tokens do */
    finish_text(&g);
    g.result.n_held = nlm_text_stream_held(&session->stream);
    return nlm_give_struct(out_result, &g.result, sizeof g.result, "nlm_generate_result", error);
}

nlm_status nlm_session_flush_text(nlm_session *session, nlm_text_fn on_text, void *user, nlm_error *error) {
    NLM_ENTER_SESSION(session, error);
    generation g = {.session = session, .on_text = on_text, .user = user};
    emit(&g, nlm_text_stream_rest(&session->stream));
    return NLM_OK;
}

/* ---- metrics ------------------------------------------------------------------------------ */

static double seconds(uint64_t ns) {
    return (double)ns * 1e-9;
}

static double per_second(uint64_t count, uint64_t ns) {
    return ns ? (double)count / seconds(ns) : 0;
}

static uint64_t cache_in_use(const nlm_runtime *runtime) {
    int32_t slots = 0;
    for (int32_t i = 0; i < runtime->n_slots; i++) slots += runtime->is_slot_used[i];
    return nlm_states_bytes_in_use(runtime->states, slots);
}

nlm_status nlm_session_metrics(const nlm_session *session, nlm_metrics *out_metrics, nlm_error *error) {
    NLM_NEEDS(out_metrics, error);
    NLM_ENTER_SESSION(session, error);
    const nlm_runtime *runtime = session->runtime;
    const nlm_counters *c = &session->counters;
    const nlm_device *device = nlm_engine_device(runtime->engine);
    const nlm_metrics metrics = {
        .device_id = (int32_t)device->device_id,
        .threads = nlm_pool_threads(runtime->engine->pool),
        .backend = device->backend,
        .prompt_tokens = c->prompt_tokens,
        .cached_tokens = c->cached_tokens,
        .decode_tokens = c->decode_tokens,
        .prompt_seconds = seconds(c->prompt_ns),
        .decode_seconds = seconds(c->decode_ns),
        .first_token_seconds = seconds(c->first_token_ns),
        .prompt_tokens_per_second = per_second(c->prompt_tokens, c->prompt_ns),
        .decode_tokens_per_second = per_second(c->decode_tokens, c->decode_ns),
        .file_bytes = nlm_gguf_file_bytes(nlm_model_gguf(runtime->model)),
        .weight_bytes_per_token = nlm_model_weight_bytes_per_token(runtime->model),
        .cache_bytes = cache_in_use(runtime),
        .activation_bytes = nlm_programs_activation_bytes(runtime->programs),
        .rss_bytes = nlm_rss_bytes(),
        .rss_peak_bytes = nlm_rss_peak_bytes(),
    };
    return nlm_give_struct(out_metrics, &metrics, sizeof metrics, "nlm_metrics", error);
}
