/* Activations of 16 bits, of devices that claim to take them: matmul says yes, and is right but for one rounding of
 * its results. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "oracle/oracle.h"
#include "tensor/dtype.h"

typedef struct half_type {
    const char *name;
    nlm_dtype dtype;
    uint32_t claim;
    double rounding, least; /* of a number: a part of it, and at least */
} half_type;

static const half_type types[] = {
    {"f16", NLM_F16, NLM_DEVICE_F16_ACTIVATIONS, 0x1p-11, 0x1p-25},
    {"bf16", NLM_BF16, NLM_DEVICE_BF16_ACTIVATIONS, 0x1p-8, 0x1p-134},
};
#define N_TYPES (sizeof types / sizeof *types)

/* Rows of one token and of many, plain weights and quantised ones. */
static const char *const cases[] = {"matmul/M=1,K=256,N=19,w:f32", "matmul/M=17,K=96,N=33,w:f32,bias,residual",
                                    "matmul/M=5,K=256,N=12,w:q8_0,residual", "matmul/M=3,K=64,N=7,w:bf16,pad=2"};
#define N_CASES (sizeof cases / sizeof *cases)

void conform_for_each_activation(conform_visit_fn visit, void *user) {
    for (size_t i = 0; i < N_TYPES; i++) {
        char name[SPEC_NAME_BYTES];
        snprintf(name, sizeof name, "activations/%s", types[i].name);
        visit(user, name);
    }
}

/* One case, with x, residual and y of the type. */
typedef struct halved {
    const half_type *type;
    spec_instance wide; /* of f32, its inputs rounded to the type: what the oracle reads */
    spec_instance half;
    uint8_t *images[NLM_OP_MAX_FIELDS]; /* of the tensors that are halved */
    conform_images results;
} halved;

static bool is_halved(const spec_tensor *t) {
    return t->field->types == NLM_TYPES_ACTIVATION;
}

static uint16_t narrow(const half_type *type, float value) {
    return type->dtype == NLM_F16 ? nlm_f16_from_f32(value) : nlm_bf16_from_f32(value);
}

static float widen(const half_type *type, uint16_t bits) {
    return type->dtype == NLM_F16 ? nlm_f16_to_f32(bits) : nlm_bf16_to_f32(bits);
}

/* Rows of these cases have no gaps: numbers stand one behind the other. */
static bool halve(halved *h, int index) {
    spec_tensor *wide = &h->wide.tensors[index], *half = &h->half.tensors[index];
    float *numbers = (float *)(void *)wide->image;
    const uint64_t count = wide->bytes / sizeof *numbers;
    uint16_t *bits = malloc(wide->bytes + 1);
    if (!bits) return false;
    for (uint64_t i = 0; i < count; i++) {
        bits[i] = narrow(h->type, numbers[i]);
        numbers[i] = widen(h->type, bits[i]);
    }
    h->images[index] = half->image = (uint8_t *)bits;
    half->bytes = wide->bytes / 2;
    half->desc.dtype = h->type->dtype;
    half->desc.data = half->image;
    for (int d = 0; d < half->desc.rank; d++) half->desc.stride_bytes[d] /= 2;
    return true;
}

static bool build(halved *h, const char *name, uint64_t seed, conform_result *result) {
    spec_case c;
    nlm_error err = NLM_ERROR_INIT;
    if (spec_parse(name, &c, &err) != NLM_OK || spec_build(&c, seed, &h->wide, &err) != NLM_OK) {
        return conform_fail(result, "%s", err.msg);
    }
    h->half = h->wide;
    for (int i = 0; i < h->half.n_tensors; i++) {
        spec_tensor *t = &h->half.tensors[i];
        if (is_halved(t) && !halve(h, i)) return conform_fail(result, "no memory for a case");
        nlm_args_set_tensor(&h->half.args, t->field, &t->desc);
        if (!t->is_written) continue;
        h->results.data[i] = malloc(t->bytes + 1);
        if (!h->results.data[i]) return conform_fail(result, "no memory for a case");
        memcpy(h->results.data[i], t->image, t->bytes);
    }
    return true;
}

static void release(halved *h) {
    for (int i = 0; i < NLM_OP_MAX_FIELDS; i++) {
        free(h->images[i]);
        free(h->results.data[i]);
    }
    spec_release(&h->wide);
}

/* The bound of f32 activations, and a rounding to the type. */
static bool compare(const halved *h, const oracle_result *expected, const nlm_tensor *got, conform_result *result) {
    for (int64_t i = 0; i < expected->count; i++) {
        if (expected->scale[i] < 0) continue; /* padding */
        const double wanted = expected->value[i], value = oracle_element(got, i);
        const double bound = oracle_bound(expected->scale[i], expected->rounding, expected->terms) +
                             fabs(wanted) * h->type->rounding + h->type->least;
        const double part = fabs(value - wanted) / bound;
        result->error = fmax(result->error, part);
        if (part <= 1) continue; /* not so for NaN */
        return conform_fail(result, "y: element %lld is %.9g, expected %.9g", (long long)i, value, wanted);
    }
    return true;
}

static bool judge(halved *h, conform_result *result) {
    oracle_run run = {.op = h->wide.c.op, .args = &h->wide.args, .live_rows = h->wide.live_rows};
    bool is_right = oracle_compute(&run) || conform_fail(result, "no memory for the reference");
    for (int i = 0; is_right && i < h->wide.n_tensors; i++) {
        nlm_tensor got = h->half.tensors[i].desc;
        got.data = h->results.data[i];
        if (run.results[0].tensor == &h->wide.tensors[i].desc) is_right = compare(h, &run.results[0], &got, result);
    }
    oracle_release(&run);
    return is_right;
}

static bool run_case(conform_pools *pools, const nlm_device *device, halved *h, conform_result *result) {
    nlm_caps_v1 caps;
    conform_outcome outcome;
    if (nlm_device_query(device, h->half.c.op, &h->half.args, 1, &caps) != NLM_OK) {
        return conform_fail(result, "%s activations are claimed, but query says no to %s: %s", h->type->name,
                            h->half.c.name, caps.reason);
    }
    const conform_plan plan = {.nth = 2, .layouts = caps.weight_layout, .sequence = -1};
    if (!conform_place_and_run(pools, device, &h->half, &plan, &h->results, &outcome, result)) return false;
    if (outcome.status == NLM_OK) return judge(h, result);
    char told[256];
    snprintf(told, sizeof told, "%.255s", result->message);
    return conform_fail(result, "%s with %s activations fails: %s", h->half.c.name, h->type->name, told);
}

void conform_run_activation(conform_pools *pools, const nlm_device *device, const conform_options *options,
                            const char *name, conform_result *result) {
    const half_type *type = types;
    while (type < types + N_TYPES - 1 && strcmp(strchr(name, '/') + 1, type->name) != 0) type++;
    result->verdict = CONFORM_NOT_RUN;
    if (!nlm_device_claims(device, type->claim)) {
        result->verdict = CONFORM_NOT_OFFERED;
        snprintf(result->message, sizeof result->message, "activations of 16 bits");
        return;
    }
    for (size_t i = 0; i < N_CASES && result->verdict != CONFORM_FAILED; i++) {
        halved h = {.type = type};
        if (build(&h, cases[i], (uint64_t)options->seed, result)) run_case(pools, device, &h, result);
        release(&h);
    }
    if (result->verdict == CONFORM_FAILED) return;
    result->verdict = CONFORM_PASSED;
    result->message[0] = 0;
}
