/* What a terminal is given to show. */
#include "common/terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/printable.h"
#include "base/utf8.h"

static bool is_plain(const char *text, size_t length) {
    size_t bytes;
    const uint32_t code = nlm_utf8_next(text, length, &bytes);
    return code == '\n' || code == '\t' || (code < NLM_UTF8_INVALID && !nlm_is_control(code));
}

bool nlm_write_shown(FILE *file, const char *text, size_t length) {
    errno = 0;
    for (size_t at = 0, bytes; at < length; at += bytes) {
        char escaped[NLM_PRINTABLE_BYTES];
        const size_t count = nlm_printable_next(escaped, text + at, length - at, &bytes);
        const bool is_raw = is_plain(text + at, length - at);
        const size_t size = is_raw ? bytes : count;
        if (fwrite(is_raw ? text + at : escaped, 1, size, file) != size) return false;
    }
    return true;
}

void nlm_show_step(const char *format, ...) {
    if (!isatty(STDERR_FILENO)) return;
    char text[80];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "\r%s\033[K", text);
}

void nlm_end_steps(void) {
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}
