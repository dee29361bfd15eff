/* HTTP over a blocking socket: as much of it as answers of servers need. */
#include "nlm-bench/server_client.h"

#include <cJSON.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"

#define LINE_MAX_BYTES (1 << 20)

nlm_status server_url_read(const char *text, server_url *out, nlm_error *err) {
    const char *host = strncmp(text, "http://", 7) == 0 ? text + 7 : "";
    const char *end = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":/");
    const bool has_brackets = *host == '[' && end;
    if (has_brackets) host++;
    const size_t n = end ? (size_t)(end - host) : 0;
    const char *port = end && *(end += has_brackets) == ':' ? end + 1 : "80";
    const size_t n_port = strspn(port, "0123456789");
    const char *rest = end && *end == ':' ? port + n_port : end;
    *out = (server_url){.text = text};
    if (n == 0 || n >= sizeof out->host || n_port == 0 || n_port > 5 || atoi(port) > 65535 ||
        (*rest && strcmp(rest, "/") != 0)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "--server", "'%s' is not as http://host:port", text);
    }
    memcpy(out->host, host, n);
    memcpy(out->port, port, n_port);
    return NLM_OK;
}

typedef struct reader {
    int fd;
    char data[16384];
    size_t at, end;
    bool is_chunked;
    size_t chunk; /* bytes of the chunk that are left */
    bool is_over;
    int failure; /* errno of what ended it */
} reader;

/* The next byte as it comes; -1: there is none. */
static int next_raw(reader *r) {
    if (r->at == r->end) {
        const ssize_t n = recv(r->fd, r->data, sizeof r->data, 0);
        if (n < 0) r->failure = errno;
        if (n <= 0) return -1;
        r->at = 0;
        r->end = (size_t)n;
    }
    return (unsigned char)r->data[r->at++];
}

/* A line without its end; false: there is none. */
static bool read_line(reader *r, int (*next)(reader *), nlm_str *out) {
    int c;
    out->length = 0;
    while ((c = next(r)) >= 0 && c != '\n' && out->length < LINE_MAX_BYTES) {
        const char byte = (char)c;
        if (c != '\r') nlm_str_append(out, &byte, 1);
    }
    nlm_str_puts(out, "");
    return (c == '\n' || out->length > 0) && !out->has_failed;
}

/* The next byte of the body. */
static int next_of_body(reader *r) {
    if (!r->is_chunked) return next_raw(r);
    if (r->is_over) return -1;
    if (r->chunk == 0) {
        nlm_str line = {0};
        bool is_there;
        do is_there = read_line(r, next_raw, &line);
        while (is_there && line.length == 0); /* what ends the chunk before */
        r->chunk = is_there ? strtoul(line.data, NULL, 16) : 0;
        r->is_over = is_there && r->chunk == 0;
        nlm_str_release(&line);
        if (r->chunk == 0) return -1;
    }
    r->chunk--;
    return next_raw(r);
}

/* errno of a call that a timeout of its socket ended says something else. */
static bool is_timeout(int code) {
    return code == EAGAIN || code == EWOULDBLOCK || code == EINPROGRESS;
}

static nlm_status fail_errno(const server_url *url, int code, const char *what, nlm_error *err) {
    if (is_timeout(code))
        return nlm_fail(err, NLM_IO, url->text, "%s: nothing came for %lld s; --timeout N waits longer", what,
                        (long long)url->timeout);
    errno = code;
    return nlm_fail_errno(err, NLM_IO, url->text, "%s", what);
}

static bool set_timeout(int fd, const server_url *url) {
    const struct timeval time = {.tv_sec = url->timeout};
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0;
}

static nlm_status open_socket(const server_url *url, int *out, nlm_error *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    const int code = getaddrinfo(url->host, url->port, &hints, &all);
    if (code != 0) return nlm_fail(err, NLM_IO, url->text, "%s", gai_strerror(code));
    *out = -1;
    for (const struct addrinfo *one = all; one && *out < 0; one = one->ai_next) {
        const int fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
        if (fd >= 0 && set_timeout(fd, url) && connect(fd, one->ai_addr, one->ai_addrlen) == 0)
            *out = fd;
        else if (fd >= 0)
            close(fd);
    }
    const int reason = errno;
    freeaddrinfo(all);
    return *out >= 0 ? NLM_OK : fail_errno(url, reason, "no connection", err);
}

static nlm_status send_request(int fd, const server_url *url, const char *key, const char *body, nlm_error *err) {
    nlm_str text = {0};
    nlm_str_printf(&text,
                   "POST /v1/completions HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
                   "Connection: close\r\nContent-Length: %zu\r\n",
                   url->host, url->port, strlen(body));
    if (key) nlm_str_printf(&text, "Authorization: Bearer %s\r\n", key);
    nlm_str_printf(&text, "\r\n%s", body);
    nlm_status status = text.has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, url->text, "no memory") : NLM_OK;
    for (size_t at = 0; status == NLM_OK && at < text.length;) {
        const ssize_t n = send(fd, text.data + at, text.length - at, MSG_NOSIGNAL);
        if (n < 0)
            status = fail_errno(url, errno, "the request cannot be sent", err);
        else
            at += (size_t)n;
    }
    nlm_str_release(&text);
    return status;
}

/* The status line and the headers. */
static nlm_status read_head(reader *r, const server_url *url, int *out_code, nlm_error *err) {
    nlm_str line = {0};
    *out_code = 0;
    if (read_line(r, next_raw, &line) && strncmp(line.data, "HTTP/1.", 7) == 0 && line.length > 12) {
        *out_code = atoi(line.data + 9);
    }
    while (read_line(r, next_raw, &line) && line.length > 0) {
        if (strcasecmp(line.data, "transfer-encoding: chunked") == 0) r->is_chunked = true;
    }
    nlm_str_release(&line);
    if (*out_code) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, url->text, "the answer is no HTTP");
}

static bool has_text(const cJSON *event) {
    const cJSON *choice;
    cJSON_ArrayForEach(choice, cJSON_GetObjectItemCaseSensitive(event, "choices")) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(choice, "text"));
        if (text && *text) return true;
    }
    return false;
}

/* Pieces of text, in events of which each is a line. */
static nlm_status read_pieces(reader *r, const server_url *url, uint64_t start, server_answer *out, nlm_error *err) {
    nlm_str line = {0};
    nlm_status status = NLM_OK;
    uint64_t last = 0, n = 0;
    while (status == NLM_OK && read_line(r, next_of_body, &line)) {
        cJSON *event = strncmp(line.data, "data: {", 7) == 0 ? cJSON_Parse(line.data + 6) : NULL;
        const cJSON *usage = cJSON_GetObjectItemCaseSensitive(event, "usage");
        const cJSON *count = cJSON_GetObjectItemCaseSensitive(usage, "completion_tokens");
        if (cJSON_GetObjectItemCaseSensitive(event, "error")) {
            status = nlm_fail(err, NLM_UNSUPPORTED, url->text, "%.300s", line.data + 6);
        } else if (has_text(event)) {
            const uint64_t now = nlm_clock_ns();
            if (n++ == 0)
                out->first_seconds = (double)(now - start) * 1e-9;
            else
                samples_add(out->gaps, (double)(now - last) * 1e-9);
            last = now;
        }
        if (cJSON_IsNumber(count)) out->tokens = (uint64_t)count->valuedouble;
        cJSON_Delete(event);
    }
    nlm_str_release(&line);
    if (status == NLM_OK && n == 0) status = nlm_fail(err, NLM_BAD_FORMAT, url->text, "no text came");
    if (out->tokens == 0) out->tokens = n;
    return status;
}

static nlm_status read_answer(reader *r, const server_url *url, uint64_t start, server_answer *out, nlm_error *err) {
    int code;
    NLM_TRY(read_head(r, url, &code, err));
    if (code == 200) return read_pieces(r, url, start, out, err);
    nlm_str line = {0};
    read_line(r, next_of_body, &line);
    nlm_fail(err, NLM_UNSUPPORTED, url->text, "status %d: %.300s", code, line.data ? line.data : "");
    nlm_str_release(&line);
    return NLM_UNSUPPORTED;
}

/* An answer that ended before its end is none, however much of it came; what the server says of a failure is. */
static nlm_status check_whole(const reader *r, const server_url *url, nlm_status status, nlm_error *err) {
    static const char what[] = "the answer broke off";
    if (status == NLM_UNSUPPORTED) return status;
    if (r->failure) return fail_errno(url, r->failure, what, err);
    if (r->is_chunked && !r->is_over)
        return nlm_fail(err, NLM_IO, url->text, "%s: the connection was closed in the middle of it", what);
    return status;
}

nlm_status server_ask(const server_url *url, const char *key, const char *body, server_answer *out, nlm_error *err) {
    reader *r = malloc(sizeof *r);
    if (!r) return nlm_fail(err, NLM_OUT_OF_MEMORY, url->text, "no memory");
    *r = (reader){.fd = -1};
    out->first_seconds = 0;
    out->tokens = 0;
    const uint64_t start = nlm_clock_ns();
    nlm_status status = open_socket(url, &r->fd, err);
    if (status == NLM_OK) status = send_request(r->fd, url, key, body, err);
    if (status == NLM_OK) status = check_whole(r, url, read_answer(r, url, start, out, err), err);
    if (r->fd >= 0) close(r->fd);
    free(r);
    return status;
}
