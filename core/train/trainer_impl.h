/* What a trainer is inside. */
#ifndef NLM_TRAIN_TRAINER_IMPL_H
#define NLM_TRAIN_TRAINER_IMPL_H

#include "train/optimizer.h"
#include "train/trainer.h"

/* A program over batches, and its inputs. */
typedef struct nlm_batch_program {
    nlm_program *program; /* NULL: not planned yet */
    nlm_graph_io io;
    nlm_training_io training;
    nlm_value *after; /* [states of the cache], what follows them; then room to pick outputs */
} nlm_batch_program;

struct nlm_trainer {
    const nlm_env *env;
    nlm_env batches; /* the same but for activations: gradients may be among these when other programs run */
    nlm_model *model;
    nlm_trainer_options options;
    nlm_parameters *parameters;
    nlm_cache *cache; /* the states sequences begin with; NULL: the model has none. max_seqs slots of zeros, then one
                         for each lane */
    bool *is_taken;   /* [lanes] of the batch at hand */
    char *before;     /* what the lanes held before the step */
    nlm_optimizer *optimizer;
    nlm_batch_program gradients, evaluation;
    bool accumulates; /* gradients have memory of their own, to which runs add */
    uint64_t steps;
};

/* The graph that a batch program is planned from. */
nlm_status nlm_trainer_build(nlm_trainer *t, bool wants_gradients, nlm_graph *graph, nlm_batch_program *out,
                             nlm_error *err);
void nlm_trainer_release(nlm_batch_program *program);
/* Runs what the batch has of history, then fills the inputs of the program from the batch and runs it; the lanes then
 * hold what is behind it. */
nlm_status nlm_trainer_run(nlm_trainer *t, nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err);

/* ---- lanes.c ---- */

uint32_t nlm_trainer_states(const nlm_trainer *t);
/* Makes t->cache and what lanes need. */
nlm_status nlm_lanes_create(nlm_trainer *t, nlm_error *err);
/* The slot that each sequence begins with; errors INVALID_ARGUMENT (a lane that is none, or taken twice). */
nlm_status nlm_lanes_slots(nlm_trainer *t, const nlm_train_batch *batch, int32_t *out_slots, nlm_error *err);
/* The program has run: what is behind the sequences goes to their lanes. */
nlm_status nlm_lanes_keep(nlm_trainer *t, const nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err);
/* Remembers the lanes as they are; back to that. */
nlm_status nlm_lanes_note(nlm_trainer *t, nlm_error *err);
nlm_status nlm_lanes_return(nlm_trainer *t, nlm_error *err);

/* blame.c: NUMERIC, with the first value of the step that is not finite: op and layer, or the parameter. */
nlm_status nlm_trainer_blame(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_error *err);

#endif
