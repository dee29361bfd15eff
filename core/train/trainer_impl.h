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
} nlm_batch_program;

struct nlm_trainer {
    const nlm_env *env;
    nlm_model *model;
    nlm_trainer_options options;
    nlm_parameters *parameters;
    nlm_cache *cache; /* the states sequences begin with: zero; NULL: the model has none */
    nlm_value *after; /* [its states] */
    nlm_optimizer *optimizer;
    nlm_batch_program gradients, evaluation;
    uint64_t steps;
};

/* The graph that a batch program is planned from. */
nlm_status nlm_trainer_build(nlm_trainer *t, bool wants_gradients, nlm_graph *graph, nlm_batch_program *out,
                             nlm_error *err);
/* Fills the inputs of the program from the batch and runs it. */
nlm_status nlm_trainer_run(nlm_trainer *t, nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err);

/* blame.c: NUMERIC, with the first value of the step that is not finite: op and layer, or the parameter. */
nlm_status nlm_trainer_blame(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_error *err);

#endif
