/* Many generations on one model at once: a thread that owns the engine's sessions and steps them together.
 *
 * Requests come from one other thread, the client's, through a queue; what they generate goes back as events, which
 * the client takes with scheduler_dispatch when scheduler_fd is readable. Each step gives every sequence that decodes
 * one token, and prompts what is left of the step's budget. A prompt's beginning that a slot still holds, or the
 * model's prompt cache, is not computed again. What a sequence generates depends on its request alone: not on its
 * neighbours, on the slot, or on what was cached. */
#ifndef NLM_SERVER_SCHEDULER_H
#define NLM_SERVER_SCHEDULER_H

#include <nlm/nlm.h>
#include <stdbool.h>

typedef struct scheduler scheduler;
typedef struct task task;

typedef struct scheduler_options {
    uint32_t slots;       /* sequences at once: the model's `parallel` */
    uint32_t step_tokens; /* of prompts in a step in which others decode; 0: 256 */
    uint32_t max_queue;   /* sequences that wait for a slot; 0: 256 */
    double queue_seconds; /* how long one may wait, to be embedded too; 0: for ever */
} scheduler_options;

#define TASK_TOP_MAX     20 /* logprobs of the likeliest tokens that can be asked for */
#define TASK_NO_LOGPROBS (-1)
#define TASK_TOO_LONG    1 /* native_code of the error: the prompt does not fit the context */

/* What to generate; all of it is copied. */
typedef struct generation_request {
    const int32_t *ids; /* [n_ids] the prompt: at least one token, fewer than the context */
    size_t n_ids;
    uint32_t n;                  /* texts; text i is drawn with seed + i */
    uint64_t max_tokens;         /* of each; 0: until the context is full */
    nlm_sampler_options sampler; /* with its arrays */
    const char *const *stops;    /* none of them empty */
    size_t n_stops;
    const nlm_constraint *const *constraints; /* [n] one for each text, or NULL: used on the scheduler's thread until
                                                 the text has ended */
    int32_t n_top;               /* logprobs of the token and of this many of the likeliest; or TASK_NO_LOGPROBS */
    bool ignores_end;            /* goes on after end-of-text tokens */
    bool has_special;            /* control tokens give their text */
    int32_t priority;            /* the greater goes first */
    uint64_t client;             /* who asks: clients take turns */
    void (*release)(void *user); /* called when the task is gone, or was refused, on either thread; or NULL */
    void *release_user;
    double seconds; /* what it may take from submission on; 0: any time */
} generation_request;

typedef struct task_token {
    int32_t id;
    float logprob;
    uint32_t n_top;
    uint32_t reserved;
    nlm_logprob top[TASK_TOP_MAX];
} task_token;

enum {
    TASK_TEXT = 1,  /* more text of a choice */
    TASK_ENDED = 2, /* the choice has ended; with what text is left */
    TASK_FAILED = 3 /* the choice has failed: status and message */
};

/* Beside NLM_ENDED_BY_*. */
enum { TASK_ENDED_BY_DEADLINE = 100 };

typedef struct task_event {
    struct task_event *next;
    task *owner;
    uint32_t kind;   /* TASK_* */
    uint32_t choice; /* from 0 */
    char *text;      /* [length] whole characters */
    size_t length;
    task_token *tokens; /* [n_tokens] those whose text it is, where logprobs are asked for */
    size_t n_tokens;
    uint64_t n_generated; /* so far, an end token included */
    uint64_t n_cached;    /* of the prompt: what did not have to be computed */
    int32_t ended_by;     /* NLM_ENDED_BY_*, TASK_ENDED_BY_DEADLINE */
    int32_t stop_index;   /* which stop string, or -1 */
    nlm_status status;
    char *message;
    bool is_last; /* of the task, which is gone afterwards */
} task_event;

/* On the client's thread. */
typedef void (*task_event_fn)(void *user, const task_event *event);

/* The model must have been loaded with `parallel` at least options->slots, and be left to the scheduler until it is
 * destroyed, but for what nlm.h lets any thread do. Errors OUT_OF_MEMORY, IO (no thread or eventfd), those of
 * nlm_session_create. */
nlm_status scheduler_create(nlm_model *model, const scheduler_options *options, scheduler **out, nlm_error *err);
/* Ends what is under way; events that were not dispatched are lost. */
void scheduler_destroy(scheduler *s);

/* Readable when there are events. */
int scheduler_fd(const scheduler *s);
/* Calls the tasks' functions for all events that have come. */
void scheduler_dispatch(scheduler *s);

/* Errors LIMIT (the queue is full), INVALID_ARGUMENT, OUT_OF_MEMORY. *out is valid until its last event was
 * dispatched. */
nlm_status scheduler_submit(scheduler *s, const generation_request *request, task_event_fn fn, void *user, task **out,
                            nlm_error *err);
/* Nobody wants the task's events any more: none comes, and it ends within the step under way. */
void scheduler_cancel(scheduler *s, task *t);

/* ---- what a slot holds -------------------------------------------------------------------- */

enum { SLOT_SAVE = 1, SLOT_RESTORE = 2, SLOT_ERASE = 3 };

/* Told on the client's thread. n_tokens: what the slot holds afterwards. */
typedef void (*slot_done_fn)(void *user, nlm_status status, uint64_t n_tokens, const char *message);

/* Between two steps; INVALID_ARGUMENT where the slot is in use. path: of the file, copied; not for SLOT_ERASE. */
nlm_status scheduler_slot(scheduler *s, uint32_t slot, uint32_t action, const char *path, slot_done_fn fn, void *user,
                          nlm_error *err);

typedef struct slot_info {
    bool is_busy;
    uint64_t n_tokens;    /* held */
    uint64_t n_prompt;    /* of the sequence in it */
    uint64_t n_generated; /* by it */
} slot_info;

/* As they were after the latest step; out [capacity]. Returns how many there are. */
uint32_t scheduler_slots(scheduler *s, slot_info *out, uint32_t capacity);

/* ---- embeddings ------------------------------------------------------------------------------- */

/* Told on the client's thread: rows [n, n_embd], valid during the call; NULL after an error. */
typedef void (*embed_done_fn)(void *user, nlm_status status, const float *rows, const char *message);

typedef struct embed_job embed_job;

/* Of sequences ids[i][0..counts[i]), which are copied; options as nlm_embed's, but for NLM_POOLING_NONE. One sequence
 * at a time is computed, between steps and in pieces of their size: the model needs one session beside the slots. Who
 * asks for several takes turns with others. fn may be told LIMIT: it has waited for queue_seconds. *out is valid
 * until fn was called. Errors INVALID_ARGUMENT (an empty sequence, one that is longer than the context), LIMIT (too
 * many wait), OUT_OF_MEMORY. */
nlm_status scheduler_embed(scheduler *s, int32_t *const *ids, const size_t *counts, size_t n,
                           const nlm_embed_options *options, embed_done_fn fn, void *user, embed_job **out,
                           nlm_error *err);
/* Nobody waits for it: fn is still called. */
void scheduler_cancel_embed(embed_job *job);

/* ---- figures ------------------------------------------------------------------------------ */

#define HISTOGRAM_BUCKETS 14

typedef struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last: above all bounds */
    uint64_t count;
    double sum;
} histogram;

/* Upper bounds in seconds. */
extern const double histogram_bounds[HISTOGRAM_BUCKETS];

typedef struct scheduler_stats {
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
    uint64_t tasks, failed, cancelled, refused;
    uint64_t embedded;              /* sequences */
    uint64_t steps, step_sequences; /* sequences in all steps together */
    uint32_t running, queued, slots;
    double busy_seconds;
    histogram first_token, between_tokens, queue_time;
} scheduler_stats;

void scheduler_get_stats(scheduler *s, scheduler_stats *out);

#endif
