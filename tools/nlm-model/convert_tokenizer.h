/* The tokenizer of a model that is converted. */
#ifndef NLM_MODEL_CONVERT_TOKENIZER_H
#define NLM_MODEL_CONVERT_TOKENIZER_H

#include "base/str.h"
#include "format/gguf.h"

/* Adds the tokenizer of a folder and its chat template, with as many tokens as the model has rows for; or that there
 * is none, and a line of why in `note`. Errors those of nlm_tokenizer_json_read, but for UNSUPPORTED and NOT_FOUND.
 */
nlm_status import_tokenizer(const char *folder, uint64_t n_vocab, nlm_gguf_writer *w, nlm_str *note, nlm_error *err);
/* Writes tokenizer.json (and chat_template.jinja) into a folder; or not, and a line of why. */
nlm_status export_tokenizer(const nlm_gguf *gguf, const char *folder, nlm_str *note, nlm_error *err);

#endif
