/* The server's scheduler over models of tests/data/models, and what its tasks are told. */
#ifndef NLM_TESTS_SERVER_FIXTURE_H
#define NLM_TESTS_SERVER_FIXTURE_H

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

static inline void collect(void *user, const task_event *event) {
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

static inline void release(asked *a) {
    for (size_t i = 0; i < 4; i++) nlm_str_release(&a->text[i]);
    *a = (asked){0};
}

static inline void wait_once(scheduler *s) {
    struct pollfd fd = {.fd = scheduler_fd(s), .events = POLLIN};
    CU_ASSERT_EQUAL_FATAL(poll(&fd, 1, 60000), 1);
    scheduler_dispatch(s);
}

static inline void wait_for(scheduler *s, asked *all, size_t count) {
    for (size_t i = 0; i < count;) {
        if (all[i].is_done) {
            i++;
            continue;
        }
        wait_once(s);
    }
}

static inline fixture open_model(const char *name, uint32_t parallel, uint32_t context) {
    return fixture_open(
        name,
        &(nlm_model_options){
            .struct_size = sizeof(nlm_model_options), .parallel = parallel, .context_length = context},
        2);
}

static inline scheduler *open_scheduler(const fixture *f, scheduler_options options) {
    scheduler *s = NULL;
    EXPECT_OK(scheduler_create(f->model, &options, &s, error));
    return s;
}

static inline task *submit(scheduler *s, const generation_request *request, asked *a) {
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
static inline size_t make_prompt(const fixture *f, uint32_t i, int32_t *ids) {
    const size_t lengths[] = {1, 40, 200, 33, 129, 180, 64, 2};
    const size_t n = lengths[i % 8];
    fixture_ids(f, 1, ids, n);
    if (i % 3 == 0 && n > 50) fixture_ids(f, 100 + i, ids + 50, n - 50);
    return n;
}

static inline generation_request request_of(const int32_t *ids, size_t n, uint32_t i) {
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

static inline int32_t append(void *user, const char *text, size_t length) {
    nlm_str_append(user, text, length);
    return 0;
}

/* What the request gives on a session of its own, on a model of its own. */
static inline nlm_str text_alone(const char *name, const generation_request *request, uint64_t max_tokens) {
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

static inline bool is_same(const nlm_str *text, const nlm_str *expected) {
    return text->length == expected->length &&
           (expected->length == 0 || memcmp(text->data, expected->data, expected->length) == 0);
}

#endif
