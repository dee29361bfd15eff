/* A conversation in a model's own chat template as a document, of which only the answers count for the loss. */
#ifndef NLM_TRAIN_OWN_DOCUMENT_H
#define NLM_TRAIN_OWN_DOCUMENT_H

#include "train/documents.h"

struct cJSON;

/* Writes messages, an array as nlm.h's conversations of JSON have it, with the tools of a line (NULL: none), as
 * options->own_chat renders them. Counted is what stands within {% generation %}; of a template without it, of each
 * assistant's message, what follows the prompt up to the first token that ends a generation. What comes before an
 * answer is encoded by itself, as a prompt is when the model answers. `where` is the line, for errors.
 * Errors   BAD_FORMAT (what is no message, none of the assistant's, what the template refuses), UNSUPPORTED (tools
 * that the template leaves out, an answer of which nothing is written), LIMIT, and the encoder's and the writer's.
 */
nlm_status nlm_own_document_add(nlm_document_sink *sink, const char *where, const struct cJSON *messages,
                                const struct cJSON *tools, nlm_error *err);

#endif
