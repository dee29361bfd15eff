/* Settings that programs share which run a model: [model], [sampler], [backend] and the templates of [chat],
 * described once as keys of a configuration and as options, and what follows from them. */
#ifndef NLM_TOOLS_SHARED_SETTINGS_H
#define NLM_TOOLS_SHARED_SETTINGS_H

#include <nlm/nlm.h>
#include "common/options.h"
#include "config/config.h"

/* A seed that was not given. */
#define NLM_NO_SEED INT64_MIN

typedef struct nlm_shared_settings {
    /* [model] */
    const char *model, *kv_type, *pack_cache;
    int64_t context, memory_limit_mib;
    bool has_mmap;                /* the model is mapped, else read into memory */
    const char *const *overrides; /* NULL-terminated */
    /* [sampler] */
    double temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty, typical_p, top_n_sigma;
    double xtc_probability, xtc_threshold, dry_multiplier, dry_base, temperature_range, temperature_exponent;
    double mirostat_tau, mirostat_eta;
    int64_t top_k, repeat_last_n, dry_allowed_length, dry_last_n, seed;
    int64_t mirostat;                       /* 0 or 2; -1: as mirostat_tau has it */
    nlm_config_strings dry_breakers, order; /* without items: what nlm/sampler.h says */
    nlm_config_strings biases;              /* "ID:BIAS" */
    /* [backend] */
    const char *backend, *registry;
    int64_t device_id, threads;
    nlm_config_ints devices; /* that layers are split over; none: device_id alone */
    bool has_fallback;
    const char *const *backend_options;
    /* [chat] */
    const char *chat_template, *chat_template_file;
} nlm_shared_settings;

/* What the command line gives in another form; beside the settings that options are parsed into. */
typedef struct nlm_shared_given {
    nlm_option_texts overrides, biases;
    bool has_no_mmap, has_no_fallback;
} nlm_shared_given;

#define NLM_GREATEST_MIB (1 << 24)

extern const char *const nlm_kv_types[];

/* Keys of a configuration, for a table: AT(field) is where a shared one is. */
#define NLM_SHARED_KEYS(AT)                                                                          \
    {"model.path", NLM_CONFIG_STRING, AT(model), 0, 0, NULL},                                        \
        {"model.context", NLM_CONFIG_INT, AT(context), 0, 1 << 28, NULL},                            \
        {"model.kv_type", NLM_CONFIG_STRING, AT(kv_type), 0, 0, nlm_kv_types},                       \
        {"model.pack_cache", NLM_CONFIG_STRING, AT(pack_cache), 0, 0, NULL},                         \
        {"model.memory_limit_mib", NLM_CONFIG_INT, AT(memory_limit_mib), 0, NLM_GREATEST_MIB, NULL}, \
        {"model.mmap", NLM_CONFIG_BOOL, AT(has_mmap), 0, 0, NULL},                                   \
        {"sampler.temperature", NLM_CONFIG_FLOAT, AT(temperature), 0, 1000, NULL},                   \
        {"sampler.top_k", NLM_CONFIG_INT, AT(top_k), 0, INT32_MAX, NULL},                            \
        {"sampler.top_p", NLM_CONFIG_FLOAT, AT(top_p), 0, 1, NULL},                                  \
        {"sampler.min_p", NLM_CONFIG_FLOAT, AT(min_p), 0, 1, NULL},                                  \
        {"sampler.repeat_penalty", NLM_CONFIG_FLOAT, AT(repeat_penalty), 0, 1000, NULL},             \
        {"sampler.repeat_last_n", NLM_CONFIG_INT, AT(repeat_last_n), 0, INT32_MAX, NULL},            \
        {"sampler.seed", NLM_CONFIG_INT, AT(seed), 0, 0, NULL},                                      \
        {"sampler.frequency_penalty", NLM_CONFIG_FLOAT, AT(frequency_penalty), -1000, 1000, NULL},   \
        {"sampler.presence_penalty", NLM_CONFIG_FLOAT, AT(presence_penalty), -1000, 1000, NULL},     \
        {"sampler.typical_p", NLM_CONFIG_FLOAT, AT(typical_p), 0, 1, NULL},                          \
        {"sampler.top_n_sigma", NLM_CONFIG_FLOAT, AT(top_n_sigma), 0, 1000, NULL},                   \
        {"sampler.xtc_probability", NLM_CONFIG_FLOAT, AT(xtc_probability), 0, 1, NULL},              \
        {"sampler.xtc_threshold", NLM_CONFIG_FLOAT, AT(xtc_threshold), 0, 1, NULL},                  \
        {"sampler.dry_multiplier", NLM_CONFIG_FLOAT, AT(dry_multiplier), 0, 1000, NULL},             \
        {"sampler.dry_base", NLM_CONFIG_FLOAT, AT(dry_base), 1, 1000, NULL},                         \
        {"sampler.dry_allowed_length", NLM_CONFIG_INT, AT(dry_allowed_length), 1, INT32_MAX, NULL},  \
        {"sampler.dry_last_n", NLM_CONFIG_INT, AT(dry_last_n), 0, INT32_MAX, NULL},                  \
        {"sampler.dry_breakers", NLM_CONFIG_STRINGS, AT(dry_breakers), 0, 0, NULL},                  \
        {"sampler.temperature_range", NLM_CONFIG_FLOAT, AT(temperature_range), 0, 1000, NULL},       \
        {"sampler.temperature_exponent", NLM_CONFIG_FLOAT, AT(temperature_exponent), 0, 1000, NULL}, \
        {"sampler.mirostat", NLM_CONFIG_INT, AT(mirostat), 0, 2, NULL},                              \
        {"sampler.mirostat_tau", NLM_CONFIG_FLOAT, AT(mirostat_tau), 0, 1000, NULL},                 \
        {"sampler.mirostat_eta", NLM_CONFIG_FLOAT, AT(mirostat_eta), 0, 1000, NULL},                 \
        {"sampler.biases", NLM_CONFIG_STRINGS, AT(biases), 0, 0, NULL},                              \
        {"sampler.order", NLM_CONFIG_STRINGS, AT(order), 0, 0, NULL},                                \
        {"backend.name", NLM_CONFIG_STRING, AT(backend), 0, 0, NULL},                                \
        {"backend.device_id", NLM_CONFIG_INT, AT(device_id), 0, 1023, NULL},                         \
        {"backend.devices", NLM_CONFIG_INTS, AT(devices), 0, 1023, NULL},                            \
        {"backend.threads", NLM_CONFIG_INT, AT(threads), 0, 1024, NULL},                             \
        {"backend.fallback", NLM_CONFIG_BOOL, AT(has_fallback), 0, 0, NULL},                         \
        {"backend.registry", NLM_CONFIG_STRING, AT(registry), 0, 0, NULL},                           \
        {"backend.options", NLM_CONFIG_OPTIONS, AT(backend_options), 0, 0, NULL},                    \
        {"chat.template", NLM_CONFIG_STRING, AT(chat_template), 0, 0, NULL}, {                       \
        "chat.template_file", NLM_CONFIG_STRING, AT(chat_template_file), 0, 0, NULL                  \
    }

/* Options, for a table: s is the settings and g what is given, both of static storage. */
#define NLM_SAMPLER_OPTIONS(s, g)                                                                                      \
    {"temperature",                                                                                                    \
     't',                                                                                                              \
     NLM_OPTION_NUMBER,                                                                                                \
     "X",                                                                                                              \
     "0 takes the likeliest token, 1 the model's own spread\n(" NLM_DEFAULT_TEMPERATURE ")",                           \
     &(s).temperature,                                                                                                 \
     0,                                                                                                                \
     1000},                                                                                                            \
        {"top-k", 0, NLM_OPTION_INT, "N", "draw from the N likeliest tokens (0: all)", &(s).top_k, 0, INT32_MAX},      \
        {"top-p", 0, NLM_OPTION_NUMBER, "P", "draw from the likeliest tokens that make up P (0: all)", &(s).top_p,     \
         0,       1},                                                                                                  \
        {"min-p",                                                                                                      \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "P",                                                                                                          \
         "draw from tokens at least P times as likely as\nthe likeliest (0: all)",                                     \
         &(s).min_p,                                                                                                   \
         0,                                                                                                            \
         1},                                                                                                           \
        {"repeat-penalty",                                                                                             \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "X",                                                                                                          \
         "divide the logits of recent tokens by X (1)",                                                                \
         &(s).repeat_penalty,                                                                                          \
         0,                                                                                                            \
         1000},                                                                                                        \
        {"repeat-last-n",    0, NLM_OPTION_INT, "N", "how many tokens are recent (64)",                                \
         &(s).repeat_last_n, 0, INT32_MAX},                                                                            \
        {"frequency-penalty",                                                                                          \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "X",                                                                                                          \
         "take X off a token's logit for each time it is recent (0)",                                                  \
         &(s).frequency_penalty,                                                                                       \
         -1000,                                                                                                        \
         1000},                                                                                                        \
        {"presence-penalty",                                                                                           \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "X",                                                                                                          \
         "take X off the logits of recent tokens, once (0)",                                                           \
         &(s).presence_penalty,                                                                                        \
         -1000,                                                                                                        \
         1000},                                                                                                        \
        {"typical-p",                                                                                                  \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "P",                                                                                                          \
         "draw from the tokens of the most usual surprise that\nmake up P (0: all)",                                   \
         &(s).typical_p,                                                                                               \
         0,                                                                                                            \
         1},                                                                                                           \
        {"top-n-sigma",                                                                                                \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "N",                                                                                                          \
         "draw from tokens whose logits are N standard deviations\nbelow the greatest at most (0: all)",               \
         &(s).top_n_sigma,                                                                                             \
         0,                                                                                                            \
         1000},                                                                                                        \
        {"xtc-probability",                                                                                            \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "P",                                                                                                          \
         "with this chance leave out all but the least likely of\nthe tokens above --xtc-threshold (0)",               \
         &(s).xtc_probability,                                                                                         \
         0,                                                                                                            \
         1},                                                                                                           \
        {"xtc-threshold", 0, NLM_OPTION_NUMBER, "P", "how likely these are at least (0.1)", &(s).xtc_threshold, 0, 1}, \
        {"dry-multiplier",                                                                                             \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "X",                                                                                                          \
         "penalise going on with a repetition, by X and more the\nlonger it is (0)",                                   \
         &(s).dry_multiplier,                                                                                          \
         0,                                                                                                            \
         1000},                                                                                                        \
        {"mirostat",                                                                                                   \
         0,                                                                                                            \
         NLM_OPTION_INT,                                                                                               \
         "N",                                                                                                          \
         "2: mirostat 2, with a --mirostat-tau of 5 unless that is\ngiven; 0: off",                                    \
         &(s).mirostat,                                                                                                \
         0,                                                                                                            \
         2},                                                                                                           \
        {"mirostat-tau",                                                                                               \
         0,                                                                                                            \
         NLM_OPTION_NUMBER,                                                                                            \
         "BITS",                                                                                                       \
         "keep the text's mean surprise there, by mirostat 2 (0: off)",                                                \
         &(s).mirostat_tau,                                                                                            \
         0,                                                                                                            \
         1000},                                                                                                        \
        {"logit-bias",                                                                                                 \
         0,                                                                                                            \
         NLM_OPTION_TEXTS,                                                                                             \
         "ID:X",                                                                                                       \
         "add X to the logit of token ID, -inf forbids it; may be\nrepeated",                                          \
         &(g).biases,                                                                                                  \
         0,                                                                                                            \
         0},                                                                                                           \
    {                                                                                                                  \
        "seed", 's', NLM_OPTION_INT, "N", "of the draws; without it another one each time, told", &(s).seed, 0, 0      \
    }

#define NLM_MODEL_OPTIONS(s, g)                                                                                        \
    {"chat-template",                                                                                                  \
     0,                                                                                                                \
     NLM_OPTION_TEXT,                                                                                                  \
     "NAME",                                                                                                           \
     "chatml, llama-2, llama-3, llama-3.1, llama-3.2, zephyr,\n"                                                       \
     "mistral, mistral-v0.1, mistral-v1, mistral-v3, mistral-nemo,\n"                                                  \
     "qwen2, qwen2.5, qwen3, qwen3-coder, qwq, granite-3,\ngranite-4, lfm2, smollm2, stablelm-zephyr or "              \
     "vigogne\n(the one the model names)",                                                                             \
     &(s).chat_template,                                                                                               \
     0,                                                                                                                \
     0},                                                                                                               \
        {"chat-template-file",                                                                                         \
         0,                                                                                                            \
         NLM_OPTION_TEXT,                                                                                              \
         "FILE",                                                                                                       \
         "a template in Jinja to use in place of the model's",                                                         \
         &(s).chat_template_file,                                                                                      \
         0,                                                                                                            \
         0},                                                                                                           \
        {"context",    0, NLM_OPTION_INT, "N", "tokens of prompt and text together (the model's, up to 4096)",         \
         &(s).context, 0, 1 << 28},                                                                                    \
        {"kv-type", 0, NLM_OPTION_TEXT, "TYPE", "of the KV cache: f16, f32 or q8_0 (f16)", &(s).kv_type, 0, 0},        \
        {"pack-cache",                                                                                                 \
         0,                                                                                                            \
         NLM_OPTION_TEXT,                                                                                              \
         "DIR",                                                                                                        \
         "keep packed weights in files there, for later runs (off)",                                                   \
         &(s).pack_cache,                                                                                              \
         0,                                                                                                            \
         0},                                                                                                           \
        {"memory-limit",                                                                                               \
         0,                                                                                                            \
         NLM_OPTION_INT,                                                                                               \
         "MIB",                                                                                                        \
         "an error if model and cache need more, about (0: no limit)",                                                 \
         &(s).memory_limit_mib,                                                                                        \
         0,                                                                                                            \
         NLM_GREATEST_MIB},                                                                                            \
        {"no-mmap", 0, NLM_OPTION_FLAG, NULL, "read the model into memory rather than map its file", &(g).has_no_mmap, \
         0,         0},                                                                                                \
        {"override",                                                                                                   \
         0,                                                                                                            \
         NLM_OPTION_TEXTS,                                                                                             \
         "KEY=TYPE:VALUE",                                                                                             \
         "metadata in place of the file's; TYPE is int, float,\nbool or str; may be repeated",                         \
         &(g).overrides,                                                                                               \
         0,                                                                                                            \
         0},                                                                                                           \
        {"backend",                                                                                                    \
         'b',                                                                                                          \
         NLM_OPTION_TEXT,                                                                                              \
         "NAME",                                                                                                       \
         "the backend to run on (the best one here; see nlm-plugins)",                                                 \
         &(s).backend,                                                                                                 \
         0,                                                                                                            \
         0},                                                                                                           \
        {"device-id", 0, NLM_OPTION_INT, "N", "which device of the backend (0)", &(s).device_id, 0, 1023},             \
        {"threads", 'j', NLM_OPTION_INT, "N", "threads (0: one per physical core)", &(s).threads, 0, 1024},            \
        {"registry", 0, NLM_OPTION_TEXT, "FILE", "the plugins.toml to find backends in", &(s).registry, 0, 0}, {       \
        "no-fallback", 0, NLM_OPTION_FLAG, NULL, "an op the backend lacks is an error", &(g).has_no_fallback, 0, 0     \
    }

/* Of the help: what the tables hold. */
#define NLM_SHARED_DETAILS                                                                                         \
    "  [model]    path, context, kv_type, pack_cache (a folder for packed weights, which later runs map), mmap,\n" \
    "             memory_limit_mib\n"                                                                              \
    "  [sampler]  temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed, frequency_penalty,\n"     \
    "             presence_penalty, typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry_multiplier, "      \
    "dry_base\n"                                                                                                   \
    "             (1.75), dry_allowed_length (2), dry_last_n (0: all), dry_breakers, temperature_range (how far "  \
    "the\n"                                                                                                        \
    "             temperature goes down and up with the entropy), temperature_exponent (1), mirostat (0 or 2),\n"  \
    "             mirostat_tau, mirostat_eta (0.1), biases (\"ID:X\"), order (of penalties, dry, temperature,\n"   \
    "             top_n_sigma, top_k, typical, top_p, min_p, xtc)\n"                                               \
    "  [backend]  name, device_id, devices, threads, fallback, registry, options (a table, passed to the backend)\n"

/* What other programs call these. */
#define NLM_SHARED_FOREIGN                                                                                          \
    {"-ngl", "--backend NAME: all layers run on one device"},                                                       \
        {"--gpu-layers", "--backend NAME: all layers run on one device"},                                           \
        {"--n-gpu-layers", "--backend NAME: all layers run on one device"}, {"-ctk", "--kv-type TYPE"},             \
        {"-ctv", "--kv-type TYPE"}, {"--cache-type-k", "--kv-type TYPE"}, {"--cache-type-v", "--kv-type TYPE"},     \
        {"--mirostat-ent", "--mirostat-tau BITS"}, {"--mirostat-lr", "--set sampler.mirostat_eta=X"},               \
        {"--dry-base", "--set sampler.dry_base=X"}, {"--dry-allowed-length", "--set sampler.dry_allowed_length=N"}, \
        {"--dry-penalty-last-n", "--set sampler.dry_last_n=N"},                                                     \
        {"--dry-sequence-breaker", "--set 'sampler.dry_breakers=[\"TEXT\", ...]'"},                                 \
        {"--dynatemp-range", "--set sampler.temperature_range=X"},                                                  \
        {"--dynatemp-exp", "--set sampler.temperature_exponent=X"},                                                 \
        {"--samplers", "--set 'sampler.order=[\"NAME\", ...]'"}, {                                                  \
        "--mlock", "nothing to ask for: weights are mapped from the file"                                           \
    }

nlm_shared_settings nlm_shared_defaults(double temperature);
/* Paths that a configuration at `path` gives start at its folder. Errors OUT_OF_MEMORY. */
nlm_status nlm_shared_resolve_paths(nlm_shared_settings *s, const char *path, nlm_arena *arena, nlm_error *err);
/* After the command line was read: takes what it gives. */
void nlm_shared_take(nlm_shared_settings *s, const nlm_shared_given *given);
/* NLM_OPTIONS_GO_ON, or NLM_EXIT_USAGE after something was told. */
int nlm_shared_check(const nlm_shared_settings *s, const nlm_command *command);

/* Errors as nlm_engine_create. flags: more of them. */
nlm_status nlm_shared_open_engine(const nlm_shared_settings *s, uint32_t flags, nlm_engine **out, nlm_error *err);
/* Errors as nlm_model_load, and of reading the template. options: what the program has beside; the rest is filled in.
 */
nlm_status nlm_shared_load_model(const nlm_shared_settings *s, nlm_engine *engine, nlm_model_options options,
                                 nlm_model **out, nlm_error *err);
/* All of the sampler but the seed; lists are borrowed. *out_biases is the caller's to free. Errors INVALID_ARGUMENT
 * (a bias), OUT_OF_MEMORY. */
nlm_status nlm_shared_sampler(const nlm_shared_settings *s, nlm_sampler_options *out, nlm_logit_bias **out_biases,
                              nlm_error *err);

#endif
