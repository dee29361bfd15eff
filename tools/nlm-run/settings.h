/* What nlm-run is asked to do: defaults, then the configuration file, then the command line. */
#ifndef NLM_RUN_SETTINGS_H
#define NLM_RUN_SETTINGS_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "base/arena.h"
#include "common/options.h"
#include "config/config.h"

/* A number that was not given, where no number of its range says so. */
#define NLM_RUN_NOT_SET INT64_MIN

typedef struct settings {
    /* [model] */
    const char *model;
    int64_t context, memory_limit_mib;
    const char *kv_type, *pack_cache;
    bool has_mmap;                /* the model is mapped, else read into memory */
    const char *const *overrides; /* NULL-terminated */
    /* [sampler] */
    double temperature; /* below 0 until it is known what it stands beside */
    double top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty, typical_p, top_n_sigma;
    double xtc_probability, xtc_threshold, dry_multiplier, dry_base, temperature_range, temperature_exponent;
    double mirostat_tau, mirostat_eta;
    int64_t top_k, repeat_last_n, dry_allowed_length, dry_last_n;
    nlm_config_strings dry_breakers, order; /* without items: what nlm/sampler.h says */
    nlm_config_strings biases;              /* "ID:BIAS" */
    int64_t seed;                           /* NLM_RUN_NOT_SET: one is chosen and printed */
    const char *grammar, *json_schema;      /* files that say what the text is kept to; at most one of them */
    /* [backend] */
    const char *backend, *registry;
    int64_t device_id, threads;
    nlm_config_ints devices; /* that layers are split over; none: device_id alone */
    bool has_fallback;
    const char *const *backend_options;
    /* [chat] */
    bool is_chat;
    const char *system, *chat_template, *chat_template_file;
    const char *overflow; /* of the context: "stop" or "drop" */
    /* [run] */
    const char *prompt, *prompt_file, *ids;
    const char *prefix, *suffix;        /* around the prompt */
    const char *session, *save_session; /* files */
    int64_t max_tokens;                 /* -1: no limit; NLM_RUN_NOT_SET: 256, in a chat no limit */
    nlm_config_strings stops;
    bool ignores_end, is_json, has_profile, has_special, is_raw, is_quiet, is_verbose;
} settings;

/* NLM_OPTIONS_GO_ON, or the exit code after something was told. Texts live in argv and the arena. */
int settings_read(int argc, char **argv, nlm_arena *arena, settings *out);

/* For messages: its name and help. */
extern const nlm_command nlm_run_command;

#endif
