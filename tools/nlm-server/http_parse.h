/* HTTP/1.1 requests, read strictly: what two programs could read in two ways is refused (RFC 9112). */
#ifndef NLM_SERVER_HTTP_PARSE_H
#define NLM_SERVER_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define HTTP_HEADERS_MAX 100

typedef struct http_header {
    const char *name;
    const char *value; /* without blanks around it */
} http_header;

typedef struct http_head {
    const char *method;
    const char *path;  /* as it was sent, without the query */
    const char *query; /* "" if there is none */
    int minor;         /* of HTTP/1.minor: 0 or 1 */
    http_header headers[HTTP_HEADERS_MAX];
    size_t n_headers;
    uint64_t content_length;
    bool is_chunked;
    bool wants_continue;
    bool keeps_alive;
} http_head;

/* Parses text[0..length), which ends with the first "\r\n\r\n", in place: *out points into it. Returns 0, or the
 * status of the answer with *why it is refused. */
int http_parse_head(char *text, size_t length, http_head *out, const char **why);

/* The value of the header, whatever the case of its name; NULL: there is none. */
const char *http_find_header(const http_head *head, const char *name);

/* A body in chunks, as it comes. Zeroed: at its beginning. */
typedef struct http_chunks {
    int state;
    uint64_t left;  /* of the chunk */
    char line[256]; /* of a size */
    size_t n_line;
    size_t n_trailer;  /* bytes */
    size_t line_bytes; /* of the trailer line */
} http_chunks;

enum { HTTP_CHUNKS_MORE = 0, HTTP_CHUNKS_DONE = 1, HTTP_CHUNKS_BAD = 2, HTTP_CHUNKS_TOO_LONG = 3 };

/* Takes data[0..length) and appends what it carries to `body`, of at most `limit` bytes. *out_used: how much was
 * taken; all of it, if there is more to come. */
int http_chunks_take(http_chunks *chunks, const char *data, size_t length, size_t limit, nlm_str *body,
                     size_t *out_used);

#endif
