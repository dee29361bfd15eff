/* Settings from the command line and a file. */
#include "nlm-server/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "common/model_file.h"
#include "common/output.h"

/* Of the help. */
#define NLM_DEFAULT_TEMPERATURE "1"

#define A_DAY 86400

static const char *const log_formats[] = {"text", "json", NULL};

#define AT(field)     offsetof(settings, field)
#define SHARED(field) offsetof(settings, shared.field)

static const nlm_config_key keys[] = {
    NLM_SHARED_KEYS(SHARED),
    {"model.prompt_cache_mib", NLM_CONFIG_INT, AT(prompt_cache_mib), -1, NLM_GREATEST_MIB, NULL},
    {"server.host", NLM_CONFIG_STRING, AT(host), 0, 0, NULL},
    {"server.port", NLM_CONFIG_INT, AT(port), 0, 65535, NULL},
    {"server.unix_socket", NLM_CONFIG_STRING, AT(unix_socket), 0, 0, NULL},
    {"server.model_name", NLM_CONFIG_STRING, AT(model_name), 0, 0, NULL},
    {"server.slots", NLM_CONFIG_INT, AT(slots), 1, 4096, NULL},
    {"server.step_tokens", NLM_CONFIG_INT, AT(step_tokens), 1, 1 << 20, NULL},
    {"server.max_queue", NLM_CONFIG_INT, AT(max_queue), 1, 1 << 20, NULL},
    {"server.max_connections", NLM_CONFIG_INT, AT(max_connections), 1, 1 << 20, NULL},
    {"server.max_tokens", NLM_CONFIG_INT, AT(max_tokens), -1, INT32_MAX, NULL},
    {"server.max_body_kib", NLM_CONFIG_INT, AT(max_body_kib), 1, 1 << 20, NULL},
    {"server.max_head_kib", NLM_CONFIG_INT, AT(max_head_kib), 1, 1 << 10, NULL},
    {"server.max_output_kib", NLM_CONFIG_INT, AT(max_output_kib), 16, 1 << 20, NULL},
    {"server.queue_seconds", NLM_CONFIG_FLOAT, AT(queue_seconds), 0, A_DAY, NULL},
    {"server.request_seconds", NLM_CONFIG_FLOAT, AT(request_seconds), 0, A_DAY, NULL},
    {"server.head_seconds", NLM_CONFIG_FLOAT, AT(head_seconds), 0.01, A_DAY, NULL},
    {"server.body_seconds", NLM_CONFIG_FLOAT, AT(body_seconds), 0.01, A_DAY, NULL},
    {"server.idle_seconds", NLM_CONFIG_FLOAT, AT(idle_seconds), 0.01, A_DAY, NULL},
    {"server.write_seconds", NLM_CONFIG_FLOAT, AT(write_seconds), 0.01, A_DAY, NULL},
    {"server.drain_seconds", NLM_CONFIG_FLOAT, AT(drain_seconds), 0, A_DAY, NULL},
    {"server.api_key_file", NLM_CONFIG_STRING, AT(api_key_file), 0, 0, NULL},
    {"server.tls_cert", NLM_CONFIG_STRING, AT(tls_cert), 0, 0, NULL},
    {"server.tls_key", NLM_CONFIG_STRING, AT(tls_key), 0, 0, NULL},
    {"server.cors_origins", NLM_CONFIG_STRINGS, AT(cors_origins), 0, 0, NULL},
    {"server.allowed_hosts", NLM_CONFIG_STRINGS, AT(allowed_hosts), 0, 0, NULL},
    {"server.slot_folder", NLM_CONFIG_STRING, AT(slot_folder), 0, 0, NULL},
    {"server.cache_file", NLM_CONFIG_STRING, AT(cache_file), 0, 0, NULL},
    {"server.cache_file_mib", NLM_CONFIG_INT, AT(cache_file_mib), 0, NLM_GREATEST_MIB, NULL},
    {"server.log_format", NLM_CONFIG_STRING, AT(log_format), 0, 0, log_formats},
    {"server.log_prompts", NLM_CONFIG_BOOL, AT(logs_prompts), 0, 0, NULL},
    {"server.metrics", NLM_CONFIG_BOOL, AT(has_metrics), 0, 0, NULL},
};

/* Where the command line is parsed to, over whatever `values` holds. */
static struct {
    settings values;
    nlm_option_texts sets;
    nlm_shared_given shared;
} given;

#define TO(field) &given.values.field

static const nlm_option options[] = {
    {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file to serve", TO(shared.model), 0, 0},
    {"host", 0, NLM_OPTION_TEXT, "HOST", "the address to listen on (127.0.0.1)", TO(host), 0, 0},
    {"port", 'p', NLM_OPTION_INT, "N", "the port; 0 takes a free one (8080)", TO(port), 0, 65535},
    {"unix-socket", 0, NLM_OPTION_TEXT, "FILE", "listen on a socket there, not on a port", TO(unix_socket), 0, 0},
    {"slots", 0, NLM_OPTION_INT, "N", "texts generated at once (4)", TO(slots), 1, 4096},
    {"step-tokens", 0, NLM_OPTION_INT, "N", "tokens of prompts in a step in which others generate\n(256)",
     TO(step_tokens), 1, 1 << 20},
    {"max-queue", 0, NLM_OPTION_INT, "N", "texts that may wait for a slot (256)", TO(max_queue), 1, 1 << 20},
    {"max-tokens", 'n', NLM_OPTION_INT, "N",
     "of a text whose request says nothing; 0 or -1: until\nthe context is full (0)", TO(max_tokens), -1, INT32_MAX},
    {"api-key-file", 0, NLM_OPTION_TEXT, "FILE", "keys that requests must have one of, a line each", TO(api_key_file),
     0, 0},
    {"tls-cert", 0, NLM_OPTION_TEXT, "FILE", "certificate chain (PEM): serve HTTPS", TO(tls_cert), 0, 0},
    {"tls-key", 0, NLM_OPTION_TEXT, "FILE", "its private key (PEM)", TO(tls_key), 0, 0},
    {"slot-folder", 0, NLM_OPTION_TEXT, "DIR", "where /slots may save and restore (nowhere)", TO(slot_folder), 0, 0},
    {"cache-file", 0, NLM_OPTION_TEXT, "FILE", "keep the prompt cache there from one run to the next (off)",
     TO(cache_file), 0, 0},
    {"model-name", 0, NLM_OPTION_TEXT, "NAME", "what /v1/models calls the model (its file's name)", TO(model_name), 0,
     0},
    NLM_MODEL_OPTIONS(given.values.shared, given.shared),
    NLM_SAMPLER_OPTIONS(given.values.shared, given.shared),
    {"log-format", 0, NLM_OPTION_TEXT, "HOW", "of the lines on stderr: text or json (text)", TO(log_format), 0, 0},
    {"set", 0, NLM_OPTION_TEXTS, "KEY=VALUE", "set any key of the configuration; may be repeated", &given.sets, 0, 0},
    {"quiet", 'q', NLM_OPTION_FLAG, NULL, "no line for each request", TO(is_quiet), 0, 0},
    {"verbose", 'v', NLM_OPTION_FLAG, NULL, "say what is chosen and why", TO(is_verbose), 0, 0},
};

static const char details[] =
    "Configuration (TOML); the command line wins over it. A relative path in it starts at its folder, ~/ at "
    "home.\n" NLM_SHARED_DETAILS
    "             [sampler] is for requests that say nothing; in [model] also prompt_cache_mib (-1: none)\n"
    "  [chat]     template, template_file\n"
    "  [server]   host, port, unix_socket, model_name, slots, step_tokens, max_queue, max_connections, max_tokens,\n"
    "             max_body_kib, max_head_kib, max_output_kib, queue_seconds, request_seconds, head_seconds,\n"
    "             body_seconds, idle_seconds, write_seconds, drain_seconds, api_key_file, tls_cert, tls_key,\n"
    "             cors_origins, allowed_hosts, slot_folder, cache_file, cache_file_mib (0: no bound of its own),\n"
    "             log_format, log_prompts, metrics\n"
    "\n"
    "The first line on stdout is the address to open; all else goes to stderr. SIGTERM and SIGINT let the requests\n"
    "under way end, a second one does not wait for them; SIGHUP reads the API keys again.\n";

static const nlm_foreign_option foreign[] = {
    NLM_SHARED_FOREIGN,
    {"-c", "--context N, for each slot"},
    {"--ctx-size", "--context N, for each slot"},
    {"--parallel", "--slots N"},
    {"-np", "--slots N"},
    {"--n-predict", "--max-tokens N (-n)"},
    {"--api-key", "--api-key-file FILE: a command line is for all to read"},
    {"--alias", "--model-name NAME"},
    {"--ssl-cert-file", "--tls-cert FILE"},
    {"--ssl-key-file", "--tls-key FILE"},
    {"--slot-save-path", "--slot-folder DIR"},
    {"-cb", "nothing to ask for: batching is continuous"},
    {"--cont-batching", "nothing to ask for: batching is continuous"},
    {"--ubatch-size", "--step-tokens N"},
    {"--timeout", "--set server.request_seconds=N"},
    {NULL, NULL},
};

const nlm_command nlm_server_command = {
    .name = "nlm-server",
    .usage = "[CONFIG.toml | MODEL.gguf] [options]",
    .summary =
        "Serves a language model in a GGUF file over HTTP, in the forms of OpenAI's and Anthropic's interfaces.",
    .details = details,
    .examples =
        "  nlm-server --model chat.gguf\n"
        "  nlm-server server.toml --port 9000 --slots 16\n"
        "  nlm-server -m chat.gguf --host 0.0.0.0 --api-key-file keys --tls-cert cert.pem --tls-key key.pem\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .max_operands = 1,
    .foreign = foreign,
};

static settings defaults(void) {
    return (settings){.shared = nlm_shared_defaults(1),
                      .host = "127.0.0.1",
                      .port = 8080,
                      .log_format = log_formats[0],
                      .slots = 4,
                      .step_tokens = 256,
                      .max_queue = 256,
                      .max_connections = 512,
                      .max_body_kib = 8 << 10,
                      .max_head_kib = 32,
                      .max_output_kib = 1 << 10,
                      .queue_seconds = 300,
                      .head_seconds = 10,
                      .body_seconds = 60,
                      .idle_seconds = 60,
                      .write_seconds = 30,
                      .drain_seconds = 30,
                      .has_metrics = true};
}

static nlm_status read_config(const nlm_config *config, const char *path, nlm_error *err) {
    settings *values = config->values;
    NLM_TRY(nlm_config_read_file(config, path, err));
    NLM_TRY(nlm_shared_resolve_paths(&values->shared, path, config->arena, err));
    const char **const paths[] = {&values->unix_socket, &values->api_key_file, &values->tls_cert,
                                  &values->tls_key,     &values->slot_folder,  &values->cache_file};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        NLM_TRY(nlm_config_path_from(path, config->arena, paths[i], err));
    }
    return NLM_OK;
}

static nlm_status read_operand(const nlm_config *config, const char *path, nlm_error *err) {
    if (!nlm_is_gguf_file(path)) return read_config(config, path, err);
    given.values.shared.model = path;
    return NLM_OK;
}

static int check(const settings *all) {
    const bool is_text = strcmp(all->log_format, "text") == 0, is_json = strcmp(all->log_format, "json") == 0;
    if (!is_text && !is_json) {
        return nlm_tell_usage(&nlm_server_command, "--log-format: '%s' is neither 'text' nor 'json'",
                              all->log_format);
    }
    if (!all->tls_cert != !all->tls_key) {
        return nlm_tell_usage(&nlm_server_command, "--tls-cert and --tls-key: give both");
    }
    if (all->cache_file && all->prompt_cache_mib < 0) {
        return nlm_tell_usage(&nlm_server_command,
                              "--cache-file: model.prompt_cache_mib is -1, so there is no cache");
    }
    const char *const inputs[] = {all->shared.model, all->shared.chat_template_file, all->tls_cert, all->tls_key};
    const int code = nlm_check_output(&nlm_server_command, "--cache-file", all->cache_file, inputs,
                                      sizeof inputs / sizeof *inputs);
    if (code != NLM_OPTIONS_GO_ON) return code;
    return nlm_shared_check(&all->shared, &nlm_server_command);
}

int settings_read(int argc, char **argv, nlm_arena *arena, settings *out) {
    given.values = defaults();
    int first = argc;
    int result = nlm_options_parse(&nlm_server_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    /* Once more, over what the configuration says. */
    given.values = defaults();
    const nlm_config config = {
        .keys = keys, .count = sizeof keys / sizeof *keys, .values = &given.values, .arena = arena};
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = first < argc ? read_operand(&config, argv[first], &err) : NLM_OK;
    for (size_t i = 0; i < given.sets.count && status == NLM_OK; i++) {
        status = nlm_config_set(&config, given.sets.items[i], &err);
    }
    if (status != NLM_OK) {
        nlm_tell(&nlm_server_command, &err);
        return NLM_EXIT_USAGE;
    }
    result = nlm_options_parse(&nlm_server_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    *out = given.values;
    nlm_shared_take(&out->shared, &given.shared);
    return check(out);
}
