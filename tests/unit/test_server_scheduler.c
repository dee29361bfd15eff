/* The server's scheduler: every text is the one its request would get alone, whatever else goes on. */
#include "nlm-server/scheduler.h"

#include <poll.h>
#include <unistd.h>

#include "base/str.h"
#include "session_fixture.h"

typedef struct asked {
    nlm_str text[4];
    task_event last[4]; /* without its arrays */
    size_t n_logprobs;
    double logprob_sum, top_sum;
    int n_ended, n_failed, n_events;
    bool is_done;
    char message[256];
    uint32_t finished_at; /* the how-manieth task to be done */
} asked;

static uint32_t n_finished;

static void collect(void *user, const task_event *event) {
    asked *a = user;
    nlm_str_append(&a->text[event->choice], event->text ? event->text : "", event->length);
    a->last[event->choice] = *event;
    a->n_events++;
    a->n_logprobs += event->n_tokens;
    for (size_t i = 0; i < event->n_tokens; i++) {
        a->logprob_sum += (double)event->tokens[i].logprob;
        if (event->tokens[i].n_top) a->top_sum += (double)event->tokens[i].top[0].logprob;
    }
    a->n_ended += event->kind == TASK_ENDED;
    a->n_failed += event->kind == TASK_FAILED;
    if (event->message) snprintf(a->message, sizeof a->message, "%s", event->message);
    a->is_done |= event->is_last;
    if (event->is_last) a->finished_at = ++n_finished;
}

static void release(asked *a) {
    for (size_t i = 0; i < 4; i++) nlm_str_release(&a->text[i]);
    *a = (asked){0};
}

static void wait_for(scheduler *s, asked *all, size_t count) {
    for (size_t i = 0; i < count;) {
        if (all[i].is_done) {
            i++;
            continue;
        }
        struct pollfd fd = {.fd = scheduler_fd(s), .events = POLLIN};
        CU_ASSERT_EQUAL_FATAL(poll(&fd, 1, 60000), 1);
        scheduler_dispatch(s);
    }
}

static fixture open_model(const char *name, uint32_t parallel, uint32_t context) {
    return fixture_open(
        name,
        &(nlm_model_options){
            .struct_size = sizeof(nlm_model_options), .parallel = parallel, .context_length = context},
        2);
}

static scheduler *open_scheduler(const fixture *f, scheduler_options options) {
    scheduler *s = NULL;
    EXPECT_OK(scheduler_create(f->model, &options, &s, error));
    return s;
}

static task *submit(scheduler *s, const generation_request *request, asked *a) {
    task *t = NULL;
    EXPECT_OK(scheduler_submit(s, request, collect, a, &t, error));
    return t;
}

#define SAMPLED                                                                                                \
    (nlm_sampler_options) {                                                                                    \
        .struct_size = sizeof(nlm_sampler_options), .temperature = 20, .top_p = 0.95f, .repeat_penalty = 1.1f, \
        .seed = 11                                                                                             \
    }

/* Prompts of 1 to 200 tokens, some of which begin alike. */
static size_t make_prompt(const fixture *f, uint32_t i, int32_t *ids) {
    const size_t lengths[] = {1, 40, 200, 33, 129, 180, 64, 2};
    const size_t n = lengths[i % 8];
    fixture_ids(f, 1, ids, n);
    if (i % 3 == 0 && n > 50) fixture_ids(f, 100 + i, ids + 50, n - 50);
    return n;
}

static generation_request request_of(const int32_t *ids, size_t n, uint32_t i) {
    generation_request r = {.ids = ids,
                            .n_ids = n,
                            .n = 1,
                            .max_tokens = 10 + i,
                            .sampler = SAMPLED,
                            .n_top = i % 4 == 1 ? 2 : TASK_NO_LOGPROBS,
                            .ignores_end = true,
                            .client = i % 3};
    r.sampler.seed += i;
    if (i % 5 == 2) r.sampler = (nlm_sampler_options){.struct_size = sizeof(nlm_sampler_options)};
    return r;
}

static int32_t append(void *user, const char *text, size_t length) {
    nlm_str_append(user, text, length);
    return 0;
}

/* What the request gives on a session of its own, on a model of its own. */
static nlm_str text_alone(const char *name, const generation_request *request, uint64_t max_tokens) {
    nlm_model_options options = {.struct_size = sizeof options, .flags = NLM_MODEL_NO_PROMPT_CACHE};
    fixture f = fixture_open(name, &options, 1);
    nlm_session *session = fixture_session(&f);
    nlm_sampler *sampler = NULL;
    nlm_str text = {0};
    EXPECT_OK(nlm_sampler_create(f.model, &request->sampler, &sampler, error));
    fixture_extend(session, request->ids, request->n_ids);
    const nlm_generate_options how = {
        .struct_size = sizeof how, .flags = NLM_GENERATE_IGNORE_END, .max_tokens = max_tokens};
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_generate(session, sampler, &how, append, &text, &result, error));
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
    return text;
}

static bool is_same(const nlm_str *text, const nlm_str *expected) {
    return text->length == expected->length &&
           (expected->length == 0 || memcmp(text->data, expected->data, expected->length) == 0);
}

#define N_ASKED 16

static void text_is_the_one_alone_in_any_batch_cold_or_cached(void) {
    static int32_t ids[N_ASKED][200];
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        fixture f = open_model(fixture_models[m], 5, 0);
        scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 5, .step_tokens = 16});
        nlm_str expected[N_ASKED];
        asked all[N_ASKED] = {0};
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t i = 0; i < N_ASKED; i++) {
                const size_t n = make_prompt(&f, i, ids[i]);
                const generation_request r = request_of(ids[i], n, i);
                if (round == 0) expected[i] = text_alone(fixture_models[m], &r, r.max_tokens);
                submit(s, &r, &all[i]);
            }
            wait_for(s, all, N_ASKED);
            for (uint32_t i = 0; i < N_ASKED; i++) {
                CU_ASSERT_EQUAL(all[i].n_ended, 1);
                CU_ASSERT_EQUAL(all[i].last[0].n_generated, 10 + i);
                CU_ASSERT_EQUAL(all[i].last[0].ended_by, NLM_ENDED_BY_TOKENS);
                CU_ASSERT(is_same(&all[i].text[0], &expected[i]));
                release(&all[i]);
            }
        }
        scheduler_stats stats;
        scheduler_get_stats(s, &stats);
        CU_ASSERT(stats.cached_tokens > 0);
        CU_ASSERT_EQUAL(stats.tasks, 3 * N_ASKED);
        CU_ASSERT(stats.step_sequences > stats.steps);
        for (uint32_t i = 0; i < N_ASKED; i++) nlm_str_release(&expected[i]);
        scheduler_destroy(s);
        fixture_close(&f);
    }
}

static void conversation_goes_on_in_its_slot(void) {
    static int32_t ids[400];
    const char *const names[] = {"llama-gqa-f32", "mamba-f32"};
    for (size_t m = 0; m < 2; m++) {
        fixture f = open_model(names[m], 2, 0);
        scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 2});
        asked first = {0}, second = {0};
        fixture_ids(&f, 3, ids, 45);
        generation_request r = request_of(ids, 45, 2); /* greedy */
        submit(s, &r, &first);
        wait_for(s, &first, 1);
        /* Of what was generated all but the last token is held by the session. */
        nlm_session *session = NULL;
        nlm_model_options alone = {.struct_size = sizeof alone};
        fixture g = fixture_open(names[m], &alone, 1);
        session = fixture_session(&g);
        fixture_extend(session, ids, 45);
        for (size_t i = 45; i < 45 + 12; i++) {
            EXPECT_OK(nlm_session_sample(session, NULL, &ids[i], error));
            fixture_extend(session, &ids[i], 1);
        }
        nlm_session_destroy(session);
        fixture_close(&g);
        fixture_ids(&f, 4, ids + 57, 10);
        r = request_of(ids, 67, 2);
        submit(s, &r, &second);
        wait_for(s, &second, 1);
        CU_ASSERT_EQUAL(second.last[0].n_cached, 45 + 11);
        nlm_str expected = text_alone(names[m], &r, r.max_tokens);
        CU_ASSERT(is_same(&second.text[0], &expected));
        nlm_str_release(&expected);
        release(&first);
        release(&second);
        scheduler_destroy(s);
        fixture_close(&f);
    }
}

static void several_texts_of_one_prompt_have_seeds_of_their_own(void) {
    int32_t ids[100];
    fixture f = open_model("llama-gqa-f32", 2, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 2});
    asked a = {0};
    fixture_ids(&f, 5, ids, 100);
    generation_request r = request_of(ids, 100, 3);
    r.n = 3;
    submit(s, &r, &a);
    wait_for(s, &a, 1);
    CU_ASSERT_EQUAL(a.n_ended, 3);
    for (uint32_t i = 0; i < 3; i++) {
        generation_request one = r;
        one.n = 1;
        one.sampler.seed += i;
        nlm_str expected = text_alone("llama-gqa-f32", &one, one.max_tokens);
        CU_ASSERT(is_same(&a.text[i], &expected));
        nlm_str_release(&expected);
    }
    CU_ASSERT_EQUAL(a.last[0].n_cached, 0);
    CU_ASSERT_EQUAL(a.last[1].n_cached, 96); /* whole pages */
    release(&a);
    scheduler_destroy(s);
    fixture_close(&f);
}

static void text_ends_where_it_is_told_to(void) {
    int32_t ids[60];
    fixture f = open_model("stories260K-q8_0", 1, 64);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1});
    asked whole = {0}, cut = {0}, full = {0};
    size_t n = 0;
    EXPECT_OK(nlm_encode(f.model, "Once upon a time", 16, NLM_TEXT_BOS, ids, 60, &n, error));
    generation_request r = {.ids = ids, .n_ids = n, .n = 1, .max_tokens = 30, .n_top = 3};
    r.sampler.struct_size = sizeof r.sampler;
    submit(s, &r, &whole);
    wait_for(s, &whole, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(whole.text[0].data, "little girl named"));
    CU_ASSERT_EQUAL(whole.n_logprobs, 30);
    CU_ASSERT(whole.logprob_sum < 0 && whole.logprob_sum == whole.top_sum); /* greedy takes the likeliest */
    const char *const stops[] = {"never", "girl na", "little girl named Lily and"};
    r.stops = stops;
    r.n_stops = 3;
    submit(s, &r, &cut);
    wait_for(s, &cut, 1);
    CU_ASSERT_EQUAL(cut.last[0].ended_by, NLM_ENDED_BY_STOP);
    CU_ASSERT_EQUAL(cut.last[0].stop_index, 1);
    const size_t before = (size_t)(strstr(whole.text[0].data, "girl na") - whole.text[0].data);
    CU_ASSERT_EQUAL(cut.text[0].length, before);
    CU_ASSERT(cut.n_logprobs < whole.n_logprobs);
    r.n_stops = 0;
    r.max_tokens = 0;
    r.ignores_end = true;
    submit(s, &r, &full);
    wait_for(s, &full, 1);
    CU_ASSERT_EQUAL(full.last[0].ended_by, NLM_ENDED_BY_CONTEXT);
    CU_ASSERT_EQUAL(full.last[0].n_generated, 64 - n);
    release(&whole);
    release(&cut);
    release(&full);
    scheduler_destroy(s);
    fixture_close(&f);
}

static void bias_rules_a_token_out_or_in(void) {
    int32_t ids[8];
    fixture f = open_model("llama-gqa-f32", 1, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1});
    fixture_ids(&f, 9, ids, 8);
    const nlm_logit_bias bias = {.id = 7, .bias = 1000};
    generation_request r = request_of(ids, 8, 0);
    r.sampler.biases = &bias;
    r.sampler.n_biases = 1;
    r.n_top = 0;
    asked a = {0};
    submit(s, &r, &a);
    wait_for(s, &a, 1);
    const char *text;
    size_t length;
    EXPECT_OK(nlm_token_text(f.model, 7, 0, &text, &length, error));
    CU_ASSERT_EQUAL(a.text[0].length, 10 * length);
    for (size_t i = 0; i < 10; i++) CU_ASSERT_EQUAL(memcmp(a.text[0].data + i * length, text, length), 0);
    release(&a);
    scheduler_destroy(s);
    fixture_close(&f);
}

static void requests_that_cannot_be_are_refused_with_numbers(void) {
    static int32_t ids[300];
    fixture f = open_model("llama-gqa-f32", 1, 64);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1, .max_queue = 2});
    nlm_error err = NLM_ERROR_INIT;
    task *t = NULL;
    asked a = {0};
    generation_request r = request_of(ids, 64, 0);
    CU_ASSERT_EQUAL(scheduler_submit(s, &r, collect, &a, &t, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "64 tokens"));
    r = request_of(ids, 0, 0);
    CU_ASSERT_EQUAL(scheduler_submit(s, &r, collect, &a, &t, &err), NLM_INVALID_ARGUMENT);
    const nlm_logit_bias bias = {.id = f.n_vocab};
    r = request_of(ids, 4, 0);
    r.sampler.biases = &bias;
    r.sampler.n_biases = 1;
    submit(s, &r, &a);
    wait_for(s, &a, 1);
    CU_ASSERT_EQUAL(a.last[0].status, NLM_INVALID_ARGUMENT);
    release(&a);
    r = request_of(ids, 4, 0);
    r.n = 3;
    CU_ASSERT_EQUAL(scheduler_submit(s, &r, collect, &a, &t, &err), NLM_LIMIT);
    CU_ASSERT_PTR_NULL(t);
    r = request_of(ids, 4, 0); /* the sampler finds it wrong on the scheduler's thread */
    r.sampler.top_p = 7;
    submit(s, &r, &a);
    wait_for(s, &a, 1);
    CU_ASSERT_EQUAL(a.n_failed, 1);
    CU_ASSERT_EQUAL(a.last[0].status, NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.message, "top_p"));
    scheduler_stats stats;
    scheduler_get_stats(s, &stats);
    CU_ASSERT_EQUAL(stats.refused, 1);
    CU_ASSERT_EQUAL(stats.queued, 0);
    scheduler_destroy(s);
    fixture_close(&f);
}

static void cancelled_task_frees_its_slot(void) {
    static int32_t ids[200];
    fixture f = open_model("llama-gqa-f32", 1, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1});
    asked endless = {0}, waiting = {0}, after = {0};
    fixture_ids(&f, 2, ids, 200);
    generation_request r = request_of(ids, 200, 0);
    r.max_tokens = 0;
    task *first = submit(s, &r, &endless), *second = submit(s, &r, &waiting);
    scheduler_cancel(s, second);
    r = request_of(ids, 100, 1);
    submit(s, &r, &after);
    scheduler_cancel(s, first);
    wait_for(s, &after, 1);
    CU_ASSERT_EQUAL(endless.n_events + waiting.n_events, 0);
    CU_ASSERT_EQUAL(after.n_ended, 1);
    nlm_str expected = text_alone("llama-gqa-f32", &r, r.max_tokens);
    CU_ASSERT(is_same(&after.text[0], &expected));
    nlm_str_release(&expected);
    scheduler_stats stats;
    scheduler_get_stats(s, &stats);
    CU_ASSERT_EQUAL(stats.cancelled, 2);
    release(&after);
    r.max_tokens = 0; /* and one that is under way when all ends */
    submit(s, &r, &endless);
    scheduler_destroy(s);
    release(&endless);
    fixture_close(&f);
}

static void clients_take_turns_and_priority_goes_first(void) {
    static int32_t ids[64];
    fixture f = open_model("llama-gqa-f32", 2, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 2});
    asked all[8] = {0};
    fixture_ids(&f, 2, ids, 64);
    n_finished = 0;
    /* Six of client 1 came first; the one of client 2 need not wait for all of them, that of priority 1 for none. */
    for (uint32_t i = 0; i < 8; i++) {
        generation_request r = request_of(ids, 64, 0);
        r.max_tokens = 40;
        r.client = i == 6 ? 2 : 1;
        r.priority = i == 7;
        submit(s, &r, &all[i]);
    }
    wait_for(s, all, 8);
    CU_ASSERT(all[7].finished_at <= 4);
    CU_ASSERT(all[6].finished_at <= 6);
    for (size_t i = 0; i < 8; i++) release(&all[i]);
    scheduler_destroy(s);
    fixture_close(&f);
}

static void deadline_ends_a_text_with_what_there_is(void) {
    static int32_t ids[64];
    fixture f = open_model("llama-gqa-f32", 1, 0);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 1, .queue_seconds = 1e-6});
    asked late = {0}, waiting = {0};
    fixture_ids(&f, 2, ids, 64);
    generation_request r = request_of(ids, 64, 0);
    r.max_tokens = 0;
    r.seconds = 1e-9;
    submit(s, &r, &late);
    r.seconds = 0;
    submit(s, &r, &waiting);
    wait_for(s, &late, 1);
    wait_for(s, &waiting, 1);
    CU_ASSERT_EQUAL(late.n_failed, 1);
    CU_ASSERT_EQUAL(late.last[0].status, NLM_LIMIT);
    CU_ASSERT_EQUAL(waiting.last[0].status, NLM_LIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(waiting.message, "no slot"));
    scheduler_destroy(s);
    fixture_close(&f);
}

static float embedded[3][512];
static int n_embedded, embed_status;

static void take_rows(void *user, nlm_status status, const float *rows, const char *message) {
    (void)message;
    embed_status = status;
    n_embedded++;
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
    while (n_embedded < 1) {
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
    CU_ASSERT_EQUAL(embed_status, NLM_CANCELLED);
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
    CHECK_CASE(text_is_the_one_alone_in_any_batch_cold_or_cached),
    CHECK_CASE(conversation_goes_on_in_its_slot),
    CHECK_CASE(several_texts_of_one_prompt_have_seeds_of_their_own),
    CHECK_CASE(text_ends_where_it_is_told_to),
    CHECK_CASE(bias_rules_a_token_out_or_in),
    CHECK_CASE(requests_that_cannot_be_are_refused_with_numbers),
    CHECK_CASE(cancelled_task_frees_its_slot),
    CHECK_CASE(clients_take_turns_and_priority_goes_first),
    CHECK_CASE(deadline_ends_a_text_with_what_there_is),
    CHECK_CASE(slot_is_saved_and_restored),
    CHECK_CASE(embeddings_come_between_steps),
};
CHECK_MAIN("server scheduler", cases)
