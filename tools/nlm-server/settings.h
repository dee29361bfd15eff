/* What nlm-server is asked to do: defaults, then the configuration file, then the command line. */
#ifndef NLM_SERVER_SETTINGS_H
#define NLM_SERVER_SETTINGS_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "base/arena.h"
#include "common/options.h"
#include "config/config.h"

/* A seed that was not given: each request has its own. */
#define SETTINGS_NO_SEED INT64_MIN

typedef struct settings {
    /* [model] */
    const char *model, *kv_type, *pack_cache;
    int64_t context, memory_limit_mib;
    bool has_mmap;
    const char *const *overrides; /* NULL-terminated */
    /* [sampler]: where a request says nothing */
    double temperature, top_p, min_p, repeat_penalty;
    int64_t top_k, repeat_last_n, seed;
    /* [backend] */
    const char *backend, *registry;
    int64_t device_id, threads;
    nlm_config_ints devices;
    bool has_fallback;
    const char *const *backend_options;
    /* [chat] */
    const char *chat_template, *chat_template_file;
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
