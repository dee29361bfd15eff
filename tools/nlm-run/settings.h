/* What nlm-run is asked to do: defaults, then the configuration file, then the command line. */
#ifndef NLM_RUN_SETTINGS_H
#define NLM_RUN_SETTINGS_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "base/arena.h"
#include "common/shared_settings.h"

/* A number that was not given, where no number of its range says so. */
#define NLM_RUN_NOT_SET INT64_MIN

typedef struct settings {
    nlm_shared_settings shared;        /* its temperature is below 0 until it is known what it stands beside */
    const char *grammar, *json_schema; /* files that say what the text is kept to; at most one of them */
    /* [chat] */
    bool is_chat;
    const char *system;
    const char *overflow; /* of the context: "stop" or "drop" */
    /* [run] */
    const char *prompt, *prompt_file, *ids;
    const char *prefix, *suffix;        /* around the prompt */
    const char *session, *save_session; /* files */
    int64_t max_tokens;                 /* -1: no limit; NLM_RUN_NOT_SET: 256, in a chat no limit */
    int64_t ahead;                      /* nlm_generate_options.ahead */
    nlm_config_strings stops;
    bool ignores_end, is_json, has_profile, has_special, is_raw, is_quiet, is_verbose;
} settings;

/* NLM_OPTIONS_GO_ON, or the exit code after something was told. Texts live in argv and the arena. */
int settings_read(int argc, char **argv, nlm_arena *arena, settings *out);

/* For messages: its name and help. */
extern const nlm_command nlm_run_command;

#endif
