/* Reading what a program is given: whole texts, and token ids. */
#ifndef NLM_TOOLS_INPUT_H
#define NLM_TOOLS_INPUT_H

#include <nlm/status.h>
#include "base/str.h"
#include "text/tokenizer.h"

/* Of a file or stdin, which may have no end. */
#define NLM_INPUT_MAX_BYTES (1u << 30)

/* Appends all of a file, or of stdin for "-". Errors NOT_FOUND, PERMISSION, IO, OUT_OF_MEMORY, LIMIT. */
nlm_status nlm_read_input(const char *path, nlm_str *out, nlm_error *err);

/* Of a text file as people's editors leave it: drops a byte order mark at its start and makes "\r\n" one newline. */
void nlm_clean_input(nlm_str *text);

/* Appends the ids of a text, separated by white space; `name` stands for the file in errors. BAD_FORMAT: an
 * item that is no id. */
nlm_status nlm_parse_ids(const char *name, const nlm_str *text, nlm_ids *out, nlm_error *err);

#endif
