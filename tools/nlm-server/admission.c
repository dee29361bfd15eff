/* Who goes next, and into which slot. */
#include <string.h>

#include "nlm-server/scheduler_internal.h"

static uint32_t running_of(const scheduler *s, uint64_t client) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->options.slots; i++) {
        const sequence *seq = s->slots[i].user;
        if (seq && seq->owner->request.client == client) n++;
    }
    return n;
}

/* The texts of one prompt follow the first of them, whose prompt they find computed. */
static bool can_start(const sequence *seq) {
    return seq->index == 0 || seq->owner->is_prefilled;
}

/* Does `a` go before `b`, which came before it? By priority, then to the client that has less. */
static bool goes_before(const scheduler *s, const sequence *a, const sequence *b) {
    const generation_request *first = &a->owner->request, *second = &b->owner->request;
    if (first->priority != second->priority) return first->priority > second->priority;
    return first->client != second->client && running_of(s, first->client) < running_of(s, second->client);
}

sequence *scheduler_next_waiting(scheduler *s) {
    sequence **best = NULL;
    for (sequence **link = &s->waiting; *link; link = &(*link)->next) {
        if (can_start(*link) && (!best || goes_before(s, *link, *best))) best = link;
    }
    if (!best) return NULL;
    sequence *seq = *best;
    *best = seq->next;
    if (!*best) {
        s->waiting_last = &s->waiting;
        while (*s->waiting_last) s->waiting_last = &(*s->waiting_last)->next;
    }
    seq->next = NULL;
    return seq;
}

/* How much of the prompt a slot's session holds, if that is all it holds and not all of the prompt. */
static size_t prefix_in(const slot *slot, const generation_request *request) {
    size_t n = 0;
    const int32_t *held = nlm_session_tokens(slot->session, &n);
    return n < request->n_ids && memcmp(held, request->ids, n * sizeof *held) == 0 ? n : 0;
}

slot *scheduler_find_slot(scheduler *s, const sequence *seq) {
    slot *best = NULL;
    size_t best_prefix = 0;
    for (uint32_t i = 0; i < s->options.slots; i++) {
        slot *candidate = &s->slots[i];
        if (candidate->user) continue;
        const size_t prefix = prefix_in(candidate, &seq->owner->request);
        const bool is_older = best && candidate->last_used < best->last_used;
        if (best && (prefix < best_prefix || (prefix == best_prefix && !is_older))) continue;
        best = candidate;
        best_prefix = prefix;
    }
    return best;
}
