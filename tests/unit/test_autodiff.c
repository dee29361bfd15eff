/* Gradients of whole models: the graph's own backward pass in float64 against differences of its losses, and on the
 * reference backend in f32 against float64. */
#include "unit/graph_fixture.h"

#include "base/philox.h"
#include "model/family.h"
#include "model/parameters.h"
#include "model/presets.h"
#include "train/initial.h"
#include "unit/graph64.h"

enum { ROWS = 37, SEQS = 5, VOCAB = 29 };
static const int32_t starts[SEQS + 1] = {0,  1,  14,
                                         14, 20, 33}; /* one of one token, one of none; the rest is padding */
#define LIVE 33

/* A model of this shape with random parameters and its training graph. */
typedef struct trained_model {
    fixture f;
    nlm_model *model;
    nlm_parameters *parameters;
    nlm_cache *cache;
    nlm_value after[64];
    nlm_graph *graph;
    nlm_graph_io io;
    nlm_training_io training;
    uint32_t n_forward; /* nodes before the backward pass */
} trained_model;

typedef struct model_case {
    const char *name;
    nlm_preset preset;
    nlm_recompute recompute;
    nlm_cross_entropy_params loss;
    nlm_parameters_options parameters;
} model_case;

#define LLAMA(heads, kv, window)                              \
    {                                                         \
        .name = "tiny", .architecture = "llama", .hparams = { \
            .n_vocab = VOCAB,                                 \
            .n_layer = 2,                                     \
            .n_embd = 24,                                     \
            .n_ctx_train = 64,                                \
            .rms_norm_eps = 1e-5f,                            \
            .n_head = {.most = heads},                        \
            .n_head_kv = {.most = kv},                        \
            .head_dim = 24 / heads,                           \
            .n_ff = {.most = 20},                             \
            .n_rot = 24 / heads,                              \
            .sliding_window = {.most = window}                \
        }                                                     \
    }
#define MAMBA(embd, states)                                   \
    {                                                         \
        .name = "tiny", .architecture = "mamba", .hparams = { \
            .n_vocab = VOCAB,                                 \
            .n_layer = 2,                                     \
            .n_embd = embd,                                   \
            .n_ctx_train = 64,                                \
            .rms_norm_eps = 1e-5f,                            \
            .d_inner = 2 * embd,                              \
            .d_state = states,                                \
            .d_conv = 4,                                      \
            .dt_rank = 3                                      \
        }                                                     \
    }

#define WHOLE \
    { NLM_F32, 0, 0, NULL }
static const char *const some[] = {"attn_q", "ffn_down", "ssm_in", "ssm_dt", NULL};

static const model_case models[] = {
    {"llama, grouped queries", LLAMA(4, 2, 0), NLM_RECOMPUTE_CHEAP, {0, 0}, WHOLE},
    {"llama, recomputed", LLAMA(4, 4, 0), NLM_RECOMPUTE_LAYERS, {0.1f, 1e-3f}, WHOLE},
    {"mamba", MAMBA(12, 5), NLM_RECOMPUTE_CHEAP, {0, 0}, WHOLE},
    {"llama, up recomputed", LLAMA(4, 2, 0), NLM_RECOMPUTE_UP, {0.1f, 1e-3f}, WHOLE},
    {"mamba, recomputed, odd", MAMBA(9, 16), NLM_RECOMPUTE_LAYERS, {0.1f, 1e-3f}, WHOLE},
    {"llama, adapters", LLAMA(4, 2, 0), NLM_RECOMPUTE_CHEAP, {0, 0}, {NLM_F32, 3, 2, NULL}},
    {"mamba, some adapters", MAMBA(12, 5), NLM_RECOMPUTE_LAYERS, {0, 0}, {NLM_F32, 2, 4, some}},
};
enum { N_MODELS = sizeof models / sizeof *models };

/* For weights that are not trained. */
static void fill_file(const nlm_gguf *gguf) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        float *values = tensor->tensor.data;
        const bool is_decay = memmem(tensor->name.data, tensor->name.length, "ssm_a", 5) != NULL;
        const uint64_t count = graph64_count(&tensor->tensor);
        for (uint64_t j = 0; j < count; j++) {
            const double drawn = nlm_philox_uniform(23, (uint64_t)i << 32 | j);
            values[j] = (float)(is_decay ? -0.1 - 2 * drawn : tensor->tensor.rank == 1 ? 0.5 + drawn : drawn - 0.5);
        }
    }
}

static void model_open(trained_model *m, const model_case *c) {
    nlm_error err = NLM_ERROR_INIT;
    memset(m, 0, sizeof *m);
    fixture_open(&m->f, 2);
    nlm_gguf *gguf = NULL;
    expect_ok(nlm_preset_gguf(&c->preset, NLM_F32, &gguf, &err), &err);
    fill_file(gguf);
    expect_ok(nlm_model_take_gguf(gguf, &m->model, &err), &err);
    expect_ok(nlm_parameters_create(m->model, &c->parameters, &m->parameters, &err), &err);
    if (strcmp(c->preset.architecture, "mamba") == 0) {
        const nlm_cache_options options = {
            .n_slots = SEQS, .n_pages = 1, .page_tokens = 1, .n_blocks = 1, .kv_dtype = NLM_F32};
        expect_ok(nlm_model_cache_create(m->model, &options, &m->cache, &err), &err);
    }
    m->graph = fixture_graph();
    m->training = (nlm_training_io){
        .parameters = m->parameters, .loss = c->loss, .wants_gradients = true, .states_after = m->after};
    const nlm_training_dims dims = {.batch = {ROWS, SEQS, 1}, .recompute = c->recompute};
    expect_ok(nlm_model_build_training(m->model, m->cache, &dims, m->graph, &m->training, &m->io, &err), &err);
    while (!m->graph->nodes[m->n_forward].is_backward) m->n_forward++;
}

static void model_close(trained_model *m) {
    nlm_graph_destroy(m->graph);
    nlm_cache_destroy(m->cache);
    nlm_parameters_destroy(m->parameters);
    nlm_model_close(m->model);
    fixture_close(&m->f);
}

/* ---- the same numbers in both ---- */

static int32_t input_at(const trained_model *m, nlm_value value, int i) {
    if (value == m->io.ids) return (i * 7 + i / 5) % VOCAB;
    if (value == m->training.labels) return i % 6 == 4 ? -1 : (i * 11 + 3) % VOCAB;
    if (value == m->io.batch.seq_start) return starts[i];
    if (value == m->io.batch.slot) return SEQS - 1 - i;
    int s = 0; /* positions count from each sequence's start */
    while (s + 1 < SEQS && starts[s + 1] <= i) s++;
    return i - starts[s];
}

static void fill_inputs64(const trained_model *m, graph64 *g) {
    const nlm_value inputs[] = {m->io.ids, m->training.labels, m->io.batch.seq_start, m->io.batch.slot,
                                m->io.batch.pos};
    for (int i = 0; i < 5; i++) {
        if (inputs[i] < 0) continue;
        int32_t *to = (int32_t *)(void *)g->memory[inputs[i]];
        const int count = (int)graph64_count(&m->graph->values[inputs[i]].tensor);
        for (int j = 0; j < count; j++) to[j] = input_at(m, inputs[i], j);
    }
    g->live[NLM_ROWS_TOKENS] = LIVE;
    g->live[NLM_ROWS_SEQS] = SEQS;
}

/* Vectors about what a model begins with, matrices that keep the size of what they multiply: all parts of it matter.
 */
static void initial_values(const trained_model *m, uint32_t index, float *out) {
    const nlm_trained *trained = nlm_parameters_at(m->parameters, index);
    const nlm_tensor *t = &trained->parameter.value.tensor;
    const uint64_t count = nlm_trained_elements(trained);
    nlm_initial_fill(trained, nlm_model_hparams(m->model), 11, index, out);
    const double size = trained->decays ? 2 / sqrt((double)t->shape[1]) : 0.2;
    for (uint64_t i = 0; i < count; i++) {
        const double moved = size * (2 * nlm_philox_uniform(5, (uint64_t)index << 32 | i) - 1);
        out[i] = trained->decays ? (float)moved : out[i] + (float)moved;
    }
}

static void fill_parameters64(const trained_model *m, graph64 *g) {
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        nlm_trained *trained = nlm_parameters_at(m->parameters, i);
        const nlm_value value = nlm_graph_parameter(m->graph, &trained->parameter);
        const uint64_t count = nlm_trained_elements(trained);
        float *values = malloc(count * sizeof *values);
        initial_values(m, i, values);
        for (uint64_t j = 0; j < count; j++) g->memory[value][j] = (double)values[j];
        free(values);
    }
}

static void fill_weights64(const trained_model *m, graph64 *g) {
    for (uint32_t v = 0; v < m->graph->n_values; v++) {
        const nlm_value_info *info = &m->graph->values[v];
        if (info->kind != NLM_VALUE_WEIGHT) continue;
        const float *values = info->weight->source.data;
        const uint64_t count = graph64_count(&info->tensor);
        for (uint64_t j = 0; j < count; j++) g->memory[v][j] = (double)values[j];
    }
}

static double loss64(const trained_model *m, const graph64 *g) {
    double sum = 0;
    for (int i = 0; i < LIVE; i++) sum += g->memory[m->io.logits][i];
    return sum;
}

/* ---- differences ---- */

/* A direction in which all elements of a parameter change. */
static double direction(uint64_t i) {
    return (double)((int)(i * 2654435761u >> 7 & 1023) - 512) / 512;
}

/* The slope along it, to the fourth power of the step. */
static double difference(const trained_model *m, graph64 *g, nlm_value value, uint64_t count) {
    static const struct { double steps, factor; } points[] = {{1, 8}, {-1, -8}, {2, -1}, {-2, 1}};
    const double step = 3e-5;
    double *values = g->memory[value], slope = 0;
    for (int p = 0; p < 4; p++) {
        const double moved = points[p].steps * step;
        for (uint64_t j = 0; j < count; j++) values[j] += moved * direction(j);
        graph64_run(g, m->n_forward);
        slope += points[p].factor * loss64(m, g) / (12 * step);
        for (uint64_t j = 0; j < count; j++) values[j] -= moved * direction(j);
    }
    return slope;
}

static void gradients_are_what_the_loss_does(void) {
    for (int c = 0; c < N_MODELS; c++) {
        trained_model m;
        graph64 g;
        model_open(&m, &models[c]);
        graph64_open(&g, m.graph);
        fill_inputs64(&m, &g);
        fill_parameters64(&m, &g);
        fill_weights64(&m, &g);
        graph64_run(&g, m.graph->n_nodes);
        for (uint32_t i = 0; i < nlm_parameters_count(m.parameters); i++) {
            nlm_trained *trained = nlm_parameters_at(m.parameters, i);
            const nlm_value value = nlm_graph_parameter(m.graph, &trained->parameter);
            const nlm_value gradient = nlm_graph_gradient(m.graph, value);
            const uint64_t count = nlm_trained_elements(trained);
            double *kept = malloc(count * sizeof *kept), slope = 0, size = 0;
            memcpy(kept, g.memory[gradient], count * sizeof *kept);
            for (uint64_t j = 0; j < count; j++) {
                slope += kept[j] * direction(j);
                size += fabs(kept[j] * direction(j));
            }
            const double found = difference(&m, &g, value, count);
            if (!(size > 0 && fabs(found - slope) <= 1e-5 * size))
                printf("\n%s, %s: the loss changes by %.9g, its gradient says %.9g\n", models[c].name, trained->name,
                       found, slope);
            CU_ASSERT_TRUE(size > 0 && fabs(found - slope) <= 1e-5 * size);
            memset(g.memory[gradient], 0, count * sizeof *kept); /* the head has added to its own */
            free(kept);
        }
        graph64_close(&g);
        model_close(&m);
    }
}

/* ---- f32 ---- */

static void set_parameters(trained_model *m) {
    nlm_error err = NLM_ERROR_INIT;
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        nlm_trained *trained = nlm_parameters_at(m->parameters, i);
        float *values = malloc(nlm_trained_elements(trained) * sizeof *values);
        initial_values(m, i, values);
        expect_ok(nlm_trained_write(trained, NULL, values, &err), &err);
        free(values);
    }
}

static void run_f32(trained_model *m, nlm_program *program) {
    const nlm_value inputs[] = {m->io.ids, m->training.labels, m->io.batch.seq_start, m->io.batch.slot,
                                m->io.batch.pos};
    for (int i = 0; i < 5; i++) {
        if (inputs[i] < 0) continue;
        int32_t *to = nlm_program_input(program, inputs[i]);
        const int count = (int)graph64_count(&m->graph->values[inputs[i]].tensor);
        for (int j = 0; to && j < count; j++) to[j] = input_at(m, inputs[i], j);
    }
    fixture_run(program, (const int32_t[]){0, LIVE, 0, m->cache ? SEQS : 0});
}

/* Twice, as gradients are added; fused and not. */
static void programs_compute_them(void) {
    static const nlm_plan_options *const plans[] = {&plan_plain, &plan_packed, &plan_all};
    for (int c = 0; c < N_MODELS; c++) {
        for (int p = 0; p < 3; p++) {
            trained_model m;
            graph64 g;
            nlm_error err = NLM_ERROR_INIT;
            model_open(&m, &models[c]);
            graph64_open(&g, m.graph);
            fill_inputs64(&m, &g);
            fill_parameters64(&m, &g);
            fill_weights64(&m, &g);
            graph64_run(&g, m.graph->n_nodes);
            nlm_program *program = fixture_plan(&m.f, m.graph, plans[p]);
            set_parameters(&m);
            run_f32(&m, program);
            run_f32(&m, program);
            const float *losses = nlm_program_output(program, m.io.logits);
            double sum = 0;
            for (int i = 0; i < LIVE; i++) sum += (double)losses[i];
            CU_ASSERT_DOUBLE_EQUAL(sum, loss64(&m, &g), 1e-5 * fabs(loss64(&m, &g)));
            for (uint32_t i = 0; i < nlm_parameters_count(m.parameters); i++) {
                nlm_trained *trained = nlm_parameters_at(m.parameters, i);
                const uint64_t count = nlm_trained_elements(trained);
                const double *expected =
                    g.memory[nlm_graph_gradient(m.graph, nlm_graph_parameter(m.graph, &trained->parameter))];
                float *found = malloc(count * sizeof *found);
                double error = 0, size = 0;
                expect_ok(nlm_state_read(&trained->parameter.gradient, 0, found, count * sizeof *found, &err), &err);
                for (uint64_t j = 0; j < count; j++) {
                    const double off = (double)found[j] / 2 - expected[j];
                    error += off * off;
                    size += expected[j] * expected[j];
                }
                if (!(error <= 1e-8 * size))
                    printf("\n%s, plan %d, %s: off by %g of %g\n", models[c].name, p, trained->name, sqrt(error),
                           sqrt(size));
                CU_ASSERT_TRUE(size > 0 && error <= 1e-8 * size); /* sums that cancel */
                free(found);
            }
            nlm_program_destroy(program);
            graph64_close(&g);
            model_close(&m);
        }
    }
}

/* The error of a graph whose only op is softmax, if the gradient of what it reads is wanted. */
static nlm_status backward_of_softmax(bool is_wanted, nlm_error *err) {
    static const int64_t shape[] = {3, 8};
    nlm_graph *graph = NULL;
    expect_ok(nlm_graph_create(&graph, err), err);
    const nlm_value x = nlm_graph_input(graph, "x", NLM_F32, 2, shape, NLM_ROWS_FIXED);
    const nlm_value dy = nlm_graph_input(graph, "dy", NLM_F32, 2, shape, NLM_ROWS_FIXED);
    nlm_graph_set_layer(graph, 7);
    const nlm_seed seed = {nlm_graph_softmax(graph, x, 1), dy};
    nlm_value dx;
    nlm_graph_backward(
        graph,
        &(nlm_backward){.seeds = &seed, .n_seeds = 1, .wanted = &x, .n_wanted = is_wanted, .out_gradients = &dx});
    const nlm_status status = nlm_graph_check(graph, err);
    nlm_graph_destroy(graph);
    return status;
}

static void an_op_without_a_backward_is_named(void) {
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(backward_of_softmax(false, &err), &err);
    CU_ASSERT_EQUAL(backward_of_softmax(true, &err), NLM_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "softmax"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "has no backward"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "7"));
}

static const check_case cases[] = {
    CHECK_CASE(an_op_without_a_backward_is_named),
    CHECK_CASE(gradients_are_what_the_loss_does),
    CHECK_CASE(programs_compute_them),
};
CHECK_MAIN("autodiff", cases)
