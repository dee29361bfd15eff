/* Any bytes as a chat template, rendered over a conversation within narrow bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const nlm_jinja_limits limits = {
    .steps = 20000, .memory_bytes = 4 << 20, .output_bytes = 1 << 16, .depth = 100};

static nlm_jinja_value message(nlm_jinja_run *run, const char *role, nlm_jinja_value content) {
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    nlm_jinja_put_named(run, made, "role", nlm_jinja_string_static(run, role, NLM_JINJA_TEMPLATE));
    nlm_jinja_put_named(run, made, "content", content);
    return made;
}

static nlm_jinja_value globals_of(nlm_jinja_run *run, const uint8_t *data, size_t size) {
    const nlm_jinja_value messages = nlm_jinja_sequence_new(run, NLM_JINJA_LIST), globals = nlm_jinja_dict_new(run);
    const nlm_jinja_value text =
        nlm_jinja_string_new(run, (const char *)data, size < 100 ? size : 100, NLM_JINJA_WATCHED);
    nlm_jinja_push(run, messages, message(run, "system", nlm_jinja_none()));
    nlm_jinja_push(run, messages, message(run, "user", text));
    nlm_jinja_push(run, messages, message(run, "assistant", nlm_jinja_string_static(run, " x\n", NLM_JINJA_USER)));
    nlm_jinja_put_named(run, globals, "messages", messages);
    nlm_jinja_put_named(run, globals, "tools", nlm_jinja_none());
    nlm_jinja_put_named(run, globals, "number", nlm_jinja_float(1.5));
    nlm_jinja_put_named(run, globals, "bos_token", nlm_jinja_string_static(run, "<s>", NLM_JINJA_TEMPLATE));
    nlm_jinja_put_named(run, globals, "add_generation_prompt", nlm_jinja_bool(true));
    return globals;
}

/* Ascending, apart, within the text. */
static void check_spans(const nlm_str *text, const nlm_text_spans *spans) {
    size_t end = 0;
    for (size_t i = 0; i < spans->count; i++) {
        if (spans->data[i].from < end || spans->data[i].to <= spans->data[i].from) abort();
        end = spans->data[i].to;
    }
    if (end > text->length) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_jinja *jinja = NULL;
    if (nlm_jinja_create((const char *)data, size, &jinja, &err) != NLM_OK) return 0;
    nlm_jinja_run *run = nlm_jinja_run_create(&limits, &err);
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    nlm_text_span watched;
    if (run && nlm_jinja_render(jinja, run, globals_of(run, data, size), &text, &spans, &watched, &err) == NLM_OK) {
        check_spans(&text, &spans);
    }
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
    nlm_jinja_run_destroy(run);
    nlm_jinja_destroy(jinja);
    return 0;
}
