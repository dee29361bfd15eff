/* How the learning rate changes from step to step. */
#ifndef NLM_TRAIN_SCHEDULE_H
#define NLM_TRAIN_SCHEDULE_H

#include <stdint.h>

/* X(NAME, spelling) what follows the warm-up */
#define NLM_SCHEDULE_LIST(X) \
    X(COSINE, "cosine")      \
    X(LINEAR, "linear")      \
    X(CONSTANT, "constant")  \
    X(WSD, "wsd") /* constant, then linear over the last `decay` steps */

typedef enum nlm_schedule_kind {
#define NLM_SCHEDULE_ENUM(name, spelling) NLM_SCHEDULE_##name,
    NLM_SCHEDULE_LIST(NLM_SCHEDULE_ENUM)
#undef NLM_SCHEDULE_ENUM
} nlm_schedule_kind;

typedef struct nlm_schedule {
    nlm_schedule_kind kind;
    double rate;                   /* the greatest */
    double floor;                  /* the last, as a share of it, 0 to 1 */
    uint64_t steps, warmup, decay; /* of the whole, of its beginning, and with WSD of its end */
} nlm_schedule;

/* Of step 0 .. steps - 1; past the end that of the last. The warm-up rises linearly from rate / warmup. */
double nlm_schedule_rate(const nlm_schedule *schedule, uint64_t step);

#endif
