/* Initial values, by what a weight is called. */
#include "train/initial.h"

#include <math.h>
#include <string.h>

#include "base/philox.h"

typedef struct filling {
    const nlm_trained *trained;
    const nlm_hparams *h;
    uint64_t seed, elements, columns;
    uint64_t first; /* number of the random generator's */
    float *out;
} filling;

static double uniform(const filling *f, uint64_t i) {
    return nlm_philox_uniform(f->seed, f->first + i);
}

/* Box & Muller 1958; two uniform numbers each. */
static double normal(const filling *f, uint64_t i) {
    const double radius = sqrt(-2 * log(1 - uniform(f, 2 * i)));
    return radius * cos(2 * acos(-1) * uniform(f, 2 * i + 1));
}

static void fill_normal(const filling *f, double deviation) {
    for (uint64_t i = 0; i < f->elements; i++) f->out[i] = (float)(deviation * normal(f, i));
}

static void fill_uniform(const filling *f, double bound) {
    for (uint64_t i = 0; i < f->elements; i++) f->out[i] = (float)(bound * (2 * uniform(f, i) - 1));
}

static void fill_value(const filling *f, float value) {
    for (uint64_t i = 0; i < f->elements; i++) f->out[i] = value;
}

static void zero(const filling *f) {
    fill_value(f, 0);
}
static void one(const filling *f) {
    fill_value(f, 1);
}
static void small(const filling *f) {
    fill_normal(f, 0.02);
}
/* A layer adds two such products to the residual stream. */
static void residual(const filling *f) {
    fill_normal(f, 0.02 / sqrt(2.0 * f->h->n_layer));
}
static void by_columns(const filling *f) {
    fill_uniform(f, 1 / sqrt((double)f->columns));
}
static void by_columns_and_layers(const filling *f) {
    fill_uniform(f, 1 / sqrt((double)f->columns * f->h->n_layer));
}
static void by_taps(const filling *f) {
    fill_uniform(f, 1 / sqrt((double)f->h->d_conv));
}

/* log A, the same for all channels. */
static void decays(const filling *f) {
    for (uint64_t i = 0; i < f->elements; i++) f->out[i] = logf((float)(i % f->columns + 1));
}

/* softplus(out) is the step. */
static void steps(const filling *f) {
    const double least = log(0.001), most = log(0.1);
    for (uint64_t i = 0; i < f->elements; i++) {
        const double step = fmax(exp(least + (most - least) * uniform(f, i)), 1e-4);
        f->out[i] = (float)(step + log(-expm1(-step)));
    }
}

/* The first line whose text ends the name. */
static const struct {
    const char *end;
    void (*fill)(const filling *f);
} table[] = {
    {".lora_a", by_columns},
    {".lora_b", zero},
    {".ssm_a", decays},
    {".ssm_d", one},
    {".ssm_dt.bias", steps},
    {".ssm_dt.weight", by_columns},
    {".ssm_conv1d.weight", by_taps},
    {".ssm_conv1d.bias", by_taps},
    {".ssm_in.weight", by_columns},
    {".ssm_x.weight", by_columns},
    {".ssm_out.weight", by_columns_and_layers},
    {"input_proj.weight", by_columns},
    {"norm.weight", one},
    {".bias", zero},
    {".attn_output.weight", residual},
    {".ffn_down.weight", residual},
    {"", small},
};

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

void nlm_initial_fill(const nlm_trained *trained, const nlm_hparams *h, uint64_t seed, uint32_t index, float *out) {
    const nlm_tensor *t = &trained->parameter.value.tensor;
    const filling f = {.trained = trained,
                       .h = h,
                       .seed = seed,
                       .elements = nlm_trained_elements(trained),
                       .columns = (uint64_t)t->shape[t->rank - 1],
                       .first = (uint64_t)index << 40,
                       .out = out};
    size_t line = 0;
    while (!ends_with(trained->name, table[line].end)) line++;
    table[line].fill(&f);
}
