/* Super-blocks whose numbers are the greatest that there are, where sums of integers come nearest to their ends. */
#include "plugin/plugins.h"
#include "tensor/dtype.h"
#include "unit/graph_fixture.h"

enum { ROWS = 40, COLUMNS = 512, MOST_TOKENS = 20 };

#define F16_ONE 0x3c00

/* A type, what all its bytes are but those of f16 and of q6_k's scales, and the weight that comes of it. */
typedef struct extreme {
    nlm_dtype dtype;
    uint8_t bytes;
    double weight;
} extreme;

static const extreme rows[] = {
    {NLM_Q4_K, 0xff, 15 * 63 - 63},
    {NLM_Q5_K, 0xff, 31 * 63 - 63},
    {NLM_Q6_K, 0x00, -32 * -128},
};

static void put_one(uint8_t *at) {
    at[0] = F16_ONE & 0xff;
    at[1] = F16_ONE >> 8;
}

/* The f16 come first, or, of q6_k, after the scales. */
static void fill(const extreme *row, uint8_t *data, size_t bytes) {
    const nlm_dtype_info *info = nlm_dtype_find(row->dtype);
    const size_t block = info->block_bytes;
    memset(data, row->bytes, bytes);
    for (uint8_t *at = data; at < data + bytes; at += block) {
        if (row->dtype == NLM_Q6_K) {
            memset(at + 192, 0x80, 16);
            put_one(at + 208);
        } else {
            put_one(at);
            put_one(at + 2);
        }
    }
}

static nlm_weight *weight_of(fixture *f, const extreme *row) {
    nlm_weight *weight = &f->weights[f->n_weights++];
    nlm_error err = NLM_ERROR_INIT;
    *weight = (nlm_weight){.name = nlm_dtype_name(row->dtype)};
    expect_ok(nlm_tensor_init(&weight->source, row->dtype, SHAPE(ROWS, COLUMNS), NULL, &err), &err);
    const size_t bytes = nlm_tensor_bytes(&weight->source);
    weight->source.data = malloc(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(weight->source.data);
    fill(row, weight->source.data, bytes);
    return weight;
}

static void check_row(fixture *f, const char *backend, const extreme *row, int64_t tokens, float x) {
    nlm_graph *graph = fixture_graph();
    const nlm_value in = nlm_graph_input(graph, "x", NLM_F32, SHAPE(tokens, COLUMNS), NLM_ROWS_TOKENS);
    const nlm_value w = nlm_graph_weight(graph, weight_of(f, row));
    const nlm_value out = nlm_graph_matmul(graph, in, w, NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(graph, out);
    nlm_program *program = fixture_plan(f, graph, &plan_packed);
    float *values = nlm_program_input(program, in);
    for (int64_t i = 0; i < tokens * COLUMNS; i++) values[i] = x;
    fixture_run(program, NULL);
    const float *y = nlm_program_output(program, out);
    const double expected = row->weight * COLUMNS * (double)x;
    for (int64_t i = 0; i < tokens * ROWS; i++) {
        if (fabs((double)y[i] - expected) <= 1e-6 * fabs(expected)) continue;
        printf("\n%s, %s, %d tokens: %g, not %g\n", backend, nlm_dtype_name(row->dtype), (int)tokens, (double)y[i],
               expected);
        CU_FAIL("a sum has left its integers");
        break;
    }
    nlm_program_destroy(program);
    nlm_graph_destroy(graph);
}

static void check_backend(const char *backend) {
    const nlm_plugins_options options = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    nlm_plugins *plugins = NULL;
    nlm_device *device = NULL;
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_plugins_create(&options, &plugins, &err), &err);
    if (nlm_plugins_open(plugins, backend, 0, NULL, &device, &err) != NLM_OK) {
        nlm_plugins_destroy(plugins);
        CHECK_SKIP(err.msg);
    }
    fixture f;
    fixture_open(&f, 2);
    f.env.devices[0] = device;
    f.env.devices[1] = f.reference;
    f.env.n_devices = 2;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int64_t tokens[] = {1, 3, MOST_TOKENS};
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
            check_row(&f, backend, &rows[i], tokens[t], 1);
            check_row(&f, backend, &rows[i], tokens[t], -1);
        }
    }
    fixture_close(&f);
    nlm_device_close(device);
    nlm_plugins_destroy(plugins);
}

static void greatest_sums_fit_avx512(void) {
    check_backend("cpu_avx512");
}
static void greatest_sums_fit_avx2(void) {
    check_backend("cpu_avx2");
}
static void greatest_sums_fit_neon(void) {
    check_backend("cpu_neon");
}
static void greatest_sums_fit_scalar(void) {
    check_backend("cpu_scalar");
}

static const check_case cases[] = {
    CHECK_CASE(greatest_sums_fit_avx512),
    CHECK_CASE(greatest_sums_fit_avx2),
    CHECK_CASE(greatest_sums_fit_neon),
    CHECK_CASE(greatest_sums_fit_scalar),
};
CHECK_MAIN("super-blocks", cases)
