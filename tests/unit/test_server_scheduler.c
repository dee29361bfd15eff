/* The server's scheduler: every text is the one its request would get alone, whatever else goes on. */
#include "server_fixture.h"

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

/* A text goes on by a token for each part of the other's prompt that the budget allows, the first part too. */
static void long_prompt_takes_its_part_of_each_step(void) {
    enum { LENGTH = 480, BUDGET = 16 };
    static int32_t ids[LENGTH];
    fixture f = open_model("llama-gqa-f32", 2, 1024);
    scheduler *s = open_scheduler(&f, (scheduler_options){.slots = 2, .step_tokens = BUDGET});
    asked stream = {0}, prompt = {0};
    fixture_ids(&f, 8, ids, LENGTH);
    generation_request r = request_of(ids, 4, 0);
    r.max_tokens = 900;
    task *t = submit(s, &r, &stream);
    while (stream.n_events == 0) wait_once(s);
    const uint64_t before = stream.last[0].n_generated;
    r = request_of(ids, LENGTH, 0);
    r.max_tokens = 1;
    submit(s, &r, &prompt);
    wait_for(s, &prompt, 1);
    CU_ASSERT(stream.last[0].n_generated + 2 >= before + LENGTH / BUDGET);
    scheduler_cancel(s, t);
    scheduler_destroy(s);
    release(&stream);
    release(&prompt);
    fixture_close(&f);
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
    release(&a);
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
    release(&late);
    release(&waiting);
    scheduler_destroy(s);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(text_is_the_one_alone_in_any_batch_cold_or_cached),
    CHECK_CASE(conversation_goes_on_in_its_slot),
    CHECK_CASE(long_prompt_takes_its_part_of_each_step),
    CHECK_CASE(several_texts_of_one_prompt_have_seeds_of_their_own),
    CHECK_CASE(text_ends_where_it_is_told_to),
    CHECK_CASE(bias_rules_a_token_out_or_in),
    CHECK_CASE(requests_that_cannot_be_are_refused_with_numbers),
    CHECK_CASE(cancelled_task_frees_its_slot),
    CHECK_CASE(clients_take_turns_and_priority_goes_first),
    CHECK_CASE(deadline_ends_a_text_with_what_there_is),
};
CHECK_MAIN("server scheduler", cases)
