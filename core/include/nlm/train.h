/* Training language models: what nlm-train stands on. The rules of nlm.h hold here too, and a training is to its
 * engine what a model is.
 *
 *   nlm_training_create    a model, new or of a file, whose weights (or adapters beside them) are trained
 *   nlm_training_step      one step of AdamW over a batch of sequences
 *   nlm_training_save      what nlm_training_restore goes on from, bit for bit
 *   nlm_training_export    a GGUF file, for nlm_model_load and other engines
 *
 * Numbers do not depend on the number of threads: the same seed, batches and options give the same bits. */
#ifndef NLM_TRAIN_H
#define NLM_TRAIN_H

#include <nlm/nlm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nlm_training nlm_training;

enum {
    NLM_TRAINING_RECOMPUTE =
        1,                   /* of a layer keep its result alone and compute the rest again: less memory, more time */
    NLM_TRAINING_UNTIED = 2, /* of a new model of an architecture: a head of its own beside the embedding */
    NLM_TRAINING_RECOMPUTE_UP = 4 /* compute the products again that gates are multiplied with: a little of either */
};

enum { NLM_SCHEDULED_COSINE = 0, NLM_SCHEDULED_LINEAR = 1, NLM_SCHEDULED_CONSTANT = 2, NLM_SCHEDULED_WSD = 3 };

/* A zero is the default that stands in brackets. */
typedef struct nlm_training_options {
    uint32_t struct_size;
    uint32_t flags; /* NLM_TRAINING_* */
    /* The model: a GGUF file to go on from; or, with path NULL, a new one with the vocabulary of the file
     * `vocabulary`, a GGUF or a tokenizer.json: of the shape of a preset ("small_125m", "mamba_130m", as nlm-bench
     * lists them), or, with preset NULL, of `architecture` and the sizes behind it. */
    const char *path;
    const char *preset;
    const char *vocabulary;
    uint64_t seed;         /* of the initial values of what is new */
    uint32_t max_tokens;   /* of a batch (2048) */
    uint32_t max_seqs;     /* of a batch (16, but no more than max_tokens) */
    const char *type;      /* of the weights: "f32", or "bf16" or "f16" with f32 masters ("f32") */
    uint32_t lora_rank;    /* 0: train all weights; else adapters of this rank beside matrices of layers of `path` */
    float lora_alpha;      /* adapters count alpha / rank (2 lora_rank) */
    double learning_rate;  /* the greatest (1e-3) */
    double floor;          /* the last, as a share of it (0) */
    int32_t schedule;      /* NLM_SCHEDULED_* */
    uint32_t warmup_steps; /* in which the rate rises from 0 */
    uint64_t steps;        /* of the schedule (1000) */
    uint64_t decay_steps;  /* of NLM_SCHEDULED_WSD, at its end */
    float beta1;           /* of AdamW (0.9) */
    float beta2;           /* (0.95) */
    float eps;             /* (1e-8) */
    float weight_decay;    /* of matrices (0) */
    double clip_norm;      /* of the gradient's norm; 0: it is not clipped */
    float label_smoothing; /* the share of the loss that all tokens have alike */
    float z_loss;          /* times the square of the log of the softmax's sum, added to the loss */
    /* Sizes of a new model; those of the other architecture are not looked at. */
    const char *architecture; /* "llama", "mamba"; NULL: there is a preset or a path */
    uint32_t n_embd;          /* needed */
    uint32_t n_layer;         /* needed */
    uint32_t n_ctx;           /* tokens it is made for, as its file says (max_tokens) */
    uint32_t n_head;          /* llama: (n_embd / 64, at least 1) */
    uint32_t n_head_kv;       /* (n_head) */
    uint32_t n_ff;            /* (8/3 n_embd, up to a multiple of 32) */
    uint32_t d_state;         /* mamba: 1 to 256 (16) */
    uint32_t d_conv;          /* 2 to 8 (4) */
    uint32_t dt_rank;         /* (n_embd / 16, rounded up) */
    uint32_t reserved;
    /* Mamba: memory for the states behind so many sequences, which others go on from. Zeros at first; saved and
     * restored. (0: every sequence begins anew) */
    uint32_t n_lanes;
    uint32_t reserved2;
    /* Batches of a step (1). Of one, gradients share memory with activations; the first step of more than this says
     * gives them memory of their own, and allocates. */
    uint32_t n_batches;
    uint32_t reserved3;
} nlm_training_options;

/* Sequences of tokens one after the other, each of which begins anew or, of Mamba, with the states of a lane: as
 * numbers, its gradient ends there. Two sequences neither begin with nor end in the same lane, but one may do both.
 * Those of a list have one struct_size. */
typedef struct nlm_training_batch {
    uint32_t struct_size;
    uint32_t n_seqs;
    const int32_t *ids;      /* all tokens */
    const int32_t *labels;   /* what is to follow each, negative: not counted; NULL: the next token of its sequence */
    const uint32_t *lengths; /* [n_seqs] tokens of each */
    const int32_t *from;     /* [n_seqs] the lane whose states each begins with; negative, or NULL: it begins anew */
    const int32_t *to;       /* [n_seqs] the lane that receives the states behind each; negative, or NULL: none */
} nlm_training_batch;

typedef struct nlm_training_metrics {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t step;        /* how many there were */
    double loss;          /* mean over the tokens that counted, in nats */
    double gradient_norm; /* before clipping */
    double learning_rate;
    uint64_t n_tokens;
    uint64_t n_counted;
    double seconds;
} nlm_training_metrics;

typedef struct nlm_training_info {
    uint32_t struct_size;
    uint32_t n_vocab;
    uint64_t steps;        /* done */
    uint64_t n_parameters; /* that are trained */
    uint64_t parameter_bytes;
    uint64_t gradient_bytes;   /* of those that share no memory with activations */
    uint64_t optimizer_bytes;  /* moments, and masters of 16-bit weights */
    uint64_t activation_bytes; /* what a step needs beside these */
} nlm_training_info;

/* Plans everything and allocates it: a step of as many batches as n_batches says allocates nothing.
 * Errors   NOT_FOUND (a file, a preset), UNSUPPORTED (a family that is not trained, an op no device has),
 *          lanes for one that has no states of a fixed size), INVALID_ARGUMENT (options, named), BAD_FORMAT (a file),
 * OUT_OF_MEMORY (of the machine, or of the engine's memory_limit_bytes). */
NLM_API nlm_status nlm_training_create(nlm_engine *engine, const nlm_training_options *options,
                                       nlm_training **out_training, nlm_error *error);
NLM_API void nlm_training_destroy(nlm_training *training);
NLM_API nlm_status nlm_training_describe(const nlm_training *training, nlm_training_info *out_info, nlm_error *error);

/* One step over n_batches batches whose gradients are added. out_metrics may be NULL.
 * Errors   INVALID_ARGUMENT (an id, label or lane that there is not, more tokens or sequences than were planned for),
 *          NUMERIC (the loss or the gradient is not finite: the step, op and layer; nothing has changed),
 *          OUT_OF_MEMORY (the first step of more batches than n_batches of the options; nothing has changed). */
NLM_API nlm_status nlm_training_step(nlm_training *training, const nlm_training_batch *batches, size_t n_batches,
                                     nlm_training_metrics *out_metrics, nlm_error *error);
/* The mean loss of a batch; nothing changes but the lanes it names. out_loss NULL: for these alone, at less cost:
 * what came before a sequence warms them without a gradient. Errors   as nlm_training_step but NUMERIC. */
NLM_API nlm_status nlm_training_evaluate(nlm_training *training, const nlm_training_batch *batch, double *out_loss,
                                         nlm_error *error);

/* Writes FOLDER/step-N.safetensors with all that a run needs to go on, and removes older ones but for the last `keep`
 * (0: none is removed). The folder is there. Whole or not at all. Errors   IO, PERMISSION, NOT_FOUND, OUT_OF_MEMORY.
 */
NLM_API nlm_status nlm_training_save(const nlm_training *training, const char *folder, uint32_t keep,
                                     nlm_error *error);
/* Goes on from the last whole one. Errors   NOT_FOUND (there is none), INVALID_ARGUMENT (of another model), IO. */
NLM_API nlm_status nlm_training_restore(nlm_training *training, const char *folder, nlm_error *error);

/* The model as it is now, with adapters added to their weights. type: of matrices ("f32", "q8_0", ...); NULL: a new
 * model's f32, that of a file as they were, but what was trained and had fewer bits is q8_0: rounding would undo it.
 * Errors   INVALID_ARGUMENT (type), IO, PERMISSION, NOT_FOUND. */
NLM_API nlm_status nlm_training_export(const nlm_training *training, const char *type, const char *path,
                                       nlm_error *error);

#ifdef __cplusplus
}
#endif
#endif
