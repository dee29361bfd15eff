/* Text and ids of a file or of standard input. */
#include "common/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

#define CHUNK_BYTES (1 << 16)
#define BLANKS      " \t\r\n"

static nlm_status read_stream(FILE *file, const char *name, nlm_str *out, nlm_error *err) {
    char chunk[CHUNK_BYTES];
    size_t count;
    while (!out->has_failed && out->length <= NLM_INPUT_MAX_BYTES &&
           (count = fread(chunk, 1, sizeof chunk, file)) > 0) {
        nlm_str_append(out, chunk, count);
    }
    if (ferror(file)) return nlm_fail_errno(err, NLM_IO, name, "cannot be read");
    if (out->has_failed) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory for more than %zu bytes of input", out->length);
    }
    if (out->length <= NLM_INPUT_MAX_BYTES) return NLM_OK;
    return nlm_fail(err, NLM_LIMIT, name, "it is longer than %u bytes, the most that is read", NLM_INPUT_MAX_BYTES);
}

nlm_status nlm_read_input(const char *path, nlm_str *out, nlm_error *err) {
    if (strcmp(path, "-") == 0) return read_stream(stdin, "stdin", out, err);
    FILE *file = fopen(path, "re");
    if (!file) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot be opened");
    const nlm_status status = read_stream(file, path, out, err);
    fclose(file);
    return status;
}

void nlm_clean_input(nlm_str *text) {
    static const char mark[] = "\xEF\xBB\xBF";
    const size_t n_mark = sizeof mark - 1;
    size_t from = text->length >= n_mark && memcmp(text->data, mark, n_mark) == 0 ? n_mark : 0, to = 0;
    for (; from < text->length; from++) {
        if (text->data[from] == '\r' && from + 1 < text->length && text->data[from + 1] == '\n') continue;
        text->data[to++] = text->data[from];
    }
    if (text->length) text->data[to] = '\0';
    text->length = to;
}

/* One id at text[0..length), which nothing follows. */
static bool parse_id(const char *text, size_t length, int32_t *out) {
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (text[i] - '0');
        if (value > INT32_MAX) return false;
    }
    *out = (int32_t)value;
    return length > 0;
}

nlm_status nlm_parse_ids(const char *name, const nlm_str *text, nlm_ids *out, nlm_error *err) {
    size_t at = 0;
    while (at < text->length) {
        at += strspn(text->data + at, BLANKS);
        if (at == text->length) break;
        size_t length = strcspn(text->data + at, BLANKS);
        if (length == 0) length = 1; /* a NUL byte */
        int32_t id;
        if (!parse_id(text->data + at, length, &id)) {
            return nlm_fail(err, NLM_BAD_FORMAT, name, "item %zu, '%.*s', is no token id", out->count + 1,
                            (int)(length < 32 ? length : 32), text->data + at);
        }
        if (nlm_ids_append(out, id) != NLM_OK) {
            return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory for %zu ids", out->count + 1);
        }
        at += length;
    }
    return NLM_OK;
}
