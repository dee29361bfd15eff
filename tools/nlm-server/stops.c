/* Stop strings in a text that comes piece by piece. */
#include "nlm-server/stops.h"

#include <stdlib.h>
#include <string.h>

bool stop_filter_init(stop_filter *filter, const char *const *stops, size_t n_stops) {
    *filter = (stop_filter){0};
    if (n_stops == 0) return true;
    filter->stops = calloc(n_stops, sizeof *filter->stops);
    if (!filter->stops) return false;
    for (size_t i = 0; i < n_stops; i++) {
        filter->stops[i] = strdup(stops[i]);
        if (!filter->stops[i]) return false;
        filter->n_stops++;
    }
    return true;
}

void stop_filter_release(stop_filter *filter) {
    for (size_t i = 0; i < filter->n_stops; i++) free(filter->stops[i]);
    free(filter->stops);
    nlm_str_release(&filter->pending);
    *filter = (stop_filter){0};
}

/* The length of the longest end of the text that `stop` begins with, the whole of it excepted. */
static size_t begun(const char *text, size_t length, const char *stop) {
    const size_t most = strlen(stop) - 1;
    for (size_t n = length < most ? length : most; n > 0; n--) {
        if (memcmp(text + length - n, stop, n) == 0) return n;
    }
    return 0;
}

size_t stop_filter_ready(const stop_filter *filter, int32_t *out_stop) {
    const char *text = filter->pending.data;
    const size_t length = filter->pending.length;
    size_t ready = length, held = 0;
    *out_stop = -1;
    if (length == 0) return 0;
    for (size_t i = 0; i < filter->n_stops; i++) {
        const char *at = memmem(text, length, filter->stops[i], strlen(filter->stops[i]));
        if (!at || (size_t)(at - text) >= ready) continue;
        ready = (size_t)(at - text);
        *out_stop = (int32_t)i;
    }
    if (*out_stop >= 0) return ready;
    for (size_t i = 0; i < filter->n_stops; i++) {
        const size_t n = begun(text, length, filter->stops[i]);
        if (n > held) held = n;
    }
    return length - held;
}

void stop_filter_drop(stop_filter *filter, size_t n) {
    nlm_str *pending = &filter->pending;
    if (n == 0) return;
    memmove(pending->data, pending->data + n, pending->length - n + 1);
    pending->length -= n;
}

int32_t stop_filter_find(const stop_filter *filter, const char *text, size_t length) {
    for (size_t i = 0; i < filter->n_stops; i++) {
        if (strlen(filter->stops[i]) == length && memcmp(filter->stops[i], text, length) == 0) return (int32_t)i;
    }
    return -1;
}
