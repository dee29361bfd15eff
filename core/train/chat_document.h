/* A conversation as a document, of which only the answers count for the loss. */
#ifndef NLM_TRAIN_CHAT_DOCUMENT_H
#define NLM_TRAIN_CHAT_DOCUMENT_H

#include "train/documents.h"

struct cJSON;

/* Writes [{"role": ..., "content": ...}, ...] as the chat template of the sink's options renders it. What comes
 * before an answer is encoded by itself, as a prompt is when the model answers. Counted are the answer and what
 * closes it, up to the first token that ends a generation. `where` is the line, for errors. Errors   BAD_FORMAT (what
 * is no message, none of the assistant's, or as the template does not have them), INVALID_ARGUMENT (no template), and
 * the encoder's and the writer's. */
nlm_status nlm_chat_document_add(nlm_document_sink *sink, const char *where, const struct cJSON *messages,
                                 nlm_error *err);

#endif
