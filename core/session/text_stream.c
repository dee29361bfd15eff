/* Pieces of tokens put together, held back while they may become a stop string. */
#include "session/text_stream.h"

#include <string.h>

#include "base/status.h"

nlm_status nlm_text_stream_begin(nlm_text_stream *stream, const char *const *stops, size_t n_stops, nlm_error *err) {
    if (n_stops > NLM_STOPS_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "stop strings", "%zu are given; at most %d can be", n_stops,
                        NLM_STOPS_MAX);
    }
    for (size_t i = 0; i < n_stops; i++) {
        if (!stops[i] || !stops[i][0]) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "stop strings", "number %zu is empty", i + 1);
        }
        stream->stops[i] = stops[i];
        stream->stop_lengths[i] = strlen(stops[i]);
    }
    stream->n_stops = n_stops;
    return NLM_OK;
}

/* After an append that may have failed: both strings as long as they were. */
static nlm_status check_memory(nlm_text_stream *stream, size_t before, nlm_error *err) {
    if (!stream->pending.has_failed && !stream->marks.has_failed) return NLM_OK;
    stream->pending.length = stream->marks.length = before;
    stream->pending.has_failed = stream->marks.has_failed = false;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "session", "no memory for text");
}

nlm_status nlm_text_stream_add(nlm_text_stream *stream, const char *text, size_t length, bool is_hidden,
                               nlm_error *err) {
    const size_t before = stream->pending.length;
    nlm_str_append(&stream->pending, text, length);
    for (size_t i = 0; i < length; i++) {
        const char mark = !is_hidden ? NLM_TEXT_SHOWN : i == 0 ? NLM_TEXT_HIDDEN : NLM_TEXT_HIDDEN_TAIL;
        nlm_str_append(&stream->marks, &mark, 1);
    }
    return check_memory(stream, before, err);
}

/* The bytes that are taken together at `at`: a hidden token's, or one that is shown. */
static size_t unit(const nlm_str *marks, size_t at) {
    size_t n = 1;
    while (at + n < marks->length && marks->data[at + n] == NLM_TEXT_HIDDEN_TAIL) n++;
    return n;
}

typedef enum match { NO_MATCH, BEGINS /* and the text ends before it does */, STANDS } match;

/* Whether a stop string stands at `at`. Inside it hidden tokens that it does not spell are passed over. */
static match match_at(const nlm_text_stream *stream, size_t stop, size_t at) {
    const nlm_str *pending = &stream->pending, *marks = &stream->marks;
    const char *left = stream->stops[stop];
    size_t n_left = stream->stop_lengths[stop], n;
    const size_t first = at;
    for (; n_left > 0 && at < pending->length; at += n) {
        n = unit(marks, at);
        if (n <= n_left && memcmp(pending->data + at, left, n) == 0) {
            left += n;
            n_left -= n;
        } else if (marks->data[at] == NLM_TEXT_SHOWN || at == first) {
            return NO_MATCH;
        }
    }
    return n_left > 0 ? BEGINS : STANDS;
}

/* The first place where a stop string stands or, as *out_stop tells, may come to stand. */
static size_t find_stop(const nlm_text_stream *stream, int32_t *out_stop) {
    const size_t length = stream->pending.length;
    size_t stands = length, begins = length, n;
    for (size_t i = 0; i < stream->n_stops; i++) {
        for (size_t at = 0; at < stands; at += n) {
            n = unit(&stream->marks, at);
            if (at >= begins && stream->stop_lengths[i] > length - at) break;
            const match found = match_at(stream, i, at);
            if (found == BEGINS && at < begins) begins = at;
            if (found != STANDS) continue;
            stands = at;
            *out_stop = (int32_t)i;
        }
    }
    return *out_stop < 0 ? begins : stands;
}

size_t nlm_text_stream_ready(const nlm_text_stream *stream, int32_t *out_stop) {
    *out_stop = -1;
    if (stream->pending.length == 0) return 0;
    const size_t end = find_stop(stream, out_stop);
    return *out_stop < 0 ? nlm_utf8_complete(stream->pending.data, end) : end;
}

size_t nlm_text_stream_rest(const nlm_text_stream *stream) {
    if (stream->pending.length == 0) return 0;
    return nlm_utf8_complete(stream->pending.data, stream->pending.length);
}

size_t nlm_text_stream_run(const nlm_text_stream *stream, size_t length, bool *out_is_shown) {
    const char *marks = stream->marks.data;
    size_t n = 1;
    *out_is_shown = marks[0] == NLM_TEXT_SHOWN;
    while (n < length && (marks[n] == NLM_TEXT_SHOWN) == *out_is_shown) n++;
    return n;
}

size_t nlm_text_stream_held(const nlm_text_stream *stream) {
    size_t n = 0;
    for (size_t i = 0; i < stream->marks.length; i++) n += stream->marks.data[i] == NLM_TEXT_SHOWN;
    return n;
}

static void drop_front(nlm_str *str, size_t length) {
    memmove(str->data, str->data + length, str->length - length);
    str->length -= length;
    str->data[str->length] = '\0';
}

void nlm_text_stream_drop(nlm_text_stream *stream, size_t length) {
    if (length == 0) return;
    drop_front(&stream->pending, length);
    drop_front(&stream->marks, length);
}

void nlm_text_stream_cut(nlm_text_stream *stream, size_t length) {
    stream->pending.length = stream->marks.length = length;
}

void nlm_text_stream_clear(nlm_text_stream *stream) {
    nlm_text_stream_cut(stream, 0);
}

nlm_status nlm_text_stream_set(nlm_text_stream *stream, const char *text, const char *marks, size_t length,
                               nlm_error *err) {
    nlm_text_stream_clear(stream);
    if (length == 0) return NLM_OK;
    nlm_str_append(&stream->pending, text, length);
    nlm_str_append(&stream->marks, marks, length);
    return check_memory(stream, 0, err);
}

nlm_status nlm_text_stream_copy(nlm_text_stream *to, const nlm_text_stream *from, nlm_error *err) {
    return nlm_text_stream_set(to, from->pending.data, from->marks.data, from->pending.length, err);
}

void nlm_text_stream_release(nlm_text_stream *stream) {
    nlm_str_release(&stream->pending);
    nlm_str_release(&stream->marks);
}
