/* Recorded work beside the same work enqueued: each op by itself, and whole models. */
#include <stdio.h>
#include <string.h>

#include "conform.h"

#define PREFIX "captured/"

typedef struct adding {
    conform_visit_fn visit;
    void *user;
} adding;

/* "models/x" is "captured/models/x". */
static void add_model(void *user, const char *name) {
    const adding *a = user;
    char captured[SPEC_NAME_BYTES];
    snprintf(captured, sizeof captured, PREFIX "%s", name);
    a->visit(a->user, captured);
}

void conform_for_each_captured(conform_visit_fn visit, void *user) {
    size_t count;
    adding a = {visit, user};
    const spec_table *tables = spec_tables(&count);
    for (size_t i = 0; i < count; i++) {
        char name[SPEC_NAME_BYTES];
        snprintf(name, sizeof name, PREFIX "%s", nlm_op_name(tables[i].op));
        visit(user, name);
    }
    conform_for_each_model(add_model, &a);
}

typedef struct walk {
    conform_pools *pools;
    const nlm_device *device;
    const conform_options *options;
    nlm_op op;
    size_t n_passed;
    conform_result *result;
} walk;

/* What is not supported is another case's to say; the first reason is kept. */
static bool visit(void *user, const spec_table *table, const char *name) {
    walk *w = user;
    conform_result result = {.verdict = CONFORM_NOT_RUN};
    if (table->op != w->op) return true;
    if (conform_replay_case(w->pools, w->device, w->options, name, &result)) w->n_passed++;
    if (result.verdict == CONFORM_FAILED) return conform_fail(w->result, "%s: %.700s", name, result.message);
    if (!w->result->message[0]) memcpy(w->result->message, result.message, sizeof result.message);
    return true;
}

void conform_run_captured(conform_pools *pools, const nlm_device *device, const conform_options *options,
                          const char *name, conform_result *result) {
    const char *what = name + strlen(PREFIX);
    walk w = {.pools = pools, .device = device, .options = options, .op = nlm_op_from_name(what), .result = result};
    result->verdict = CONFORM_NOT_RUN;
    if (!nlm_device_can_capture(device)) {
        result->verdict = CONFORM_NOT_OFFERED;
        snprintf(result->message, sizeof result->message, "%s", NLM_CAPTURE_EXTENSION);
        return;
    }
    if (w.op == NLM_OP_NONE) {
        conform_replay_model(pools, device, options, what + strlen("models/"), result);
        return;
    }
    spec_for_each(visit, &w);
    if (result->verdict == CONFORM_FAILED) return;
    result->verdict = w.n_passed ? CONFORM_PASSED : CONFORM_UNSUPPORTED;
    if (w.n_passed) result->message[0] = 0;
}
