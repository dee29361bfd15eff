/* nlm-tokenize convert: a tokenizer from one kind of file to another. */
#ifndef NLM_TOKENIZE_CONVERT_H
#define NLM_TOKENIZE_CONVERT_H

#include "format/gguf.h"

/* Whether `path` ends in .gguf or .json, which says what kind of file to write. */
bool names_vocab_file(const char *path);

/* Writes the vocabulary that is all of a GGUF, or its tokenizer as tokenizer.json. */
nlm_status save_vocab(const nlm_gguf *gguf, const char *path, nlm_error *err);

/* argv[0] is "convert". Returns what to exit with. */
int convert_main(int argc, char **argv);

#endif
