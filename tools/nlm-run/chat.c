/* --chat: a line in, an answer out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-run/run.h"

typedef struct chat {
    run *r;
    size_t n_said; /* messages in the session */
} chat;

/* The turn's new messages: the system's once, and the question. */
static size_t fill_messages(const chat *c, const char *question, nlm_message messages[2]) {
    size_t count = 0;
    if (c->n_said == 0 && c->r->set->system) messages[count++] = (nlm_message){"system", c->r->set->system};
    messages[count++] = (nlm_message){"user", question};
    return count;
}

static void add_turn(run *r, const char *question) {
    nlm_json_begin_object(&r->json, NULL);
    nlm_json_text(&r->json, "question", question, strlen(question));
    nlm_json_text(&r->json, "text", r->out.text.data ? r->out.text.data : "", r->out.text.length);
    nlm_json_end(&r->json);
    r->out.text.length = 0;
}

static nlm_status answer(chat *c, const char *question, nlm_error *err) {
    run *r = c->r;
    nlm_message messages[2];
    const size_t n_messages = fill_messages(c, question, messages);
    size_t count = 0;
    NLM_TRY(nlm_encode_chat(r->model, messages, n_messages, c->n_said, NULL, 0, &count, err));
    int32_t *ids = calloc(count + 1, sizeof *ids);
    if (!ids) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat", "no memory for %zu tokens", count);
    nlm_status status = nlm_encode_chat(r->model, messages, n_messages, c->n_said, ids, count, &count, err);
    if (status == NLM_OK) status = run_answer(r, ids, count, err);
    free(ids);
    c->n_said += n_messages + 1;
    if (r->set->is_json) {
        add_turn(r, question);
    } else {
        output_newline(&r->out);
    }
    return status;
}

/* *line, owned by the caller, less its newline; false at the end of the input or after Ctrl-C. */
static bool read_line(char **line, size_t *capacity) {
    if (isatty(STDIN_FILENO)) fprintf(stderr, "> ");
    const ssize_t length = getline(line, capacity, stdin);
    if (length < 0) return false;
    if ((*line)[length - 1] == '\n') (*line)[length - 1] = '\0';
    return true;
}

static nlm_status converse(chat *c, nlm_error *err) {
    char *line = NULL;
    size_t capacity = 0;
    nlm_status status = NLM_OK;
    while (status == NLM_OK && !interrupt_came() && read_line(&line, &capacity)) {
        if (line[0]) status = answer(c, line, err);
    }
    free(line);
    if (status != NLM_OK || interrupt_came() || !ferror(stdin)) return status;
    return nlm_fail(err, NLM_IO, "stdin", "%s", strerror(errno));
}

nlm_status run_chat(run *r, const char *first_question, bool reads_more, nlm_error *err) {
    chat c = {.r = r};
    nlm_status status = NLM_OK;
    if (r->set->is_json) nlm_json_begin_array(&r->json, "turns");
    if (first_question) status = answer(&c, first_question, err);
    if (status == NLM_OK && reads_more) status = converse(&c, err);
    if (r->set->is_json) nlm_json_end(&r->json);
    return status;
}
