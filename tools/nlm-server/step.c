/* One step: what each sequence gets, and what comes of it. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "nlm-server/scheduler_internal.h"

/* Tokens of prompts in a step in which nothing is generated: what a model runs at once at the most. */
#define IDLE_STEP_TOKENS 512

/* ---- what a step is made of ------------------------------------------------------------------- */

static void add_item(scheduler *s, uint32_t *n, slot *at, const int32_t *ids, size_t count) {
    sequence *seq = at->user;
    const int32_t n_top = seq->owner->request.n_top;
    nlm_step_item *item = &s->items[*n];
    s->errors[*n] = (nlm_error)NLM_ERROR_INIT;
    *item = (nlm_step_item){.struct_size = sizeof *item,
                            .flags = NLM_STEP_SAMPLE,
                            .session = seq->session,
                            .ids = ids,
                            .count = count,
                            .error = &s->errors[*n]};
    s->stepped[(*n)++] = at;
    if (n_top >= 0) {
        item->flags |= NLM_STEP_LOGPROB;
        item->n_top = (uint32_t)n_top;
        item->out_top = s->tops + (size_t)(item - s->items) * TASK_TOP_MAX;
    }
    item->constraint = sequence_constraint(seq);
    if (!seq->is_greedy) item->sampler = seq->sampler;
}

static void add_decoding(scheduler *s, uint32_t *n) {
    for (uint32_t i = 0; i < s->options.slots; i++) {
        sequence *seq = s->slots[i].user;
        if (seq && seq->state == SEQUENCE_DECODES) add_item(s, n, &s->slots[i], &seq->last_id, 1);
    }
}

/* What is left of a prompt is given whole, which lets the session find in the prompt cache what that holds of it; no
 * more of it is computed than the step has room for. */
static void add_prompts(scheduler *s, uint32_t *n, size_t room) {
    const uint32_t n_slots = s->options.slots, first = s->next_prefill % n_slots;
    for (uint32_t i = 0; i < n_slots && room > 0; i++) {
        slot *at = &s->slots[(first + i) % n_slots];
        const sequence *seq = at->user;
        if (!seq || seq->state != SEQUENCE_PREFILLS) continue;
        const generation_request *request = &seq->owner->request;
        const size_t rest = request->n_ids - seq->n_held;
        add_item(s, n, at, request->ids + seq->n_held, rest);
        s->items[*n - 1].max_computed = (uint32_t)room;
        s->next_prefill = (first + i + 1) % n_slots;
        room -= rest < room ? rest : room;
    }
}

/* ---- what comes of it ------------------------------------------------------------------------- */

static void count_token(scheduler *s, sequence *seq) {
    const uint64_t now = nlm_clock_ns();
    pthread_mutex_lock(&s->mutex);
    s->stats.generated_tokens++;
    if (seq->last_ns == 0) {
        histogram_add(&s->stats.first_token, (double)(now - seq->owner->submitted_ns) * 1e-9);
    } else {
        histogram_add(&s->stats.between_tokens, (double)(now - seq->last_ns) * 1e-9);
    }
    pthread_mutex_unlock(&s->mutex);
    seq->last_ns = now;
}

static nlm_status take_next(scheduler *s, sequence *seq, const nlm_step_item *item, nlm_error *err) {
    NLM_TRY(sequence_note_logprobs(seq, item->next, item->logprob, item->out_top, err));
    return sequence_take(seq, s->model, s->context, item->next, err);
}

/* How far the prompt is, and what of it was not computed. */
static void note_prompt(scheduler *s, sequence *seq, bool is_begun) {
    const size_t before = seq->n_held;
    nlm_session_tokens(seq->session, &seq->n_held);
    nlm_metrics metrics = {.struct_size = sizeof metrics};
    uint64_t cached = 0;
    if (is_begun && nlm_session_metrics(seq->session, &metrics, NULL) == NLM_OK) {
        cached = metrics.cached_tokens - seq->n_cached_before;
        seq->n_cached += cached;
    }
    const uint64_t more = seq->n_held > before ? seq->n_held - before : 0;
    pthread_mutex_lock(&s->mutex);
    s->stats.cached_tokens += cached;
    s->stats.prompt_tokens += more > cached ? more - cached : 0;
    pthread_mutex_unlock(&s->mutex);
}

static void finish_item(scheduler *s, slot *at, nlm_step_item *item) {
    sequence *seq = at->user;
    nlm_error *err = &s->errors[item - s->items];
    nlm_status status = item->status;
    if (seq->state == SEQUENCE_PREFILLS) {
        note_prompt(s, seq, seq->n_held == 0);
        if (status == NLM_CANCELLED && !atomic_load(&seq->owner->is_cancelled)) return; /* goes on in the next step */
        seq->owner->is_prefilled = true;
        seq->state = SEQUENCE_DECODES;
    }
    if (status == NLM_OK) status = take_next(s, seq, item, err);
    if (status != NLM_OK) {
        if (err->code == NLM_OK) err->code = status;
        scheduler_end(s, seq, err);
        return;
    }
    count_token(s, seq);
    if (seq->ended_by)
        scheduler_end(s, seq, NULL);
    else
        scheduler_post(s, sequence_event(seq, NULL));
}

uint32_t scheduler_room(const scheduler *s) {
    for (uint32_t i = 0; i < s->options.slots; i++) {
        const sequence *seq = s->slots[i].user;
        if (seq && seq->state == SEQUENCE_DECODES) return s->options.step_tokens;
    }
    return IDLE_STEP_TOKENS;
}

bool scheduler_step(scheduler *s, uint32_t room) {
    uint32_t n = 0;
    add_decoding(s, &n);
    add_prompts(s, &n, room);
    if (n == 0) return false;
    nlm_error why = NLM_ERROR_INIT;
    for (uint32_t i = 0; i < n; i++) s->items[i].status = NLM_INTERNAL;
    const uint64_t start = nlm_clock_ns();
    const nlm_status status = nlm_step(s->items, n, &why);
    pthread_mutex_lock(&s->mutex);
    s->stats.steps++;
    s->stats.step_sequences += n;
    s->stats.busy_seconds += (double)(nlm_clock_ns() - start) * 1e-9;
    pthread_mutex_unlock(&s->mutex);
    for (uint32_t i = 0; i < n; i++) {
        if (s->items[i].status == NLM_INTERNAL && status != NLM_OK) s->errors[i] = why;
        finish_item(s, s->stepped[i], &s->items[i]);
    }
    return true;
}
