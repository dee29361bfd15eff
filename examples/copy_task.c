/* Trains a Mamba to say again what it was told some steps before: bits come in one at a time, and the first of its
 * outputs is to have the sign of the bit DELAY steps ago. The loss is this program's own.
 *
 *     copy_task [STEPS]
 *
 * Prints the loss as it falls: a guess has 0.693, the logarithm of 2. Then runs it bit by bit and counts. */
#include <math.h>
#include <nlm/mamba.h>
#include <stdio.h>
#include <stdlib.h>

enum { DELAY = 6, LENGTH = 48, SEQUENCES = 4, WIDTH = 32, ROWS = LENGTH * SEQUENCES, TRIED = 200 };

static void check(nlm_status status, const nlm_error *error) {
    if (status == NLM_OK) return;
    fprintf(stderr, "%s: %s\n", error->where, error->msg);
    exit(1);
}

/* -1 or 1. */
static float draw(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 31 ? 1.0f : -1.0f;
}

/* The mean of log(1 + exp(-4 y target)), and its gradient by y; the first DELAY rows of a sequence do not count. */
static double loss_of(const float *x, const float *y, float *dy) {
    const double counted = SEQUENCES * (LENGTH - DELAY);
    double sum = 0;
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < WIDTH; i++) dy[row * WIDTH + i] = 0;
        if (row % LENGTH < DELAY) continue;
        const double target = 4 * (double)x[row - DELAY], e = exp(-target * (double)y[row * WIDTH]);
        sum += log1p(e) / counted;
        dy[row * WIDTH] = (float)(-target * e / (1 + e) / counted);
    }
    return sum;
}

static void train(nlm_mamba *mamba, int steps, unsigned *state, nlm_error *error) {
    static float x[ROWS], y[ROWS * WIDTH], dy[ROWS * WIDTH];
    const uint32_t lengths[SEQUENCES] = {LENGTH, LENGTH, LENGTH, LENGTH};
    const nlm_mamba_batch batch = {
        .struct_size = (uint32_t)sizeof batch, .x = x, .lengths = lengths, .n_seqs = SEQUENCES};
    for (int step = 1; step <= steps; step++) {
        for (int row = 0; row < ROWS; row++) x[row] = draw(state);
        check(nlm_mamba_forward(mamba, &batch, y, error), error);
        const double loss = loss_of(x, y, dy);
        check(nlm_mamba_backward(mamba, dy, NULL, NULL, error), error);
        check(nlm_mamba_update(mamba, 5e-3, 1, 1, NULL, error), error);
        if (step % 20 == 0 || step == 1) printf("step %d loss %.4f\n", step, loss);
    }
}

/* How many of TRIED bits it gets right. */
static int try_it(nlm_mamba *mamba, unsigned *state, nlm_error *error) {
    float told[TRIED + DELAY], y[WIDTH];
    int right = 0;
    check(nlm_mamba_set_state(mamba, 0, NULL, error), error);
    for (int i = 0; i < TRIED + DELAY; i++) {
        told[i] = draw(state);
        check(nlm_mamba_step(mamba, &told[i], NULL, 1, y, error), error);
        right += i >= DELAY && (y[0] > 0) == (told[i - DELAY] > 0);
    }
    return right;
}

int main(int argc, char **argv) {
    nlm_error error = NLM_ERROR_INIT;
    nlm_engine *engine = NULL;
    nlm_mamba *mamba = NULL;
    const nlm_mamba_options options = {.struct_size = (uint32_t)sizeof options,
                                       .level = NLM_MAMBA_BACKBONE,
                                       .d_model = WIDTH,
                                       .input_dim = 1,
                                       .n_layer = 2,
                                       .max_tokens = ROWS,
                                       .max_seqs = SEQUENCES,
                                       .seed = 1};
    unsigned state = 12345;
    check(nlm_engine_create(NULL, &engine, &error), &error);
    check(nlm_mamba_create(engine, &options, &mamba, &error), &error);
    train(mamba, argc > 1 ? atoi(argv[1]) : 200, &state, &error);
    printf("%d of %d bits\n", try_it(mamba, &state, &error), TRIED);
    nlm_mamba_destroy(mamba);
    nlm_engine_destroy(engine);
    return 0;
}
