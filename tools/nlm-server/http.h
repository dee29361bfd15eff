/* A server of HTTP/1.1 on one event loop: what the rest of nlm-server knows of the network.
 *
 * The parser is this program's own (http_parse.h), over libevent's buffered sockets: libevent's evhttp reads requests
 * leniently, and ends the process when data comes where it expects none. Everything happens on the loop's thread. */
#ifndef NLM_SERVER_HTTP_H
#define NLM_SERVER_HTTP_H

#include <nlm/status.h>

#include "nlm-server/http_parse.h"

struct event_base;
struct ssl_ctx_st;

typedef struct http_server http_server;
/* One request and its answer. It is valid until it was answered in full, or until on_close was called. */
typedef struct http_exchange http_exchange;

typedef struct http_limits {
    size_t head_bytes;   /* request line and headers */
    size_t body_bytes;   /* of a request */
    size_t output_bytes; /* of an answer that wait to be sent: a stream that has more ends */
    uint32_t connections;
    double head_seconds;  /* from the first byte of a request to the end of its headers */
    double body_seconds;  /* until its body is complete */
    double idle_seconds;  /* between requests */
    double write_seconds; /* without a byte going out while some wait */
} http_limits;

typedef struct http_options {
    struct event_base *base;
    http_limits limits;
    struct ssl_ctx_st *tls; /* NULL: none */
    /* The headers have come. false: it has been answered, and the body is not wanted. */
    bool (*on_head)(void *user, http_exchange *x);
    /* The request is complete: it is answered now or later. */
    void (*on_request)(void *user, http_exchange *x);
    /* The request is refused for what it is: to be answered, after which the connection ends. */
    void (*on_refused)(void *user, http_exchange *x, int status, const char *why);
    /* An answer has been sent, or will not be: its client has gone (status 499). */
    void (*on_done)(void *user, const http_exchange *x);
    void *user;
} http_options;

nlm_status http_server_create(const http_options *options, http_server **out, nlm_error *err);
/* Closes all. */
void http_server_destroy(http_server *server);
/* Takes over a listening socket. */
nlm_status http_server_listen(http_server *server, int fd, nlm_error *err);
/* Takes no more connections, closes idle ones, and the others after their answers. */
void http_server_drain(http_server *server);
uint32_t http_server_connections(const http_server *server);

/* ---- a request ------------------------------------------------------------------------------- */

const http_head *http_request(const http_exchange *x);
const char *http_body(const http_exchange *x, size_t *out_length);
/* The body, which is the caller's then. */
nlm_str http_take_body(http_exchange *x);
/* "127.0.0.1", "::1", "unix". */
const char *http_peer(const http_exchange *x);
/* Called once if the client goes away before the answer is complete; NULL: nobody is. */
void http_on_close(http_exchange *x, void (*fn)(void *user), void *user);

/* ---- its answer ------------------------------------------------------------------------------- */

/* Before the answer begins. */
void http_add_header(http_exchange *x, const char *name, const char *value);
/* The whole answer. */
void http_reply(http_exchange *x, int status, const char *content_type, const char *body, size_t length);
/* An answer piece by piece. */
void http_stream_begin(http_exchange *x, int status, const char *content_type);
void http_stream_write(http_exchange *x, const char *data, size_t length);
void http_stream_end(http_exchange *x);

/* For on_done: of the answer, seconds since the request began, bytes of the answer. */
int http_status(const http_exchange *x);
double http_seconds(const http_exchange *x);
uint64_t http_bytes(const http_exchange *x);
const char *http_status_text(int status);

#endif
