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
    uint64_t seed;
    output out;
    progress progress;
    nlm_json json; /* open if set->is_json */
    uint64_t n_generated;
    int32_t ended_by;
} run;

/* Opens everything; close in any case. */
nlm_status run_open(run *r, const settings *set, nlm_error *err);
void run_close(run *r);

/* Continues the prompt. */
nlm_status run_text(run *r, const char *prompt, size_t length, nlm_error *err);
/* Converses: first_question (or NULL) and then, if reads_more, the lines of stdin. */
nlm_status run_chat(run *r, const char *first_question, bool reads_more, nlm_error *err);
/* Statistics, the profile, and the JSON object. */
nlm_status run_report(run *r, nlm_error *err);

/* Extends the session and generates; CANCELLED after Ctrl-C in the prompt. */
nlm_status run_answer(run *r, const int32_t *ids, size_t count, nlm_error *err);

#endif
