/* Text on its way out, of which what may become a stop string is held back. */
#ifndef NLM_SERVER_STOPS_H
#define NLM_SERVER_STOPS_H

#include <stdint.h>
#include "base/str.h"

typedef struct stop_filter {
    char **stops; /* [n_stops] none of them empty; the filter's own */
    size_t n_stops;
    nlm_str pending;
} stop_filter;

/* Copies the strings. false: no memory. */
bool stop_filter_init(stop_filter *filter, const char *const *stops, size_t n_stops);
void stop_filter_release(stop_filter *filter);

/* How many of the pending bytes can be given out: up to the first stop string, whose index goes to *out_stop, or all
 * that no stop string can begin in (-1). */
size_t stop_filter_ready(const stop_filter *filter, int32_t *out_stop);
/* Forgets the first n pending bytes. */
void stop_filter_drop(stop_filter *filter, size_t n);
/* Which stop string text[0..length) is as a whole, or -1. */
int32_t stop_filter_find(const stop_filter *filter, const char *text, size_t length);

#endif
