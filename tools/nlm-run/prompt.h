/* What a text continues: read, and as token ids. */
#ifndef NLM_RUN_PROMPT_H
#define NLM_RUN_PROMPT_H

#include "base/str.h"
#include "nlm-run/run.h"
#include "text/tokenizer.h"

/* The text of --prompt, a file or stdin; of --ids, the file's text. */
nlm_status prompt_read(const settings *set, nlm_str *out, nlm_error *err);
/* Appends its ids: with BOS where the model wants it and the session is empty, between --prefix and --suffix, in
 * which control tokens may be spelled; in the prompt itself only with --special. INVALID_ARGUMENT: there is none. */
nlm_status prompt_encode(const run *r, const nlm_str *prompt, nlm_ids *out, nlm_error *err);

#endif
