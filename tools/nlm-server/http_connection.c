/* One connection: requests in, one after the other, answers out, and none of it for longer than its time. */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "nlm-server/http_internal.h"

#define LINGER_SECONDS 2
#define SEND_FACTOR    10 /* a whole answer may take so many times write_seconds */

static void set_timer(connection *c, double seconds) {
    const struct timeval time = {.tv_sec = (time_t)seconds,
                                 .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    if (seconds > 0)
        event_add(c->timer, &time);
    else
        event_del(c->timer);
}

void connection_free(connection *c) {
    exchange_finish(&c->x);
    exchange_reset(&c->x);
    if (c->next) c->next->link = c->link;
    *c->link = c->next;
    c->server->n_connections--;
    if (c->timer) event_free(c->timer);
    bufferevent_free(c->bev);
    free(c);
}

void connection_kill(connection *c) {
    const struct timeval now = {0};
    if (c->is_dead) return;
    c->is_dead = true;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    event_add(c->timer, &now);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static void refuse(connection *c, int status, const char *why) {
    http_options *options = &c->server->options;
    c->closes = true;
    c->x.is_refused = true;
    c->state = ANSWER;
    set_timer(c, 0);
    options->on_refused(options->user, &c->x, status, why);
}

static void hand_over(connection *c) {
    http_options *options = &c->server->options;
    c->state = ANSWER;
    set_timer(c, 0);
    if (c->x.body.has_failed)
        refuse(c, 503, "no memory for the body of the request");
    else
        options->on_request(options->user, &c->x);
}

static void say_continue(connection *c) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    bufferevent_write(c->bev, text, sizeof text - 1);
}

static void begin_body(connection *c) {
    http_options *options = &c->server->options;
    const http_head *head = &c->x.head;
    const bool has_body = head->is_chunked || head->content_length > 0;
    if (head->content_length > options->limits.body_bytes) {
        refuse(c, 413, "the body of the request is longer than the server takes");
        return;
    }
    if (!options->on_head(options->user, &c->x)) {
        if (has_body) c->closes = true;
        return;
    }
    if (!has_body) {
        hand_over(c);
        return;
    }
    if (head->wants_continue) say_continue(c);
    c->state = READ_BODY;
    set_timer(c, options->limits.body_seconds);
}

/* true: a head was there, and the state is another. */
static bool read_head(connection *c) {
    struct evbuffer *input = bufferevent_get_input(c->bev);
    const http_limits *limits = &c->server->options.limits;
    const char *why = "";
    const size_t available = evbuffer_get_length(input);
    if (available == 0) return false;
    if (!c->x.is_open) {
        c->x.is_open = true;
        c->x.start_ns = nlm_clock_ns();
        set_timer(c, limits->head_seconds);
    }
    const struct evbuffer_ptr end = evbuffer_search(input, "\r\n\r\n", 4, NULL);
    if (end.pos < 0 || (size_t)end.pos > limits->head_bytes) {
        if (available <= limits->head_bytes) return false;
        refuse(c, 431, "the request line and headers are longer than the server takes");
        return true;
    }
    const size_t length = (size_t)end.pos + 4;
    c->x.head_text = malloc(length + 1);
    if (!c->x.head_text) {
        refuse(c, 503, "no memory for the headers of the request");
        return true;
    }
    evbuffer_remove(input, c->x.head_text, length);
    c->x.head_text[length] = '\0';
    const int status = http_parse_head(c->x.head_text, length, &c->x.head, &why);
    if (status != 0) {
        c->x.head.method = c->x.head.path = c->x.head.query = "";
        c->x.head.minor = 1;
        refuse(c, status, why);
        return true;
    }
    c->x.is_head = strcmp(c->x.head.method, "HEAD") == 0;
    if (!c->x.head.keeps_alive || c->server->is_draining) c->closes = true;
    c->state = ANSWER; /* unless there is a body to read */
    set_timer(c, 0);
    begin_body(c);
    return true;
}

static void read_plain_body(connection *c, struct evbuffer *input) {
    const size_t left = (size_t)c->x.head.content_length - c->x.body.length;
    size_t n = evbuffer_get_contiguous_space(input);
    if (n > left) n = left;
    nlm_str_append(&c->x.body, (const char *)evbuffer_pullup(input, (ssize_t)n), n);
    evbuffer_drain(input, n);
    if (c->x.body.has_failed || c->x.body.length == c->x.head.content_length) hand_over(c);
}

static void read_chunks(connection *c, struct evbuffer *input) {
    const size_t n = evbuffer_get_contiguous_space(input);
    size_t used = 0;
    const int result = http_chunks_take(&c->x.chunks, (const char *)evbuffer_pullup(input, (ssize_t)n), n,
                                        c->server->options.limits.body_bytes, &c->x.body, &used);
    evbuffer_drain(input, used);
    if (result == HTTP_CHUNKS_DONE || c->x.body.has_failed) {
        hand_over(c);
    } else if (result == HTTP_CHUNKS_BAD) {
        refuse(c, 400, "a chunk of the body is malformed");
    } else if (result == HTTP_CHUNKS_TOO_LONG) {
        refuse(c, 413, "the body of the request is longer than the server takes");
    }
}

static void advance(connection *c) {
    struct evbuffer *input = bufferevent_get_input(c->bev);
    while (!c->is_dead && evbuffer_get_length(input) > 0) {
        switch (c->state) {
            case READ_HEAD:
                if (!read_head(c)) return;
                break;
            case READ_BODY:
                if (c->x.head.is_chunked)
                    read_chunks(c, input);
                else
                    read_plain_body(c, input);
                break;
            case LINGER: evbuffer_drain(input, evbuffer_get_length(input)); return;
            default: return; /* the next request waits */
        }
    }
}

static void on_read(struct bufferevent *bev, void *user) {
    (void)bev;
    advance(user);
}

/* ---- writing ------------------------------------------------------------------------------------ */

void connection_answered(connection *c) {
    const double seconds = SEND_FACTOR * c->server->options.limits.write_seconds;
    c->x.on_close = NULL;
    if (c->is_dead) return;
    c->state = SEND;
    set_timer(c, seconds);
    /* Told by on_write, when all is out; at once, if all is. */
    bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

static void linger(connection *c) {
    c->state = LINGER;
    if (c->server->options.tls) {
        SSL *ssl = bufferevent_openssl_get_ssl(c->bev);
        if (ssl) SSL_shutdown(ssl);
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    set_timer(c, LINGER_SECONDS);
    advance(c);
}

static void on_write(struct bufferevent *bev, void *user) {
    connection *c = user;
    if (c->is_dead || c->state != SEND || evbuffer_get_length(bufferevent_get_output(bev)) > 0) return;
    exchange_finish(&c->x);
    exchange_reset(&c->x);
    if (c->closes || c->server->is_draining) {
        linger(c);
        return;
    }
    c->state = READ_HEAD;
    set_timer(c, c->server->options.limits.idle_seconds);
    advance(c);
}

static void on_event(struct bufferevent *bev, short what, void *user) {
    (void)bev;
    connection *c = user;
    if ((what & BEV_EVENT_EOF) && !(what & BEV_EVENT_ERROR) && c->state == SEND) {
        c->closes = true; /* it has said all, and may still read the answer */
        bufferevent_disable(c->bev, EV_READ);
        return;
    }
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) connection_free(c);
}

static void on_timer(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    connection *c = user;
    const bool is_reading = c->state == READ_BODY || (c->state == READ_HEAD && c->x.is_open);
    if (c->is_dead || !is_reading)
        connection_free(c);
    else
        refuse(c, 408, "the request did not come in time");
}

void connection_open(http_server *server, int fd, const char *peer) {
    const int flags = BEV_OPT_CLOSE_ON_FREE;
    struct bufferevent *bev = NULL;
    SSL *ssl = server->options.tls ? SSL_new(server->options.tls) : NULL;
    connection *c = calloc(1, sizeof *c);
    evutil_make_socket_nonblocking(fd);
    if (c && ssl) {
        bev = bufferevent_openssl_socket_new(server->options.base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, flags);
    } else if (c && !server->options.tls) {
        bev = bufferevent_socket_new(server->options.base, fd, flags);
    }
    if (c) c->timer = evtimer_new(server->options.base, on_timer, c);
    if (!c || !bev || !c->timer) {
        if (bev)
            bufferevent_free(bev);
        else
            close(fd);
        if (ssl && !c) SSL_free(ssl);
        if (c && c->timer) event_free(c->timer);
        free(c);
        return;
    }
    if (ssl) bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    c->server = server;
    c->bev = bev;
    c->x.owner = c;
    memcpy(c->peer, peer, sizeof c->peer);
    exchange_reset(&c->x);
    c->link = &server->connections;
    c->next = server->connections;
    if (c->next) c->next->link = &c->next;
    server->connections = c;
    server->n_connections++;
    const double seconds = server->options.limits.write_seconds;
    const struct timeval stall = {.tv_sec = (time_t)seconds,
                                  .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    bufferevent_set_timeouts(bev, NULL, seconds > 0 ? &stall : NULL);
    bufferevent_setwatermark(bev, EV_READ, 0, server->options.limits.head_bytes + (64u << 10));
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    set_timer(c, server->options.limits.head_seconds);
}
