/* States that sequences of nlm/train.h go on from, in lanes. */
#include <math.h>

#include "train_api_fixture.h"

#define MAMBA  MODEL("mamba-f32")
#define FIRST  9 /* tokens of a document before its second window */
#define TOKENS 29

static const uint32_t whole[1] = {TOKENS}, before[1] = {FIRST}, after[1] = {TOKENS - FIRST};
static const int32_t lane_0[2] = {0, -1}, lane_1[2] = {1, -1};

static nlm_training *lanes_of(nlm_engine *engine, uint32_t n_lanes) {
    return training_of(engine, &(nlm_training_options){SIZED, .path = MAMBA, .max_tokens = 64, .max_seqs = 4,
                                                       .n_lanes = n_lanes, .learning_rate = 1e-2});
}

/* One sequence of the usual tokens, from `first` on. */
static nlm_training_batch window(int first, const uint32_t *length, const int32_t *from, const int32_t *to) {
    nlm_training_batch batch = usual_batch();
    batch.n_seqs = 1;
    batch.ids += first;
    batch.lengths = length;
    batch.from = from;
    batch.to = to;
    return batch;
}

static double loss_of(nlm_training *t, const nlm_training_batch *batch) {
    double loss = NAN;
    EXPECT_OK(nlm_training_evaluate(t, batch, &loss, error));
    return loss;
}

/* The mean loss of the second window with the first before it. */
static double loss_in_one(nlm_training *t) {
    int32_t labels[TOKENS];
    nlm_training_batch batch = window(0, whole, NULL, NULL);
    for (int i = 0; i < TOKENS; i++) labels[i] = i < FIRST || i + 1 == TOKENS ? -1 : batch.ids[i + 1];
    batch.labels = labels;
    return loss_of(t, &batch);
}

static void a_window_goes_on_where_the_one_before_ended(void) {
    nlm_engine *engine = fixture_engine(2);
    nlm_training *t = lanes_of(engine, 2);
    const nlm_training_batch first = window(0, before, NULL, lane_1), second = window(FIRST, after, lane_1, NULL),
                             alone = window(FIRST, after, NULL, NULL);
    const double expected = loss_in_one(t);
    loss_of(t, &first);
    CU_ASSERT_DOUBLE_EQUAL(loss_of(t, &second), expected, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(loss_of(t, &second), expected, 1e-5); /* it has not written to the lane */
    CU_ASSERT(fabs(loss_of(t, &alone) - expected) > 1e-4);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void history_warms_a_lane_without_a_loss(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = lanes_of(engine, 1);
    const nlm_training_batch first = window(0, before, NULL, lane_0), second = window(FIRST, after, lane_0, lane_0);
    const bytes untouched = exported(t);
    const double expected = loss_in_one(t);
    EXPECT_OK(nlm_training_evaluate(t, &first, NULL, error));
    CU_ASSERT(are_same(untouched, exported(t)));
    CU_ASSERT_DOUBLE_EQUAL(loss_of(t, &second), expected, 1e-5);
    const nlm_training_batch nowhere = window(0, before, NULL, NULL);
    REFUSED(nlm_training_evaluate(t, &nowhere, NULL, error), NLM_INVALID_ARGUMENT, "nothing is asked for");
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

/* Windows in turn, whose states go on through steps. */
static void take_windows(nlm_training *t, int from, int to) {
    for (int i = from; i < to; i++) {
        const nlm_training_batch batch =
            i % 2 == 0 ? window(0, before, NULL, lane_0) : window(FIRST, after, lane_0, NULL);
        step(t, &batch);
    }
}

static void steps_carry_and_a_checkpoint_keeps_lanes(void) {
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    nlm_engine *engine = fixture_engine(2);
    nlm_training *t = lanes_of(engine, 1), *anew = lanes_of(engine, 1), *more = lanes_of(engine, 2);
    const char *path = temporary_path(&folder, "");
    take_windows(t, 0, 3); /* the next one reads what the third has left */
    EXPECT_OK(nlm_training_save(t, path, 0, error));
    EXPECT_OK(nlm_training_restore(anew, path, error));
    REFUSED(nlm_training_restore(more, path, error), NLM_INVALID_ARGUMENT, "carried");
    take_windows(t, 3, 6);
    take_windows(anew, 3, 6);
    CU_ASSERT(are_same(exported(t), exported(anew)));
    nlm_training_destroy(more);
    nlm_training_destroy(anew);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
    temporary_remove(&folder);
}

static void a_step_that_fails_leaves_lanes_as_they_were(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = lanes_of(engine, 1);
    const nlm_training_batch first = window(0, before, NULL, lane_0), second = window(FIRST, after, lane_0, NULL);
    const nlm_training_batch both[2] = {window(0, after, NULL, lane_0), window(0, before, lane_1, NULL)};
    loss_of(t, &first);
    const double expected = loss_of(t, &second);
    REFUSED(nlm_training_step(t, both, 2, NULL, error), NLM_INVALID_ARGUMENT, "lane 1");
    CU_ASSERT_EQUAL(loss_of(t, &second), expected);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static void lanes_that_cannot_be_are_refused(void) {
    static const int32_t same[2] = {0, 0}, far[2] = {0, 7};
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = lanes_of(engine, 2), *none = lanes_of(engine, 0), *llama = NULL;
    double loss;
    nlm_training_batch batch = usual_batch();
    batch.to = same;
    REFUSED(nlm_training_evaluate(t, &batch, &loss, error), NLM_INVALID_ARGUMENT, "sequence 1 has lane 0");
    batch.to = far;
    REFUSED(nlm_training_evaluate(t, &batch, &loss, error), NLM_INVALID_ARGUMENT, "sequence 1 has lane 7");
    batch.to = NULL;
    batch.from = same;
    REFUSED(nlm_training_step(t, &batch, 1, NULL, error), NLM_INVALID_ARGUMENT, "sequence 1 has lane 0");
    REFUSED(nlm_training_step(none, &batch, 1, NULL, error), NLM_INVALID_ARGUMENT, "none of 0");
    const nlm_training_options attends = {SIZED, .path = LLAMA, .n_lanes = 1};
    REFUSED(nlm_training_create(engine, &attends, &llama, error), NLM_UNSUPPORTED, "only Mamba");
    const nlm_training_options many = {SIZED, .path = MAMBA, .n_lanes = UINT32_MAX};
    REFUSED(nlm_training_create(engine, &many, &llama, error), NLM_INVALID_ARGUMENT, "lanes");
    nlm_training_destroy(none);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static const check_case cases[] = {
    CHECK_CASE(a_window_goes_on_where_the_one_before_ended),
    CHECK_CASE(history_warms_a_lane_without_a_loss),
    CHECK_CASE(steps_carry_and_a_checkpoint_keeps_lanes),
    CHECK_CASE(a_step_that_fails_leaves_lanes_as_they_were),
    CHECK_CASE(lanes_that_cannot_be_are_refused),
};
CHECK_MAIN("train_lanes", cases)
