/* Settings from the command line and a file. */
#include "nlm-run/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "common/model_file.h"

#define GREATEST_MIB (1 << 24)

static const char *const kv_types[] = {"f16", "f32", "q8_0", NULL};
static const char *const overflows[] = {"stop", "drop", NULL};

#define AT(field) offsetof(settings, field)

static const nlm_config_key keys[] = {
    {"model.path", NLM_CONFIG_STRING, AT(model), 0, 0, NULL},
    {"model.context", NLM_CONFIG_INT, AT(context), 0, 1 << 28, NULL},
    {"model.kv_type", NLM_CONFIG_STRING, AT(kv_type), 0, 0, kv_types},
    {"model.pack_cache", NLM_CONFIG_STRING, AT(pack_cache), 0, 0, NULL},
    {"model.memory_limit_mib", NLM_CONFIG_INT, AT(memory_limit_mib), 0, GREATEST_MIB, NULL},
    {"model.mmap", NLM_CONFIG_BOOL, AT(has_mmap), 0, 0, NULL},
    {"sampler.temperature", NLM_CONFIG_FLOAT, AT(temperature), 0, 1000, NULL},
    {"sampler.top_k", NLM_CONFIG_INT, AT(top_k), 0, INT32_MAX, NULL},
    {"sampler.top_p", NLM_CONFIG_FLOAT, AT(top_p), 0, 1, NULL},
    {"sampler.min_p", NLM_CONFIG_FLOAT, AT(min_p), 0, 1, NULL},
    {"sampler.repeat_penalty", NLM_CONFIG_FLOAT, AT(repeat_penalty), 0, 1000, NULL},
    {"sampler.repeat_last_n", NLM_CONFIG_INT, AT(repeat_last_n), 0, INT32_MAX, NULL},
    {"sampler.seed", NLM_CONFIG_INT, AT(seed), 0, 0, NULL},
    {"sampler.frequency_penalty", NLM_CONFIG_FLOAT, AT(frequency_penalty), -1000, 1000, NULL},
    {"sampler.presence_penalty", NLM_CONFIG_FLOAT, AT(presence_penalty), -1000, 1000, NULL},
    {"sampler.typical_p", NLM_CONFIG_FLOAT, AT(typical_p), 0, 1, NULL},
    {"sampler.top_n_sigma", NLM_CONFIG_FLOAT, AT(top_n_sigma), 0, 1000, NULL},
    {"sampler.xtc_probability", NLM_CONFIG_FLOAT, AT(xtc_probability), 0, 1, NULL},
    {"sampler.xtc_threshold", NLM_CONFIG_FLOAT, AT(xtc_threshold), 0, 1, NULL},
    {"sampler.dry_multiplier", NLM_CONFIG_FLOAT, AT(dry_multiplier), 0, 1000, NULL},
    {"sampler.dry_base", NLM_CONFIG_FLOAT, AT(dry_base), 1, 1000, NULL},
    {"sampler.dry_allowed_length", NLM_CONFIG_INT, AT(dry_allowed_length), 1, INT32_MAX, NULL},
    {"sampler.dry_last_n", NLM_CONFIG_INT, AT(dry_last_n), 0, INT32_MAX, NULL},
    {"sampler.dry_breakers", NLM_CONFIG_STRINGS, AT(dry_breakers), 0, 0, NULL},
    {"sampler.temperature_range", NLM_CONFIG_FLOAT, AT(temperature_range), 0, 1000, NULL},
    {"sampler.temperature_exponent", NLM_CONFIG_FLOAT, AT(temperature_exponent), 0, 1000, NULL},
    {"sampler.mirostat_tau", NLM_CONFIG_FLOAT, AT(mirostat_tau), 0, 1000, NULL},
    {"sampler.mirostat_eta", NLM_CONFIG_FLOAT, AT(mirostat_eta), 0, 1000, NULL},
    {"sampler.biases", NLM_CONFIG_STRINGS, AT(biases), 0, 0, NULL},
    {"sampler.order", NLM_CONFIG_STRINGS, AT(order), 0, 0, NULL},
    {"sampler.grammar", NLM_CONFIG_STRING, AT(grammar), 0, 0, NULL},
    {"sampler.json_schema", NLM_CONFIG_STRING, AT(json_schema), 0, 0, NULL},
    {"backend.name", NLM_CONFIG_STRING, AT(backend), 0, 0, NULL},
    {"backend.device_id", NLM_CONFIG_INT, AT(device_id), 0, 1023, NULL},
    {"backend.devices", NLM_CONFIG_INTS, AT(devices), 0, 1023, NULL},
    {"backend.threads", NLM_CONFIG_INT, AT(threads), 0, 1024, NULL},
    {"backend.fallback", NLM_CONFIG_BOOL, AT(has_fallback), 0, 0, NULL},
    {"backend.registry", NLM_CONFIG_STRING, AT(registry), 0, 0, NULL},
    {"backend.options", NLM_CONFIG_OPTIONS, AT(backend_options), 0, 0, NULL},
    {"chat.enabled", NLM_CONFIG_BOOL, AT(is_chat), 0, 0, NULL},
    {"chat.system", NLM_CONFIG_STRING, AT(system), 0, 0, NULL},
    {"chat.template", NLM_CONFIG_STRING, AT(chat_template), 0, 0, NULL},
    {"chat.template_file", NLM_CONFIG_STRING, AT(chat_template_file), 0, 0, NULL},
    {"chat.overflow", NLM_CONFIG_STRING, AT(overflow), 0, 0, overflows},
    {"run.prompt", NLM_CONFIG_STRING, AT(prompt), 0, 0, NULL},
    {"run.prompt_file", NLM_CONFIG_STRING, AT(prompt_file), 0, 0, NULL},
    {"run.ids", NLM_CONFIG_STRING, AT(ids), 0, 0, NULL},
    {"run.prefix", NLM_CONFIG_STRING, AT(prefix), 0, 0, NULL},
    {"run.suffix", NLM_CONFIG_STRING, AT(suffix), 0, 0, NULL},
    {"run.special", NLM_CONFIG_BOOL, AT(has_special), 0, 0, NULL},
    {"run.session", NLM_CONFIG_STRING, AT(session), 0, 0, NULL},
    {"run.save_session", NLM_CONFIG_STRING, AT(save_session), 0, 0, NULL},
    {"run.max_tokens", NLM_CONFIG_INT, AT(max_tokens), -1, INT32_MAX, NULL},
    {"run.stop", NLM_CONFIG_STRINGS, AT(stops), 0, 0, NULL},
    {"run.ignore_end", NLM_CONFIG_BOOL, AT(ignores_end), 0, 0, NULL},
    {"run.raw", NLM_CONFIG_BOOL, AT(is_raw), 0, 0, NULL},
    {"run.json", NLM_CONFIG_BOOL, AT(is_json), 0, 0, NULL},
    {"run.profile", NLM_CONFIG_BOOL, AT(has_profile), 0, 0, NULL},
};

/* Where the command line is parsed to, over whatever `values` holds. */
static struct {
    settings values;
    nlm_option_texts sets, stops, overrides, biases;
    bool has_no_fallback, has_no_mmap;
} given;

#define TO(field) &given.values.field

static const nlm_option options[] = {
    {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file to run", TO(model), 0, 0},
    {"prompt", 'p', NLM_OPTION_TEXT, "TEXT", "the text to continue, or the first question of a chat", TO(prompt), 0,
     0},
    {"prompt-file", 'f', NLM_OPTION_TEXT, "FILE", "as --prompt, from a file, less one newline at its end",
     TO(prompt_file), 0, 0},
    {"ids", 0, NLM_OPTION_TEXT, "FILE", "as --prompt, its token ids, separated by blanks (- is stdin)", TO(ids), 0,
     0},
    {"special", 0, NLM_OPTION_FLAG, NULL,
     "text of the prompt that spells a control token becomes it\n(for text that no "
     "one else wrote)",
     TO(has_special), 0, 0},
    {"prefix", 0, NLM_OPTION_TEXT, "TEXT", "stands before the prompt, its control tokens spelled", TO(prefix), 0, 0},
    {"suffix", 0, NLM_OPTION_TEXT, "TEXT", "as --prefix, after the prompt", TO(suffix), 0, 0},
    {"session", 0, NLM_OPTION_TEXT, "FILE", "go on from a session that --save-session wrote", TO(session), 0, 0},
    {"save-session", 0, NLM_OPTION_TEXT, "FILE", "write the session when the text has ended", TO(save_session), 0, 0},
    {"max-tokens", 'n', NLM_OPTION_INT, "N", "tokens to generate, -1 for no limit (256; in a chat -1)",
     TO(max_tokens), -1, INT32_MAX},
    {"temperature", 't', NLM_OPTION_NUMBER, "X",
     "0 takes the likeliest token, 1 the model's own spread\n(1 with --top-k, --top-p, --min-p or others that draw, "
     "else 0)",
     TO(temperature), 0, 1000},
    {"top-k", 0, NLM_OPTION_INT, "N", "draw from the N likeliest tokens (0: all)", TO(top_k), 0, INT32_MAX},
    {"top-p", 0, NLM_OPTION_NUMBER, "P", "draw from the likeliest tokens that make up P (0: all)", TO(top_p), 0, 1},
    {"min-p", 0, NLM_OPTION_NUMBER, "P", "draw from tokens at least P times as likely as\nthe likeliest (0: all)",
     TO(min_p), 0, 1},
    {"repeat-penalty", 0, NLM_OPTION_NUMBER, "X", "divide the logits of recent tokens by X (1)", TO(repeat_penalty),
     0, 1000},
    {"repeat-last-n", 0, NLM_OPTION_INT, "N", "how many tokens are recent (64)", TO(repeat_last_n), 0, INT32_MAX},
    {"frequency-penalty", 0, NLM_OPTION_NUMBER, "X", "take X off a token's logit for each time it is recent (0)",
     TO(frequency_penalty), -1000, 1000},
    {"presence-penalty", 0, NLM_OPTION_NUMBER, "X", "take X off the logits of recent tokens, once (0)",
     TO(presence_penalty), -1000, 1000},
    {"typical-p", 0, NLM_OPTION_NUMBER, "P",
     "draw from the tokens of the most usual surprise that\nmake up P (0: all)", TO(typical_p), 0, 1},
    {"top-n-sigma", 0, NLM_OPTION_NUMBER, "N",
     "draw from tokens whose logits are N standard deviations\nbelow the greatest at most (0: all)", TO(top_n_sigma),
     0, 1000},
    {"xtc-probability", 0, NLM_OPTION_NUMBER, "P",
     "with this chance leave out all but the least likely of\nthe tokens above --xtc-threshold (0)",
     TO(xtc_probability), 0, 1},
    {"xtc-threshold", 0, NLM_OPTION_NUMBER, "P", "how likely these are at least (0.1)", TO(xtc_threshold), 0, 1},
    {"dry-multiplier", 0, NLM_OPTION_NUMBER, "X",
     "penalise going on with a repetition, by X and more the\nlonger it is (0)", TO(dry_multiplier), 0, 1000},
    {"mirostat-tau", 0, NLM_OPTION_NUMBER, "BITS", "keep the text's mean surprise there, by mirostat 2 (0: off)",
     TO(mirostat_tau), 0, 1000},
    {"logit-bias", 0, NLM_OPTION_TEXTS, "ID:X", "add X to the logit of token ID, -inf forbids it; may be\nrepeated",
     &given.biases, 0, 0},
    {"seed", 's', NLM_OPTION_INT, "N", "of the draws; without it another one each time, printed", TO(seed), 0, 0},
    {"grammar", 0, NLM_OPTION_TEXT, "FILE", "keep the text, or each answer of a chat, to a grammar (GBNF)",
     TO(grammar), 0, 0},
    {"json-schema", 0, NLM_OPTION_TEXT, "FILE", "as --grammar, to JSON that a schema describes", TO(json_schema), 0,
     0},
    {"stop", 0, NLM_OPTION_TEXTS, "TEXT", "end where this would appear; may be repeated", &given.stops, 0, 0},
    {"ignore-end", 0, NLM_OPTION_FLAG, NULL, "go on after the model's end-of-text token", TO(ignores_end), 0, 0},
    {"chat", 'c', NLM_OPTION_FLAG, NULL, "converse: a line in, an answer out; Ctrl-D ends", TO(is_chat), 0, 0},
    {"system", 0, NLM_OPTION_TEXT, "TEXT", "the system message of a chat", TO(system), 0, 0},
    {"chat-template", 0, NLM_OPTION_TEXT, "NAME",
     "chatml, llama-2, llama-3, llama-3.1, llama-3.2, zephyr,\n"
     "mistral, mistral-v0.1, mistral-v1, mistral-v3, mistral-nemo,\n"
     "qwen2, qwen2.5, qwen3, qwen3-coder, qwq, granite-3,\ngranite-4, lfm2, smollm2, stablelm-zephyr or "
     "vigogne\n(the one the model names)",
     TO(chat_template), 0, 0},
    {"chat-template-file", 0, NLM_OPTION_TEXT, "FILE", "a template in Jinja to use in place of the model's",
     TO(chat_template_file), 0, 0},
    {"overflow", 0, NLM_OPTION_TEXT, "HOW",
     "of a full context: 'stop' the chat, or 'drop' its\noldest turns and go on (stop)", TO(overflow), 0, 0},
    {"context", 0, NLM_OPTION_INT, "N", "tokens the session may hold (the model's, up to 4096)", TO(context), 0,
     1 << 28},
    {"kv-type", 0, NLM_OPTION_TEXT, "TYPE", "of the KV cache: f16, f32 or q8_0 (f16)", TO(kv_type), 0, 0},
    {"pack-cache", 0, NLM_OPTION_TEXT, "DIR", "keep packed weights in files there, for later runs (off)",
     TO(pack_cache), 0, 0},
    {"memory-limit", 0, NLM_OPTION_INT, "MIB", "an error if model and session need more, about (0: no limit)",
     TO(memory_limit_mib), 0, GREATEST_MIB},
    {"no-mmap", 0, NLM_OPTION_FLAG, NULL, "read the model into memory rather than map its file", &given.has_no_mmap,
     0, 0},
    {"override", 0, NLM_OPTION_TEXTS, "KEY=TYPE:VALUE",
     "metadata in place of the file's; TYPE is int, float,\nbool or str; may be repeated", &given.overrides, 0, 0},
    {"backend", 'b', NLM_OPTION_TEXT, "NAME", "the backend to run on (the best one here; see nlm-plugins)",
     TO(backend), 0, 0},
    {"device-id", 0, NLM_OPTION_INT, "N", "which device of the backend (0)", TO(device_id), 0, 1023},
    {"threads", 'j', NLM_OPTION_INT, "N", "threads (0: one per physical core)", TO(threads), 0, 1024},
    {"registry", 0, NLM_OPTION_TEXT, "FILE", "the plugins.toml to find backends in", TO(registry), 0, 0},
    {"no-fallback", 0, NLM_OPTION_FLAG, NULL, "an op the backend lacks is an error", &given.has_no_fallback, 0, 0},
    {"set", 0, NLM_OPTION_TEXTS, "KEY=VALUE", "set any key of the configuration; may be repeated", &given.sets, 0, 0},
    {"raw", 0, NLM_OPTION_FLAG, NULL, "control characters of the text as they are, on a terminal\ntoo", TO(is_raw), 0,
     0},
    {"json", 0, NLM_OPTION_FLAG, NULL, "write one JSON object to stdout: the text and the statistics", TO(is_json), 0,
     0},
    {"profile", 0, NLM_OPTION_FLAG, NULL, "time, bytes and FLOP per op and layer, on stderr", TO(has_profile), 0, 0},
    {"quiet", 'q', NLM_OPTION_FLAG, NULL, "no statistics", TO(is_quiet), 0, 0},
    {"verbose", 'v', NLM_OPTION_FLAG, NULL, "say what is chosen and why", TO(is_verbose), 0, 0},
};

static const char details[] =
    "Configuration (TOML); the command line wins over it. A relative path in it starts at its folder, ~/ at home.\n"
    "  [model]    path, context, kv_type, pack_cache (a folder for packed weights, which later runs map), mmap,\n"
    "             memory_limit_mib\n"
    "  [sampler]  temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed, frequency_penalty,\n"
    "             presence_penalty, typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry_multiplier, "
    "dry_base\n"
    "             (1.75), dry_allowed_length (2), dry_last_n (0: all), dry_breakers, temperature_range (how far the\n"
    "             temperature goes down and up with the entropy), temperature_exponent (1), mirostat_tau,\n"
    "             mirostat_eta (0.1), biases (\"ID:X\"), order (of penalties, dry, temperature, top_n_sigma, top_k,\n"
    "             typical, top_p, min_p, xtc), grammar, json_schema (files)\n"
    "  [backend]  name, device_id, devices, threads, fallback, registry, options (a table, passed to the backend)\n"
    "  [chat]     enabled, system, template, template_file, overflow\n"
    "  [run]      prompt, prompt_file, ids, prefix, suffix, special, session, save_session, max_tokens, stop,\n"
    "             ignore_end, raw, json, profile\n"
    "\n"
    "The text goes to stdout and nothing else does; the statistics go to stderr. Without --prompt and\n"
    "--prompt-file the prompt is read from stdin, less one newline at its end. Ctrl-C ends the text. On a\n"
    "terminal control characters of the text but newline and tab are shown as \\x1b; see --raw.\n";

static const nlm_foreign_option foreign[] = {
    {"-ngl", "--backend NAME: all layers run on one device"},
    {"--gpu-layers", "--backend NAME: all layers run on one device"},
    {"--n-gpu-layers", "--backend NAME: all layers run on one device"},
    {"--ctx-size", "--context N"},
    {"--n-predict", "--max-tokens N (-n)"},
    {"--file", "--prompt-file FILE (-f)"},
    {"-cnv", "--chat (-c)"},
    {"--conversation", "--chat (-c)"},
    {"-sys", "--system TEXT"},
    {"--system-prompt", "--system TEXT"},
    {"--reverse-prompt", "--stop TEXT"},
    {"-ctk", "--kv-type TYPE"},
    {"-ctv", "--kv-type TYPE"},
    {"--cache-type-k", "--kv-type TYPE"},
    {"--cache-type-v", "--kv-type TYPE"},
    {"--mirostat-ent", "--mirostat-tau BITS"},
    {"--mirostat-lr", "--set sampler.mirostat_eta=X"},
    {"--dry-base", "--set sampler.dry_base=X"},
    {"--dry-allowed-length", "--set sampler.dry_allowed_length=N"},
    {"--dry-penalty-last-n", "--set sampler.dry_last_n=N"},
    {"--dry-sequence-breaker", "--set 'sampler.dry_breakers=[\"TEXT\", ...]'"},
    {"--dynatemp-range", "--set sampler.temperature_range=X"},
    {"--dynatemp-exp", "--set sampler.temperature_exponent=X"},
    {"--samplers", "--set 'sampler.order=[\"NAME\", ...]'"},
    {"--mlock", "nothing to ask for: weights are mapped from the file"},
    {NULL, NULL},
};

const nlm_command nlm_run_command = {
    .name = "nlm-run",
    .usage = "[CONFIG.toml | MODEL.gguf] [options]",
    .summary = "Continues a text or holds a conversation with a language model in a GGUF file.",
    .details = details,
    .examples =
        "  nlm-run --model model.gguf --prompt 'Once upon a time' -n 64\n"
        "  nlm-run --model chat.gguf --chat --system 'Answer in one sentence.'\n"
        "  echo 'What is the capital of France?' | nlm-run -m chat.gguf --chat --json\n"
        "  nlm-run -m chat.gguf --prefix $'<|user|>\\n' --suffix $'<|end|>\\n<|assistant|>\\n' -p 'Hello'\n"
        "  nlm-run run.toml --temperature 0.8 --top-p 0.9 --seed 7\n"
        "  nlm-run run.toml --set backend.options.verbose=true --prompt-file notes.txt > more.txt\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .max_operands = 1,
    .foreign = foreign,
};

static settings defaults(void) {
    return (settings){.temperature = -1,
                      .xtc_threshold = 0.1,
                      .seed = NLM_RUN_NOT_SET,
                      .max_tokens = NLM_RUN_NOT_SET,
                      .overflow = overflows[0],
                      .has_fallback = true,
                      .has_mmap = true};
}

static nlm_status read_config(const nlm_config *config, const char *path, nlm_error *err) {
    settings *values = config->values;
    NLM_TRY(nlm_config_read_file(config, path, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->model, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->prompt_file, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->ids, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->session, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->save_session, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->pack_cache, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->grammar, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->json_schema, err));
    NLM_TRY(nlm_config_path_from(path, config->arena, &values->chat_template_file, err));
    return nlm_config_path_from(path, config->arena, &values->registry, err);
}

static nlm_status read_operand(const nlm_config *config, const char *path, nlm_error *err) {
    if (!nlm_is_gguf_file(path)) return read_config(config, path, err);
    given.values.model = path;
    return NLM_OK;
}

/* What follows -c in other programs. */
static bool is_lost_number(const char *operand) {
    return operand[0] && operand[strspn(operand, "0123456789")] == '\0' && access(operand, F_OK) != 0;
}

static nlm_status apply_sets(const nlm_config *config, nlm_error *err) {
    for (size_t i = 0; i < given.sets.count; i++) NLM_TRY(nlm_config_set(config, given.sets.items[i], err));
    return NLM_OK;
}

static bool is_choice(const char *const *choices, const char *text) {
    while (*choices && strcmp(*choices, text) != 0) choices++;
    return *choices != NULL;
}

static int check(const settings *line, const settings *all) {
    if (!!line->prompt + !!line->prompt_file + !!line->ids > 1) {
        return nlm_tell_usage(&nlm_run_command, "--prompt, --prompt-file and --ids: give one of them");
    }
    if (line->grammar && line->json_schema) {
        return nlm_tell_usage(&nlm_run_command, "--grammar and --json-schema: give one of them");
    }
    if ((all->grammar || all->json_schema) && all->ignores_end) {
        return nlm_tell_usage(&nlm_run_command, "--ignore-end: a grammar says where the text ends");
    }
    if (all->is_chat &&
        (all->ids || all->prefix || all->suffix || all->has_special || all->session || all->save_session)) {
        return nlm_tell_usage(
            &nlm_run_command,
            "--ids, --prefix, --suffix, --special, --session and --save-session are not for --chat");
    }
    if (all->ids && (all->prefix || all->suffix || all->has_special)) {
        return nlm_tell_usage(&nlm_run_command, "--prefix, --suffix and --special are for a text, not for --ids");
    }
    if (all->chat_template && all->chat_template_file) {
        return nlm_tell_usage(&nlm_run_command, "--chat-template and --chat-template-file: give one of them");
    }
    if (line->system && !all->is_chat) return nlm_tell_usage(&nlm_run_command, "--system is for --chat");
    if (!is_choice(overflows, all->overflow)) {
        return nlm_tell_usage(&nlm_run_command, "--overflow: '%s' is neither 'stop' nor 'drop'", all->overflow);
    }
    if (!all->model) return nlm_tell_usage(&nlm_run_command, "no model: give --model FILE");
    return NLM_OPTIONS_GO_ON;
}

/* The prompt of the command line replaces one of the configuration, however that was given. */
static void replace_prompt(const settings *line, settings *all) {
    if (line->prompt) all->prompt_file = all->ids = NULL;
    if (line->prompt_file) all->prompt = all->ids = NULL;
    if (line->ids) all->prompt = all->prompt_file = NULL;
}

/* The same of what the text is kept to. */
static void replace_grammar(const settings *line, settings *all) {
    if (line->grammar) all->json_schema = NULL;
    if (line->json_schema) all->grammar = NULL;
}

/* Who gives what only a draw uses wants draws. */
static void choose_temperature(settings *all) {
    const bool has_draws = all->top_k > 0 || all->top_p > 0 || all->min_p > 0 || all->seed != NLM_RUN_NOT_SET ||
                           all->typical_p > 0 || all->top_n_sigma > 0 || all->xtc_probability > 0 ||
                           all->mirostat_tau > 0 || all->temperature_range > 0;
    if (all->temperature < 0) {
        all->temperature = has_draws ? 1 : 0;
    } else if (all->temperature == 0 && has_draws) {
        fprintf(
            stderr,
            "%s: warning: at temperature 0 nothing is drawn: top_k, top_p, min_p, seed and what else is for draws "
            "have no effect\n",
            nlm_run_command.name);
    }
}

int settings_read(int argc, char **argv, nlm_arena *arena, settings *out) {
    given.values = defaults();
    int first = argc;
    int result = nlm_options_parse(&nlm_run_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    const settings line = given.values;
    /* Once more, over what the configuration says. */
    given.values = defaults();
    if (first < argc && is_lost_number(argv[first])) {
        return nlm_tell_usage(&nlm_run_command,
                              "'%s' is no file; -c is --chat, the length of the context is --context N", argv[first]);
    }
    const nlm_config config = {
        .keys = keys, .count = sizeof keys / sizeof *keys, .values = &given.values, .arena = arena};
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = first < argc ? read_operand(&config, argv[first], &err) : NLM_OK;
    if (status == NLM_OK) status = apply_sets(&config, &err);
    if (status != NLM_OK) {
        nlm_tell(&nlm_run_command, &err);
        return NLM_EXIT_USAGE;
    }
    result = nlm_options_parse(&nlm_run_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    *out = given.values;
    if (given.has_no_fallback) out->has_fallback = false;
    if (given.has_no_mmap) out->has_mmap = false;
    out->overrides = given.overrides.items;
    if (given.biases.count) out->biases = (nlm_config_strings){given.biases.items, given.biases.count};
    if (given.stops.count) out->stops = (nlm_config_strings){given.stops.items, given.stops.count};
    replace_prompt(&line, out);
    replace_grammar(&line, out);
    choose_temperature(out);
    return check(&line, out);
}
