/* One sequence of tokens and where it stands: the struct behind nlm_session. */
#ifndef NLM_SESSION_SESSION_H
#define NLM_SESSION_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include "session/constraint.h"
#include "session/runtime.h"
#include "session/text_stream.h"

typedef struct nlm_counters {
    uint64_t prompt_tokens, cached_tokens, decode_tokens;
    uint64_t prompt_ns, decode_ns, first_token_ns;
} nlm_counters;

/* What is wanted of computing pending tokens, beside that they are computed. */
typedef struct nlm_wanted {
    float *out_rows; /* NULL, or for the logits after each token from position rows_from on, which is pending, to the
                        last: [n_tokens - rows_from, n_vocab] */
    int32_t rows_from;
    int32_t n_appended;   /* of the pending tokens: those that this call brings */
    int32_t max_computed; /* of them, before the rest is dropped; 0: all */
    bool has_logits;      /* the logits after the last token will be asked for at once */
} nlm_wanted;

/* mirostat's bound of surprise (nlm/sampler.h). A choice may be made again at the same place: it begins as before. */
typedef struct nlm_mirostat {
    double mu, next; /* before and after the latest choice; 0: the text begins */
    int32_t at;      /* how many tokens it came after */
} nlm_mirostat;

/* What it is for a choice after n_tokens. */
double nlm_mirostat_now(const nlm_mirostat *mirostat, int32_t n_tokens);

/* A session's part of the runs under way: see compute.h. */
typedef struct nlm_part {
    nlm_session *next; /* in the queue */
    nlm_wanted wanted;
    int32_t first;  /* n_computed when it was queued */
    int32_t n_kept; /* tokens that it has whatever comes: all but those that the call brings */
    int32_t n;      /* tokens of the coming run; 0: none */
    bool is_queued;
    nlm_status status;
    nlm_error error;
    uint64_t ns; /* its share of the time of runs, by tokens */
} nlm_part;

/* tokens[0..n_computed) are in the cache, and `row` are the logits after the last of them; the rest, up to
 * n_tokens, is computed when logits are asked for. */
struct nlm_session {
    nlm_runtime *runtime;
    nlm_ending ending;
    int32_t slot;
    int32_t *tokens; /* [context_length] */
    int32_t n_tokens;
    int32_t n_computed;
    int32_t n_offered; /* tokens whose pages the prompt cache was offered */
    /* [n_vocab]: `logits`, or until the next run in the results of the latest one, where they may have to be fetched;
     * NULL: none. */
    const float *row;
    int32_t greedy;             /* the first of the greatest of them, if the run gave it; else -1 */
    float *logits;              /* [n_vocab], memory of its own */
    nlm_session *next_borrower; /* of nlm_engine.borrowers, while `row` is in the results of a run */
    nlm_part part;
    nlm_mirostat mirostat;
    nlm_text_stream stream; /* text of its last tokens that nlm_session_generate holds back */
    nlm_progress_fn progress;
    void *progress_user;
    atomic_bool is_cancelled; /* nlm_session_cancel, since the call under way began */
    nlm_counters counters;
    uint64_t extended_at_ns; /* when the latest extend began; 0: a token came since */
};

/* At the head of a function of nlm.h that is given a session. */
#define NLM_ENTER_SESSION(session, err) \
    NLM_NEEDS(session, err);            \
    NLM_ENTER(&(session)->runtime->engine->gate, err)

/* INVALID_ARGUMENT for a session without a token. */
nlm_status nlm_session_check_holds(const nlm_session *session, nlm_error *err);
/* INVALID_ARGUMENT for a sampler that was made for another vocabulary; NULL is fine. */
nlm_status nlm_session_check_sampler(const nlm_session *session, const nlm_sampler *sampler, nlm_error *err);
/* How a session's next token is chosen. */
typedef struct nlm_choosing {
    nlm_sampler *sampler;      /* NULL: greedy */
    nlm_constraint constraint; /* may be zeroed: none */
} nlm_choosing;

/* The next token of a session whose tokens are all computed; the constraint is not told of it. Errors   of fetching
 * logits, and nlm_sampler_pick_with's of a constraint. */
nlm_status nlm_session_choose(nlm_session *session, const nlm_choosing *how, int32_t *out_id, nlm_error *err);
/* The same of any session that holds tokens: computes what is not computed. wants_logits: session->row will be read.
 */
nlm_status nlm_session_choose_next(nlm_session *session, const nlm_choosing *how, bool wants_logits, int32_t *out_id,
                                   nlm_error *err);
/* INVALID_ARGUMENT for an id that is not in the vocabulary. */
nlm_status nlm_session_check_ids(const nlm_session *session, const int32_t *ids, size_t count, nlm_error *err);
/* Appends ids that were checked, without computing them; a text that was held back is over. LIMIT if the context
 * would overflow. */
nlm_status nlm_session_append(nlm_session *session, const int32_t *ids, size_t count, nlm_error *err);

/* Before a run that appends n tokens: room for them in the states. Evicts prompts if there is none. */
nlm_status nlm_session_make_room(nlm_session *session, int32_t n, nlm_error *err);
nlm_status nlm_runtime_make_room(nlm_runtime *runtime, int32_t slot, int32_t n, nlm_error *err);
/* After a run that failed, or was not to be: what is pending is dropped, but for what is among the first n_kept
 * tokens: it is computed when logits are asked for. */
void nlm_session_roll_back(nlm_session *session, int32_t n_kept);

/* Takes the longest known prefix of the pending tokens of an empty session from the prompt cache; one
 * token at least is left to compute. */
nlm_status nlm_session_find_prompt(nlm_session *session, nlm_error *err);
/* Offers what is computed to the prompt cache, after a run of n tokens. */
void nlm_session_keep_prompt(nlm_session *session, int32_t n);
/* Where the next chunk has to end so that the prompt cache can keep a snapshot, at most `end`. */
int32_t nlm_session_chunk_end(const nlm_session *session, int32_t end);

#endif
