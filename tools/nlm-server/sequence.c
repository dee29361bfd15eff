/* Tokens of one text: chosen, measured, written as text up to a stop string. */
#include "nlm-server/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"

/* ---- tasks ---------------------------------------------------------------------------------- */

static void *copy_array(const void *items, size_t count, size_t size, bool *has_failed) {
    if (count == 0) return NULL;
    void *copy = malloc(count * size);
    if (copy)
        memcpy(copy, items, count * size);
    else
        *has_failed = true;
    return copy;
}

static void free_texts(const char *const *texts, size_t count) {
    for (size_t i = 0; texts && i < count; i++) free((void *)texts[i]);
    free((void *)texts);
}

/* NULL for none. */
static const char *const *copy_texts(const char *const *texts, size_t count, bool *has_failed) {
    char **copies = texts ? calloc(count + 1, sizeof *copies) : NULL;
    if (texts && !copies) *has_failed = true;
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = strdup(texts[i]);
        if (!copies[i]) *has_failed = true;
    }
    return (const char *const *)copies;
}

static void copy_request(generation_request *own, const generation_request *request, bool *has_failed) {
    const nlm_sampler_options *sampler = &request->sampler;
    *own = *request;
    own->stops = NULL; /* each sequence has its own */
    own->n_stops = 0;
    own->ids = copy_array(request->ids, request->n_ids, sizeof *request->ids, has_failed);
    own->constraints = copy_array(request->constraints, request->constraints ? request->n : 0,
                                  sizeof *request->constraints, has_failed);
    own->sampler.biases = copy_array(sampler->biases, sampler->n_biases, sizeof *sampler->biases, has_failed);
    own->sampler.dry_breakers = copy_texts(sampler->dry_breakers, sampler->n_dry_breakers, has_failed);
    own->sampler.order = copy_texts(sampler->order, sampler->n_order, has_failed);
}

task *task_create(const generation_request *request, task_event_fn fn, void *user) {
    task *t = calloc(1, sizeof *t);
    if (!t) {
        if (request->release) request->release(request->release_user);
        return NULL;
    }
    bool has_failed = false;
    copy_request(&t->request, request, &has_failed);
    t->fn = fn;
    t->user = user;
    t->submitted_ns = nlm_clock_ns();
    t->sequences = calloc(request->n, sizeof *t->sequences);
    for (uint32_t i = 0; t->sequences && i < request->n; i++) {
        sequence *seq = &t->sequences[i];
        seq->owner = t;
        seq->index = i;
        seq->stop_index = -1;
        t->n_open++;
        seq->final = calloc(1, sizeof *seq->final);
        if (!seq->final || !stop_filter_init(&seq->filter, request->stops, request->n_stops)) has_failed = true;
    }
    if (t->sequences && !has_failed) return t;
    task_destroy(t);
    return NULL;
}

static void sequence_close(sequence *seq) {
    nlm_sampler_destroy(seq->sampler);
    stop_filter_release(&seq->filter);
    free(seq->tokens);
    free(seq->starts);
    free(seq->final);
}

void task_destroy(task *t) {
    for (uint32_t i = 0; t->sequences && i < t->request.n; i++) sequence_close(&t->sequences[i]);
    free(t->sequences);
    if (t->request.release) t->request.release(t->request.release_user);
    free((void *)t->request.ids);
    free((void *)t->request.sampler.biases);
    free_texts(t->request.sampler.dry_breakers, t->request.sampler.n_dry_breakers);
    free_texts(t->request.sampler.order, t->request.sampler.n_order);
    free((void *)t->request.constraints);
    free(t);
}

nlm_status sequence_open(sequence *seq, const nlm_model *model, nlm_error *err) {
    const generation_request *request = &seq->owner->request;
    nlm_sampler_options options = request->sampler;
    options.seed += seq->index;
    NLM_TRY(nlm_sampler_create(model, &options, &seq->sampler, err));
    seq->is_greedy = options.temperature <= 0 && options.repeat_penalty <= 0 && options.frequency_penalty == 0 &&
                     options.presence_penalty == 0 && options.dry_multiplier <= 0 && options.n_biases == 0;
    return NLM_OK;
}

/* ---- choosing -------------------------------------------------------------------------------- */

const nlm_constraint *sequence_constraint(const sequence *seq) {
    const generation_request *request = &seq->owner->request;
    return request->constraints ? request->constraints[seq->index] : NULL;
}

static bool grow_tokens(sequence *seq) {
    if (seq->n_tokens < seq->token_capacity) return true;
    const size_t capacity = seq->token_capacity ? 2 * seq->token_capacity : 16;
    task_token *tokens = realloc(seq->tokens, capacity * sizeof *tokens);
    if (tokens) seq->tokens = tokens;
    uint64_t *starts = realloc(seq->starts, capacity * sizeof *starts);
    if (starts) seq->starts = starts;
    if (tokens && starts) seq->token_capacity = capacity;
    return tokens && starts;
}

nlm_status sequence_note_logprobs(sequence *seq, int32_t id, float logprob, const nlm_logprob *top, nlm_error *err) {
    const int32_t n_top = seq->owner->request.n_top;
    if (n_top < 0) return NLM_OK;
    if (!grow_tokens(seq)) return nlm_fail(err, NLM_OUT_OF_MEMORY, "logprobs", "no memory for the logprobs");
    task_token *token = &seq->tokens[seq->n_tokens];
    *token = (task_token){.id = id, .logprob = logprob};
    while (token->n_top < (uint32_t)n_top && top[token->n_top].id >= 0) {
        token->top[token->n_top] = top[token->n_top];
        token->n_top++;
    }
    seq->starts[seq->n_tokens++] = seq->text_end;
    return NLM_OK;
}

/* ---- what a token does ------------------------------------------------------------------------ */

static void end_with(sequence *seq, const nlm_model *model, uint32_t context, int32_t id) {
    const generation_request *request = &seq->owner->request;
    if (!request->ignores_end && nlm_token_is_end(model, id)) {
        seq->ended_by = NLM_ENDED_BY_MODEL;
        if (request->n_top >= 0) seq->n_tokens--; /* it is no part of the text */
    } else if (request->max_tokens > 0 && seq->n_generated >= request->max_tokens) {
        seq->ended_by = NLM_ENDED_BY_TOKENS;
    } else if (request->n_ids + seq->n_generated >= context) {
        seq->ended_by = NLM_ENDED_BY_CONTEXT;
    }
}

/* A stop string may spell a control token, whether that is shown or not. */
static nlm_status stop_at_token(sequence *seq, const nlm_model *model, int32_t id, nlm_error *err) {
    const char *text;
    size_t length;
    if (seq->filter.n_stops == 0) return NLM_OK;
    NLM_TRY(nlm_token_text(model, id, NLM_TEXT_SPECIAL, &text, &length, err));
    const int32_t stop = stop_filter_find(&seq->filter, text, length);
    if (stop < 0) return NLM_OK;
    seq->ended_by = NLM_ENDED_BY_STOP;
    seq->stop_index = stop;
    return NLM_OK;
}

static nlm_status add_text(sequence *seq, const char *text, size_t length, nlm_error *err) {
    nlm_str_append(&seq->filter.pending, text, length);
    seq->text_end += length;
    if (!seq->filter.pending.has_failed) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "text", "no memory for the text");
}

nlm_status sequence_take(sequence *seq, const nlm_model *model, uint32_t context, int32_t id, nlm_error *err) {
    const char *text = "";
    size_t length = 0;
    int32_t stop;
    seq->n_generated++;
    seq->last_id = id;
    end_with(seq, model, context, id);
    if (seq->ended_by != NLM_ENDED_BY_MODEL) {
        NLM_TRY(stop_at_token(seq, model, id, err));
        if (seq->ended_by == NLM_ENDED_BY_STOP) return NLM_OK;
        const uint32_t flags = seq->owner->request.has_special ? NLM_TEXT_SPECIAL : 0u;
        NLM_TRY(nlm_token_text(model, id, flags, &text, &length, err));
        NLM_TRY(add_text(seq, text, length, err));
    }
    stop_filter_ready(&seq->filter, &stop);
    if (stop < 0) return NLM_OK;
    seq->ended_by = NLM_ENDED_BY_STOP;
    seq->stop_index = stop;
    return NLM_OK;
}

/* ---- events ------------------------------------------------------------------------------------ */

void task_event_destroy(task_event *event) {
    free(event->text);
    free(event->tokens);
    free(event->message);
    free(event);
}

/* Tokens whose text begins before byte `end` of the text go with the event; those after a stop string are dropped. */
static bool move_tokens(sequence *seq, task_event *event, uint64_t end, bool has_ended) {
    size_t n = 0;
    while (n < seq->n_tokens && (seq->starts[n] < end || (has_ended && seq->stop_index < 0))) n++;
    if (n == 0) return true;
    event->tokens = malloc(n * sizeof *event->tokens);
    if (!event->tokens) return false;
    memcpy(event->tokens, seq->tokens, n * sizeof *event->tokens);
    event->n_tokens = n;
    memmove(seq->tokens, seq->tokens + n, (seq->n_tokens - n) * sizeof *seq->tokens);
    memmove(seq->starts, seq->starts + n, (seq->n_tokens - n) * sizeof *seq->starts);
    seq->n_tokens -= n;
    return true;
}

static bool move_text(sequence *seq, task_event *event, size_t ready) {
    if (ready == 0) return true;
    event->text = malloc(ready);
    if (!event->text) return false;
    memcpy(event->text, seq->filter.pending.data, ready);
    event->length = ready;
    return true;
}

task_event *sequence_event(sequence *seq, const nlm_error *failure) {
    int32_t stop;
    const bool has_ended = failure || seq->ended_by;
    const nlm_str *pending = &seq->filter.pending;
    const size_t whole = pending->length ? nlm_utf8_complete(pending->data, pending->length) : 0;
    size_t ready = stop_filter_ready(&seq->filter, &stop);
    if ((has_ended && stop < 0) || ready > whole) ready = whole; /* no part of a character, at the end neither */
    if (ready == 0 && !has_ended) return NULL;
    task_event *event = has_ended ? seq->final : calloc(1, sizeof *event);
    if (!event) return NULL;
    if (has_ended) seq->final = NULL;
    *event = (task_event){.owner = seq->owner,
                          .kind = failure     ? TASK_FAILED
                                  : has_ended ? TASK_ENDED
                                              : TASK_TEXT,
                          .choice = seq->index,
                          .n_generated = seq->n_generated,
                          .n_cached = seq->n_cached,
                          .ended_by = seq->ended_by,
                          .stop_index = seq->stop_index,
                          .status = failure ? failure->code : NLM_OK,
                          .message = failure ? strdup(failure->msg) : NULL};
    const uint64_t end = seq->text_end - seq->filter.pending.length + ready;
    if (!move_text(seq, event, ready) || !move_tokens(seq, event, end, has_ended)) {
        if (!has_ended) { /* it stays for the next event */
            task_event_destroy(event);
            return NULL;
        }
        event->kind = TASK_FAILED;
        event->status = NLM_OUT_OF_MEMORY;
        return event;
    }
    stop_filter_drop(&seq->filter, ready);
    return event;
}
