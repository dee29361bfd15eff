/* The two ways of printing a model. */
#ifndef NLM_MODEL_INSPECT_H
#define NLM_MODEL_INSPECT_H

#include "base/str.h"
#include "common/json.h"
#include "summary.h"

void inspect_as_text(nlm_str *out, const nlm_gguf *gguf, const model_summary *summary, bool with_tensors);
void inspect_as_json(nlm_json *json, const nlm_gguf *gguf, const model_summary *summary, bool with_tensors);

/* The tokens that "memory per context" is given for. */
#define MEMORY_TOKENS 1024u

#endif
