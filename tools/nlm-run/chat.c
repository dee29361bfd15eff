/* --chat: a line in, an answer out. */
#include "nlm-run/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/* ---- the session -------------------------------------------------------------------------- */

/* The ids of the messages that the session does not hold; freed by the caller. */
static nlm_status encode(const chat *c, int32_t **out_ids, size_t *out_count, nlm_error *err) {
    const nlm_message *messages = c->talk.messages + c->n_held;
    const size_t n = c->talk.count - c->n_held;
    NLM_TRY(nlm_encode_chat(c->r->model, messages, n, c->n_held, NULL, 0, out_count, err));
    *out_ids = calloc(*out_count + 1, sizeof **out_ids);
    if (!*out_ids) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat", "no memory for %zu tokens", *out_count);
    const nlm_status status =
        nlm_encode_chat(c->r->model, messages, n, c->n_held, *out_ids, *out_count, out_count, err);
    if (status == NLM_OK) return NLM_OK;
    free(*out_ids);
    *out_ids = NULL;
    return status;
}

/* Forgets turns until the conversation and n_more tokens leave a quarter of the context, or but one turn is left. */
static nlm_status drop_turns(chat *c, size_t n_more, nlm_error *err) {
    const size_t wanted = c->r->context - c->r->context / 4;
    size_t n_dropped = 0, count = 0;
    c->n_held = 0;
    do {
        if (!conversation_drop_oldest(&c->talk)) break;
        n_dropped++;
        NLM_TRY(nlm_encode_chat(c->r->model, c->talk.messages, c->talk.count, 0, NULL, 0, &count, err));
    } while (count + n_more > wanted);
    if (n_dropped == 0) return NLM_LIMIT;
    fprintf(stderr, "nlm-run: the context is full: the oldest %zu turns are left out from here on\n", n_dropped);
    return NLM_OK;
}

/* Puts what the session does not hold into it. */
static nlm_status hear(chat *c, nlm_error *err) {
    int32_t *ids;
    size_t count;
    if (c->n_held == 0) NLM_TRY(nlm_session_reset(c->r->session, err));
    NLM_TRY(encode(c, &ids, &count, err));
    const nlm_status status = run_extend(c->r, ids, count, err);
    free(ids);
    return status;
}

static nlm_status hear_all(chat *c, nlm_error *err) {
    const nlm_status status = hear(c, err);
    if (status != NLM_LIMIT || !c->drops_oldest) return status;
    const nlm_status dropped = drop_turns(c, 0, err);
    return dropped == NLM_OK ? hear(c, err) : dropped;
}

/* Fills the session with fewer turns and the beginning of the answer, its tokens from `start` on. LIMIT, without a
 * message: there is nothing to leave out. */
static nlm_status make_room(chat *c, size_t start, size_t *out_start, nlm_error *err) {
    size_t held = 0;
    const int32_t *tokens = nlm_session_tokens(c->r->session, &held);
    const size_t n_said = held - start;
    int32_t *said = calloc(n_said + 1, sizeof *said);
    if (!said) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat", "no memory for %zu tokens", n_said);
    if (n_said) memcpy(said, tokens + start, n_said * sizeof *said);
    nlm_status status = drop_turns(c, n_said, err);
    if (status == NLM_OK) status = hear(c, err);
    nlm_session_tokens(c->r->session, out_start);
    if (status == NLM_OK && n_said) status = run_extend(c->r, said, n_said, err);
    free(said);
    return status;
}

static bool is_full(const run *r) {
    return strcmp(r->ended_by, "full context") == 0;
}

static nlm_status speak(chat *c, nlm_error *err) {
    size_t start;
    uint64_t n_tokens = 0;
    nlm_session_tokens(c->r->session, &start);
    for (;;) {
        NLM_TRY(run_generate(c->r, &n_tokens, err));
        if (!is_full(c->r) || !c->drops_oldest) return NLM_OK;
        const nlm_status status = make_room(c, start, &start, err);
        if (status == NLM_LIMIT) return NLM_OK; /* this turn alone fills the context */
        NLM_TRY(status);
    }
}

/* ---- turns -------------------------------------------------------------------------------- */

static void add_turn(run *r, const char *question) {
    nlm_json_begin_object(&r->json, NULL);
    nlm_json_text(&r->json, "question", question, strlen(question));
    nlm_json_text(&r->json, "text", r->out.text.data ? r->out.text.data : "", r->out.text.length);
    nlm_json_string(&r->json, "ended_by", r->ended_by);
    nlm_json_end(&r->json);
}

static void tell_full(const chat *c) {
    fprintf(stderr, "nlm-run: the context of %u tokens is full and the answer cut; --context N makes it longer, %s\n",
            c->r->context,
            c->in.is_terminal ? "/drop goes on without the oldest turns, /reset begins anew"
                              : "--overflow drop goes on without the oldest turns");
}

nlm_status chat_respond(chat *c, nlm_error *err) {
    run *r = c->r;
    r->out.text.length = 0;
    nlm_status status = hear_all(c, err);
    const bool was_heard = status == NLM_OK;
    if (was_heard) status = speak(c, err);
    if (r->set->is_json) add_turn(r, c->talk.messages[c->talk.count - 1].content);
    output_newline(&r->out);
    if (was_heard && status == NLM_OK) {
        if (is_full(r)) tell_full(c);
        NLM_TRY(conversation_add(&c->talk, "assistant", r->out.text.data ? r->out.text.data : "", r->out.text.length,
                                 err));
        c->n_held = is_full(r) ? 0 : c->talk.count;
        return NLM_OK;
    }
    conversation_cut(&c->talk, c->talk.count - 1);
    /* Only a LIMIT has left the session alone. */
    if (status != NLM_LIMIT) c->n_held = 0;
    return status;
}

static nlm_status answer(chat *c, const char *question, nlm_error *err) {
    NLM_TRY(conversation_add(&c->talk, "user", question, strlen(question), err));
    return chat_respond(c, err);
}

/* ---- the lines ---------------------------------------------------------------------------- */

static nlm_status take_line(chat *c, const char *line, nlm_error *err) {
    if (!line[0]) return NLM_OK;
    return c->in.is_terminal && command_is(line) ? command_run(c, line, err) : answer(c, line, err);
}

static bool is_forgivable(nlm_status status) {
    return status == NLM_LIMIT || status == NLM_NOT_FOUND || status == NLM_INVALID_ARGUMENT ||
           status == NLM_BAD_FORMAT || status == NLM_PERMISSION || (status == NLM_CANCELLED && interrupt_came());
}

/* On a terminal most failures are told and the chat goes on, as it does after Ctrl-C in an answer. */
static nlm_status settle(const chat *c, nlm_status status, const nlm_error *err) {
    if (!c->in.is_terminal) return status;
    const bool is_forgiven = is_forgivable(status);
    if (is_forgiven && status != NLM_CANCELLED) nlm_tell(&nlm_run_command, err);
    if (interrupt_came()) interrupt_forget();
    return is_forgiven ? NLM_OK : status;
}

static nlm_status converse(chat *c, nlm_error *err) {
    nlm_str line = {0};
    bool has_line = true;
    nlm_status status = NLM_OK;
    while (status == NLM_OK && has_line && !c->has_ended && !interrupt_came()) {
        status = lines_read(&c->in, &line, &has_line, err);
        if (status == NLM_OK && has_line) status = take_line(c, line.data, err);
        status = settle(c, status, err);
    }
    nlm_str_release(&line);
    return status;
}

nlm_status run_chat(run *r, const char *first_question, bool reads_more, nlm_error *err) {
    chat c = {.r = r, .drops_oldest = strcmp(r->set->overflow, "drop") == 0};
    if (reads_more) lines_open(&c.in);
    if (r->set->is_json) nlm_json_begin_array(&r->json, "turns");
    nlm_status status = conversation_set_system(&c.talk, r->set->system, err);
    if (status == NLM_OK && first_question) status = answer(&c, first_question, err);
    status = settle(&c, status, err);
    if (status == NLM_OK && reads_more) status = converse(&c, err);
    if (r->set->is_json) nlm_json_end(&r->json);
    lines_close(&c.in);
    conversation_release(&c.talk);
    return status;
}
