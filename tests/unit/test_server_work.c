/* In what order the server's threads take what waits for them. */
#include "nlm-server/work_queue.h"

#include <string.h>

#include "check.h"

#define MANY 6

static work made[256];
static size_t n_made;

static work *add(work_queue *queue, uint64_t client, bool is_long) {
    work *w = &made[n_made++];
    *w = (work){.client = client, .is_long = is_long};
    work_queue_add(queue, w);
    return w;
}

static void clients_take_turns(void) {
    work_queue queue = {0};
    work *many[MANY];
    n_made = 0;
    CU_ASSERT_PTR_NULL(work_queue_take(&queue, true));
    for (size_t i = 0; i < MANY; i++) many[i] = add(&queue, 1, false);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), many[0]);
    const work *second = add(&queue, 2, false), *third = add(&queue, 3, false), *again = add(&queue, 2, false);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), second); /* before all that came first */
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), third);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), many[1]);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), again);
    for (size_t i = 2; i < MANY; i++) CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), many[i]);
    CU_ASSERT_PTR_NULL(work_queue_take(&queue, true));
}

/* Who has waited is not overtaken for ever by those who come anew. */
static void nobody_starves(void) {
    work_queue queue = {0};
    n_made = 0;
    for (size_t i = 0; i < MANY; i++) add(&queue, 1, false);
    const work *last = &made[MANY - 1];
    size_t n_others = 0;
    for (const work *w = NULL; w != last && n_others < 200; n_others++) {
        add(&queue, 100 + n_others, false);
        w = work_queue_take(&queue, true);
    }
    CU_ASSERT(n_others <= MANY * WORK_STRIDE);
}

static void long_ones_leave_way(void) {
    work_queue queue = {0};
    n_made = 0;
    const work *first = add(&queue, 1, true), *second = add(&queue, 2, true), *short_one = add(&queue, 2, false);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, false), short_one);
    CU_ASSERT_PTR_NULL(work_queue_take(&queue, false));
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), first);
    CU_ASSERT_PTR_EQUAL(work_queue_take(&queue, true), second);
    CU_ASSERT_PTR_NULL(work_queue_take(&queue, true));
}

static const check_case cases[] = {
    CHECK_CASE(clients_take_turns),
    CHECK_CASE(nobody_starves),
    CHECK_CASE(long_ones_leave_way),
};
CHECK_MAIN("server work", cases)
