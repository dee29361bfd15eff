/* One text that is being generated: how its tokens are chosen, and what becomes of them. On the scheduler's thread.
 */
#ifndef NLM_SERVER_SEQUENCE_H
#define NLM_SERVER_SEQUENCE_H

#include <stdatomic.h>

#include "nlm-server/scheduler.h"
#include "nlm-server/stops.h"

typedef enum sequence_state { SEQUENCE_WAITS, SEQUENCE_PREFILLS, SEQUENCE_DECODES, SEQUENCE_IS_DONE } sequence_state;

typedef struct sequence {
    struct sequence *next; /* that waits */
    task *owner;
    uint32_t index;
    sequence_state state;
    nlm_session *session; /* of its slot; NULL while it waits */
    nlm_sampler *sampler;
    bool is_greedy; /* the backend may choose: the sampler would choose the same */
    stop_filter filter;
    size_t n_held; /* tokens of the prompt that the session holds */
    uint64_t n_generated, n_cached;
    uint64_t n_cached_before; /* of the session: its count until this sequence */
    uint64_t text_end;        /* bytes of text so far, held ones too */
    task_token *tokens;       /* not given out yet; starts[i]: where in the text token i begins */
    uint64_t *starts;
    size_t n_tokens, token_capacity;
    int32_t last_id; /* to be appended next */
    int32_t ended_by, stop_index;
    uint64_t last_ns;  /* of the last token */
    task_event *final; /* made with the task: the end is told without memory too */
} sequence;

struct task {
    generation_request request; /* its arrays are the task's own */
    task_event_fn fn;
    void *user;
    atomic_bool is_cancelled;
    uint64_t submitted_ns;
    uint32_t n_open;     /* sequences that have not ended */
    bool has_begun;      /* one of its sequences had a slot */
    bool is_prefilled;   /* the first one has computed the prompt, or ended */
    sequence *sequences; /* [request.n] */
    struct task *next;   /* submitted */
};

/* NULL: no memory; the request is released then. */
task *task_create(const generation_request *request, task_event_fn fn, void *user);
void task_destroy(task *t);

/* Before its first step. Errors of the sampler's options, OUT_OF_MEMORY. */
nlm_status sequence_open(sequence *seq, const nlm_model *model, nlm_error *err);
const nlm_constraint *sequence_constraint(const sequence *seq);
/* Where they are asked for. */
nlm_status sequence_note_logprobs(sequence *seq, int32_t id, float logprob, const nlm_logprob *top, nlm_error *err);
/* Takes the token chosen; ended_by says afterwards whether the text goes on. */
nlm_status sequence_take(sequence *seq, const nlm_model *model, uint32_t context, int32_t id, nlm_error *err);

/* What there is to tell: more text (NULL if there is none yet, or no memory), or with ended_by or a failure the end.
 */
task_event *sequence_event(sequence *seq, const nlm_error *failure);
void task_event_destroy(task_event *event);

#endif
