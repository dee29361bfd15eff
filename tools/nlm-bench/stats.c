/* Quantiles of samples. */
#include "nlm-bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void samples_add(samples *s, double value) {
    if (s->count < s->capacity) s->values[s->count++] = value;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_quantile(const double *sorted, size_t count, double q) {
    if (count == 0) return NAN;
    const double place = q * (double)(count - 1);
    const size_t below = (size_t)place;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

stats stats_of(const samples *s) {
    const stats none = {0, NAN, NAN, NAN, NAN, NAN, NAN};
    double *sorted = s->count ? malloc(s->count * sizeof *sorted) : NULL;
    if (!sorted) return none;
    memcpy(sorted, s->values, s->count * sizeof *sorted);
    qsort(sorted, s->count, sizeof *sorted, ascending);
    const double median = stats_quantile(sorted, s->count, 0.5);
    const stats result = {.count = s->count,
                          .median = median,
                          .min = sorted[0],
                          .max = stats_quantile(sorted, s->count, 1),
                          .p50 = median,
                          .p95 = stats_quantile(sorted, s->count, 0.95),
                          .p99 = stats_quantile(sorted, s->count, 0.99)};
    free(sorted);
    return result;
}
