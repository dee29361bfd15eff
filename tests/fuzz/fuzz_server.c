/* What nlm-server reads of clients and models: requests of HTTP, bodies in chunks, JSON, calls of tools. */
#include <cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nlm-server/http_parse.h"
#include "nlm-server/json_in.h"
#include "nlm-server/tools.h"

static void read_head(const char *text, size_t length) {
    static http_head head;
    const char *why = "";
    char *copy = malloc(length + 1);
    if (!copy) return;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (http_parse_head(copy, length, &head, &why) == 0 && (!*head.path || !*head.method)) abort();
    free(copy);
}

/* In pieces of any size the body is the same. */
static int read_chunks(const char *text, size_t length, size_t piece, nlm_str *body) {
    http_chunks chunks = {0};
    int result = HTTP_CHUNKS_MORE;
    for (size_t at = 0; at < length && result == HTTP_CHUNKS_MORE;) {
        const size_t n = length - at < piece ? length - at : piece;
        size_t used = 0;
        result = http_chunks_take(&chunks, text + at, n, 4096, body, &used);
        if (used > n || (result == HTTP_CHUNKS_MORE && used != n)) abort();
        at += used;
    }
    return result;
}

static void compare_chunks(const char *text, size_t length) {
    nlm_str whole = {0}, pieces = {0};
    const int first = read_chunks(text, length, length + 1, &whole), second = read_chunks(text, length, 1, &pieces);
    if (first != second || whole.length != pieces.length || whole.length > 4096) abort();
    if (whole.length && memcmp(whole.data, pieces.data, whole.length) != 0) abort();
    nlm_str_release(&whole);
    nlm_str_release(&pieces);
}

static void read_json(const char *text, size_t length) {
    nlm_error err = NLM_ERROR_INIT;
    cJSON *root = NULL;
    if (json_parse(text, length, &root, &err) == NLM_OK && !cJSON_IsObject(root)) abort();
    cJSON_Delete(root);
}

static void read_tools(const char *text, size_t length) {
    cJSON *tools = cJSON_Parse(
        "[{\"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {\"a\": {\"type\": "
        "\"integer\"}}}}}]");
    tool_calls calls;
    if (tools_parse(text, length, tools, length % 5 ? SIZE_MAX : 1, &calls)) {
        const size_t ready = tools_ready(text, length);
        if (ready > calls.content.length) abort();
        if (ready && memcmp(text, calls.content.data, ready) != 0) abort();
        if (calls.count == 0 && calls.content.length != length) abort(); /* nothing is lost */
    }
    tools_release(&calls);
    cJSON_Delete(tools);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data + 1;
    if (size == 0) return 0;
    switch (data[0] % 4) {
        case 0: read_head(text, size - 1); break;
        case 1: compare_chunks(text, size - 1); break;
        case 2: read_json(text, size - 1); break;
        default: read_tools(text, size - 1); break;
    }
    return 0;
}
