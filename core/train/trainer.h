/* Training a model: its parameters, their optimizer, and the step that changes them.
 *
 * A step runs one graph for each part of its batch, which begins the gradients or adds to them; then one that adds up
 * their squares, and, if what came out is finite, one that updates. Numbers do not depend on the number of threads.
 */
#ifndef NLM_TRAIN_TRAINER_H
#define NLM_TRAIN_TRAINER_H

#include "model/parameters.h"
#include "train/dataset.h"
#include "train/optimizer.h"
#include "train/schedule.h"

typedef struct nlm_trainer nlm_trainer;

typedef struct nlm_trainer_options {
    nlm_batch_shape shape;             /* of a part of a batch */
    nlm_parameters_options parameters; /* dtype: f32, or bf16 or f16 with masters in f32 */
    nlm_recompute recompute;
    bool accumulates; /* steps have several parts. Else gradients share memory with activations until the first that
                         has, from which on they have their own */
    bool is_new;      /* begin with initial values, not with the model's */
    bool
        is_filled_later; /* by nlm_trainer_fill: until then its memory is not touched, and what it will be is known */
    int32_t n_lanes;     /* that batches name; 0: all sequences begin anew */
    uint64_t seed;       /* of these */
    nlm_cross_entropy_params loss;
    nlm_adamw_params optimizer; /* weight_decay is of the parameters that decay */
    double clip_norm;           /* of the gradient's norm; 0: as it is */
    nlm_schedule schedule;
} nlm_trainer_options;

/* What a step did. */
typedef struct nlm_trainer_metrics {
    uint64_t step; /* this one's number, from 1 */
    double loss;   /* mean over the tokens that count, in nats */
    double norm;   /* of the gradient, before clipping */
    double rate;
    int64_t n_tokens, n_counted;
    double seconds;
    double gradient_seconds, norm_seconds, update_seconds; /* of them: forward and backward, norm, AdamW */
} nlm_trainer_metrics;

/* Plans the programs and sets the parameters. The env and the model outlive it. Errors UNSUPPORTED (a family that
 * is not trained, an op no device has, lanes for one that has no state of a fixed size), INVALID_ARGUMENT (options,
 * named), OUT_OF_MEMORY. */
nlm_status nlm_trainer_create(const nlm_env *env, nlm_model *model, const nlm_trainer_options *options,
                              nlm_trainer **out, nlm_error *err);
void nlm_trainer_destroy(nlm_trainer *trainer);

/* The values that training begins with. Errors OUT_OF_MEMORY, and those of devices. */
nlm_status nlm_trainer_fill(nlm_trainer *trainer, nlm_error *err);

/* Bytes of what it holds, and of what a step needs beside it; gradients that share memory with activations count as
 * these. */
typedef struct nlm_trainer_memory {
    uint64_t parameters, gradients, optimizer, states, activations;
} nlm_trainer_memory;
void nlm_trainer_memory_of(const nlm_trainer *trainer, nlm_trainer_memory *out);

const nlm_trainer_options *nlm_trainer_options_of(const nlm_trainer *trainer);
nlm_model *nlm_trainer_model(const nlm_trainer *trainer);
nlm_parameters *nlm_trainer_parameters(const nlm_trainer *trainer);
/* Steps done. */
uint64_t nlm_trainer_steps(const nlm_trainer *trainer);

/* Room for steps of `n` parts, once: gradients get memory of their own for more than one. A step does it by itself;
 * what fails is tried again by the next. Errors as nlm_trainer_create. */
nlm_status nlm_trainer_make_room(nlm_trainer *trainer, int32_t n, nlm_error *err);
bool nlm_trainer_accumulates(const nlm_trainer *trainer);

/* One step over `n` parts of a batch. Errors NUMERIC: the loss or the gradient is not finite (step, and where it is
 * so first); the parameters and the lanes are as they were, and the gradients zero. */
nlm_status nlm_trainer_step(nlm_trainer *trainer, const nlm_train_batch *parts, int32_t n, nlm_trainer_metrics *out,
                            nlm_error *err);
/* The sum of the losses of a batch; of what is kept only the lanes change that it names. */
nlm_status nlm_trainer_evaluate(nlm_trainer *trainer, const nlm_train_batch *batch, double *out_loss, nlm_error *err);

/* Runs a batch for the lanes it names alone. */
nlm_status nlm_trainer_warm(nlm_trainer *trainer, const nlm_train_batch *batch, nlm_error *err);

/* Adds the gradients of a batch to those of the parameters and gives the sum of its losses: the first part of a step,
 * for those who look at gradients; and makes gradients zero. */
nlm_status nlm_trainer_accumulate(nlm_trainer *trainer, const nlm_train_batch *batch, double *out_loss,
                                  nlm_error *err);
nlm_status nlm_trainer_clear(nlm_trainer *trainer, nlm_error *err);

/* Values of parameter `index`, as nlm_optimizer_read has them. For checkpoints. */
enum {
    NLM_TRAINER_VALUE = NLM_OPTIMIZER_VALUE,
    NLM_TRAINER_M = NLM_OPTIMIZER_M,
    NLM_TRAINER_V = NLM_OPTIMIZER_V,
    NLM_TRAINER_KINDS = NLM_OPTIMIZER_KINDS
};
nlm_status nlm_trainer_read(const nlm_trainer *trainer, uint32_t index, int kind, float *out, nlm_error *err);
nlm_status nlm_trainer_write(nlm_trainer *trainer, uint32_t index, int kind, const float *values, nlm_error *err);
void nlm_trainer_set_steps(nlm_trainer *trainer, uint64_t steps);

/* States of the lanes, as a checkpoint has them: for each state of the model one [n_lanes, elements] f32. The name is
 * written to [64] bytes; a count of 0 is none. */
uint32_t nlm_trainer_carried_count(const nlm_trainer *trainer);
uint64_t nlm_trainer_carried_elements(const nlm_trainer *trainer, uint32_t index, char *out_name);
nlm_status nlm_trainer_read_carried(const nlm_trainer *trainer, uint32_t index, float *out, nlm_error *err);
nlm_status nlm_trainer_write_carried(nlm_trainer *trainer, uint32_t index, const float *values, nlm_error *err);

/* The model as a GGUF file with the metadata of the one it came from, adapters added to their weights; matrices are
 * of `dtype` (rows that are no multiple of its blocks f16, those under 32 columns and vectors f32). Errors
 * as of nlm_gguf_writer_finish, INVALID_ARGUMENT (dtype). */
#define NLM_EXPORT_AS_IT_IS                                                                \
    (-1) /* the types that the tensors had; of what is trained q8_0 in place of fewer bits \
          */
nlm_status nlm_trainer_export(const nlm_trainer *trainer, nlm_dtype dtype, const char *path, nlm_error *err);
/* The adapters as a safetensors file, named after their weights ("blk.0.attn_q.weight.lora_a"), with lora_rank and
 * lora_alpha as its metadata. Errors INVALID_ARGUMENT (there are none), and of nlm_safetensors_writer_finish. */
nlm_status nlm_trainer_export_adapters(const nlm_trainer *trainer, const char *path, nlm_error *err);

#endif
