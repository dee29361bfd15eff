/* Warm-up, and the four ways to go on. */
#include "train/schedule.h"

#include <math.h>

/* 1 up to step `from`, falling to 0 at the last; which has all of it where they are the same. */
static double left_after(const nlm_schedule *s, uint64_t from, uint64_t step) {
    if (step <= from) return 1;
    return 1 - (double)(step - from) / (double)(s->steps - 1 - from);
}

double nlm_schedule_rate(const nlm_schedule *s, uint64_t step) {
    if (step >= s->steps) step = s->steps ? s->steps - 1 : 0;
    if (step < s->warmup) return s->rate * (double)(step + 1) / (double)s->warmup;
    double share = 1;
    switch (s->kind) {
        case NLM_SCHEDULE_COSINE: share = 0.5 - 0.5 * cos(acos(-1) * left_after(s, s->warmup, step)); break;
        case NLM_SCHEDULE_LINEAR: share = left_after(s, s->warmup, step); break;
        case NLM_SCHEDULE_WSD: share = left_after(s, s->steps > s->decay ? s->steps - s->decay : 0, step); break;
        case NLM_SCHEDULE_CONSTANT: break;
    }
    return s->rate * (s->floor + (1 - s->floor) * share);
}
