/* Who may ask for what: hosts, origins, keys, paths. */
#include "nlm-server/routes.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "nlm-server/anthropic.h"
#include "nlm-server/log.h"
#include "nlm-server/openai.h"
#include "nlm-server/responses.h"

typedef struct route {
    const char *method, *path;
    route_handler handler;
    bool is_open;   /* needs no key */
    bool is_prefix; /* of the path, which goes on behind it */
} route;

static const route routes[] = {
    {"GET", "/", info_page, true, false},
    {"GET", "/health", info_health, true, false},
    {"GET", "/v1/health", info_health, true, false},
    {"GET", "/openapi.json", info_openapi, true, false},
    {"GET", "/v1/models", info_models, false, false},
    {"GET", "/v1/models/", info_model, false, true},
    {"GET", "/models", info_models, false, false},
    {"GET", "/props", info_props, false, false},
    {"GET", "/metrics", metrics_answer, false, false},
    {"GET", "/slots", slots_list, false, false},
    {"POST", "/slots/", slots_change, false, true},
    {"POST", "/tokenize", tokens_tokenize, false, false},
    {"POST", "/detokenize", tokens_detokenize, false, false},
    {"POST", "/apply-template", tokens_apply_template, false, false},
    {"POST", "/v1/chat/completions", openai_chat, false, false},
    {"POST", "/chat/completions", openai_chat, false, false},
    {"POST", "/v1/completions", openai_completion, false, false},
    {"POST", "/v1/embeddings", embeddings_create, false, false},
    {"POST", "/embeddings", embeddings_create, false, false},
    {"POST", "/v1/responses", responses_create, false, false},
    {"POST", "/v1/messages", anthropic_messages, false, false},
    {"POST", "/v1/messages/count_tokens", anthropic_count_tokens, false, false},
};

#define N_ROUTES (sizeof routes / sizeof *routes)

static bool matches(const route *r, const char *path) {
    if (r->is_prefix) return strncmp(path, r->path, strlen(r->path)) == 0;
    return strcmp(path, r->path) == 0;
}

/* *out_is_known: there is such a path, for another method maybe. */
static const route *find(const http_head *head, bool *out_is_known) {
    const char *method = strcmp(head->method, "HEAD") == 0 ? "GET" : head->method;
    *out_is_known = false;
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (!matches(&routes[i], head->path)) continue;
        *out_is_known = true;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
    }
    return NULL;
}

const char *routes_path(const http_exchange *x) {
    bool is_known;
    const route *r = find(http_request(x), &is_known);
    return r ? r->path : "";
}

/* ---- hosts and origins ------------------------------------------------------------------------------ */

/* "localhost:8080" and "[::1]:8080" to "localhost" and "::1". */
static bool host_name(const char *host, char *out, size_t size) {
    const bool is_bracketed = *host == '[';
    const char *from = is_bracketed ? host + 1 : host;
    const size_t length = strcspn(from, is_bracketed ? "]" : ":");
    if (length == 0 || length >= size) return false;
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

static bool is_local(const char *name) {
    const size_t length = strlen(name);
    if (strcasecmp(name, "localhost") == 0 || strcmp(name, "::1") == 0) return true;
    if (length > 10 && strcasecmp(name + length - 10, ".localhost") == 0) return true;
    struct in_addr address;
    return inet_pton(AF_INET, name, &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

static bool is_address(const char *name) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool is_listed(const nlm_config_strings *list, const char *text) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->items[i], text) == 0 || strcmp(list->items[i], "*") == 0) return true;
    }
    return false;
}

/* Without keys, a page of somebody's may reach a server that is local by giving its own name the address 127.0.0.1:
 * then the name in Host is that page's. */
static bool host_is_allowed(const server *s, const char *host) {
    char name[256];
    if (!host) return true; /* HTTP/1.0: no browser */
    if (!host_name(host, name, sizeof name)) return false;
    if (is_listed(&s->set->allowed_hosts, name)) return true;
    if (s->set->allowed_hosts.count == 0 && s->keys.are_needed) return true;
    return is_local(name) || is_address(name) || strcasecmp(name, s->set->host) == 0;
}

static bool origin_is_allowed(const server *s, const http_head *head, const char *origin) {
    char name[256];
    const char *host = http_find_header(head, "Host");
    if (is_listed(&s->set->cors_origins, origin)) return true;
    const char *authority = strstr(origin, "://");
    if (!authority) return false;
    authority += 3;
    if (host && strcasecmp(authority, host) == 0) return true;
    return host_name(authority, name, sizeof name) && is_local(name);
}

static bool check_origin(server *s, http_exchange *x) {
    const http_head *head = http_request(x);
    const char *host = http_find_header(head, "Host"), *origin = http_find_header(head, "Origin");
    if (!host_is_allowed(s, host)) {
        api_fail(s, x, 421, NULL,
                 "the Host of the request is none of this server's: server.allowed_hosts lists those that are");
        return false;
    }
    if (!origin) return true;
    if (!origin_is_allowed(s, head, origin)) {
        api_fail(s, x, 403, NULL,
                 "pages of this Origin may not use this server: server.cors_origins lists those that may");
        return false;
    }
    http_add_header(x, "Access-Control-Allow-Origin", origin);
    http_add_header(x, "Vary", "Origin");
    return true;
}

/* What a browser asks before a page's request. */
static void answer_preflight(http_exchange *x) {
    http_add_header(x, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    http_add_header(x, "Access-Control-Allow-Headers",
                    "Authorization, Content-Type, X-Api-Key, Anthropic-Version, Anthropic-Beta, "
                    "Anthropic-Dangerous-Direct-Browser-Access, OpenAI-Organization, OpenAI-Project, OpenAI-Beta, "
                    "X-Stainless-Arch, X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, "
                    "X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout");
    http_add_header(x, "Access-Control-Max-Age", "86400");
    http_reply(x, 204, NULL, "", 0);
}

/* ---- keys -------------------------------------------------------------------------------------------- */

static const char *key_of(const http_exchange *x) {
    const http_head *head = http_request(x);
    const char *bearer = http_find_header(head, "Authorization");
    if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0) return bearer + 7 + strspn(bearer + 7, " ");
    return http_find_header(head, "X-Api-Key");
}

uint64_t routes_client(const server *s, const http_exchange *x) {
    const char *key = s->keys.are_needed ? key_of(x) : NULL;
    const char *who = key ? key : http_peer(x);
    uint64_t hash = UINT64_C(1469598103934665603); /* FNV-1a: clients that collide share their turns */
    for (; *who; who++) hash = (hash ^ (unsigned char)*who) * UINT64_C(1099511628211);
    return hash;
}

/* ---- requests ------------------------------------------------------------------------------------------ */

/* Before the body is read. */
static bool on_head(void *user, http_exchange *x) {
    server *s = user;
    bool is_known;
    const http_head *head = http_request(x);
    if (!check_origin(s, x)) return false;
    const route *r = find(head, &is_known);
    if (strcmp(head->method, "OPTIONS") == 0 && (is_known || strcmp(head->path, "*") == 0)) {
        answer_preflight(x);
        return false;
    }
    if (!r && is_known) {
        http_add_header(x, "Allow", "GET, POST, OPTIONS");
        api_fail(s, x, 405, NULL, "this path takes another method");
        return false;
    }
    if (!r) {
        api_fail(s, x, 404, NULL, "there is no such path; /openapi.json lists those that are");
        return false;
    }
    if (!r->is_open && !keys_allow(&s->keys, key_of(x))) {
        api_fail(s, x, 401, NULL, "the API key is missing or not one of this server's");
        return false;
    }
    return true;
}

static void on_request(void *user, http_exchange *x) {
    server *s = user;
    bool is_known;
    const route *r = find(http_request(x), &is_known);
    r->handler(s, x); /* on_head found it */
}

static void on_refused(void *user, http_exchange *x, int status, const char *why) {
    api_fail(user, x, status, NULL, why);
}

static void on_done(void *user, const http_exchange *x) {
    server *s = user;
    const int status = http_status(x);
    s->counts.by_class[status == 499 || status < 100 ? 0 : status / 100 % 6]++;
    log_request(x);
}

void routes_install(server *s, http_options *options) {
    options->on_head = on_head;
    options->on_request = on_request;
    options->on_refused = on_refused;
    options->on_done = on_done;
    options->user = s;
}
