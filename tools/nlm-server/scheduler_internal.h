/* What the parts of the scheduler share. */
#ifndef NLM_SERVER_SCHEDULER_INTERNAL_H
#define NLM_SERVER_SCHEDULER_INTERNAL_H

#include <pthread.h>

#include "nlm-server/sequence.h"

typedef struct slot {
    nlm_session *session;
    sequence *user; /* NULL: idle */
    uint64_t last_used;
} slot;

/* Something to do between two steps. */
typedef struct slot_job {
    struct slot_job *next;
    uint32_t slot, action;
    char *path;
    slot_done_fn fn;
    void *user;
    nlm_status status;
    uint64_t n_tokens;
    char message[1024];
} slot_job;

struct embed_job {
    struct embed_job *next;
    int32_t *ids; /* all of them, one sequence behind the other */
    size_t *counts;
    size_t n, n_done, id_at;
    nlm_embedding *current; /* sequence n_done, if some of it is computed */
    const int32_t *current_ids;
    uint64_t n_left; /* of its tokens */
    uint64_t submitted_ns;
    bool has_begun;
    nlm_embed_options options;
    float *rows; /* [n, n_embd] */
    embed_done_fn fn;
    void *user;
    atomic_bool is_cancelled;
    nlm_status status;
    nlm_error error;
};

struct scheduler {
    nlm_model *model;
    scheduler_options options;
    uint32_t context;
    size_t n_embd;
    int event_fd;
    pthread_t thread;
    bool has_thread, has_mutex;

    pthread_mutex_t mutex; /* of what follows, down to the next blank line */
    pthread_cond_t came;
    task *submitted, **submitted_last;
    slot_job *jobs, **jobs_last;
    embed_job *embeds, **embeds_last;           /* that wait; the first is the thread's alone while it runs */
    embed_job *done_embeds, **done_embeds_last; /* to be told */
    uint32_t n_embeds;
    task_event *events, **events_last;
    slot_job *done_jobs, **done_jobs_last;
    scheduler_stats stats;
    slot_info *shown; /* [slots] */
    uint32_t n_queued;
    bool is_woken, is_stopping;

    slot *slots; /* [options.slots] the thread's own, as all that follows */
    sequence *waiting, **waiting_last;
    nlm_step_item *items; /* [slots] */
    nlm_error *errors;    /* [slots] */
    slot **stepped;       /* [slots] which slot each item is of */
    nlm_logprob *tops;    /* [slots, TASK_TOP_MAX] */
    uint64_t clock;
    uint32_t next_prefill; /* the slot whose prompt comes first in the next step */
};

/* The waiting sequence that goes next into a free slot, taken from the queue; NULL: none can. */
sequence *scheduler_next_waiting(scheduler *s);
/* The idle slot that serves the sequence best: one that holds the beginning of its prompt, else the one used least
 * recently; NULL: none is idle. Its session keeps what can be used. */
slot *scheduler_find_slot(scheduler *s, const sequence *seq);

/* Tokens that a step has room for beside those of texts that are being generated. */
uint32_t scheduler_room(const scheduler *s);
/* One step of all sequences that have a slot, with at most `room` tokens of prompts. false: none has a slot. */
bool scheduler_step(scheduler *s, uint32_t room);

/* Hands the event over, if there is one. */
void scheduler_post(scheduler *s, task_event *event);
/* The sequence is over: tells, and frees its slot. failure NULL: by seq->ended_by. */
void scheduler_end(scheduler *s, sequence *seq, const nlm_error *failure);
void scheduler_run_job(scheduler *s, slot_job *job);

/* Goes on with a sequence to be embedded, if there is one, for as many of the `room` tokens as are not the prompts'.
 * Returns what is left of them. */
uint32_t scheduler_run_embed(scheduler *s, uint32_t room);
void embed_job_destroy(embed_job *job);

void histogram_add(histogram *h, double seconds);

#endif
