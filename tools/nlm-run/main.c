/* nlm-run: continue a text, or hold a conversation. */
#include <nlm/nlm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "common/input.h"
#include "nlm-run/run.h"

#define LOG_WARNING     1
#define LOG_INFORMATION 2

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "nlm-run: %s%s\n", prefix[level & 3], message);
}

/* ---- the prompt --------------------------------------------------------------------------- */

/* A text that ends in a newline as files and lines do: the prompt does not. */
static void drop_newline(nlm_str *text) {
    if (text->length && text->data[text->length - 1] == '\n') text->data[--text->length] = '\0';
}

static nlm_status read_prompt(const settings *set, nlm_str *out, nlm_error *err) {
    if (set->prompt) {
        nlm_str_puts(out, set->prompt);
        return out->has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt", "no memory for it") : NLM_OK;
    }
    NLM_TRY(nlm_read_input(set->prompt_file ? set->prompt_file : "-", out, err));
    nlm_clean_input(out);
    drop_newline(out);
    return NLM_OK;
}

/* ---- the run ------------------------------------------------------------------------------ */

static nlm_status say(run *r, const nlm_str *prompt, bool has_prompt, nlm_error *err) {
    const char *text = prompt->data ? prompt->data : "";
    if (!r->set->is_chat) return run_text(r, text, prompt->length, err);
    if (strlen(text) != prompt->length) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, r->set->prompt_file, "byte %zu is 0, which no question may hold",
                        strlen(text));
    }
    return run_chat(r, has_prompt ? text : NULL, !has_prompt || isatty(STDIN_FILENO), err);
}

/* Did what was asked for not exist: a value of an option, or the backend it names? */
static bool is_wrong_use(const run *r, nlm_status status) {
    return status == NLM_INVALID_ARGUMENT || (status == NLM_NOT_FOUND && !r->engine && r->set->backend);
}

/* Runs and reports; Ctrl-C is no failure. */
static nlm_status run_all(const settings *set, const nlm_str *prompt, bool has_prompt, int *code, nlm_error *err) {
    run r;
    nlm_status status = run_open(&r, set, err);
    if (is_wrong_use(&r, status)) *code = NLM_EXIT_USAGE;
    if (status == NLM_OK) {
        status = say(&r, prompt, has_prompt, err);
        if (status == NLM_CANCELLED && interrupt_came()) status = NLM_OK;
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
    const bool has_prompt = set->prompt || set->prompt_file;
    if (!has_prompt && !set->is_chat && isatty(STDIN_FILENO)) {
        return nlm_tell_usage(&nlm_run_command, "no prompt: give --prompt TEXT, --prompt-file FILE or --chat");
    }
    nlm_set_log(log_line, NULL, set->is_verbose ? LOG_INFORMATION : LOG_WARNING);
    nlm_error err = NLM_ERROR_INIT;
    nlm_str prompt = {0};
    int code = NLM_EXIT_FAILED;
    nlm_status status = has_prompt || !set->is_chat ? read_prompt(set, &prompt, &err) : NLM_OK;
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
