/* Pre-tokenizers as tokenizer.json spells them, and their names in tokenizer.ggml.pre. */
#ifndef NLM_TEXT_PRE_JSON_H
#define NLM_TEXT_PRE_JSON_H

#include "text/pretokenize.h"

#define NLM_PRE_STEPS_MAX 8

/* Steps that are no Split with a regular expression and matches kept apart. */
#define NLM_STEP_GPT2        "<ByteLevel with its regular expression>"
#define NLM_STEP_BYTES       "<ByteLevel>"
#define NLM_STEP_DIGITS      "<Digits, each apart>"
#define NLM_STEP_NUMBERS     "<Digits>"
#define NLM_STEP_PUNCTUATION "<Punctuation, each apart>"
#define NLM_STEP_MARKS       "<Punctuation, contiguous>"
/* A Split whose matches begin the piece after them: its pattern follows. */
#define NLM_STEP_NEXT        "<next>"

/* The name of the rule with these steps, and the rule, which may bring the text to form C first and take a word that
 * is a token for that token; NULL if none has. */
const char *nlm_pre_json_find(const char *const *steps, size_t count, bool has_nfc, bool ignores_merges);
/* The steps of the rule of that name, ended by NULL; or NULL if they are not known. */
const char *const *nlm_pre_json_steps(const char *name, size_t length);

#endif
