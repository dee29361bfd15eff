/* One training run: what is open while it lasts. */
#ifndef NLM_TRAIN_RUN_H
#define NLM_TRAIN_RUN_H

#include <stdio.h>

#include "base/str.h"
#include "nlm-train/settings.h"
#include "session/engine.h"
#include "text/chat_own.h"
#include "text/tokenizer.h"
#include "train/trainer.h"

typedef struct run {
    const settings *set;
    nlm_engine *engine;
    nlm_model *model;
    nlm_tokenizer *tokenizer;
    nlm_chat_own *own_chat;        /* the model's own template, or NULL: */
    const nlm_chat_template *chat; /* one that is known, or NULL */
    nlm_trainer *trainer;
    nlm_dataset *dataset;
    nlm_batch_shape shape;
    nlm_train_batch **memory; /* [accumulate] */
    nlm_train_batch *parts;   /* [accumulate] the same, one after the other */
    const char **targets;     /* of adapters, NULL-terminated */
    nlm_str identity;         /* what makes a checkpoint one of this run */
    int lock;                 /* of the output folder; -1: none */
    FILE *log;
    double peak;                  /* operations a second at most, in f32; 0: not known */
    double seconds, tokens, flop; /* of the steps so far in this process */
    double recent_loss;           /* of what was counted since the last line */
    uint64_t recent_steps, first_step;
} run;

/* model.c: the model to train, and its tokenizer. */
nlm_status run_open_model(run *r, nlm_error *err);

/* run.c: opens everything, trains, and closes. An interrupt, an end or a hangup ends the training
 * after the step under way, and is no failure. */
nlm_status run_open(run *r, const settings *set, nlm_error *err);
nlm_status run_train(run *r, nlm_error *err);
void run_close(run *r);

/* speed.c: what the device can do is measured once, before the first step. */
nlm_status speed_probe(run *r, nlm_error *err);
/* Operations of a step over the parts as they are. */
double speed_flop(const run *r);

/* report.c */
nlm_status report_plan(run *r, nlm_error *err);
nlm_status report_open_log(run *r, nlm_error *err);
nlm_status report_step(run *r, const nlm_trainer_metrics *m, nlm_error *err);
nlm_status report_validation(run *r, double loss, nlm_error *err);
/* Continues the prompt with the weights as they are. */
nlm_status report_sample(run *r, nlm_error *err);
/* curve.c: OUTPUT/loss.svg and loss.png, from the log. */
nlm_status report_curve(run *r, nlm_error *err);
const char *run_path(const run *r, const char *name, nlm_str *out);

#endif
