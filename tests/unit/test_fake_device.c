/* The fake stream device itself: as late and as unordered as it claims to be, or the tests on it prove
 * little. */
#include "unit/fake_rig.h"

enum { N_SEEDS = 16 };

static void nothing_happens_before_a_sync(void) {
    rig r = open_rig_with("seed", "0");
    uint32_t value = 1;
    write_on(&r, 0, &value);
    CU_ASSERT_EQUAL(read_now(&r), UINT32_MAX); /* as it was allocated: NaN */
    value = 2;                                 /* the host's memory is read as late */
    OK(r.api->sync(r.api->self, r.streams[0], error));
    CU_ASSERT_EQUAL(read_now(&r), 2);
    close_rig(&r);
}

/* Stream 0 writes 1, then stream 1 writes 2; whose value stays? */
static uint32_t last_value(const char *seed, bool has_event) {
    rig r = open_rig_with("seed", seed);
    const uint32_t values[2] = {1, 2};
    void *event = NULL;
    OK(r.api->event_create(r.api->self, 0, &event, error));
    write_on(&r, 0, &values[0]);
    if (has_event) {
        OK(r.api->event_record(r.api->self, r.streams[0], event, error));
        OK(r.api->event_wait(r.api->self, r.streams[1], event, error));
    }
    write_on(&r, 1, &values[1]);
    r.api->event_destroy(r.api->self, event); /* what was enqueued still holds it */
    for (int i = 0; i < 2; i++) OK(r.api->sync(r.api->self, r.streams[i], error));
    const uint32_t value = read_now(&r);
    close_rig(&r);
    return value;
}

static void streams_are_ordered_by_events_alone(void) {
    int n_first = 0;
    for (int i = 0; i < N_SEEDS; i++) {
        char seed[8];
        snprintf(seed, sizeof seed, "%d", i);
        n_first += last_value(seed, false) == 1;
        CU_ASSERT_EQUAL(last_value(seed, true), 2);
    }
    CU_ASSERT(n_first > 0 && n_first < N_SEEDS);
}

static void an_error_sticks_to_its_stream_until_a_sync(void) {
    rig r = open_rig_with("fail_work", "1");
    const uint32_t values[2] = {1, 2};
    nlm_error err = NLM_ERROR_INIT;
    write_on(&r, 0, &values[0]); /* fails */
    write_on(&r, 0, &values[1]); /* is dropped */
    OK(r.api->sync(r.api->self, r.streams[1], error));
    CU_ASSERT_EQUAL(r.api->sync(r.api->self, r.streams[0], &err), NLM_DEVICE_ERROR);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "work 1 of the streams was told to fail"));
    CU_ASSERT_EQUAL(read_now(&r), UINT32_MAX);
    OK(r.api->sync(r.api->self, r.streams[0], error));
    write_on(&r, 0, &values[1]);
    OK(r.api->sync(r.api->self, r.streams[0], error));
    CU_ASSERT_EQUAL(read_now(&r), 2);
    close_rig(&r);
}

/* What scale makes of one number, given this address. */
static nlm_status scale_at(const rig *r, void *data, uint64_t buffer, nlm_error *err) {
    nlm_tensor x = column(r, 1);
    x.data = data;
    x.buffer = buffer;
    const nlm_status status = scale_by_two(r, &x, (nlm_exec_v1){.stream = r->streams[0]}, err);
    return status == NLM_OK ? r->api->sync(r->api->self, r->streams[0], err) : status;
}

static void only_its_own_addresses_work(void) {
    rig r = open_rig_with("seed", "0");
    nlm_error err = NLM_ERROR_INIT;
    float host = 1.5f, value = 0;
    OK(r.api->upload(r.api->self, NULL, r.buffer, 0, &host, sizeof host, error));
    OK(scale_at(&r, r.address, r.buffer, error));
    OK(r.api->download(r.api->self, NULL, r.buffer, 0, &value, sizeof value, error));
    CU_ASSERT_EQUAL(value, 3);
    CU_ASSERT_EQUAL(scale_at(&r, &host, 0, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "are not in a buffer"));
    CU_ASSERT_EQUAL(scale_at(&r, (char *)r.address + BYTES, r.buffer, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_EQUAL(scale_at(&r, r.address, r.buffer + 1, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_EQUAL(host, 1.5f);
    close_rig(&r);
}

static void a_lost_device_stays_lost(void) {
    rig r = open_rig_with("lost_call", "4"); /* two streams, a buffer, then */
    nlm_error err = NLM_ERROR_INIT;
    uint32_t value = 1;
    CU_ASSERT_EQUAL(r.api->upload(r.api->self, NULL, r.buffer, 0, &value, sizeof value, &err), NLM_DEVICE_LOST);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "lost in upload, call 4"));
    CU_ASSERT_EQUAL(r.api->sync(r.api->self, r.streams[0], &err), NLM_DEVICE_LOST);
    CU_ASSERT_EQUAL(r.api->download(r.api->self, NULL, r.buffer, 0, &value, sizeof value, &err), NLM_DEVICE_LOST);
    close_rig(&r);
}

/* ---- events ---- */

static void work_goes_on_while_the_host_asks(void) {
    rig r = open_rig(NULL);
    const uint32_t value = 1;
    uint32_t is_done = 0;
    void *event;
    OK(r.api->event_create(r.api->self, 0, &event, error));
    OK(r.api->event_query(r.api->self, event, &is_done, error));
    CU_ASSERT_EQUAL(is_done, 1); /* was never recorded */
    for (int i = 0; i < 3; i++) write_on(&r, 0, &value);
    OK(r.api->event_record(r.api->self, r.streams[0], event, error));
    int n_asked = 0;
    for (is_done = 0; !is_done && n_asked < 100; n_asked++) {
        OK(r.api->event_query(r.api->self, event, &is_done, error));
    }
    CU_ASSERT_EQUAL(n_asked, 5); /* three writes and the event came between */
    CU_ASSERT_EQUAL(read_now(&r), 1);
    r.api->event_destroy(r.api->self, event);
    close_rig(&r);
}

static void time_is_told_of_events_that_were_made_for_it(void) {
    fake_listen();
    rig r = open_rig(NULL);
    const uint32_t value = 1;
    uint64_t ns = 0;
    nlm_error err = NLM_ERROR_INIT;
    void *events[3];
    for (int i = 0; i < 3; i++) {
        OK(r.api->event_create(r.api->self, i < 2 ? NLM_EVENT_TIMING : 0, &events[i], error));
        OK(r.api->event_record(r.api->self, r.streams[0], events[i], error));
        write_on(&r, 0, &value);
    }
    CU_ASSERT_EQUAL(r.api->event_elapsed(r.api->self, events[0], events[1], &ns, &err), NLM_INVALID_ARGUMENT);
    OK(r.api->sync(r.api->self, r.streams[0], error));
    OK(r.api->event_elapsed(r.api->self, events[0], events[1], &ns, error));
    CU_ASSERT_EQUAL(ns, 1000 + sizeof value + 1000);
    CU_ASSERT_EQUAL(r.api->event_elapsed(r.api->self, events[1], events[0], &ns, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(r.api->event_elapsed(r.api->self, events[0], events[2], &ns, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "without NLM_EVENT_TIMING"));
    CU_ASSERT_EQUAL(fake_said.n_errors, 3);
    for (int i = 0; i < 3; i++) r.api->event_destroy(r.api->self, events[i]);
    close_rig(&r);
}

/* ---- what the host says of a run ---- */

/* One row of a page of 8 rows of one number: at `pos`, with positions below `max_context`. */
static nlm_status append_at(const rig *r, int32_t pos, int64_t max_context, nlm_error *err) {
    enum { POS = 8, START = 9, SLOT = 11, TABLE = 12, KEY = 13, WORDS = 14 };
    int32_t words[WORDS] = {[POS] = pos, [START] = 0, [START + 1] = 1};
    uint64_t buffer;
    void *address = NULL;
    OK(r->api->buffer_alloc(r->api->self, sizeof words, &buffer, &address, error));
    OK(r->api->upload(r->api->self, NULL, buffer, 0, words, sizeof words, error));
#define AT(word, type, dims, ...) \
    { .data = (char *)address + 4 * (word), .buffer = buffer, .dtype = (type), .rank = (dims), __VA_ARGS__ }
    const nlm_tensor cache = AT(0, NLM_F32, 4, .shape = {1, 1, 8, 1}, .stride_bytes = {32, 32, 4, 4});
    const nlm_tensor key = AT(KEY, NLM_F32, 3, .shape = {1, 1, 1, 1}, .stride_bytes = {4, 4, 4});
    const nlm_tensor position = AT(POS, NLM_I32, 1, .shape = {1, 1, 1, 1}, .stride_bytes = {4});
    const nlm_tensor start = AT(START, NLM_I32, 1, .shape = {2, 1, 1, 1}, .stride_bytes = {4});
    const nlm_tensor slot = AT(SLOT, NLM_I32, 1, .shape = {1, 1, 1, 1}, .stride_bytes = {4});
    const nlm_tensor table = AT(TABLE, NLM_I32, 2, .shape = {1, 1, 1, 1}, .stride_bytes = {4, 4});
#undef AT
    const nlm_kv_append_args args = {sizeof args, 0, &key, &key, &cache, &cache, &position, &start, &slot, &table};
    const nlm_exec_v1 exec = {.struct_size = sizeof exec,
                              .nth = 1,
                              .device = r->api->self,
                              .stream = r->streams[0],
                              .max_context = max_context,
                              .error = err};
    nlm_status status = r->device->ops.kv_append(&exec, &args);
    if (status == NLM_OK) status = r->api->sync(r->api->self, r->streams[0], err);
    r->api->buffer_free(r->api->self, buffer);
    return status;
}

static void positions_stay_below_what_the_host_says(void) {
    rig r = open_rig(NULL);
    nlm_error err = NLM_ERROR_INIT;
    OK(append_at(&r, 5, 0, error)); /* not known */
    OK(append_at(&r, 5, 6, error));
    CU_ASSERT_EQUAL(append_at(&r, 5, 5, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "position 5, but max_context is 5"));
    CU_ASSERT_EQUAL(append_at(&r, 8, 0, &err), NLM_INVALID_ARGUMENT);
    close_rig(&r);
}

static const check_case cases[] = {
    CHECK_CASE(nothing_happens_before_a_sync),
    CHECK_CASE(streams_are_ordered_by_events_alone),
    CHECK_CASE(an_error_sticks_to_its_stream_until_a_sync),
    CHECK_CASE(only_its_own_addresses_work),
    CHECK_CASE(a_lost_device_stays_lost),
    CHECK_CASE(work_goes_on_while_the_host_asks),
    CHECK_CASE(time_is_told_of_events_that_were_made_for_it),
    CHECK_CASE(positions_stay_below_what_the_host_says),
};
CHECK_MAIN("fake device", cases)
