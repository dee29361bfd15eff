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
    stream->pending.length = 0;
    return NLM_OK;
}

/* The first place where a stop string stands, or NULL. */
static const char *find_stop(const nlm_text_stream *stream, int32_t *out_stop) {
    const char *first = NULL;
    for (size_t i = 0; i < stream->n_stops; i++) {
        const char *at =
            memmem(stream->pending.data, stream->pending.length, stream->stops[i], stream->stop_lengths[i]);
        if (!at || (first && at >= first)) continue;
        first = at;
        *out_stop = (int32_t)i;
    }
    return first;
}

/* The length of the longest end of `text` with which a stop string begins. */
static size_t held_back(const nlm_text_stream *stream, const char *text, size_t length) {
    size_t longest = 0;
    for (size_t i = 0; i < stream->n_stops; i++) {
        size_t n = stream->stop_lengths[i] - 1;
        if (n > length) n = length;
        while (n > longest && memcmp(text + length - n, stream->stops[i], n) != 0) n--;
        if (n > longest) longest = n;
    }
    return longest;
}

size_t nlm_text_stream_ready(const nlm_text_stream *stream, int32_t *out_stop) {
    *out_stop = -1;
    const nlm_str *pending = &stream->pending;
    if (pending->length == 0) return 0;
    const char *stop = find_stop(stream, out_stop);
    if (stop) return (size_t)(stop - pending->data);
    return nlm_utf8_complete(pending->data, pending->length - held_back(stream, pending->data, pending->length));
}

size_t nlm_text_stream_rest(const nlm_text_stream *stream) {
    if (stream->pending.length == 0) return 0;
    return nlm_utf8_complete(stream->pending.data, stream->pending.length);
}

void nlm_text_stream_drop(nlm_text_stream *stream, size_t length) {
    nlm_str *pending = &stream->pending;
    if (length == 0) return;
    memmove(pending->data, pending->data + length, pending->length - length);
    pending->length -= length;
    pending->data[pending->length] = '\0';
}

void nlm_text_stream_release(nlm_text_stream *stream) {
    nlm_str_release(&stream->pending);
}
