/* A chat between its answers and its commands. */
#ifndef NLM_RUN_CHAT_H
#define NLM_RUN_CHAT_H

#include "nlm-run/conversation.h"
#include "nlm-run/lines.h"
#include "nlm-run/run.h"

typedef struct chat {
    run *r;
    conversation talk;
    size_t n_held; /* of its messages, those the session holds; 0: it is to be filled anew */
    lines in;
    bool drops_oldest; /* when the context is full */
    bool has_ended;    /* /bye */
} chat;

/* Answers the conversation's last message, a question. A failure leaves the conversation without it, and the session
 * as it was or to be filled anew. */
nlm_status chat_respond(chat *c, nlm_error *err);

/* Is the line a command? */
bool command_is(const char *line);
/* Does what it says; what goes wrong is told. */
nlm_status command_run(chat *c, const char *line, nlm_error *err);

#endif
