/* Mamba for programs with sequences of numbers (time series, features of audio) and a loss of their own. The rules of
 * nlm.h hold here too.
 *
 *   nlm_mamba_create     a mixer, a block or a backbone with new parameters
 *   nlm_mamba_forward    y of packed sequences; what a backward pass needs is kept
 *   nlm_mamba_backward   from the gradient by y: those by the parameters, x and the states
 *   nlm_mamba_update     a step of AdamW
 *   nlm_mamba_step       one row of each of several sequences, for inference
 *
 * One forward pass serves both: backward goes on where forward stopped and computes nothing again but what the
 * backend's fused ops leave out. Rows are one after the other in memory, f32. Numbers do not depend on the number of
 * threads, nor on what else is in a batch. */
#ifndef NLM_MAMBA_H
#define NLM_MAMBA_H

#include <nlm/nlm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nlm_mamba nlm_mamba;

enum {
    NLM_MAMBA_MIXER = 0,   /* in_proj, convolution, selection, scan, gate, out_proj: [T, d_model] to the same */
    NLM_MAMBA_BLOCK = 1,   /* x + mixer(rms_norm(x)) */
    NLM_MAMBA_BACKBONE = 2 /* [T, input_dim], projected with a bias, n_layer blocks, rms_norm: [T, d_model] */
};

enum {
    NLM_MAMBA_STATE_GRADIENTS = 1 /* backward can give the gradient by the states that sequences began with */
};

/* A zero is the default that stands in brackets. */
typedef struct nlm_mamba_options {
    uint32_t struct_size;
    uint32_t flags;      /* NLM_MAMBA_STATE_GRADIENTS */
    int32_t level;       /* NLM_MAMBA_* */
    uint32_t d_model;    /* needed */
    uint32_t input_dim;  /* of a backbone (d_model) */
    uint32_t n_layer;    /* of a backbone (1) */
    uint32_t d_inner;    /* (2 d_model) */
    uint32_t d_state;    /* 1 to 256 (16) */
    uint32_t d_conv;     /* 2 to 8 (4) */
    uint32_t dt_rank;    /* (d_model / 16, rounded up) */
    uint32_t max_tokens; /* rows of a batch (256) */
    uint32_t max_seqs;   /* sequences of a batch, and slots (1) */
    uint64_t seed;       /* of the initial values */
    float norm_eps;      /* (1e-5) */
    float beta1, beta2;  /* of AdamW (0.9, 0.95) */
    float eps;           /* (1e-8) */
    float weight_decay;  /* of matrices but A (0) */
    uint32_t reserved;
} nlm_mamba_options;

typedef struct nlm_mamba_info {
    uint32_t struct_size;
    uint32_t input_dim, output_dim;
    uint32_t max_tokens, max_seqs;
    uint32_t n_parameters; /* by name: nlm_mamba_parameter */
    uint64_t n_elements;   /* of all of them */
    uint64_t state_size;   /* numbers of a slot: nlm_mamba_get_state */
    uint64_t steps;        /* of AdamW, done */
    /* bytes */
    uint64_t parameter_bytes, gradient_bytes, optimizer_bytes, activation_bytes;
} nlm_mamba_info;

/* Plans everything and allocates it: later calls but save and load allocate nothing. The initial values are those of
 * the published Mamba.
 * Errors   INVALID_ARGUMENT (options, named), UNSUPPORTED (an op no device has), OUT_OF_MEMORY (of the machine, or of
 *          the engine's memory_limit_bytes). */
NLM_API nlm_status nlm_mamba_create(nlm_engine *engine, const nlm_mamba_options *options, nlm_mamba **out_mamba,
                                    nlm_error *error);
NLM_API void nlm_mamba_destroy(nlm_mamba *mamba);
NLM_API nlm_status nlm_mamba_describe(const nlm_mamba *mamba, nlm_mamba_info *out_info, nlm_error *error);

/* ---- training ------------------------------------------------------------------------------ */

enum {
    NLM_MAMBA_CARRY = 1 /* sequences go on from what their slots hold; else they begin with zero states */
};

/* Sequences one after the other. */
typedef struct nlm_mamba_batch {
    uint32_t struct_size;
    uint32_t flags;          /* NLM_MAMBA_CARRY */
    const float *x;          /* [sum of lengths, input_dim] */
    const uint32_t *lengths; /* [n_seqs] rows of each; 0 is one that waits */
    const uint32_t *slots;   /* [n_seqs] each once, below max_seqs; NULL: 0, 1, ... */
    uint32_t n_seqs;
    uint32_t reserved;
} nlm_mamba_batch;

/* y of all rows: out_y [sum of lengths, output_dim], or NULL where they are not looked at. The sequences' slots hold
 * the states after their last rows: a window of the same sequences with NLM_MAMBA_CARRY goes on from there, and its
 * gradients end where it begins (truncated backpropagation through time). Without a call of backward it is burn-in or
 * inference. Shapes of all windows may differ. A call that fails ends the window before it too.
 * Errors   INVALID_ARGUMENT (no rows, or more rows or sequences than were planned for, a slot twice or out of range),
 *          DEVICE_ERROR. */
NLM_API nlm_status nlm_mamba_forward(nlm_mamba *mamba, const nlm_mamba_batch *batch, float *out_y, nlm_error *error);

/* The gradients of a loss of the last forward's y from `dy`, its gradient by y [rows, output_dim]. Those of the
 * parameters are added to what they were; out_dx [rows, input_dim] receives that by x, out_dstate [n_seqs,
 * state_size], as nlm_mamba_get_state has them, those by the states the sequences began with
 * (NLM_MAMBA_STATE_GRADIENTS), where they are not NULL. Once for each forward, before the parameters change: an
 * update, a write or a load ends it. Errors   INVALID_ARGUMENT (no forward to go back from; out_dstate without the
 * flag), DEVICE_ERROR. */
NLM_API nlm_status nlm_mamba_backward(nlm_mamba *mamba, const float *dy, float *out_dx, float *out_dstate,
                                      nlm_error *error);

/* One step of AdamW with the gradients times `factor` (1 over the number of rows, say), shortened to a norm of
 * clip_norm if that is above 0 and they are longer; then they are zero. *out_norm, if not NULL, is the norm before.
 * Errors   NUMERIC (it is not finite: nothing has changed but the gradients, which are zero), INVALID_ARGUMENT (a
 *          rate or clip_norm that is negative or no number). */
NLM_API nlm_status nlm_mamba_update(nlm_mamba *mamba, double rate, double factor, double clip_norm, double *out_norm,
                                    nlm_error *error);
/* Forgets the gradients. */
NLM_API nlm_status nlm_mamba_clear_gradients(nlm_mamba *mamba, nlm_error *error);

/* ---- inference and states ------------------------------------------------------------------- */

/* The next row of each of n sequences: x [n, input_dim], out_y [n, output_dim]; slots as in nlm_mamba_batch, whose
 * states go on. May stand between a forward and its backward.
 * Errors   as nlm_mamba_forward. */
NLM_API nlm_status nlm_mamba_step(nlm_mamba *mamba, const float *x, const uint32_t *slots, uint32_t n, float *out_y,
                                  nlm_error *error);

/* What a slot holds, [state_size] numbers: for each layer the last d_conv - 1 inputs of the convolution, oldest first
 * [d_conv - 1, d_inner], then h [d_inner, d_state]. set: state NULL is zero.
 * Errors   INVALID_ARGUMENT (slot). */
NLM_API nlm_status nlm_mamba_get_state(const nlm_mamba *mamba, uint32_t slot, float *out_state, nlm_error *error);
NLM_API nlm_status nlm_mamba_set_state(nlm_mamba *mamba, uint32_t slot, const float *state, nlm_error *error);

/* ---- parameters ------------------------------------------------------------------------------ */

typedef struct nlm_mamba_parameter {
    uint32_t struct_size;
    uint32_t rank;
    const char *name; /* as the published Mamba's modules have it, "layers.0.mixer.in_proj.weight"; lives as long as
                         the mamba */
    int64_t shape[4]; /* outermost first, 1 beyond the rank */
    uint64_t n_elements;
} nlm_mamba_parameter;

/* Errors   NOT_FOUND (there are no more). */
NLM_API nlm_status nlm_mamba_parameter_at(const nlm_mamba *mamba, uint32_t index, nlm_mamba_parameter *out_parameter,
                                          nlm_error *error);
/* The values of a parameter and its gradient, `count` numbers: all of it.
 * Errors   NOT_FOUND (name), INVALID_ARGUMENT (count is not n_elements: how many there are). */
NLM_API nlm_status nlm_mamba_read(const nlm_mamba *mamba, const char *name, float *out_values, uint64_t count,
                                  nlm_error *error);
NLM_API nlm_status nlm_mamba_write(nlm_mamba *mamba, const char *name, const float *values, uint64_t count,
                                   nlm_error *error);
NLM_API nlm_status nlm_mamba_read_gradient(const nlm_mamba *mamba, const char *name, float *out_values,
                                           uint64_t count, nlm_error *error);

enum {
    NLM_MAMBA_WITH_OPTIMIZER = 1 /* also the states of AdamW, so that training goes on bit for bit */
};

/* A safetensors file of all parameters by their names, f32; with NLM_MAMBA_WITH_OPTIMIZER "adamw_m.NAME" and
 * "adamw_v.NAME" too. Whole or not at all. Errors   IO, PERMISSION, NOT_FOUND, OUT_OF_MEMORY. */
NLM_API nlm_status nlm_mamba_save(const nlm_mamba *mamba, const char *path, uint32_t flags, nlm_error *error);
/* Takes the parameters of a file, and the states of AdamW with the flag. Gradients become zero.
 * Errors   INVALID_ARGUMENT (a tensor is missing or has another shape: nothing has changed), BAD_FORMAT, NOT_FOUND,
 *          IO. */
NLM_API nlm_status nlm_mamba_load(nlm_mamba *mamba, const char *path, uint32_t flags, nlm_error *error);

#ifdef __cplusplus
}
#endif
#endif
