/* Calls of tools in what a model writes: whatever form its template taught it, a text that cannot be read as calls is
 * content. */
#ifndef NLM_SERVER_TOOLS_H
#define NLM_SERVER_TOOLS_H

#include <cJSON.h>
#include <nlm/status.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef struct tool_call {
    char *name;
    char *arguments; /* the text of a JSON object */
    char id[40];
} tool_call;

typedef struct tool_calls {
    tool_call *items;
    size_t count;
    nlm_str content; /* what of the text is no call */
} tool_calls;

/* Names that may be called: an array of OpenAI's tools. Reads
 *   <tool_call>{"name": ..., "arguments": {...}}</tool_call>           Hermes, Qwen
 *   <tool_call><function=NAME><parameter=KEY>VALUE</parameter>...      Qwen3-Coder
 *   <function=NAME>{...}</function>                                    Functionary, Llama 3
 *   [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]               Mistral
 *   <|python_tag|>{...}, {"name": ..., "parameters": {...}}, [{...}]   Llama 3.1, or a text that is JSON alone
 * Calls of names that are not there and JSON that is cut stay content, and so do calls behind the first `most` and
 * lists of more than are left. false: no memory. */
bool tools_parse(const char *text, size_t length, const cJSON *tools, size_t most, tool_calls *out);
void tools_release(tool_calls *calls);

/* How many bytes at the beginning of a text that goes on are content, whatever follows. */
size_t tools_ready(const char *text, size_t length);

/* What the model writes before the JSON of a call, after its template's text (or NULL). */
const char *tools_prefix(const char *template_text);

#endif
