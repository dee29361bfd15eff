/* A rendering of a chat template: what it may take, its failure, and its result. */
#include "text/jinja_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/jinja_lexer.h"

/* A second or so; far above what conversations that fill a context of a million tokens need. Depth is bounded by the
 * stack of a thread: each level takes a few hundred bytes in each of several functions. */
const nlm_jinja_limits nlm_jinja_default_limits = {
    .steps = 1u << 26, .memory_bytes = (size_t)1 << 30, .output_bytes = (size_t)1 << 28, .depth = 400};

bool nlm_jinja_has_failed(const nlm_jinja_run *run) {
    return run->status != NLM_OK;
}

static nlm_jinja_value fail_with(nlm_jinja_run *run, nlm_status code, const char *format, va_list args) {
    if (run->status == NLM_OK) {
        char message[400], where[64];
        vsnprintf(message, sizeof message, format, args);
        snprintf(where, sizeof where, NLM_JINJA_WHERE, run->line);
        run->status = nlm_fail(&run->error, code, where, "%s", message);
    }
    return nlm_jinja_undefined(NULL);
}

nlm_jinja_value nlm_jinja_fail(nlm_jinja_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const nlm_jinja_value none = fail_with(run, NLM_INVALID_ARGUMENT, format, args);
    va_end(args);
    return none;
}

void nlm_jinja_fail_as(nlm_jinja_run *run, nlm_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail_with(run, code, format, args);
    va_end(args);
}

nlm_jinja_value nlm_jinja_missing(nlm_jinja_run *run, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *why = nlm_jinja_alloc(run, strlen(text) + 1, 1);
    if (why) memcpy(why, text, strlen(text) + 1);
    return nlm_jinja_undefined(why);
}

bool nlm_jinja_spend(nlm_jinja_run *run, uint64_t steps) {
    if (run->status != NLM_OK) return false;
    if (steps <= run->limits.steps - run->steps) {
        run->steps += steps;
        return true;
    }
    nlm_jinja_fail_as(run, NLM_LIMIT, "the template takes more than %llu steps",
                      (unsigned long long)run->limits.steps);
    return false;
}

bool nlm_jinja_enter(nlm_jinja_run *run) {
    if (!nlm_jinja_spend(run, 1)) return false;
    if (run->depth < run->limits.depth) {
        run->depth++;
        return true;
    }
    nlm_jinja_fail_as(run, NLM_LIMIT,
                      "the template has more than %u expressions, blocks and macros within one another",
                      run->limits.depth);
    return false;
}

void nlm_jinja_exit(nlm_jinja_run *run) {
    run->depth--;
}

void *nlm_jinja_alloc(nlm_jinja_run *run, size_t count, size_t element_bytes) {
    size_t bytes;
    if (run->status != NLM_OK) return NULL;
    if (__builtin_mul_overflow(count, element_bytes, &bytes) || bytes > run->limits.memory_bytes - run->bytes) {
        nlm_jinja_fail_as(run, NLM_LIMIT, "the template takes more than %zu MiB of memory",
                          run->limits.memory_bytes >> 20);
        return NULL;
    }
    void *memory = nlm_arena_alloc(&run->arena, bytes);
    if (memory) {
        run->bytes += bytes;
    } else {
        nlm_jinja_fail_as(run, NLM_OUT_OF_MEMORY, "no memory to render the template");
    }
    return memory;
}

nlm_jinja_run *nlm_jinja_run_create(const nlm_jinja_limits *limits, nlm_error *err) {
    nlm_jinja_run *run = calloc(1, sizeof *run);
    if (!run) {
        nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory to render the template");
        return NULL;
    }
    run->limits = *limits;
    run->error = (nlm_error)NLM_ERROR_INIT;
    return run;
}

void nlm_jinja_note_generations(nlm_jinja_run *run, nlm_text_spans *out) {
    run->generations = out;
}

void nlm_jinja_run_destroy(nlm_jinja_run *run) {
    if (!run) return;
    nlm_arena_release(&run->arena);
    free(run);
}

/* ---- the result --------------------------------------------------------------------------- */

static bool add_span(nlm_text_spans *spans, size_t from, size_t to) {
    if (spans->count == spans->capacity) {
        const size_t capacity = spans->capacity ? spans->capacity * 2 : 16;
        nlm_text_span *data = realloc(spans->data, capacity * sizeof *data);
        if (!data) return false;
        spans->data = data;
        spans->capacity = capacity;
    }
    spans->data[spans->count++] = (nlm_text_span){from, to};
    return true;
}

void nlm_jinja_note(nlm_jinja_run *run, nlm_text_spans *spans, size_t from, size_t to) {
    if (!add_span(spans, from, to)) nlm_jinja_fail_as(run, NLM_OUT_OF_MEMORY, "no memory for a part of the text");
}

/* The parts of text that users wrote, as parts of what has `offset` bytes in front of it. */
static bool give_spans(const nlm_jinja_text *text, size_t offset, nlm_text_spans *out, nlm_text_span *out_watched) {
    nlm_text_span watched = {0, 0};
    for (size_t at = 0, end; at < text->length; at = end) {
        const bool is_user = text->marks[at] != NLM_JINJA_TEMPLATE;
        for (end = at; end < text->length && (text->marks[end] != NLM_JINJA_TEMPLATE) == is_user; end++) {
            if (text->marks[end] != NLM_JINJA_WATCHED) continue;
            if (watched.to == 0) watched.from = offset + end;
            watched.to = offset + end + 1;
        }
        if (is_user && !add_span(out, offset + at, offset + end)) return false;
    }
    if (out_watched) *out_watched = watched;
    return true;
}

nlm_status nlm_jinja_render(const nlm_jinja *jinja, nlm_jinja_run *run, nlm_jinja_value globals, nlm_str *out,
                            nlm_text_spans *out_spans, nlm_text_span *out_watched, nlm_error *err) {
    nlm_jinja_text text = {0};
    nlm_jinja_scope scope;
    run->globals = globals;
    run->out = run->whole = &text;
    run->line = 1;
    nlm_jinja_push_scope(run, &scope, NULL);
    nlm_jinja_exec(run, jinja->body);
    const size_t offset = out->length;
    if (run->status == NLM_OK) {
        nlm_str_append(out, text.data ? text.data : "", text.length);
        if (out->has_failed || !give_spans(&text, offset, out_spans, out_watched)) {
            nlm_jinja_fail_as(run, NLM_OUT_OF_MEMORY, "no memory for %zu bytes of text", text.length);
        }
    }
    run->seen = text.seen;
    run->scope = NULL;
    run->out = run->whole = NULL;
    if (run->status != NLM_OK) nlm_error_give(err, &run->error);
    return run->status;
}

unsigned nlm_jinja_seen(const nlm_jinja_run *run) {
    return run->seen;
}
