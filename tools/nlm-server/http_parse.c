/* Requests, byte by byte. */
#include "nlm-server/http_parse.h"

#include <string.h>
#include <strings.h>

static bool is_token_byte(unsigned char c) {
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(const char *text) {
    if (!*text) return false;
    for (; *text; text++) {
        if (!is_token_byte((unsigned char)*text)) return false;
    }
    return true;
}

/* Visible ASCII alone. */
static bool is_target(const char *text) {
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7F) return false;
    }
    return *text == '/' || (text[0] == '*' && text[1] == '\0');
}

static bool is_value(const char *text) {
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if ((c < 0x20 && c != '\t') || c == 0x7F) return false;
    }
    return true;
}

/* Cuts the next line off; every one ends with "\r\n", in which neither stands elsewhere. NULL: it does not. */
static char *take_line(char **at, const char *end) {
    char *line = *at;
    char *feed = memchr(line, '\n', (size_t)(end - line));
    if (!feed || feed == line || feed[-1] != '\r') return NULL;
    feed[-1] = '\0';
    if (strlen(line) != (size_t)(feed - 1 - line) || strchr(line, '\r')) return NULL;
    *at = feed + 1;
    return line;
}

static int parse_request_line(char *line, http_head *out, const char **why) {
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    *why = "the request line is not METHOD TARGET HTTP/1.1";
    if (!version) return 400;
    *target++ = *version++ = '\0';
    if (!is_token(line) || strncmp(version, "HTTP/", 5) != 0) return 400;
    *why = "the version of HTTP is neither 1.1 nor 1.0";
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) return 505;
    *why = "the target of the request is no path";
    if (!is_target(target)) return 400;
    char *query = strchr(target, '?');
    if (query) *query++ = '\0';
    out->method = line;
    out->path = target;
    out->query = query ? query : "";
    out->minor = version[7] - '0';
    return 0;
}

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t')) text[--length] = '\0';
    return text;
}

static int parse_header(char *line, http_head *out, const char **why) {
    char *colon = strchr(line, ':');
    *why = "a header line is not NAME: VALUE";
    if (!colon) return 400;
    *colon = '\0';
    if (!is_token(line)) return 400; /* a blank before the colon, or a folded line */
    *why = "there are too many headers";
    if (out->n_headers == HTTP_HEADERS_MAX) return 431;
    char *value = trim(colon + 1);
    *why = "a header has a control character";
    if (!is_value(value)) return 400;
    out->headers[out->n_headers++] = (http_header){line, value};
    return 0;
}

const char *http_find_header(const http_head *head, const char *name) {
    for (size_t i = 0; i < head->n_headers; i++) {
        if (strcasecmp(head->headers[i].name, name) == 0) return head->headers[i].value;
    }
    return NULL;
}

static size_t count_headers(const http_head *head, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < head->n_headers; i++) n += strcasecmp(head->headers[i].name, name) == 0;
    return n;
}

/* Digits alone, of which no more than fit. */
static bool parse_length(const char *text, uint64_t *out) {
    const size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18 || text[n]) return false;
    *out = 0;
    for (; *text; text++) *out = *out * 10 + (uint64_t)(*text - '0');
    return true;
}

/* Where the body ends must have one answer. */
static int check_framing(http_head *head, const char **why) {
    static const char *const singles[] = {"Host",         "Content-Length", "Transfer-Encoding",
                                          "Content-Type", "Authorization",  "X-Api-Key",
                                          "Origin",       "Expect"};
    *why = "a header that may be given once is given twice";
    for (size_t i = 0; i < sizeof singles / sizeof *singles; i++) {
        if (count_headers(head, singles[i]) > 1) return 400;
    }
    *why = "a request in HTTP/1.1 needs a Host";
    if (head->minor == 1 && !http_find_header(head, "Host")) return 400;
    const char *length = http_find_header(head, "Content-Length");
    const char *coding = http_find_header(head, "Transfer-Encoding");
    *why = "Content-Length is no number of bytes";
    if (length && !parse_length(length, &head->content_length)) return 400;
    if (!coding) return 0;
    *why = "Content-Length and Transfer-Encoding exclude each other";
    if (length) return 400;
    *why = "Transfer-Encoding is for HTTP/1.1";
    if (head->minor == 0) return 400;
    *why = "the only Transfer-Encoding is 'chunked'";
    if (strcasecmp(coding, "chunked") != 0) return 501;
    head->is_chunked = true;
    return 0;
}

/* Is the word in the list of a Connection header? */
static bool has_word(const char *list, const char *word) {
    const size_t length = strlen(word);
    while (list && *list) {
        list += strspn(list, " \t,");
        const size_t n = strcspn(list, " \t,");
        if (n == length && strncasecmp(list, word, n) == 0) return true;
        list += n;
    }
    return false;
}

static int read_options(http_head *head, const char **why) {
    const char *connection = http_find_header(head, "Connection");
    head->keeps_alive = head->minor == 1 ? !has_word(connection, "close") : has_word(connection, "keep-alive");
    const char *expect = http_find_header(head, "Expect");
    if (!expect) return 0;
    *why = "the only thing to Expect is '100-continue'";
    if (strcasecmp(expect, "100-continue") != 0) return 417;
    head->wants_continue = head->minor == 1;
    return 0;
}

int http_parse_head(char *text, size_t length, http_head *out, const char **why) {
    char *at = text;
    const char *end = text + length;
    *out = (http_head){0};
    *why = "a line of the request does not end with CR LF";
    char *line = take_line(&at, end);
    if (!line) return 400;
    int status = parse_request_line(line, out, why);
    while (status == 0) {
        *why = "a line of the request does not end with CR LF";
        line = take_line(&at, end);
        if (!line) return 400;
        if (!*line) break;
        status = parse_header(line, out, why);
    }
    if (status == 0) status = check_framing(out, why);
    if (status == 0) status = read_options(out, why);
    return status;
}

/* ---- chunks ------------------------------------------------------------------------------------ */

enum { SIZE_LINE, DATA, DATA_CR, DATA_LF, TRAILER };

#define TRAILER_BYTES 4096

/* "1f" or "1f;extension", then CR. */
static bool parse_size(const char *line, size_t length, uint64_t *out) {
    size_t n = 0;
    *out = 0;
    for (; n < length && n < 16; n++) {
        const char c = line[n];
        const char *digits = "0123456789abcdef", *at = strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);
        if (!c || !at) break;
        *out = *out << 4 | (uint64_t)(at - digits);
    }
    return n > 0 && n < 16 && (n == length || line[n] == ';');
}

/* A byte of the line with a size. */
static int take_size_byte(http_chunks *chunks, char c) {
    if (c != '\n') {
        if (chunks->n_line == sizeof chunks->line || c == '\0') return HTTP_CHUNKS_BAD;
        chunks->line[chunks->n_line++] = c;
        return HTTP_CHUNKS_MORE;
    }
    if (chunks->n_line == 0 || chunks->line[chunks->n_line - 1] != '\r') return HTTP_CHUNKS_BAD;
    if (memchr(chunks->line, '\r', chunks->n_line - 1)) return HTTP_CHUNKS_BAD;
    if (!parse_size(chunks->line, chunks->n_line - 1, &chunks->left)) return HTTP_CHUNKS_BAD;
    chunks->n_line = 0;
    chunks->state = chunks->left > 0 ? DATA : TRAILER;
    return HTTP_CHUNKS_MORE;
}

/* A byte of the lines behind the last chunk, which are read over; an empty one ends them. */
static int take_trailer_byte(http_chunks *chunks, char c) {
    if (++chunks->n_trailer > TRAILER_BYTES) return HTTP_CHUNKS_BAD;
    if (c != '\n') {
        if (chunks->line_bytes > 0 && chunks->line[0] == '\r') return HTTP_CHUNKS_BAD;
        chunks->line[0] = c; /* the latest byte */
        chunks->line_bytes++;
        return HTTP_CHUNKS_MORE;
    }
    if (chunks->line_bytes == 0 || chunks->line[0] != '\r') return HTTP_CHUNKS_BAD;
    if (chunks->line_bytes == 1) return HTTP_CHUNKS_DONE;
    chunks->line_bytes = 0;
    chunks->line[0] = '\0';
    return HTTP_CHUNKS_MORE;
}

static int take_byte(http_chunks *chunks, char c) {
    switch (chunks->state) {
        case SIZE_LINE: return take_size_byte(chunks, c);
        case DATA_CR: chunks->state = DATA_LF; return c == '\r' ? HTTP_CHUNKS_MORE : HTTP_CHUNKS_BAD;
        case DATA_LF: chunks->state = SIZE_LINE; return c == '\n' ? HTTP_CHUNKS_MORE : HTTP_CHUNKS_BAD;
        default: return take_trailer_byte(chunks, c);
    }
}

int http_chunks_take(http_chunks *chunks, const char *data, size_t length, size_t limit, nlm_str *body,
                     size_t *out_used) {
    size_t at = 0;
    int result = HTTP_CHUNKS_MORE;
    while (at < length && result == HTTP_CHUNKS_MORE) {
        if (chunks->state != DATA) {
            result = take_byte(chunks, data[at++]);
            if (chunks->state == DATA && chunks->left > limit - body->length) result = HTTP_CHUNKS_TOO_LONG;
            continue;
        }
        const size_t n = chunks->left < length - at ? (size_t)chunks->left : length - at;
        nlm_str_append(body, data + at, n);
        at += n;
        chunks->left -= n;
        if (chunks->left == 0) chunks->state = DATA_CR;
    }
    *out_used = at;
    return result;
}
