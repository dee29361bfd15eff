/* Text handed to the caller in whole characters. */
#include "session/text_out.h"

#include <string.h>

#include "base/status.h"

nlm_status nlm_text_out(const nlm_str *text, bool is_terminated, char *out, size_t capacity, size_t *out_length,
                        nlm_error *err) {
    if (text->has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "text", "no memory for %zu bytes", text->length);
    *out_length = text->length;
    if (capacity == 0) return NLM_OK;
    const size_t room = is_terminated ? capacity - 1 : capacity;
    const size_t n = text->length < room ? text->length : room;
    if (n) memcpy(out, text->data, n);
    if (is_terminated) out[n] = '\0';
    return NLM_OK;
}
