/* What nlm-train is asked to do: defaults, then the configuration file, then the command line. */
#ifndef NLM_TRAIN_SETTINGS_H
#define NLM_TRAIN_SETTINGS_H

#include <stdbool.h>
#include "base/arena.h"
#include "common/options.h"
#include "config/config.h"

typedef struct settings {
    /* [model] one of a file, a preset's name, or an architecture with sizes */
    const char *model, *preset, *architecture;
    const char *tokenizer; /* a GGUF file or a tokenizer.json with the vocabulary of a new model */
    int64_t n_embd, n_layer, n_head, n_head_kv, n_ff, d_state, d_conv, dt_rank, context;
    bool is_tied;
    /* [data] */
    nlm_config_strings data;
    const char *separator, *json_field, *chat, *cache; /* chat: the name of a template */
    double validation;
    /* [batch] */
    int64_t rows, length, accumulate, sequences, burn_in;
    bool carries;
    /* [optimizer] */
    double rate, floor, beta1, beta2, eps, weight_decay, clip_norm;
    const char *schedule;
    int64_t warmup, decay;
    /* [lora] */
    int64_t lora_rank;
    double lora_alpha;
    nlm_config_strings lora_targets;
    bool merges_lora;
    /* [loss] */
    double smoothing, z_loss;
    /* [train] */
    int64_t steps, seed, log_every, validate_every, validation_batches, checkpoint_every, keep;
    const char *output;             /* folder */
    const char *dtype, *checkpoint; /* "none" or "layer" */
    const char *resume;             /* "auto", "yes" or "no" */
    const char *sample;
    int64_t sample_every, sample_tokens;
    const char *export_type;
    /* [backend] */
    const char *backend, *registry;
    int64_t device_id, threads;
    bool has_fallback;
    const char *const *backend_options;
    bool is_quiet, is_verbose, is_plan;
} settings;

/* NLM_OPTIONS_GO_ON, or the exit code after something was told. Texts live in argv and the arena. */
int settings_read(int argc, char **argv, nlm_arena *arena, settings *out);

/* For messages: its name and help. */
extern const nlm_command nlm_train_command;

#endif
