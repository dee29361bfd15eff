/* The HTTP server: who connects, and what is told of requests. */
#include "nlm-server/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "nlm-server/http_internal.h"

static void name_peer(const struct sockaddr *address, char out[64]) {
    const char *name = NULL;
    if (address->sa_family == AF_INET) {
        name = inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, 64);
    } else if (address->sa_family == AF_INET6) {
        name = inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, out, 64);
    }
    if (!name) memcpy(out, "unix", 5);
}

static void accept_one(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length,
                       void *user) {
    (void)listener;
    (void)length;
    http_server *server = user;
    char peer[64];
    const int one = 1;
    name_peer(address, peer);
    if (server->n_connections >= server->options.limits.connections) {
        close(fd); /* sooner than all of them slower: its client sees the connection end */
        return;
    }
    if (address->sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection_open(server, fd, peer);
}

/* Too many open files: the listener rests a while rather than spin. */
static void wake_listener(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    evconnlistener_enable(user);
}

static void accept_failed(struct evconnlistener *listener, void *user) {
    http_server *server = user;
    const struct timeval soon = {.tv_usec = 200000};
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) return;
    evconnlistener_disable(listener);
    event_base_once(server->options.base, -1, EV_TIMEOUT, wake_listener, listener, &soon);
}

nlm_status http_server_create(const http_options *options, http_server **out, nlm_error *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return nlm_fail(err, NLM_OUT_OF_MEMORY, "server", "no memory");
    (*out)->options = *options;
    return NLM_OK;
}

nlm_status http_server_listen(http_server *server, int fd, nlm_error *err) {
    if (server->n_listeners == LISTENERS_MAX) {
        close(fd);
        return nlm_fail(err, NLM_LIMIT, "server", "at most %d sockets are listened on", LISTENERS_MAX);
    }
    evutil_make_socket_nonblocking(fd);
    struct evconnlistener *listener = evconnlistener_new(server->options.base, accept_one, server,
                                                         LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 256, fd);
    if (!listener) {
        close(fd);
        return nlm_fail(err, NLM_IO, "server", "cannot listen");
    }
    evconnlistener_set_error_cb(listener, accept_failed);
    server->listeners[server->n_listeners++] = listener;
    return NLM_OK;
}

static void stop_listening(http_server *server) {
    for (size_t i = 0; i < server->n_listeners; i++) evconnlistener_free(server->listeners[i]);
    server->n_listeners = 0;
}

void http_server_drain(http_server *server) {
    stop_listening(server);
    server->is_draining = true;
    for (connection *c = server->connections; c; c = c->next) {
        c->closes = true;
        if (c->state == READ_HEAD || c->state == LINGER) connection_kill(c);
    }
}

void http_server_destroy(http_server *server) {
    if (!server) return;
    stop_listening(server);
    while (server->connections) connection_free(server->connections);
    free(server);
}

uint32_t http_server_connections(const http_server *server) {
    return server->n_connections;
}

/* ---- the exchange ------------------------------------------------------------------------------ */

const http_head *http_request(const http_exchange *x) {
    return &x->head;
}

const char *http_body(const http_exchange *x, size_t *out_length) {
    *out_length = x->body.length;
    return x->body.data ? x->body.data : "";
}

nlm_str http_take_body(http_exchange *x) {
    const nlm_str body = x->body;
    x->body = (nlm_str){0};
    return body;
}

const char *http_peer(const http_exchange *x) {
    return x->owner->peer;
}

void http_on_close(http_exchange *x, void (*fn)(void *user), void *user) {
    x->on_close = fn;
    x->close_user = user;
}

int http_status(const http_exchange *x) {
    return x->status;
}

double http_seconds(const http_exchange *x) {
    return (double)(nlm_clock_ns() - x->start_ns) * 1e-9;
}

uint64_t http_bytes(const http_exchange *x) {
    return x->bytes;
}

void exchange_finish(http_exchange *x) {
    if (!x->is_open) return;
    x->is_open = false;
    http_server *server = x->owner->server;
    void (*on_close)(void *) = x->on_close;
    x->on_close = NULL;
    if (on_close) {
        x->status = 499;
        on_close(x->close_user);
    }
    server->options.on_done(server->options.user, x);
}

void exchange_reset(http_exchange *x) {
    connection *owner = x->owner;
    free(x->head_text);
    nlm_str_release(&x->body);
    nlm_str_release(&x->headers);
    *x = (http_exchange){.owner = owner};
    x->head.method = x->head.path = x->head.query = "";
}

/* ---- answers ------------------------------------------------------------------------------------ */

const char *http_status_text(int status) {
    static const struct {
        int status;
        const char *text;
    } texts[] = {{100, "Continue"},
                 {200, "OK"},
                 {204, "No Content"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {421, "Misdirected Request"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].status == status) return texts[i].text;
    }
    return "Status";
}

void http_add_header(http_exchange *x, const char *name, const char *value) {
    for (const char *at = value; *at; at++) {
        if (*at == '\r' || *at == '\n') return; /* would be a header of its own */
    }
    nlm_str_printf(&x->headers, "%s: %s\r\n", name, value);
}

static void put(http_exchange *x, const char *data, size_t length) {
    if (length == 0 || x->owner->is_dead) return;
    x->bytes += length;
    if (bufferevent_write(x->owner->bev, data, length) != 0) connection_kill(x->owner);
}

/* framing: "Content-Length: 5\r\n", or of a stream. */
static void put_head(http_exchange *x, int status, const char *content_type, const char *framing) {
    nlm_str text = {0};
    x->status = status;
    nlm_str_printf(&text, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
    if (content_type) nlm_str_printf(&text, "Content-Type: %s\r\n", content_type);
    nlm_str_printf(&text, "%sConnection: %s\r\n", framing, x->owner->closes ? "close" : "keep-alive");
    nlm_str_puts(&text, "X-Content-Type-Options: nosniff\r\n");
    if (x->headers.data) nlm_str_puts(&text, x->headers.data);
    nlm_str_puts(&text, "\r\n");
    if (text.has_failed || x->headers.has_failed)
        connection_kill(x->owner);
    else
        put(x, text.data, text.length);
    nlm_str_release(&text);
}

void http_reply(http_exchange *x, int status, const char *content_type, const char *body, size_t length) {
    char framing[64];
    snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", length);
    put_head(x, status, content_type, status == 204 ? "" : framing);
    if (!x->is_head && status != 204) put(x, body, length);
    connection_answered(x->owner);
}

void http_stream_begin(http_exchange *x, int status, const char *content_type) {
    x->is_chunked = x->head.minor == 1;
    if (!x->is_chunked) x->owner->closes = true;
    put_head(x, status, content_type, x->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

void http_stream_write(http_exchange *x, const char *data, size_t length) {
    char size[32];
    connection *c = x->owner;
    if (length == 0 || x->is_head || c->is_dead) return;
    const size_t waits = evbuffer_get_length(bufferevent_get_output(c->bev));
    if (waits + length > c->server->options.limits.output_bytes) {
        connection_kill(c); /* a client that does not read */
        return;
    }
    if (x->is_chunked) put(x, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", length));
    put(x, data, length);
    if (x->is_chunked) put(x, "\r\n", 2);
}

void http_stream_end(http_exchange *x) {
    if (x->is_chunked && !x->is_head) put(x, "0\r\n\r\n", 5);
    connection_answered(x->owner);
}
