/* nlm-plugins: which backends there are, and why the others are not used. */
#include "base/status.h"
#include "common/options.h"
#include "listing.h"

#include <stdio.h>

static bool is_json;
static const char *registry;

static const nlm_option option_table[] = {
    {.name = "json", .type = NLM_OPTION_FLAG, .help = "print JSON", .out = &is_json},
    {.name = "registry",
     .type = NLM_OPTION_TEXT,
     .argument = "FILE",
     .help = "read this plugins.toml and no other",
     .out = &registry},
};

static const nlm_command command = {
    .name = "nlm-plugins",
    .usage = "[--json] [--registry FILE]",
    .summary = "Lists the backends of this installation, best first, and their devices.",
    .details =
        "States\n"
        "  ready     usable; the first is what nlm-run takes by default\n"
        "  skipped   not for this machine: arch, ISA, no device\n"
        "  refused   broken, or others than root and you could have written it\n"
        "\n"
        "Environment\n"
        "  NLM_PLUGIN_REGISTRY      a plugins.toml to read in place of the installation's own\n"
        "  NLM_PLUGIN_REGISTRY_ADD  one to read before it\n",
    .examples =
        "  nlm-plugins\n"
        "  nlm-plugins --registry ~/backends/plugins.toml\n"
        "  nlm-plugins --json | jq -r '.plugins[] | select(.state == \"ready\").name'\n",
    .options = option_table,
    .n_options = sizeof option_table / sizeof *option_table,
    .max_operands = 0,
};

static nlm_status print_list(nlm_plugins *plugins, nlm_error *err) {
    if (is_json) return print_json(plugins, err);
    nlm_str text = {0};
    print_table(plugins, &text);
    const bool is_complete = !text.has_failed;
    if (is_complete) fwrite(text.data, 1, text.length, stdout);
    nlm_str_release(&text);
    return is_complete ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "listing", "no memory for the list");
}

/* A registry that does not parse, or cannot be where it was said to be, is wrong configuration. */
static int exit_code(nlm_status status) {
    return status == NLM_BAD_FORMAT || status == NLM_INVALID_ARGUMENT ? NLM_EXIT_USAGE : NLM_EXIT_FAILED;
}

int main(int argc, char **argv) {
    int first = 0;
    const int parsed = nlm_options_parse(&command, argc, argv, &first);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    nlm_error err = NLM_ERROR_INIT;
    nlm_plugins *plugins;
    const nlm_plugins_options options = {.registry = registry};
    nlm_status status = nlm_plugins_create(&options, &plugins, &err);
    if (status != NLM_OK) {
        nlm_tell(&command, &err);
        return exit_code(status);
    }
    status = print_list(plugins, &err);
    nlm_plugins_destroy(plugins);
    if (status != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
