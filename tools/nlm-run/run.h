/* One run: an engine, a model, a session, and what is said in it. */
#ifndef NLM_RUN_RUN_H
#define NLM_RUN_RUN_H

#include <nlm/nlm.h>
#include "common/json.h"
#include "nlm-run/output.h"
#include "nlm-run/settings.h"

typedef struct run {
    const settings *set;
    nlm_engine *engine;
    nlm_model *model;
    nlm_session *session;
    nlm_sampler *sampler;
    nlm_grammar_state *grammar; /* where the text is; NULL: it is free */
    uint64_t seed;
    uint32_t context; /* tokens the session may hold */
    output out;
    progress progress;
    nlm_json json; /* open if set->is_json */
    uint64_t n_generated;
    const char *ended_by; /* how the last text ended: "model", "interrupt", "full context" ... */
} run;

/* Opens everything; close in any case. */
nlm_status run_open(run *r, const settings *set, nlm_error *err);
void run_close(run *r);

/* Continues ids[0..count), or with none what the session holds. */
nlm_status run_text(run *r, const int32_t *ids, size_t count, nlm_error *err);
/* Converses: first_question (or NULL) and then, if reads_more, the lines of stdin. */
nlm_status run_chat(run *r, const char *first_question, bool reads_more, nlm_error *err);
/* Statistics, the profile, and the JSON object; `failure`, or NULL, is why there is no more. */
nlm_status run_report(run *r, const nlm_error *failure, nlm_error *err);

/* Appends tokens to the session. CANCELLED after Ctrl-C; LIMIT says what to do about the context. */
nlm_status run_extend(run *r, const int32_t *ids, size_t count, nlm_error *err);
/* Generates what the settings allow, less the *n_tokens that were generated of the same text before; adds to them. */
nlm_status run_generate(run *r, uint64_t *n_tokens, nlm_error *err);
/* Another sampler: of the settings, and of r->seed. */
nlm_status run_open_sampler(run *r, nlm_error *err);

#endif
