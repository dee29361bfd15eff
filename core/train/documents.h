/* Text files as documents of a token file. */
#ifndef NLM_TRAIN_DOCUMENTS_H
#define NLM_TRAIN_DOCUMENTS_H

#include "text/chat_own.h"
#include "train/dataset.h"
#include "train/input.h"
#include "train/token_file.h"

/* Where documents go. */
typedef struct nlm_document_sink {
    const nlm_tokenizer *tokenizer;
    const nlm_dataset_options *options;
    nlm_token_writer *writer;
    nlm_chat_form form; /* of options->own_chat */
    size_t window;      /* bytes that are encoded at once, where a document has more: NLM_DOCUMENT_WINDOW */
    nlm_ids ids;        /* of a part; scratch, which the owner releases */
} nlm_document_sink;

#define NLM_DOCUMENT_WINDOW (1u << 20)
#define NLM_DOCUMENT_GROWS  4u /* a window may be as many times as large before it is LIMIT */

nlm_status nlm_document_begin(nlm_document_sink *sink, nlm_error *err); /* with BOS where the tokenizer adds it */
/* Writes sink->ids, and empties it. */
nlm_status nlm_document_put(nlm_document_sink *sink, bool is_counted, nlm_error *err);
nlm_status nlm_document_end(nlm_document_sink *sink, nlm_error *err); /* with EOS if there is one */

/* Writes the documents of a file from its beginning to its end: text, and lines of JSON. */
nlm_status nlm_text_documents_add(nlm_document_sink *sink, nlm_input *input, nlm_error *err);
nlm_status nlm_json_documents_add(nlm_document_sink *sink, nlm_input *input, nlm_error *err);

#endif
