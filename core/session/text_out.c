/* Text and ids handed to the caller. */
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

nlm_status nlm_fail_capacity(size_t capacity, size_t count, const char *where, nlm_error *err) {
    return nlm_fail(err, NLM_LIMIT, where, "there is room for %zu, and %zu are needed", capacity, count);
}

nlm_status nlm_ids_out(const nlm_ids *ids, int32_t *out_ids, size_t capacity, size_t *out_count, const char *where,
                       nlm_error *err) {
    *out_count = ids->count;
    if (!out_ids) return NLM_OK;
    const size_t n = ids->count < capacity ? ids->count : capacity;
    if (n) memcpy(out_ids, ids->data, n * sizeof *out_ids);
    return n == ids->count ? NLM_OK : nlm_fail_capacity(capacity, ids->count, where, err);
}
