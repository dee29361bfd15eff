/* What the scheduler does between its steps: embeddings, and what slots hold. */
#include "server_fixture.h"

static float embedded[3][512];
static int n_embedded, n_cancelled;

static void take_rows(void *user, nlm_status status, const float *rows, const char *message) {
    (void)message;
    n_embedded++;
    n_cancelled += status == NLM_CANCELLED;
    if (rows) memcpy(embedded, rows, *(size_t *)user);
}

/* What they are alone, while a text is generated. */
static void embeddings_come_between_steps(void) {
    static int32_t ids[3][100];
    static float alone[3 * 512];
    size_t counts[3] = {100, 7, 1}, bytes;
    int32_t *rows[3] = {ids[0], ids[1], ids[2]};
    nlm_embed_options options = {.struct_size = sizeof options, .flags = NLM_EMBED_NORMALIZE};
    nlm_error err = NLM_ERROR_INIT;
    fixture f = open_model("llama-gqa-f32", 3, 0);
    nlm_model_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_model_describe(f.model, &info, error));
    bytes = 3 * (size_t)info.n_embd * sizeof(float);
    for (uint32_t i = 0; i < 3; i++) fixture_ids(&f, i, ids[i], counts[i]);
    const int32_t *same[3] = {ids[0], ids[1], ids[2]};
    EXPECT_OK(nlm_embed(f.model, same, counts, 3, &options, alone, error));
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 2});
    asked a = {0};
    embed_job *job, *cancelled;
    generation_request r = request_of(ids[0], 50, 0);
    submit(s, &r, &a);
    EXPECT_OK(scheduler_embed(s, rows, counts, 3, &options, take_rows, &bytes, &job, error));
    EXPECT_OK(scheduler_embed(s, rows, counts, 3, &options, take_rows, &bytes, &cancelled, error));
    scheduler_cancel_embed(cancelled);
    wait_for(s, &a, 1);
    while (n_embedded < 2) {
        struct pollfd fd = {.fd = scheduler_fd(s), .events = POLLIN};
        CU_ASSERT_EQUAL_FATAL(poll(&fd, 1, 60000), 1);
        scheduler_dispatch(s);
    }
    CU_ASSERT_EQUAL(memcmp(embedded, alone, bytes), 0);
    nlm_str expected = text_alone("llama-gqa-f32", &r, r.max_tokens);
    CU_ASSERT(is_same(&a.text[0], &expected));
    nlm_str_release(&expected);
    release(&a);
    counts[1] = 0;
    CU_ASSERT_EQUAL(scheduler_embed(s, rows, counts, 3, &options, take_rows, &bytes, &job, &err),
                    NLM_INVALID_ARGUMENT);
    counts[1] = 100000;
    CU_ASSERT_EQUAL(scheduler_embed(s, rows, counts, 3, &options, take_rows, &bytes, &job, &err),
                    NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "100000"));
    scheduler_destroy(s);
    CU_ASSERT_EQUAL(n_embedded, 2);
    CU_ASSERT_EQUAL(n_cancelled, 1);
    fixture_close(&f);
}

/* In the order in which they were told. */
static int told[8], n_told;

static void note_told(void *user, nlm_status status, const float *rows, const char *message) {
    (void)rows;
    (void)message;
    CU_ASSERT_EQUAL(status, NLM_OK);
    told[n_told++] = *(int *)user;
}

/* A long one is computed in pieces, with a step of the text that is generated after each; and many texts of one
 * request do not keep a short one waiting. */
static void embeddings_keep_nobody_waiting(void) {
    static int32_t ids[20][256];
    static int numbers[3] = {0, 1, 2};
    size_t counts[20];
    int32_t *rows[20];
    embed_job *job;
    nlm_embed_options options = {.struct_size = sizeof options};
    fixture f = open_model("llama-gqa-f32", 2, 512);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1, .step_tokens = 8});
    asked a = {0};
    generation_request r = request_of(ids[0], 4, 0);
    for (uint32_t i = 0; i < 20; i++) {
        counts[i] = 256;
        rows[i] = ids[i];
        fixture_ids(&f, i, ids[i], counts[i]);
    }
    r.max_tokens = 0;
    r.n_top = 0; /* each token is an event */
    task *t = submit(s, &r, &a);
    while (a.n_events == 0) wait_once(s);
    n_told = 0;
    EXPECT_OK(scheduler_embed(s, rows, counts, 1, &options, note_told, &numbers[0], &job, error));
    scheduler_stats before, after;
    scheduler_get_stats(s, &before);
    while (n_told < 1) wait_once(s);
    scheduler_get_stats(s, &after);
    CU_ASSERT(after.steps - before.steps >= 256 / 8 - 1);
    EXPECT_OK(scheduler_embed(s, rows, counts, 20, &options, note_told, &numbers[1], &job, error));
    EXPECT_OK(scheduler_embed(s, rows, counts, 1, &options, note_told, &numbers[2], &job, error));
    while (n_told < 3) wait_once(s);
    CU_ASSERT(told[1] == 2 && told[2] == 1);
    if (!a.is_done) scheduler_cancel(s, t);
    scheduler_destroy(s);
    release(&a);
    fixture_close(&f);
}

static nlm_status slot_status;
static uint64_t slot_tokens;
static bool slot_done;

static void take_slot(void *user, nlm_status status, uint64_t n_tokens, const char *message) {
    (void)user;
    (void)message;
    slot_status = status;
    slot_tokens = n_tokens;
    slot_done = true;
}

static void do_slot(scheduler *s, uint32_t action, const char *path) {
    slot_done = false;
    EXPECT_OK(scheduler_slot(s, 0, action, path, take_slot, NULL, error));
    while (!slot_done) {
        struct pollfd fd = {.fd = scheduler_fd(s), .events = POLLIN};
        CU_ASSERT_EQUAL_FATAL(poll(&fd, 1, 60000), 1);
        scheduler_dispatch(s);
    }
}

static void slot_is_saved_and_restored(void) {
    int32_t ids[40];
    fixture f = open_model("mamba-f32", 1, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1});
    char path[] = "/tmp/nlm-slot-XXXXXX";
    const int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    asked a = {0};
    fixture_ids(&f, 2, ids, 40);
    generation_request r = request_of(ids, 40, 0);
    submit(s, &r, &a);
    wait_for(s, &a, 1);
    do_slot(s, SLOT_SAVE, path);
    CU_ASSERT_EQUAL(slot_status, NLM_OK);
    CU_ASSERT_EQUAL(slot_tokens, 49);
    do_slot(s, SLOT_ERASE, NULL);
    CU_ASSERT_EQUAL(slot_tokens, 0);
    do_slot(s, SLOT_RESTORE, path);
    CU_ASSERT_EQUAL(slot_tokens, 49);
    do_slot(s, SLOT_RESTORE, "/nowhere/at/all");
    CU_ASSERT_EQUAL(slot_status, NLM_NOT_FOUND);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(scheduler_slot(s, 1, SLOT_ERASE, NULL, take_slot, NULL, &err), NLM_NOT_FOUND);
    slot_info info;
    CU_ASSERT_EQUAL(scheduler_slots(s, &info, 1), 1);
    CU_ASSERT(!info.is_busy);
    release(&a);
    unlink(path);
    close(fd);
    scheduler_destroy(s);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(slot_is_saved_and_restored),
    CHECK_CASE(embeddings_come_between_steps),
    CHECK_CASE(embeddings_keep_nobody_waiting),
};
CHECK_MAIN("server jobs", cases)
