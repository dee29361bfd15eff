/* nlm-train: train a language model. */
#include <nlm/nlm.h>
#include <stdio.h>

#include "nlm-train/run.h"

#define LOG_WARNING     1
#define LOG_INFORMATION 2

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "nlm-train: %s%s\n", prefix[level & 3], message);
}

static int perform(const settings *set) {
    nlm_error err = NLM_ERROR_INIT;
    run r;
    nlm_set_log(log_line, NULL, set->is_verbose ? LOG_INFORMATION : LOG_WARNING);
    nlm_status status = run_open(&r, set, &err);
    const int code = status == NLM_OK ? NLM_EXIT_FAILED : nlm_open_exit_code(&err, set->backend);
    if (status == NLM_OK && !set->is_plan) status = run_train(&r, &err);
    run_close(&r);
    if (status == NLM_OK) return NLM_EXIT_OK;
    nlm_tell(&nlm_train_command, &err);
    return code;
}

int main(int argc, char **argv) {
    nlm_arena arena = {0};
    settings set;
    int code = settings_read(argc, argv, &arena, &set);
    if (code == NLM_OPTIONS_GO_ON) code = perform(&set);
    nlm_arena_release(&arena);
    return code;
}
