/* What programs do with the file of a model before it is loaded. */
#ifndef NLM_TOOLS_MODEL_FILE_H
#define NLM_TOOLS_MODEL_FILE_H

#include <nlm/status.h>
#include <stdbool.h>
#include "base/str.h"

/* Is it a model, where a configuration may stand too? */
bool nlm_is_gguf_file(const char *path);

/* nlm_model_options.overrides with a chat template of one's own, from the file at `path`, behind those of `overrides`
 * (NULL: none). *out is the caller's to free, and *out_text, which the last of them is in, to release, also after an
 * error. Errors as nlm_read_input. */
nlm_status nlm_override_template(const char *path, const char *const *overrides, nlm_str *out_text, const char ***out,
                                 nlm_error *err);

#endif
