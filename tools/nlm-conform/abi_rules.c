/* Level 0: what plugin.h asks of every plugin, whatever its ops. */
#include "base/status.h"
#include "conform.h"

/* The loader takes it and a device opens; the loader checks the file, the descriptor and the tables. */
static void loads_and_opens(const conform_options *options, conform_result *result) {
    nlm_plugins *plugins;
    nlm_device *device;
    nlm_error err = NLM_ERROR_INIT;
    if (conform_open(options, &plugins, &device, &err) == NLM_OK) {
        result->verdict = CONFORM_PASSED;
    } else {
        conform_fail(result, "%s", err.msg);
    }
    conform_close(plugins, device);
}

/* close leaves nothing behind that keeps open from working. */
static void opens_again_after_close(const conform_options *options, conform_result *result) {
    for (int i = 0; i < 2; i++) {
        loads_and_opens(options, result);
        if (result->verdict != CONFORM_PASSED) return;
    }
}

static const conform_rule rules[] = {
    {"abi/loads_and_opens", loads_and_opens},
    {"abi/opens_again_after_close", opens_again_after_close},
};

const conform_rule *conform_rules(size_t *out_count) {
    *out_count = sizeof rules / sizeof *rules;
    return rules;
}
