/* One answer that is generated: from a request in some form of JSON to texts, whole or streamed.
 *
 * A form (OpenAI's chat, say) parses its request into a call, starts it, and writes what comes of it. */
#ifndef NLM_SERVER_CALL_H
#define NLM_SERVER_CALL_H

#include <cJSON.h>

#include "nlm-server/chat_request.h"
#include "nlm-server/json_out.h"
#include "nlm-server/prompts.h"
#include "nlm-server/server.h"
#include "nlm-server/tools.h"

typedef struct call call;

typedef struct call_choice {
    nlm_str text;           /* all of it */
    nlm_str logprobs;       /* of an answer that is not streamed: JSON items with commas between */
    uint64_t logprob_bytes; /* of text before the next token of them */
    uint64_t n_generated, n_cached;
    tool_calls calls; /* with tools, of a text that has ended: what it calls, and what else it says */
    size_t n_sent;    /* bytes of the content that were streamed */
    int32_t ended_by, stop_index;
    bool has_ended;
} call_choice;

typedef struct call_form {
    const char *id_prefix;
    /* Of a stream. `begin` comes before all; `text` with more content of a choice, maybe empty, and the tokens of the
     * event (not only of a stream); `end_choice` when it has ended. */
    void (*begin)(call *c);
    void (*text)(call *c, uint32_t choice, const char *text, size_t length, const task_event *event);
    void (*end_choice)(call *c, uint32_t choice);
    void (*end)(call *c);
    /* The whole answer, not streamed. */
    void (*whole)(call *c, nlm_str *out);
} call_form;

/* What a request of any form has. */
typedef struct call_params {
    generation_request request; /* its arrays are borrowed, or those below */
    bool stream, has_usage;     /* has_usage: in a stream */
    nlm_grammar_state *start;   /* of what keeps the texts to a grammar, or NULL */
    const char **stops, **breakers, **order;
    nlm_logit_bias *biases;
} call_params;

struct call {
    server *s;
    http_exchange *x;
    const call_form *form;
    task *tasks[PROMPTS_MAX]; /* under way; NULL: done */
    struct call_part {
        call *owner;
        uint32_t index;
    } parts[PROMPTS_MAX];
    uint32_t n_tasks, n_each; /* choices = n_tasks * n_each */
    call_choice *choices;
    uint32_t n_choices, n_open;
    uint64_t n_prompt; /* tokens of all prompts */
    char id[64];
    int64_t created;
    uint64_t seed;
    int32_t n_top;
    bool stream, has_usage, has_begun;
    cJSON *tools;      /* that may be called, or NULL */
    size_t most_calls; /* of them in one text */
    /* Of forms: */
    nlm_str *echoes; /* [n_echoes] what stands before each text; NULL: nothing */
    uint32_t n_echoes;
    nlm_str form_text;
    uint32_t form_state;
};

/* Reads what all forms share, on any thread; stop_key: what the form calls stop strings. After an error too,
 * call_params_release. */
nlm_status call_read_params(server *s, uint64_t client, const cJSON *body, const char *stop_key, call_params *out,
                            nlm_error *err);
void call_params_release(call_params *params);

/* NULL: no memory. Until it is started it is the caller's to free. */
call *call_create(server *s, http_exchange *x, const call_form *form, const call_params *params);
void call_destroy(call *c);
/* The tools that may be called, taken over from the request; the text shows control tokens then, which mark calls. */
void call_take_tools(call *c, call_params *params, chat_request *request);
/* Where a tool has to be called: the prompt goes on with what stands before a call, the text is its JSON. */
nlm_status call_force_tools(server *s, call_params *params, const chat_request *request, call_prompts *prompts,
                            nlm_error *err);
/* Submits the prompts; from here on the call answers, and frees itself. After an error it is the caller's still. */
nlm_status call_start(call *c, const call_params *params, const call_prompts *prompts, nlm_error *err);

/* One event of a stream: data is JSON; name NULL: without an "event:" line. */
void call_send(call *c, const char *name, const nlm_str *data);
/* What the choice says, calls of tools aside; whole once it has ended. */
const nlm_str *call_content(const call *c, const call_choice *choice);
/* OpenAI's word for how the choice ended: "stop", "length" or "tool_calls". */
const char *call_finish_reason(const call_choice *choice);
uint64_t call_generated(const call *c);
uint64_t call_cached(const call *c);

#endif
