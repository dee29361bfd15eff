/* Warm-up, and the four ways to go on. */
#include "train/schedule.h"

#include <math.h>

/* 1 at the first step after `from`, falling to 0 at the last. */
static double left_after(const nlm_schedule *s, uint64_t from, uint64_t step) {
    if (step < from) return 1;
    if (s->steps <= from + 1) return 0;
    const double done = (double)(step - from) / (double)(s->steps - 1 - from);
    return done < 1 ? 1 - done : 0;
}

double nlm_schedule_rate(const nlm_schedule *s, uint64_t step) {
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
