/* How far bytes are valid UTF-8. */
#include "text/utf8.h"

#include <string.h>

size_t nlm_utf8_valid_prefix(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        size_t bytes;
        if (nlm_utf8_next(text + at, length - at, &bytes) >= NLM_UTF8_INVALID) break;
        at += bytes;
    }
    return at;
}

size_t nlm_utf8_invalid_prefix(const char *text, size_t length) {
    size_t at = 0, bytes;
    while (at < length && nlm_utf8_next(text + at, length - at, &bytes) >= NLM_UTF8_INVALID) at++;
    return at;
}
