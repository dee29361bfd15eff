/* The commands of a chat on a terminal. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "nlm-run/chat.h"

typedef struct command {
    const char *name, *argument, *help; /* argument NULL: it takes none */
    bool needs_argument;
    nlm_status (*run)(chat *c, const char *argument, nlm_error *err);
} command;

static nlm_status reset(chat *c, const char *argument, nlm_error *err) {
    (void)argument;
    conversation_cut(&c->talk, conversation_has_system(&c->talk) ? 1 : 0);
    c->n_held = 0;
    return nlm_session_reset(c->r->session, err);
}

/* A file that fails has left the conversation as it was, which is no reason to lose it: whatever went wrong is told
 * and the chat goes on, unlike after an I/O error of the keyboard or the screen. */
static bool tell_file(nlm_status status, const nlm_error *why) {
    if (status != NLM_OK) nlm_tell(&nlm_run_command, why);
    return status == NLM_OK;
}

static nlm_status save(chat *c, const char *argument, nlm_error *err) {
    (void)err;
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = conversation_save(&c->talk, argument, &why);
    if (tell_file(status, &why)) fprintf(stderr, "saved %zu messages\n", c->talk.count);
    return NLM_OK;
}

static nlm_status load(chat *c, const char *argument, nlm_error *err) {
    (void)err;
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = conversation_load(&c->talk, argument, &why);
    if (!tell_file(status, &why)) return NLM_OK;
    c->n_held = 0;
    fprintf(stderr, "loaded %zu messages\n", c->talk.count);
    return NLM_OK;
}

static nlm_status set_system(chat *c, const char *argument, nlm_error *err) {
    NLM_TRY(conversation_set_system(&c->talk, argument, err));
    c->n_held = 0;
    return NLM_OK;
}

/* With the next seed: the same would give the same answer. */
static nlm_status regenerate(chat *c, const char *argument, nlm_error *err) {
    (void)argument;
    if (c->talk.count < 2) return nlm_fail(err, NLM_NOT_FOUND, "/regenerate", "there is no answer yet");
    if (c->r->set->shared.temperature <= 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "/regenerate",
                        "the answer would be the same: nlm-run was started without --temperature");
    }
    c->r->seed++;
    NLM_TRY(run_open_sampler(c->r, err));
    conversation_cut(&c->talk, c->talk.count - 1);
    c->n_held = 0;
    return chat_respond(c, err);
}

static nlm_status drop(chat *c, const char *argument, nlm_error *err) {
    (void)argument;
    (void)err;
    c->drops_oldest = true;
    return NLM_OK;
}

static nlm_status bye(chat *c, const char *argument, nlm_error *err) {
    (void)argument;
    (void)err;
    c->has_ended = true;
    return NLM_OK;
}

static nlm_status help(chat *c, const char *argument, nlm_error *err);

static const command commands[] = {
    {"help", NULL, "this list", false, help},
    {"reset", NULL, "begin anew, with the same system message", false, reset},
    {"save", "FILE", "write the conversation to a file", true, save},
    {"load", "FILE", "go on with the conversation in a file", true, load},
    {"system", "TEXT", "set the system message; without TEXT there is none", false, set_system},
    {"regenerate", NULL, "answer the last question anew", false, regenerate},
    {"drop", NULL, "from now on leave out the oldest turns when the context is full", false, drop},
    {"bye", NULL, "end; Ctrl-D does too", false, bye},
};

static nlm_status help(chat *c, const char *argument, nlm_error *err) {
    (void)c;
    (void)argument;
    (void)err;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const command *o = &commands[i];
        fprintf(stderr, "  /%s %-*s %s\n", o->name, (int)(16 - strlen(o->name)), o->argument ? o->argument : "",
                o->help);
    }
    fprintf(stderr, "Ctrl-C ends an answer. A question that begins with / is given with a blank before it.\n");
    return NLM_OK;
}

bool command_is(const char *line) {
    return line[0] == '/';
}

/* Of "name argument": true if the name is this command's; *out_argument is what follows, or "". */
static bool is_called(const char *text, const char *name, const char **out_argument) {
    const size_t length = strlen(name);
    if (strncmp(text, name, length) != 0 || (text[length] && !isblank((unsigned char)text[length]))) return false;
    *out_argument = text + length + strspn(text + length, " \t");
    return true;
}

nlm_status command_run(chat *c, const char *line, nlm_error *err) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *argument;
        if (!is_called(line + 1, commands[i].name, &argument)) continue;
        if (commands[i].needs_argument && !*argument) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "", "/%s needs a %s", commands[i].name, commands[i].argument);
        }
        return commands[i].run(c, argument, err);
    }
    return nlm_fail(err, NLM_NOT_FOUND, "", "there is no command '%.*s'; /help lists them",
                    (int)strcspn(line, " \t\n"), line);
}
