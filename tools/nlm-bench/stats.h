/* Samples and their quantiles. */
#ifndef NLM_BENCH_STATS_H
#define NLM_BENCH_STATS_H

#include <stddef.h>

typedef struct samples {
    double *values; /* [capacity], borrowed */
    size_t count, capacity;
} samples;

void samples_add(samples *s, double value); /* past the capacity: dropped */

typedef struct stats {
    size_t count;
    double median, min, max, p50, p95, p99;
} stats;

/* The q-th quantile (0..1) of sorted values[0..count), interpolated between its neighbours. */
double stats_quantile(const double *sorted, size_t count, double q);
/* Sorts a copy; all NaN if there is no sample or no memory. */
stats stats_of(const samples *s);

#endif
