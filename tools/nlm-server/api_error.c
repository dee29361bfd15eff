/* Failures as OpenAI's clients expect them, and Anthropic's on its own paths. */
#include <string.h>

#include "nlm-server/json_out.h"
#include "nlm-server/server.h"

static bool is_anthropic(const http_exchange *x) {
    return strncmp(http_request(x)->path, "/v1/messages", 12) == 0;
}

static const char *type_of(int status, bool anthropic) {
    switch (status) {
        case 401: return "authentication_error";
        case 403: return "permission_error";
        case 404: return "not_found_error";
        case 413: return anthropic ? "request_too_large" : "invalid_request_error";
        case 429: return "rate_limit_error";
        case 503: return "overloaded_error";
        case 504: return "timeout_error";
        default: return status < 500 ? "invalid_request_error" : anthropic ? "api_error" : "server_error";
    }
}

int api_status_of(nlm_status status) {
    switch (status) {
        case NLM_INVALID_ARGUMENT:
        case NLM_BAD_FORMAT: return 400;
        case NLM_NOT_FOUND: return 404;
        case NLM_LIMIT: return 429;
        case NLM_UNSUPPORTED: return 400;
        case NLM_OUT_OF_MEMORY: return 503;
        default: return 500;
    }
}

/* Clients cut their conversation where they find "context_length_exceeded". */
static void put_code(json_out *j, int status, bool is_too_long) {
    if (is_too_long)
        json_string(j, "code", "context_length_exceeded");
    else if (status == 401)
        json_string(j, "code", "invalid_api_key");
    else
        json_null(j, "code");
}

static void error_json(const http_exchange *x, int status, const char *param, const char *message, bool is_too_long,
                       nlm_str *out) {
    json_out j = json_begin(out);
    const bool anthropic = is_anthropic(x);
    json_object(&j, NULL);
    if (anthropic) json_string(&j, "type", "error");
    json_object(&j, "error");
    json_string(&j, "message", message);
    json_string(&j, "type", type_of(status, anthropic));
    if (!anthropic) {
        if (param && *param)
            json_string(&j, "param", param);
        else
            json_null(&j, "param");
        put_code(&j, status, is_too_long);
    }
    json_end_object(&j);
    json_end_object(&j);
}

void api_error_json(const http_exchange *x, int status, const char *param, const char *message, nlm_str *out) {
    error_json(x, status, param, message, false, out);
}

void api_reply_json(server *s, http_exchange *x, int status, const nlm_str *body) {
    static const char lost[] =
        "{\"error\":{\"message\":\"no memory for the answer\",\"type\":\"server_error\","
        "\"param\":null,\"code\":null}}";
    (void)s;
    if (body->has_failed)
        http_reply(x, 503, "application/json", lost, sizeof lost - 1);
    else
        http_reply(x, status, "application/json", body->data, body->length);
}

static void fail(server *s, http_exchange *x, int status, const char *param, const char *message, bool is_too_long) {
    nlm_str body = {0};
    error_json(x, status, param, message, is_too_long, &body);
    if (status == 429 || status == 503) http_add_header(x, "Retry-After", "1");
    if (status == 401) http_add_header(x, "WWW-Authenticate", "Bearer");
    api_reply_json(s, x, status, &body);
    nlm_str_release(&body);
}

void api_fail(server *s, http_exchange *x, int status, const char *param, const char *message) {
    fail(s, x, status, param, message, false);
}

void api_fail_with(server *s, http_exchange *x, const nlm_error *err) {
    const bool is_too_long = err->code == NLM_INVALID_ARGUMENT && err->native_code == TASK_TOO_LONG;
    fail(s, x, api_status_of(err->code), err->where, err->msg[0] ? err->msg : nlm_status_string(err->code),
         is_too_long);
}
