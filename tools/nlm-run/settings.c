/* Settings from the command line and a file. */
#include "nlm-run/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "common/model_file.h"
#include "common/output.h"

/* Of the help. */
#define NLM_DEFAULT_TEMPERATURE "1 with --top-k, --top-p, --min-p or others that draw, else 0"

static const char *const overflows[] = {"stop", "drop", NULL};

#define AT(field)     offsetof(settings, field)
#define SHARED(field) offsetof(settings, shared.field)

static const nlm_config_key keys[] = {
    NLM_SHARED_KEYS(SHARED),
    {"sampler.grammar", NLM_CONFIG_STRING, AT(grammar), 0, 0, NULL},
    {"sampler.json_schema", NLM_CONFIG_STRING, AT(json_schema), 0, 0, NULL},
    {"chat.enabled", NLM_CONFIG_BOOL, AT(is_chat), 0, 0, NULL},
    {"chat.system", NLM_CONFIG_STRING, AT(system), 0, 0, NULL},
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
    {"run.ahead", NLM_CONFIG_INT, AT(ahead), 0, INT32_MAX, NULL},
    {"run.stop", NLM_CONFIG_STRINGS, AT(stops), 0, 0, NULL},
    {"run.ignore_end", NLM_CONFIG_BOOL, AT(ignores_end), 0, 0, NULL},
    {"run.raw", NLM_CONFIG_BOOL, AT(is_raw), 0, 0, NULL},
    {"run.json", NLM_CONFIG_BOOL, AT(is_json), 0, 0, NULL},
    {"run.profile", NLM_CONFIG_BOOL, AT(has_profile), 0, 0, NULL},
};

/* Where the command line is parsed to, over whatever `values` holds. */
static struct {
    settings values;
    nlm_option_texts sets, stops;
    nlm_shared_given shared;
} given;

#define TO(field) &given.values.field

static const nlm_option options[] = {
    {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file to run", TO(shared.model), 0, 0},
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
    {"ahead", 0, NLM_OPTION_INT, "N",
     "tokens that a device computes and chooses before the first is\nshown, where it can (0: one by one)", TO(ahead),
     0, INT32_MAX},
    NLM_SAMPLER_OPTIONS(given.values.shared, given.shared),
    {"grammar", 0, NLM_OPTION_TEXT, "FILE", "keep the text, or each answer of a chat, to a grammar (GBNF)",
     TO(grammar), 0, 0},
    {"json-schema", 0, NLM_OPTION_TEXT, "FILE", "as --grammar, to JSON that a schema describes", TO(json_schema), 0,
     0},
    {"stop", 0, NLM_OPTION_TEXTS, "TEXT", "end where this would appear; may be repeated", &given.stops, 0, 0},
    {"ignore-end", 0, NLM_OPTION_FLAG, NULL, "go on after the model's end-of-text token", TO(ignores_end), 0, 0},
    {"chat", 'c', NLM_OPTION_FLAG, NULL, "converse: a line in, an answer out; Ctrl-D ends", TO(is_chat), 0, 0},
    {"system", 0, NLM_OPTION_TEXT, "TEXT", "the system message of a chat", TO(system), 0, 0},
    {"overflow", 0, NLM_OPTION_TEXT, "HOW",
     "of a full context: 'stop' the chat, or 'drop' its\noldest turns and go on (stop)", TO(overflow), 0, 0},
    NLM_MODEL_OPTIONS(given.values.shared, given.shared),
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
    "Configuration (TOML); the command line wins over it. A relative path in it starts at its folder, ~/ at "
    "home.\n" NLM_SHARED_DETAILS
    "             in [sampler] also grammar and json_schema (files)\n"
    "  [chat]     enabled, system, template, template_file, overflow\n"
    "  [run]      prompt, prompt_file, ids, prefix, suffix, special, session, save_session, max_tokens, ahead, "
    "stop,\n"
    "             ignore_end, raw, json, profile\n"
    "\n"
    "The text goes to stdout and nothing else does; the statistics go to stderr. Without --prompt and\n"
    "--prompt-file the prompt is read from stdin, less one newline at its end. Ctrl-C ends the text. On a\n"
    "terminal control characters of the text but newline and tab are shown as \\x1b; see --raw.\n";

static const nlm_foreign_option foreign[] = {
    NLM_SHARED_FOREIGN,
    {"--ctx-size", "--context N"},
    {"--n-predict", "--max-tokens N (-n)"},
    {"--file", "--prompt-file FILE (-f)"},
    {"-cnv", "--chat (-c)"},
    {"--conversation", "--chat (-c)"},
    {"-sys", "--system TEXT"},
    {"--system-prompt", "--system TEXT"},
    {"--reverse-prompt", "--stop TEXT"},
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
    return (settings){.shared = nlm_shared_defaults(-1), .max_tokens = NLM_RUN_NOT_SET, .overflow = overflows[0]};
}

static nlm_status read_config(const nlm_config *config, const char *path, nlm_error *err) {
    settings *values = config->values;
    NLM_TRY(nlm_config_read_file(config, path, err));
    NLM_TRY(nlm_shared_resolve_paths(&values->shared, path, config->arena, err));
    const char **const paths[] = {&values->prompt_file,  &values->ids,     &values->session,
                                  &values->save_session, &values->grammar, &values->json_schema};
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
    if (line->system && !all->is_chat) return nlm_tell_usage(&nlm_run_command, "--system is for --chat");
    if (!is_choice(overflows, all->overflow)) {
        return nlm_tell_usage(&nlm_run_command, "--overflow: '%s' is neither 'stop' nor 'drop'", all->overflow);
    }
    return nlm_shared_check(&all->shared, &nlm_run_command);
}

/* A session may be saved to the file that it comes from. */
static int check_files(const settings *all, const char *operand) {
    const char *const inputs[] = {operand,
                                  all->shared.model,
                                  all->shared.chat_template_file,
                                  all->shared.registry,
                                  all->grammar,
                                  all->json_schema,
                                  all->prompt_file,
                                  all->ids};
    return nlm_check_output(&nlm_run_command, "--save-session", all->save_session, inputs,
                            sizeof inputs / sizeof *inputs);
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
    const bool has_draws = all->shared.top_k > 0 || all->shared.top_p > 0 || all->shared.min_p > 0 ||
                           all->shared.seed != NLM_NO_SEED || all->shared.typical_p > 0 ||
                           all->shared.top_n_sigma > 0 || all->shared.xtc_probability > 0 ||
                           all->shared.mirostat_tau > 0 || all->shared.temperature_range > 0;
    if (all->shared.temperature < 0) {
        all->shared.temperature = has_draws ? 1 : 0;
    } else if (all->shared.temperature == 0 && has_draws) {
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
    nlm_shared_take(&out->shared, &given.shared);
    if (given.stops.count) out->stops = (nlm_config_strings){given.stops.items, given.stops.count};
    replace_prompt(&line, out);
    replace_grammar(&line, out);
    result = check_files(out, first < argc ? argv[first] : NULL);
    if (result != NLM_OPTIONS_GO_ON) return result;
    choose_temperature(out);
    return check(&line, out);
}
