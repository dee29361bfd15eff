/* What nlm-server is asked to do: defaults, then the configuration file, then the command line. */
#ifndef NLM_SERVER_SETTINGS_H
#define NLM_SERVER_SETTINGS_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "base/arena.h"
#include "common/shared_settings.h"

typedef struct settings {
    nlm_shared_settings shared; /* of [sampler]: where a request says nothing */
    /* [server] */
    const char *host, *unix_socket, *model_name;
    const char *api_key_file, *tls_cert, *tls_key;
    const char *slot_folder; /* where /slots may save and restore; NULL: nowhere */
    const char *cache_file;  /* what keeps the prompt cache from one run to the next, or NULL */
    const char *log_format;  /* "text" or "json" */
    nlm_config_strings cors_origins, allowed_hosts;
    int64_t port, slots, step_tokens, max_queue, max_connections, max_tokens, max_body_kib, max_head_kib,
        max_output_kib, prompt_cache_mib, cache_file_mib;
    double queue_seconds, request_seconds, head_seconds, body_seconds, idle_seconds, write_seconds, drain_seconds;
    bool logs_prompts, has_metrics, is_quiet, is_verbose;
} settings;

/* NLM_OPTIONS_GO_ON, or the exit code after something was told. Texts live in argv and the arena. */
int settings_read(int argc, char **argv, nlm_arena *arena, settings *out);

/* For messages: its name and help. */
extern const nlm_command nlm_server_command;

#endif
