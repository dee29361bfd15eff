/* A small network with its float64 oracle, and devices with a queue and memory of their own to run it on. */
#ifndef NLM_TESTS_FAR_DEVICE_H
#define NLM_TESTS_FAR_DEVICE_H

#include <math.h>

#include "unit/random_graph.h"

enum { ROWS = 5, IN = 12, HIDDEN = 20, OUT = 7 };

/* y = silu(x a^T) * (x a^T) b^T + bias, in layer 4 */
typedef struct network {
    nlm_graph *graph;
    nlm_value x, y;
} network;

static inline network network_make(fixture *f) {
    if (f->n_weights == 0) {
        fixture_weight(f, "a", SHAPE(HIDDEN, IN));
        fixture_weight(f, "b", SHAPE(OUT, HIDDEN));
        fixture_weight(f, "bias", SHAPE(OUT));
    }
    network n = {.graph = fixture_graph()};
    nlm_graph *g = n.graph;
    nlm_graph_set_layer(g, 4);
    n.x = nlm_graph_input(g, "x", NLM_F32, SHAPE(ROWS, IN), NLM_ROWS_TOKENS);
    const nlm_value h = nlm_graph_matmul(g, n.x, nlm_graph_weight(g, &f->weights[0]), NLM_NO_VALUE, NLM_NO_VALUE);
    n.y = nlm_graph_matmul(g, nlm_graph_silu_mul(g, h, h), nlm_graph_weight(g, &f->weights[1]),
                           nlm_graph_weight(g, &f->weights[2]), NLM_NO_VALUE);
    nlm_graph_output(g, n.y);
    return n;
}

static inline void network_input(const network *n, nlm_program *program) {
    float *x = nlm_program_input(program, n->x);
    for (int i = 0; i < ROWS * IN; i++) x[i] = (float)((i * 7) % 11 - 5) / 4.0f;
}

static inline void network_oracle(const fixture *f, const float *x, double *y) {
    const float *a = f->weights[0].source.data, *b = f->weights[1].source.data, *bias = f->weights[2].source.data;
    for (int r = 0; r < ROWS; r++) {
        double hidden[HIDDEN] = {0};
        for (int n = 0; n < HIDDEN; n++) {
            for (int k = 0; k < IN; k++) hidden[n] += (double)x[r * IN + k] * (double)a[n * IN + k];
            hidden[n] = hidden[n] / (1 + exp(-hidden[n])) * hidden[n];
        }
        for (int n = 0; n < OUT; n++) {
            y[r * OUT + n] = bias[n];
            for (int k = 0; k < HIDDEN; k++) y[r * OUT + n] += hidden[k] * (double)b[n * HIDDEN + k];
        }
    }
}

static inline void network_expect(const fixture *f, const network *n, nlm_program *program) {
    double expected[ROWS * OUT];
    network_oracle(f, nlm_program_input(program, n->x), expected);
    const float *y = nlm_program_output(program, n->y);
    for (int i = 0; i < ROWS * OUT; i++) CU_ASSERT_DOUBLE_EQUAL(y[i], expected[i], 1e-5);
}

/* One device of the kind, or two that know nothing of each other unless far_make_peers says so; then the host. */
typedef struct far_device {
    fixture f;
    fake_device stream, second;
} far_device;

static inline void far_open(far_device *d, uint32_t threads) {
    fixture_open(&d->f, threads);
    fake_stream(&d->stream, d->f.reference, "far");
    fake_stream(&d->second, d->f.reference, "farther");
    d->second.bias = FAR_AWAY * 2;
    d->f.env.devices[0] = &d->stream.device;
    d->f.env.devices[1] = d->f.reference;
    d->f.env.n_devices = 2;
}

static inline void far_open_two(far_device *d, uint32_t threads) {
    far_open(d, threads);
    d->f.env.devices[1] = &d->second.device;
    d->f.env.devices[2] = d->f.reference;
    d->f.env.n_devices = 3;
}

static inline void far_make_peers(far_device *d) {
    d->stream.device.api.copy_from = fake_copy_from;
    d->second.device.api.copy_from = fake_copy_from;
}

static inline void far_close(far_device *d) {
    fixture_close(&d->f);
    fake_device *const fakes[] = {&d->stream, &d->second};
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(fakes[i]->n_buffers, 0);
        CU_ASSERT_EQUAL(fakes[i]->n_streams, 0);
        CU_ASSERT_EQUAL(fakes[i]->n_events, 0);
        CU_ASSERT_EQUAL(fakes[i]->n_recordings, 0);
        CU_ASSERT_EQUAL(fakes[i]->n_pinned, 0);
        fake_release(fakes[i]);
    }
}

#endif
