/* Files of models, and templates that take the place of theirs. */
#include "common/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/input.h"

bool nlm_is_gguf_file(const char *path) {
    char magic[4];
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const bool is_model = fread(magic, 1, sizeof magic, file) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    fclose(file);
    return is_model;
}

nlm_status nlm_override_template(const char *path, const char *const *overrides, nlm_str *out_text, const char ***out,
                                 nlm_error *err) {
    size_t count = 0;
    nlm_str_puts(out_text, "tokenizer.chat_template=str:");
    NLM_TRY(nlm_read_input(path, out_text, err));
    while (overrides && overrides[count]) count++;
    *out = calloc(count + 2, sizeof **out);
    if (!*out || out_text->has_failed) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for the template");
    }
    if (count) memcpy(*out, overrides, count * sizeof **out);
    (*out)[count] = out_text->data;
    return NLM_OK;
}
