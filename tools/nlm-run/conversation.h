/* What was said in a chat. */
#ifndef NLM_RUN_CONVERSATION_H
#define NLM_RUN_CONVERSATION_H

#include <nlm/nlm.h>
#include <stdbool.h>

/* A system message or none, then questions and answers in turn. Zeroed is empty; it owns its texts. */
typedef struct conversation {
    nlm_message *messages;
    size_t count, capacity;
} conversation;

/* Appends a message; a NUL byte in the content, which a message cannot hold, is left out. OUT_OF_MEMORY. */
nlm_status conversation_add(conversation *talk, const char *role, const char *content, size_t length, nlm_error *err);
/* Forgets the messages from `count` on. */
void conversation_cut(conversation *talk, size_t count);
/* Forgets the oldest question and its answer; false if there is but the last question. */
bool conversation_drop_oldest(conversation *talk);
/* Replaces the system message; NULL or empty: there is none. OUT_OF_MEMORY leaves it as it was. */
nlm_status conversation_set_system(conversation *talk, const char *text, nlm_error *err);
bool conversation_has_system(const conversation *talk);

/* As JSON: {"messages": [{"role": "user", "content": "..."}, ...]}. A failure leaves a file at `path` as it was.
 * Errors as nlm_file_write. */
nlm_status conversation_save(const conversation *talk, const char *path, nlm_error *err);
/* Replaces all of it; a failure (BAD_FORMAT too) leaves it as it was. */
nlm_status conversation_load(conversation *talk, const char *path, nlm_error *err);
void conversation_release(conversation *talk);

#endif
