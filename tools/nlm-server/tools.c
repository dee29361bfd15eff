/* Reading calls of tools. */
#include "nlm-server/tools.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "nlm-server/json_in.h"

static const char *const markers[] = {"<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<function="};
#define N_MARKERS (sizeof markers / sizeof *markers)

typedef struct span {
    const char *at, *end;
} span;

static bool begins(span s, const char *word) {
    const size_t n = strlen(word);
    return (size_t)(s.end - s.at) >= n && memcmp(s.at, word, n) == 0;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static span trim(span s) {
    while (s.at < s.end && is_blank(*s.at)) s.at++;
    while (s.at < s.end && is_blank(s.end[-1])) s.end--;
    return s;
}

static const char *find(span s, const char *word) {
    return s.at < s.end ? memmem(s.at, (size_t)(s.end - s.at), word, strlen(word)) : NULL;
}

/* With the digits that numbers have; *out_end, where it is asked for: behind it. */
static cJSON *parse_json(span text, const char **out_end) {
    const char *end = text.end;
    cJSON *root = cJSON_ParseWithLengthOpts(text.at, (size_t)(text.end - text.at), &end, 0);
    if (out_end) *out_end = end;
    if (!root || nlm_json_keep_digits(root, text.at, (size_t)(end - text.at))) return root;
    cJSON_Delete(root);
    return NULL;
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

static const cJSON *find_tool(const cJSON *tools, const char *name) {
    for (const cJSON *tool = tools ? tools->child : NULL; tool; tool = tool->next) {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(function, "name");
        if (cJSON_IsString(own) && strcmp(own->valuestring, name) == 0) return function;
    }
    return NULL;
}

/* Takes over `arguments`. */
static bool add_call(tool_calls *out, const char *name, char *arguments) {
    tool_call *items = realloc(out->items, (out->count + 1) * sizeof *items);
    char *copy = strdup(name);
    if (items) out->items = items;
    if (!items || !copy || !arguments) {
        free(copy);
        free(arguments);
        return false;
    }
    out->items[out->count++] = (tool_call){.name = copy, .arguments = arguments};
    return true;
}

static void drop_calls(tool_calls *out, size_t keep) {
    while (out->count > keep) {
        out->count--;
        free(out->items[out->count].name);
        free(out->items[out->count].arguments);
    }
}

/* {"name", "arguments" or "parameters"}: an object, or the text of one. false: it is no call of a tool that is there.
 */
static bool read_call(const cJSON *item, const cJSON *tools, tool_calls *out, bool *has_failed) {
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(item, "function");
    if (cJSON_IsObject(inner)) item = inner;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(item, "name");
    const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(item, "arguments");
    if (!arguments) arguments = cJSON_GetObjectItemCaseSensitive(item, "parameters");
    if (!cJSON_IsString(name) || !find_tool(tools, name->valuestring)) return false;
    const char *written = cJSON_GetStringValue(arguments);
    cJSON *parsed = written ? parse_json((span){written, written + strlen(written)}, NULL) : NULL;
    const bool is_object = cJSON_IsObject(arguments) || cJSON_IsObject(parsed);
    if (is_object || !arguments) {
        char *text = !arguments ? strdup("{}") : cJSON_PrintUnformatted(parsed ? parsed : arguments);
        if (!add_call(out, name->valuestring, text)) *has_failed = true;
    }
    cJSON_Delete(parsed);
    return is_object || !arguments;
}

/* One call, or an array of them, up to `most` with those that *out has: all of it, or nothing. *out_end: behind the
 * JSON. */
static bool read_json(span text, const cJSON *tools, size_t most, tool_calls *out, const char **out_end,
                      bool *has_failed) {
    const size_t before = out->count;
    cJSON *root = parse_json(text, out_end);
    bool is_read = cJSON_IsObject(root) || (cJSON_IsArray(root) && root->child);
    if (cJSON_IsArray(root)) {
        for (const cJSON *item = root->child; item && is_read; item = item->next) {
            is_read = read_call(item, tools, out, has_failed);
        }
    } else if (is_read) {
        is_read = read_call(root, tools, out, has_failed);
    }
    cJSON_Delete(root);
    if (out->count > most) is_read = false;
    if (!is_read) drop_calls(out, before);
    return is_read;
}

/* ---- <function=NAME> --------------------------------------------------------------------------------------- */

/* A value of XML as the schema has it: what is no string is JSON. */
static cJSON *read_value(span value, const cJSON *function, const char *key) {
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(function, "parameters");
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(parameters, "properties");
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(properties, key), "type");
    const bool is_string = !cJSON_IsString(type) || strcmp(type->valuestring, "string") == 0;
    cJSON *parsed = is_string ? NULL : parse_json(value, NULL);
    if (parsed) return parsed;
    char *copy = strndup(value.at, (size_t)(value.end - value.at));
    cJSON *text = copy ? cJSON_CreateString(copy) : NULL;
    free(copy);
    return text;
}

/* Less one newline at each side, as the form is written. */
static span value_of(const char *from, const char *end) {
    if (from < end && *from == '\n') from++;
    if (from < end && end[-1] == '\n') end--;
    return (span){from, end};
}

/* <parameter=KEY>VALUE</parameter>... as an object. */
static char *read_parameters(span body, const cJSON *function) {
    cJSON *object = cJSON_CreateObject();
    bool is_whole = object != NULL;
    for (span s = trim(body); is_whole && s.at < s.end; s = trim(s)) {
        const char *close = begins(s, "<parameter=") ? memchr(s.at, '>', (size_t)(s.end - s.at)) : NULL;
        const char *end = close ? find((span){close, s.end}, "</parameter>") : NULL;
        char *key = end ? strndup(s.at + 11, (size_t)(close - s.at - 11)) : NULL;
        cJSON *value = key ? read_value(value_of(close + 1, end), function, key) : NULL;
        is_whole =
            value && !cJSON_GetObjectItemCaseSensitive(object, key) && cJSON_AddItemToObject(object, key, value);
        if (!is_whole) cJSON_Delete(value);
        free(key);
        if (is_whole) s.at = end + strlen("</parameter>");
    }
    char *text = is_whole ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    return text;
}

/* <function=NAME>{...}</function>, or with parameters. */
static bool read_function(span text, const cJSON *tools, tool_calls *out, const char **out_end, bool *has_failed) {
    const char *close = memchr(text.at, '>', (size_t)(text.end - text.at));
    const char *end = close ? find((span){close, text.end}, "</function>") : NULL;
    if (!end) return false;
    char *name = strndup(text.at + 10, (size_t)(close - text.at - 10));
    const cJSON *function = name ? find_tool(tools, name) : NULL;
    span body = trim((span){close + 1, end});
    char *arguments = NULL;
    if (function && begins(body, "{")) {
        cJSON *object = parse_json(body, NULL);
        arguments = cJSON_IsObject(object) ? cJSON_PrintUnformatted(object) : NULL;
        cJSON_Delete(object);
    } else if (function) {
        arguments = read_parameters(body, function);
    }
    const bool is_read = arguments != NULL;
    if (is_read && !add_call(out, name, arguments)) *has_failed = true;
    free(name);
    *out_end = end + strlen("</function>");
    return is_read;
}

/* ---- the text ----------------------------------------------------------------------------------------------- */

/* What stands behind the marker at text.at; *out_end: behind the call and what closes it. */
static bool read_marked(span text, size_t marker, const cJSON *tools, size_t most, tool_calls *out,
                        const char **out_end, bool *has_failed) {
    if (out->count >= most) return false;
    if (marker == 3) return read_function(text, tools, out, out_end, has_failed);
    span body = {text.at + strlen(markers[marker]), text.end};
    while (body.at < body.end && is_blank(*body.at)) body.at++;
    const bool is_read = begins(body, "<function=") ? read_function(body, tools, out, out_end, has_failed)
                                                    : read_json(body, tools, most, out, out_end, has_failed);
    if (!is_read || marker != 0) return is_read;
    span rest = {*out_end, text.end};
    while (rest.at < rest.end && is_blank(*rest.at)) rest.at++;
    if (begins(rest, "</tool_call>")) *out_end = rest.at + strlen("</tool_call>");
    return true;
}

/* The first marker in the text; N_MARKERS: there is none. */
static size_t find_marker(span text, const char **out_at) {
    size_t found = N_MARKERS;
    *out_at = text.end;
    for (size_t i = 0; i < N_MARKERS; i++) {
        const char *at = find(text, markers[i]);
        if (!at || at >= *out_at) continue;
        *out_at = at;
        found = i;
    }
    return found;
}

static void put(nlm_str *content, const char *from, const char *end) {
    nlm_str_append(content, from, (size_t)(end - from));
}

/* Blanks around calls are no content. */
static void trim_content(nlm_str *content) {
    while (content->length > 0 && is_blank(content->data[content->length - 1])) content->length--;
    if (content->data) content->data[content->length] = '\0';
}

bool tools_parse(const char *text, size_t length, const cJSON *tools, size_t most, tool_calls *out) {
    span rest = {text, text + length};
    bool has_failed = false;
    *out = (tool_calls){0};
    const span whole = trim(rest);
    const char *end = NULL;
    if ((begins(whole, "{") || begins(whole, "[")) && !begins(whole, "[TOOL_CALLS]") &&
        read_json(whole, tools, most, out, &end, &has_failed)) {
        rest.at = end;
        rest = trim(rest);
        /* Several of them, with a semicolon between. */
        while (begins(rest, ";") &&
               read_json(trim((span){rest.at + 1, rest.end}), tools, most, out, &end, &has_failed)) {
            rest.at = end;
            rest = trim(rest);
        }
    }
    while (rest.at < rest.end) {
        const char *at;
        const size_t marker = find_marker(rest, &at);
        put(&out->content, rest.at, at);
        rest.at = at;
        if (marker == N_MARKERS) break;
        if (read_marked(rest, marker, tools, most, out, &end, &has_failed)) {
            rest.at = end;
            if (out->count > 0) trim_content(&out->content);
        } else {
            put(&out->content, at, at + strlen(markers[marker]));
            rest.at += strlen(markers[marker]);
        }
    }
    if (out->count > 0) trim_content(&out->content);
    return !has_failed && !out->content.has_failed;
}

void tools_release(tool_calls *calls) {
    drop_calls(calls, 0);
    free(calls->items);
    nlm_str_release(&calls->content);
    *calls = (tool_calls){0};
}

size_t tools_ready(const char *text, size_t length) {
    const span all = {text, text + length};
    const span whole = trim(all);
    const char *at;
    if (whole.at == whole.end || begins(whole, "{") || begins(whole, "[")) return 0;
    find_marker(all, &at);
    size_t ready = (size_t)(at - text);
    for (size_t i = 0; i < N_MARKERS && at == all.end; i++) { /* an end that a marker begins with */
        const size_t most = strlen(markers[i]) - 1;
        for (size_t n = length < most ? length : most; n > 0; n--) {
            if (memcmp(text + length - n, markers[i], n) == 0 && length - n < ready) ready = length - n;
        }
    }
    while (ready > 0 && is_blank(text[ready - 1])) ready--; /* no content, if a call follows */
    return ready;
}

const char *tools_prefix(const char *template_text) {
    static const struct {
        const char *in_template, *prefix;
    } known[] = {{"<tool_call>", "<tool_call>\n"}, {"[TOOL_CALLS]", "[TOOL_CALLS]"}};
    for (size_t i = 0; template_text && i < sizeof known / sizeof *known; i++) {
        if (strstr(template_text, known[i].in_template)) return known[i].prefix;
    }
    return NULL;
}
