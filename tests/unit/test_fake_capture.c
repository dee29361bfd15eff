/* The fake stream device records and replays, and tells a host that does not keep to the contract. */
#include "unit/fake_rig.h"

enum { N_ROWS = 4 };

/* The number at an index, as it is now. */
static float number_at(const rig *r, int index) {
    float value = 0;
    OK(r->api->download(r->api->self, NULL, r->buffer, (uint64_t)index * 4, &value, sizeof value, error));
    return value;
}

static void set_numbers(const rig *r, const float *values) {
    OK(r->api->upload(r->api->self, NULL, r->buffer, 0, values, BYTES, error));
}

static void begin(const rig *r) {
    OK(r->capture->begin(r->api->self, r->streams[0], error));
}

static void *end(const rig *r) {
    void *recording = NULL;
    OK(r->capture->end(r->api->self, r->streams[0], &recording, error));
    return recording;
}

static nlm_exec_v1 recording_exec(const rig *r) {
    return (nlm_exec_v1){.flags = NLM_EXEC_RECORDING, .stream = r->streams[0]};
}

/* x <- 2x, a number from the host's memory behind it, prepared and recorded. */
static void *record_all(const rig *r, const float *host) {
    const nlm_tensor x = column(r, N_ROWS);
    OK(prepare_scale(r, &x, error));
    begin(r);
    OK(scale_by_two(r, &x, recording_exec(r), error));
    OK(r->api->upload(r->api->self, r->streams[0], r->buffer, 4 * N_ROWS, host, sizeof *host, error));
    OK(r->api->fill(r->api->self, r->streams[0], r->buffer, 4 * (N_ROWS + 1), 0, 4, error));
    return end(r);
}

static void launch_and_wait(const rig *r, void *recording, int stream) {
    OK(r->capture->launch(r->api->self, recording, r->streams[stream], error));
    OK(r->api->sync(r->api->self, r->streams[stream], error));
}

static void recorded_work_reads_memory_when_it_is_done(void) {
    const float values[N_NUMBERS] = {1, 2, 3, 4, 5, 6, 7, 8};
    fake_listen();
    rig r = open_rig(NULL);
    float host = 10;
    set_numbers(&r, values);
    void *recording = record_all(&r, &host);
    OK(r.api->sync(r.api->self, NULL, error));
    for (int i = 0; i < N_NUMBERS; i++) CU_ASSERT_EQUAL(number_at(&r, i), values[i]); /* nothing was done */
    launch_and_wait(&r, recording, 0);
    CU_ASSERT_EQUAL(number_at(&r, 3), 8);
    CU_ASSERT_EQUAL(number_at(&r, 4), 10);
    CU_ASSERT_EQUAL(number_at(&r, 5), 0);
    CU_ASSERT_EQUAL(number_at(&r, 6), 7);
    host = 11;
    launch_and_wait(&r, recording, 1);
    CU_ASSERT_EQUAL(number_at(&r, 3), 16);
    CU_ASSERT_EQUAL(number_at(&r, 4), 11);
    r.capture->destroy(r.api->self, recording);
    close_rig(&r);
    CU_ASSERT_EQUAL(fake_said.n_errors, 0);
}

/* Two of four rows are live, as device memory says when the recording is replayed. */
static void counts_come_from_the_device(void) {
    const float values[N_NUMBERS] = {1, 2, 3, 4, 5, 6, 7, 8};
    int32_t counts[NLM_ROWS_KINDS] = {0, 2, 0, 0};
    fake_listen();
    rig r = open_rig(NULL);
    uint64_t buffer;
    nlm_exec_v1 exec = recording_exec(&r);
    const nlm_tensor x = column(&r, N_ROWS);
    void *address = NULL;
    OK(r.api->buffer_alloc(r.api->self, sizeof counts, &buffer, &address, error));
    exec.live_rows_device = address;
    exec.live_rows_buffer = buffer;
    set_numbers(&r, values);
    OK(prepare_scale(&r, &x, error));
    begin(&r);
    OK(scale_by_two(&r, &x, exec, error));
    void *recording = end(&r);
    OK(r.api->upload(r.api->self, NULL, buffer, 0, counts, sizeof counts, error));
    launch_and_wait(&r, recording, 0);
    CU_ASSERT_EQUAL(number_at(&r, 1), 4);
    CU_ASSERT(number_at(&r, 2) != number_at(&r, 2)); /* padding is NaN */
    set_numbers(&r, values);
    counts[NLM_ROWS_TOKENS] = 3;
    OK(r.api->upload(r.api->self, NULL, buffer, 0, counts, sizeof counts, error));
    launch_and_wait(&r, recording, 0);
    CU_ASSERT_EQUAL(number_at(&r, 2), 6);
    r.capture->destroy(r.api->self, recording);
    r.api->buffer_free(r.api->self, buffer);
    close_rig(&r);
    CU_ASSERT_EQUAL(fake_said.n_errors, 0);
}

/* ---- what must not be called between begin and end ---- */

static nlm_status unprepared(const rig *r, nlm_error *err) {
    const nlm_tensor x = column(r, N_ROWS + 1);
    return scale_by_two(r, &x, recording_exec(r), err);
}
static nlm_status without_the_flag(const rig *r, nlm_error *err) {
    const nlm_tensor x = column(r, N_ROWS);
    return scale_by_two(r, &x, (nlm_exec_v1){.stream = r->streams[0]}, err);
}
static nlm_status with_live_rows(const rig *r, nlm_error *err) {
    const int32_t live[NLM_ROWS_KINDS] = {0, 1, 1, 1};
    const nlm_tensor x = column(r, N_ROWS);
    nlm_exec_v1 exec = recording_exec(r);
    exec.live_rows = live;
    return scale_by_two(r, &x, exec, err);
}
static nlm_status another_stream(const rig *r, nlm_error *err) {
    return r->api->fill(r->api->self, r->streams[1], r->buffer, 0, 0, 4, err);
}
static nlm_status no_stream(const rig *r, nlm_error *err) {
    return r->api->fill(r->api->self, NULL, r->buffer, 0, 0, 4, err);
}
static nlm_status sync(const rig *r, nlm_error *err) {
    return r->api->sync(r->api->self, r->streams[0], err);
}
static nlm_status alloc(const rig *r, nlm_error *err) {
    uint64_t buffer;
    void *address;
    return r->api->buffer_alloc(r->api->self, 4, &buffer, &address, err);
}
static nlm_status prepare(const rig *r, nlm_error *err) {
    const nlm_tensor x = column(r, N_ROWS);
    return prepare_scale(r, &x, err);
}
static nlm_status begin_again(const rig *r, nlm_error *err) {
    return r->capture->begin(r->api->self, r->streams[0], err);
}

static const struct {
    nlm_status (*call)(const rig *r, nlm_error *err);
    const char *sentence;
} forbidden[] = {
    {unprepared, "was not prepared"},
    {without_the_flag, "NLM_EXEC_RECORDING is not set"},
    {with_live_rows, "live_rows are given"},
    {another_stream, "another stream is used"},
    {no_stream, "without a stream"},
    {sync, "sync is called while a stream records"},
    {alloc, "buffer_alloc is called while a stream records"},
    {prepare, "prepare is called while a stream records"},
    {begin_again, "begin while the stream records"},
};

/* Each is refused, ends the recording, and leaves the stream usable after abort. */
static void what_a_recording_may_not_have_is_refused(void) {
    const float values[N_NUMBERS] = {1};
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        nlm_error err = NLM_ERROR_INIT;
        void *recording = NULL;
        fake_listen();
        rig r = open_rig(NULL);
        const nlm_tensor x = column(&r, N_ROWS);
        set_numbers(&r, values);
        OK(prepare_scale(&r, &x, error));
        begin(&r);
        OK(scale_by_two(&r, &x, recording_exec(&r), error));
        CU_ASSERT_EQUAL(forbidden[i].call(&r, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, forbidden[i].sentence));
        CU_ASSERT_EQUAL(fake_said.n_errors, 1);
        CU_ASSERT_EQUAL(r.capture->end(r.api->self, r.streams[0], &recording, &err), NLM_INVALID_ARGUMENT);
        r.capture->abort(r.api->self, r.streams[0]);
        OK(r.api->sync(r.api->self, r.streams[0], error));
        CU_ASSERT_EQUAL(number_at(&r, 0), 1);
        OK(scale_by_two(&r, &x, (nlm_exec_v1){.stream = r.streams[0]}, error));
        OK(r.api->sync(r.api->self, r.streams[0], error));
        CU_ASSERT_EQUAL(number_at(&r, 0), 2);
        fake_listen();
        close_rig(&r);
        CU_ASSERT_EQUAL(fake_said.n_errors, 0);
    }
}

static void events_belong_to_a_recording_or_to_none(void) {
    nlm_error err = NLM_ERROR_INIT;
    void *outside = NULL, *inside = NULL;
    uint32_t is_done;
    rig r = open_rig(NULL);
    OK(r.api->event_create(r.api->self, 0, &outside, error));
    OK(r.api->event_create(r.api->self, 0, &inside, error));
    OK(r.api->event_record(r.api->self, r.streams[0], outside, error));
    OK(r.api->sync(r.api->self, NULL, error));
    begin(&r);
    OK(r.api->event_record(r.api->self, r.streams[0], inside, error));
    OK(r.api->event_wait(r.api->self, r.streams[0], inside, error));
    void *recording = end(&r);
    launch_and_wait(&r, recording, 1);
    CU_ASSERT_EQUAL(r.api->event_query(r.api->self, inside, &is_done, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(r.api->event_wait(r.api->self, r.streams[1], inside, &err), NLM_INVALID_ARGUMENT);
    OK(r.api->event_record(r.api->self, r.streams[1], inside, error)); /* outside again */
    OK(r.api->event_wait(r.api->self, r.streams[0], inside, error));
    OK(r.api->sync(r.api->self, NULL, error));
    begin(&r);
    CU_ASSERT_EQUAL(r.api->event_wait(r.api->self, r.streams[0], outside, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "none of this recording"));
    r.capture->abort(r.api->self, r.streams[0]);
    r.capture->destroy(r.api->self, recording);
    r.api->event_destroy(r.api->self, inside);
    r.api->event_destroy(r.api->self, outside);
    close_rig(&r);
}

/* ---- faults ---- */

/* One recording from begin to launch; whether all calls said OK. */
static bool try_to_record(const rig *r, nlm_error *err) {
    const nlm_tensor x = column(r, N_ROWS);
    static const float host = 1;
    void *recording = NULL, *stream = r->streams[0];
    if (r->api->prepare && prepare_scale(r, &x, err) != NLM_OK) return false;
    if (r->capture->begin(r->api->self, stream, err) != NLM_OK) return false;
    if (scale_by_two(r, &x, recording_exec(r), err) != NLM_OK ||
        r->api->upload(r->api->self, stream, r->buffer, 16, &host, 4, err) != NLM_OK ||
        r->capture->end(r->api->self, stream, &recording, err) != NLM_OK) {
        r->capture->abort(r->api->self, stream);
        return false;
    }
    nlm_status status = r->capture->launch(r->api->self, recording, stream, err);
    if (status == NLM_OK) status = r->api->sync(r->api->self, stream, err);
    r->capture->destroy(r->api->self, recording);
    return status == NLM_OK;
}

static void any_call_of_a_recording_can_fail(void) {
    enum { FIRST = 4, LAST = 10 }; /* behind two streams and a buffer: prepare, begin, two, end, launch, sync */
    static const char *const options[] = {"fail_call", "lost_call"};
    for (int i = 0; i < 2; i++) {
        for (int n = FIRST; n <= LAST; n++) {
            char number[8];
            nlm_error err = NLM_ERROR_INIT;
            snprintf(number, sizeof number, "%d", n);
            fake_listen();
            rig r = open_rig_with(options[i], number);
            CU_ASSERT_FALSE(try_to_record(&r, &err));
            CU_ASSERT_EQUAL(err.code, i == 0 ? NLM_DEVICE_ERROR : NLM_DEVICE_LOST);
            CU_ASSERT(fake_said.had_fault);
            CU_ASSERT_EQUAL(try_to_record(&r, &err), i == 0);
            close_rig(&r);
            CU_ASSERT_EQUAL(fake_said.n_errors, 0);
        }
    }
}

static void a_recording_may_be_refused_or_be_too_long(void) {
    static const struct {
        const char *key, *value;
        nlm_status status;
    } rows[] = {{"without", "capture", NLM_UNSUPPORTED}, {"parts", "1", NLM_LIMIT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_error err = NLM_ERROR_INIT;
        fake_listen();
        rig r = open_rig_with(rows[i].key, rows[i].value);
        CU_ASSERT_FALSE(try_to_record(&r, &err));
        CU_ASSERT_EQUAL(err.code, rows[i].status);
        close_rig(&r);
        CU_ASSERT_EQUAL(fake_said.n_errors, 0);
    }
}

/* What the host may not do to a recording that lives. */
static void what_a_recording_names_must_stay(void) {
    fake_listen();
    rig r = open_rig(NULL);
    uint64_t buffer;
    void *address, *pinned;
    OK(r.api->buffer_alloc(r.api->self, 4, &buffer, &address, error));
    OK(r.api->host_alloc(r.api->self, 4, &pinned, error));
    begin(&r);
    OK(r.api->upload(r.api->self, r.streams[0], buffer, 0, pinned, 4, error));
    void *recording = end(&r);
    r.api->buffer_free(r.api->self, buffer);
    CU_ASSERT_EQUAL(fake_said.n_errors, 1);
    r.api->host_free(r.api->self, pinned);
    CU_ASSERT_EQUAL(fake_said.n_errors, 2);
    r.capture->destroy(r.api->self, recording);
    begin(&r);
    recording = end(&r);
    OK(r.capture->launch(r.api->self, recording, r.streams[0], error));
    r.capture->destroy(r.api->self, recording); /* an empty one has nothing pending */
    CU_ASSERT_EQUAL(fake_said.n_errors, 2);
    begin(&r);
    OK(r.api->fill(r.api->self, r.streams[0], r.buffer, 0, 0, 4, error));
    recording = end(&r);
    OK(r.capture->launch(r.api->self, recording, r.streams[0], error));
    r.capture->destroy(r.api->self, recording);
    CU_ASSERT_EQUAL(fake_said.n_errors, 3);
    OK(r.api->sync(r.api->self, NULL, error));
    close_rig(&r);
    CU_ASSERT_EQUAL(fake_said.n_errors, 3);
}

static const check_case cases[] = {
    CHECK_CASE(recorded_work_reads_memory_when_it_is_done), CHECK_CASE(counts_come_from_the_device),
    CHECK_CASE(what_a_recording_may_not_have_is_refused),   CHECK_CASE(events_belong_to_a_recording_or_to_none),
    CHECK_CASE(any_call_of_a_recording_can_fail),           CHECK_CASE(a_recording_may_be_refused_or_be_too_long),
    CHECK_CASE(what_a_recording_names_must_stay),
};
CHECK_MAIN("fake capture", cases)
