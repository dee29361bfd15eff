/* nlm-run: continue a text, or hold a conversation. */
#include <nlm/nlm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-run/prompt.h"
#include "nlm-run/run.h"

#define LOG_WARNING     1
#define LOG_INFORMATION 2

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "nlm-run: %s%s\n", prefix[level & 3], message);
}

/* A session that stops somewhere in the prompt is nothing to go on from: who asked for its file is told that there is
 * none. */
static nlm_status tell_unsaved(const settings *set, nlm_error *err) {
    return nlm_fail(err, NLM_CANCELLED, set->save_session,
                    "the session is not saved: it was interrupted before the prompt was read to its end");
}

/* Continues the prompt after what --session held; --save-session keeps what there is then. */
static nlm_status continue_text(run *r, const nlm_str *prompt, nlm_error *err) {
    const settings *set = r->set;
    nlm_ids ids = {0};
    if (set->session) NLM_TRY(nlm_session_restore(r->session, set->session, err));
    nlm_status status = prompt_encode(r, prompt, &ids, err);
    if (status == NLM_OK) status = run_text(r, ids.data, ids.count, err);
    nlm_ids_release(&ids);
    if (status == NLM_CANCELLED && set->save_session) return tell_unsaved(set, err);
    if (status == NLM_OK && set->save_session) status = nlm_session_save(r->session, set->save_session, err);
    return status;
}

static nlm_status say(run *r, const nlm_str *prompt, bool has_prompt, nlm_error *err) {
    if (!r->set->is_chat) return continue_text(r, prompt, err);
    const char *text = prompt->data ? prompt->data : "";
    if (strlen(text) != prompt->length) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, r->set->prompt_file, "byte %zu is 0, which no question may hold",
                        strlen(text));
    }
    return run_chat(r, has_prompt ? text : NULL, !has_prompt || isatty(STDIN_FILENO), err);
}

/* Runs and reports; Ctrl-C is no failure, unless it keeps a file from being written. */
static nlm_status run_all(const settings *set, const nlm_str *prompt, bool has_prompt, int *code, nlm_error *err) {
    run r;
    nlm_status status = run_open(&r, set, err);
    if (status != NLM_OK) *code = nlm_open_exit_code(err, set->shared.backend);
    if (status == NLM_OK) {
        status = say(&r, prompt, has_prompt, err);
        if (status == NLM_CANCELLED && interrupt_came() && !set->save_session) status = NLM_OK;
        /* What there is of a text that failed is in the object too. */
        nlm_error why = NLM_ERROR_INIT;
        if (status == NLM_OK)
            status = run_report(&r, NULL, err);
        else if (set->is_json && run_report(&r, err, &why) != NLM_OK)
            nlm_tell(&nlm_run_command, &why);
    }
    run_close(&r);
    return status;
}

static int perform(const settings *set) {
    const bool has_prompt = set->prompt || set->prompt_file || set->ids;
    const bool needs_prompt = !set->is_chat && !set->session;
    if (!has_prompt && needs_prompt && isatty(STDIN_FILENO)) {
        return nlm_tell_usage(&nlm_run_command, "no prompt: give --prompt TEXT, --prompt-file FILE or --chat");
    }
    nlm_set_log(log_line, NULL, set->is_verbose ? LOG_INFORMATION : LOG_WARNING);
    nlm_error err = NLM_ERROR_INIT;
    nlm_str prompt = {0};
    int code = NLM_EXIT_FAILED;
    nlm_status status = has_prompt || needs_prompt ? prompt_read(set, &prompt, &err) : NLM_OK;
    interrupt_catch(); /* a prompt that is still read is no text to end */
    if (status == NLM_OK) status = run_all(set, &prompt, has_prompt, &code, &err);
    nlm_str_release(&prompt);
    if (status != NLM_OK) {
        nlm_tell(&nlm_run_command, &err);
        return code;
    }
    return nlm_stdout_finish(&nlm_run_command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}

int main(int argc, char **argv) {
    nlm_arena arena = {0};
    settings set;
    int code = settings_read(argc, argv, &arena, &set);
    if (code == NLM_OPTIONS_GO_ON) code = perform(&set);
    nlm_arena_release(&arena);
    return code;
}
