/* nlm-run: continue a text, or hold a conversation. */
#include <nlm/nlm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-run/run.h"

#define LOG_WARNING     1
#define LOG_INFORMATION 2

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "nlm-run: %s%s\n", prefix[level & 3], message);
}

/* ---- the prompt --------------------------------------------------------------------------- */

static nlm_status read_stream(FILE *file, const char *name, nlm_str *out, nlm_error *err) {
    char chunk[1 << 14];
    size_t count;
    while ((count = fread(chunk, 1, sizeof chunk, file)) > 0) nlm_str_append(out, chunk, count);
    if (ferror(file)) return nlm_fail_errno(err, NLM_IO, name, "cannot be read");
    if (out->has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory for the prompt");
    if (out->length && out->data[out->length - 1] == '\n') out->data[--out->length] = '\0';
    return NLM_OK;
}

static nlm_status read_prompt_file(const char *path, nlm_str *out, nlm_error *err) {
    if (strcmp(path, "-") == 0) return read_stream(stdin, "stdin", out, err);
    FILE *file = fopen(path, "re");
    if (!file) return nlm_fail_errno(err, NLM_NOT_FOUND, path, "cannot be opened");
    const nlm_status status = read_stream(file, path, out, err);
    fclose(file);
    return status;
}

static nlm_status read_prompt(const settings *set, nlm_str *out, nlm_error *err) {
    if (set->prompt) {
        nlm_str_puts(out, set->prompt);
        return out->has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, "prompt", "no memory for it") : NLM_OK;
    }
    return read_prompt_file(set->prompt_file ? set->prompt_file : "-", out, err);
}

/* ---- the run ------------------------------------------------------------------------------ */

static nlm_status say(run *r, const nlm_str *prompt, bool has_prompt, nlm_error *err) {
    const char *text = prompt->data ? prompt->data : "";
    if (!r->set->is_chat) return run_text(r, text, prompt->length, err);
    return run_chat(r, has_prompt ? text : NULL, !has_prompt || isatty(STDIN_FILENO), err);
}

/* Runs and reports; Ctrl-C is no failure. */
static nlm_status run_all(const settings *set, const nlm_str *prompt, bool has_prompt, nlm_error *err) {
    run r;
    nlm_status status = run_open(&r, set, err);
    if (status == NLM_OK) {
        status = say(&r, prompt, has_prompt, err);
        if (status == NLM_CANCELLED && interrupt_came()) status = NLM_OK;
        if (status == NLM_OK) status = run_report(&r, err);
    }
    run_close(&r);
    return status;
}

static int perform(const settings *set) {
    const bool has_prompt = set->prompt || set->prompt_file;
    if (!has_prompt && !set->is_chat && isatty(STDIN_FILENO)) {
        return nlm_tell_usage(&nlm_run_command, "no prompt: give --prompt TEXT, --prompt-file FILE or --chat");
    }
    interrupt_catch();
    nlm_set_log(log_line, NULL, set->is_verbose ? LOG_INFORMATION : LOG_WARNING);
    nlm_error err = NLM_ERROR_INIT;
    nlm_str prompt = {0};
    nlm_status status = has_prompt || !set->is_chat ? read_prompt(set, &prompt, &err) : NLM_OK;
    if (status == NLM_OK) status = run_all(set, &prompt, has_prompt, &err);
    nlm_str_release(&prompt);
    if (status != NLM_OK) {
        nlm_tell(&nlm_run_command, &err);
        return NLM_EXIT_FAILED;
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
