/* The weights of a model as parameters: what training changes, each with its gradient. */
#ifndef NLM_MODEL_PARAMETERS_H
#define NLM_MODEL_PARAMETERS_H

#include "exec/parameter.h"
#include "model/model.h"
#include "model/weights.h"

/* What a parameter is of its weight. An adapter stands beside a weight w [N, K] that stays as it is:
 * w + alpha / rank * B A, with A [rank, K] and B [N, rank]. Source: Hu et al. 2021 (LoRA). */
typedef enum nlm_trained_part { NLM_TRAINED_WEIGHT, NLM_TRAINED_LORA_A, NLM_TRAINED_LORA_B } nlm_trained_part;

typedef struct nlm_trained {
    nlm_parameter parameter;
    const char *name; /* the weight's, or "blk.0.attn_q.weight.lora_a" */
    nlm_trained_part part;
    nlm_weight *weight; /* of the model */
    int32_t layer;      /* -1: of none */
    bool is_log;        /* the parameter is log(-w), as Mamba's A is trained (A_log) */
    bool decays;        /* AdamW's weight decay: of matrices, but not of A */
} nlm_trained;

typedef struct nlm_parameters_options {
    nlm_dtype dtype;   /* f32, f16 or bf16; vectors and Mamba's A are f32 */
    int32_t lora_rank; /* 0: all weights are trained; else adapters of this rank alone */
    float lora_alpha;
    const char *const *lora_targets; /* parts of the names of weights that get one, NULL-terminated; NULL: every
                                        matrix of a layer */
} nlm_parameters_options;

typedef struct nlm_parameters nlm_parameters;

/* Describes the parameters. Nothing is placed yet, see nlm_state. The model outlives it. Errors UNSUPPORTED (a family
 * that is not trained), INVALID_ARGUMENT (dtype, a rank below 0, targets that no weight has), OUT_OF_MEMORY. */
nlm_status nlm_parameters_create(nlm_model *model, const nlm_parameters_options *options, nlm_parameters **out,
                                 nlm_error *err);
/* Not before the programs that use them. */
void nlm_parameters_destroy(nlm_parameters *parameters);

uint32_t nlm_parameters_count(const nlm_parameters *parameters);
nlm_trained *nlm_parameters_at(nlm_parameters *parameters, uint32_t index);
/* By the family's id and layer, as nlm_weights_get; NULL: there is no such parameter. */
nlm_trained *nlm_parameters_get(nlm_parameters *parameters, int32_t id, int32_t layer, nlm_trained_part part);
nlm_dtype nlm_parameters_dtype(const nlm_parameters *parameters); /* as the options had it */
/* What B A is multiplied with. */
float nlm_parameters_lora_scale(const nlm_parameters *parameters);
/* The adapter of a weight, by its name; false: it has none. */
bool nlm_parameters_adapter(nlm_parameters *parameters, const char *weight, uint32_t *out_a, uint32_t *out_b);

/* Elements of the parameter, and of all. */
uint64_t nlm_trained_elements(const nlm_trained *trained);
uint64_t nlm_parameters_elements(const nlm_parameters *parameters);

/* Between the values of a weight, as a file has them, and those of its parameter; f32, in place. */
void nlm_trained_from_weight(const nlm_trained *trained, float *values, uint64_t count);
void nlm_trained_to_weight(const nlm_trained *trained, float *values, uint64_t count);

/* Sets a placed parameter to `values` [elements] f32, rounded to its type; reads it as f32. `master`, if not NULL, is
 * an f32 state of its shape and receives, or gives, the values unrounded. */
nlm_status nlm_trained_write(nlm_trained *trained, nlm_state *master, const float *values, nlm_error *err);
nlm_status nlm_trained_read(const nlm_trained *trained, const nlm_state *master, float *out, nlm_error *err);
/* The weight's own values, decoded, as the parameter's. */
nlm_status nlm_trained_decode(const nlm_trained *trained, float *out, nlm_error *err);

#endif
