/* What tests of planning and running share: a pool, a device, weights made of numbers. */
#ifndef NLM_TESTS_GRAPH_FIXTURE_H
#define NLM_TESTS_GRAPH_FIXTURE_H

#include "graph/graph.h"
#include "unit/fake_device.h"

#define FIXTURE_WEIGHTS 64

typedef struct fixture {
    nlm_device *reference;
    nlm_pool *pool;
    nlm_env env;
    nlm_weight weights[FIXTURE_WEIGHTS];
    uint32_t n_weights;
    uint32_t dice_weights; /* 1 + the first of those that random_graph.h made; 0: none */
    uint64_t random;
} fixture;

#define SHAPE(...)                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { \
        __VA_ARGS__                                                                \
    }

static const nlm_plan_options plan_plain = {.do_fuse = false, .do_pack = false};
static const nlm_plan_options plan_packed = {.do_fuse = false, .do_pack = true};
static const nlm_plan_options plan_all = {.do_fuse = true, .do_pack = true};

static inline void expect_ok(nlm_status status, const nlm_error *err) {
    if (status != NLM_OK) printf("\n%s: %s\n", err->where, err->msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
}

static inline void expect_contains(const char *text, const char *part) {
    if (!text || !strstr(text, part)) printf("\n\"%s\" lacks \"%s\"\n", text ? text : "(null)", part);
    CU_ASSERT_TRUE(text && strstr(text, part));
}

static inline void fixture_open(fixture *f, uint32_t threads) {
    memset(f, 0, sizeof *f);
    nlm_error err = NLM_ERROR_INIT;
    f->reference = open_reference();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f->reference);
    expect_ok(nlm_pool_create(&(nlm_pool_options){.threads = threads, .is_unbound = true}, &f->pool, &err), &err);
    f->env = (nlm_env){.devices = {f->reference}, .n_devices = 1, .pool = f->pool};
    expect_ok(nlm_activations_create(&f->env.activations, &err), &err);
    f->random = 0x9e3779b97f4a7c15u;
}

/* Weights' places are released here, so devices made for a case must still be there. */
static inline void fixture_close(fixture *f) {
    for (uint32_t i = 0; i < f->n_weights; i++) {
        nlm_weight_release(&f->weights[i]);
        free(f->weights[i].source.data);
    }
    nlm_activations_destroy(f->env.activations);
    nlm_pool_destroy(f->pool);
    close_reference(f->reference);
}

static inline uint32_t fixture_random(fixture *f, uint32_t below) {
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(f->random >> 33) % below;
}

/* As OP_BITs. */
static inline uint64_t fixture_some_ops(fixture *f) {
    const uint64_t low = fixture_random(f, UINT32_C(1) << 31), high = fixture_random(f, UINT32_C(1) << 31);
    return low | high << 31;
}

static inline float fixture_number(fixture *f) {
    return (float)fixture_random(f, 2001) / 1000.0f - 1.0f;
}

static inline nlm_weight *fixture_weight(fixture *f, const char *name, int rank, const int64_t *shape) {
    CU_ASSERT_FATAL(f->n_weights < FIXTURE_WEIGHTS);
    nlm_weight *weight = &f->weights[f->n_weights++];
    *weight = (nlm_weight){.name = name};
    nlm_tensor_init(&weight->source, NLM_F32, rank, shape, NULL, NULL);
    const size_t count = nlm_tensor_bytes(&weight->source) / sizeof(float);
    float *data = malloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++) data[i] = fixture_number(f);
    weight->source.data = data;
    return weight;
}

static inline nlm_program *fixture_plan(fixture *f, const nlm_graph *graph, const nlm_plan_options *options) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    expect_ok(nlm_graph_plan_with(graph, &f->env, options, &program, &err), &err);
    return program;
}

static inline void fixture_run(nlm_program *program, const int32_t *live_rows) {
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_program_run(program, &(nlm_run_info){.live_rows = live_rows}, &err), &err);
}

static inline nlm_graph *fixture_graph(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_graph *graph = NULL;
    expect_ok(nlm_graph_create(&graph, &err), &err);
    return graph;
}

#endif
