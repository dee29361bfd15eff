/* Batches through a model: one planned program per bucket of rows, built when first needed. */
#ifndef NLM_SESSION_PROGRAMS_H
#define NLM_SESSION_PROGRAMS_H

#include "model/model.h"
#include "session/states.h"

typedef struct nlm_programs nlm_programs;

typedef struct nlm_programs_options {
    nlm_model *model; /* all borrowed */
    const nlm_states *states;
    const nlm_env *env;
    int32_t max_rows;  /* tokens a batch, a power of two up to NLM_MAX_ROWS */
    bool gives_hidden; /* what the head would read in place of logits: [n_embd] a row */
} nlm_programs_options;

#define NLM_MAX_ROWS 512

/* Plans the program of a single token, which places all weights and states. Errors as nlm_graph_plan. */
nlm_status nlm_programs_create(const nlm_programs_options *options, nlm_programs **out, nlm_error *err);
void nlm_programs_destroy(nlm_programs *programs);
int32_t nlm_programs_max_rows(const nlm_programs *programs);
uint64_t nlm_programs_activation_bytes(const nlm_programs *programs);

/* One sequence's part of a batch: tokens ids[0..n) at positions pos.. of its slot, whose pages have room
 * for them. The logits after the last n_outputs of them are wanted (at least 1). */
typedef struct nlm_batch_item {
    int32_t slot;
    int32_t pos;
    int32_t n;
    int32_t n_outputs;
    const int32_t *ids;
} nlm_batch_item;

/* Of the wanted rows, in order; valid until the next run of any program of the env. */
typedef struct nlm_batch_result {
    const float *logits; /* [sum of n_outputs, n_vocab], or n_embd: contents are there once nlm_programs_fetch has
                            returned OK */
    const int32_t *next; /* [sum of n_outputs] the first of the greatest logits, -1 where one is not finite; NULL: not
                            computed, as logits are near */
} nlm_batch_result;

/* The program of chains (chain.h), planned when it is first asked for; NULL: there is none, as a message of the log
 * says if that came out here. */
struct nlm_chain *nlm_programs_find_chain(nlm_programs *programs, bool is_greedy);
/* Has it been asked for? Else planning it ends what is valid until the next run. */
bool nlm_programs_knows_chain(const nlm_programs *programs, bool is_greedy);

/* Runs the items, each of another slot, at most max_rows tokens in all. wants_logits: they will be fetched. Allocates
 * nothing once the bucket has its program. Errors of planning and running. */
nlm_status nlm_programs_run(nlm_programs *programs, const nlm_batch_item *items, int32_t n_items, bool wants_logits,
                            const nlm_batch_result **out, nlm_error *err);
/* Brings the latest run's logits to the host, if they are not there. */
nlm_status nlm_programs_fetch(nlm_programs *programs, nlm_error *err);
/* Are the logits of the item, whose first row is first_row of the latest run's, numbers? Errors NUMERIC (one is not
 * finite: token, position, backend), and those of nlm_programs_fetch. */
nlm_status nlm_programs_check_rows(nlm_programs *programs, const nlm_batch_item *item, int32_t first_row,
                                   nlm_error *err);

#endif
