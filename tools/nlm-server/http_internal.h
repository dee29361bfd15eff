/* Connections of the HTTP server. */
#ifndef NLM_SERVER_HTTP_INTERNAL_H
#define NLM_SERVER_HTTP_INTERNAL_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "nlm-server/http.h"

typedef struct connection connection;

typedef enum connection_state {
    READ_HEAD,
    READ_BODY,
    ANSWER, /* the request is the handler's */
    SEND,   /* the answer is complete, and goes out */
    LINGER  /* nothing goes out any more; what comes is read over until the client closes too */
} connection_state;

struct http_exchange {
    connection *owner;
    char *head_text; /* what `head` points into */
    http_head head;
    nlm_str body;
    http_chunks chunks;
    nlm_str headers; /* of the answer */
    void (*on_close)(void *user);
    void *close_user;
    uint64_t start_ns, bytes;
    int status;
    bool is_open;    /* a request has come, and on_done has not been told yet */
    bool is_chunked; /* the answer */
    bool is_head;
    bool is_refused;
};

struct connection {
    connection *next, **link;
    http_server *server;
    struct bufferevent *bev;
    struct event *timer;
    connection_state state;
    bool closes;  /* after this answer */
    bool is_dead; /* to be freed by the timer, outside of what calls it now */
    char peer[64];
    http_exchange x;
};

#define LISTENERS_MAX 16

struct http_server {
    http_options options;
    struct evconnlistener *listeners[LISTENERS_MAX];
    size_t n_listeners;
    connection *connections;
    uint32_t n_connections;
    bool is_draining;
};

/* Takes over the accepted socket. */
void connection_open(http_server *server, int fd, const char *peer);
/* Its exchange is told, and gone. */
void connection_free(connection *c);
/* Soon, outside of what runs now. */
void connection_kill(connection *c);
/* The request is answered in full. */
void connection_answered(connection *c);

/* Sent, or never to be: tells on_done once. */
void exchange_finish(http_exchange *x);
void exchange_reset(http_exchange *x);

#endif
