/* The table of chat templates: how the known families of models write a conversation. */
#ifndef NLM_TEXT_CHAT_TABLE_H
#define NLM_TEXT_CHAT_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define NLM_CHAT_MARKS_MAX  3
#define NLM_CHAT_TOKENS_MAX 4

/* Whose contents lose the white space around them. */
typedef enum nlm_chat_trims {
    NLM_CHAT_TRIMS_NONE,
    NLM_CHAT_TRIMS_ALL,
    NLM_CHAT_TRIMS_LLAMA_2 /* all but the system's, and what it joins loses it at the end */
} nlm_chat_trims;

/* What becomes of an answer's thoughts, which end with </think>, and of the newlines after them. */
typedef enum nlm_chat_thoughts {
    NLM_CHAT_THOUGHTS_STAY,
    NLM_CHAT_THOUGHTS_GO,       /* once a user's message follows */
    NLM_CHAT_THOUGHTS_ALWAYS_GO /* newlines that an answer begins with too */
} nlm_chat_thoughts;

/* A conversation is a system message, then users' and assistants' in turn, each between an opening and
 * a closing text; between an assistant's and the next there may be messages of tools, in a turn that they share. */
struct nlm_chat_template {
    const char *name;
    /* How to tell it: a metadata template with all of `marks`, with none of `others`, of a model whose
     * EOS is `eos` (NULL: any). */
    const char *marks[NLM_CHAT_MARKS_MAX];
    const char *others[NLM_CHAT_MARKS_MAX];
    const char *eos;
    const char *default_system; /* the system message where there is none; or NULL */
    const char *system_open, *system_close;
    const char *user_open, *user_close;
    const char *assistant_open, *assistant_close;
    const char *between;                  /* between an answer and the next user's turn; or NULL */
    const char *tools_open, *tools_close; /* around all messages of tools that follow one another */
    const char *tool_open, *tool_close;   /* around each; NULL: there are none */
    const char *prompt;                   /* opens the assistant's turn for the model to go on */
    /* What of the above are tokens: the first n_needed of every vocabulary it is for, the rest of some. */
    const char *tokens[NLM_CHAT_TOKENS_MAX + 1];
    size_t n_needed;
    bool system_joins_user; /* the system message stands in the user's turn, in place of user_open */
    bool has_today;         /* system_open is followed by the date of today and an empty line */
    bool quotes_tools;      /* what a tool gave is written as a JSON string */
    bool skips_empty_system;
    nlm_chat_trims trims;
    nlm_chat_thoughts thoughts;
};

/* The first that fits is taken: the special ones stand before the general. */
extern const struct nlm_chat_template nlm_chat_templates[];
extern const size_t nlm_chat_template_count;

#endif
