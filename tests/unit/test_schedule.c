/* Learning rates against numbers worked out by hand. */
#include "unit/check.h"

#include "train/schedule.h"

typedef struct line {
    nlm_schedule schedule;
    uint64_t step;
    double rate;
} line;

#define OF(kind, ...) \
    { NLM_SCHEDULE_##kind, __VA_ARGS__ }

/* {kind, rate, floor, steps, warmup, decay} */
static const line lines[] = {
    /* the warm-up rises by as much a step, and its last step has all of it */
    {OF(COSINE, 8, 0.1, 14, 4, 0), 0, 2},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 1, 4},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 2, 6},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 3, 8},
    /* 9 steps from the first after it to the last: 0.8 + 7.2 (1 + cos(pi i / 9)) / 2 */
    {OF(COSINE, 8, 0.1, 14, 4, 0), 4, 8},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 7, 6.2},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 10, 2.6},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 13, 0.8},
    {OF(COSINE, 8, 0.1, 14, 4, 0), 14, 0.8},
    {OF(COSINE, 8, 0.1, 14, 4, 0), UINT64_MAX, 0.8},
    /* without one */
    {OF(COSINE, 3, 0, 3, 0, 0), 0, 3},
    {OF(COSINE, 3, 0, 3, 0, 0), 1, 1.5},
    {OF(COSINE, 3, 0, 3, 0, 0), 2, 0},
    {OF(LINEAR, 10, 0, 11, 1, 0), 0, 10},
    {OF(LINEAR, 10, 0, 11, 1, 0), 1, 10},
    {OF(LINEAR, 10, 0, 11, 1, 0), 4, 20.0 / 3},
    {OF(LINEAR, 10, 0, 11, 1, 0), 10, 0},
    {OF(LINEAR, 10, 0.5, 11, 1, 0), 10, 5},
    {OF(LINEAR, 10, 0.5, 11, 1, 0), 4, 5 + 10.0 / 3},
    {OF(CONSTANT, 0.25, 0.5, 100, 2, 0), 0, 0.125},
    {OF(CONSTANT, 0.25, 0.5, 100, 2, 0), 1, 0.25},
    {OF(CONSTANT, 0.25, 0.5, 100, 2, 0), 99, 0.25},
    {OF(CONSTANT, 0.25, 0.5, 100, 2, 0), 1000, 0.25},
    /* as it is until 5 steps are left, of which the first has all of it and the last nothing */
    {OF(WSD, 4, 0, 20, 2, 5), 0, 2},
    {OF(WSD, 4, 0, 20, 2, 5), 2, 4},
    {OF(WSD, 4, 0, 20, 2, 5), 14, 4},
    {OF(WSD, 4, 0, 20, 2, 5), 15, 4},
    {OF(WSD, 4, 0, 20, 2, 5), 16, 3},
    {OF(WSD, 4, 0, 20, 2, 5), 18, 1},
    {OF(WSD, 4, 0, 20, 2, 5), 19, 0},
    {OF(WSD, 4, 0.5, 20, 2, 5), 18, 2.5},
    {OF(WSD, 4, 0, 20, 2, 0), 19, 4},
    {OF(WSD, 4, 0, 20, 2, 0), 20, 4},
    /* the end comes before that of the warm-up */
    {OF(COSINE, 6, 0, 2, 3, 0), 1, 4},
    {OF(COSINE, 6, 0.5, 2, 3, 0), 9, 4},
    /* the only step after it has all of the rate */
    {OF(LINEAR, 6, 0, 1, 0, 0), 0, 6},
    {OF(COSINE, 6, 0, 3, 2, 0), 2, 6},
    {OF(WSD, 6, 0, 3, 0, 1), 2, 6},
    {OF(WSD, 6, 0, 3, 0, 9), 0, 6},
    {OF(WSD, 6, 0, 3, 0, 9), 1, 3},
};

static void rates_are_those_of_the_table(void) {
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const double found = nlm_schedule_rate(&lines[i].schedule, lines[i].step);
        const double off = found > lines[i].rate ? found - lines[i].rate : lines[i].rate - found;
        if (!(off <= 1e-12)) printf("\nline %zu: %.17g, expected %.17g\n", i, found, lines[i].rate);
        CU_ASSERT_TRUE(off <= 1e-12);
    }
}

static const check_case cases[] = {CHECK_CASE(rates_are_those_of_the_table)};
CHECK_MAIN("schedule", cases)
