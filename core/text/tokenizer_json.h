/* tokenizer.json, the file of Hugging Face's package tokenizers, read and written: byte-pair vocabularies that are
 * byte-level, or SentencePiece's with bytes for what is no token. */
#ifndef NLM_TEXT_TOKENIZER_JSON_H
#define NLM_TEXT_TOKENIZER_JSON_H

#include "format/gguf.h"
#include "text/tokenizer.h"

/* Reads the file into the metadata of a GGUF in memory, of a tokenizer that gives the same ids. Which tokens begin
 * and end a text the file says only in part: its post_processor, then tokenizer_config.json beside it, then the
 * tokens' names. Its chat template is chat_template.jinja beside it, or tokenizer_config.json's. Errors UNSUPPORTED
 * (what the file has that no GGUF does: by name), BAD_FORMAT, NOT_FOUND, PERMISSION, IO, LIMIT (more than 256 MiB),
 * OUT_OF_MEMORY. */
nlm_status nlm_tokenizer_json_read(const char *path, nlm_gguf **out, nlm_error *err);
/* The same of text in memory. `config` is that of tokenizer_config.json, or NULL. */
nlm_status nlm_tokenizer_json_parse(const char *name, const char *text, size_t length, const char *config,
                                    nlm_gguf **out, nlm_error *err);

/* Appends the tokenizer of a GGUF file as JSON, or writes it to a file. Errors UNSUPPORTED (what a tokenizer.json
 * cannot say), those of nlm_tokenizer_create and of nlm_file_writer. */
nlm_status nlm_tokenizer_json_print(const nlm_gguf *gguf, nlm_str *out, nlm_error *err);
nlm_status nlm_tokenizer_json_write(const nlm_gguf *gguf, const char *path, nlm_error *err);

/* The tokenizer of a file, which is a GGUF or else a tokenizer.json. `copies`: as nlm_gguf_open_copy. */
nlm_status nlm_tokenizer_open(const char *path, bool copies, nlm_tokenizer **out, nlm_error *err);
/* Its metadata. */
nlm_status nlm_tokenizer_open_metadata(const char *path, bool copies, nlm_gguf **out, nlm_error *err);

#endif
