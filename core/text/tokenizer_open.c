/* A tokenizer from a file of either kind. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "text/tokenizer_json.h"

/* Whether the file begins as JSON does: with a brace, after blanks. What cannot be read does not. */
static bool is_json(const char *path) {
    FILE *file = fopen(path, "rbe");
    if (!file) return false;
    char bytes[64];
    const size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    size_t at = 0;
    while (at < count && bytes[at] && strchr(" \t\r\n", bytes[at])) at++;
    return at < count && bytes[at] == '{';
}

nlm_status nlm_tokenizer_open_metadata(const char *path, bool copies, nlm_gguf **out, nlm_error *err) {
    if (is_json(path)) return nlm_tokenizer_json_read(path, out, err);
    return (copies ? nlm_gguf_open_copy : nlm_gguf_open)(path, out, err);
}

nlm_status nlm_tokenizer_open(const char *path, bool copies, nlm_tokenizer **out, nlm_error *err) {
    nlm_gguf *gguf;
    NLM_TRY(nlm_tokenizer_open_metadata(path, copies, &gguf, err));
    const nlm_status status = nlm_tokenizer_create(gguf, out, err);
    nlm_gguf_close(gguf);
    return status;
}
