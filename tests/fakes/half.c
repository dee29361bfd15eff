/* Activations of 16 bits: widened before cpu_scalar's op, whose results are narrowed again. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

static bool is_activation(const nlm_op_field *field) {
    return field->types == NLM_TYPES_ACTIVATION;
}

static bool is_half(nlm_dtype dtype) {
    return dtype == NLM_F16 || dtype == NLM_BF16;
}

static uint32_t flag_of(nlm_dtype dtype) {
    return dtype == NLM_F16 ? NLM_DEVICE_F16_ACTIVATIONS : NLM_DEVICE_BF16_ACTIVATIONS;
}

/* A tensor of f32 without gaps. */
static void widen(nlm_tensor *tensor) {
    int64_t stride = sizeof(float);
    tensor->dtype = NLM_F32;
    for (int d = tensor->rank - 1; d >= 0; d--) {
        tensor->stride_bytes[d] = stride;
        stride *= tensor->shape[d];
    }
}

bool fake_widen_all(const fake_device *device, nlm_op op, const nlm_any_args *args, nlm_tensor *tensors) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    nlm_dtype dtype = -1;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!nlm_args_tensor(args, &spec->fields[i]) || !is_activation(&spec->fields[i])) continue;
        if (dtype >= 0 && tensors[i].dtype != dtype) return false;
        dtype = tensors[i].dtype;
        if (!is_half(dtype)) continue;
        if (!(device->claims & flag_of(dtype))) return false;
        widen(&tensors[i]);
    }
    return true;
}

/* ---- of numbers ---- */

static uint64_t count(const nlm_tensor *tensor) {
    uint64_t elements = 1;
    for (int d = 0; d < tensor->rank; d++) elements *= (uint64_t)tensor->shape[d];
    return elements;
}

static uint16_t *half_at(const nlm_tensor *tensor, uint64_t index) {
    uint8_t *at = tensor->data;
    for (int d = tensor->rank - 1; d >= 0; d--) {
        at += (int64_t)(index % (uint64_t)tensor->shape[d]) * tensor->stride_bytes[d];
        index /= (uint64_t)tensor->shape[d];
    }
    return (uint16_t *)(void *)at;
}

static void read_numbers(const nlm_tensor *half, nlm_dtype dtype, float *out) {
    for (uint64_t i = 0, n = count(half); i < n; i++) {
        const uint16_t bits = *half_at(half, i);
        out[i] = dtype == NLM_F16 ? nlm_f16_to_f32(bits) : nlm_bf16_to_f32(bits);
    }
}

static void write_numbers(const nlm_tensor *half, const float *in) {
    for (uint64_t i = 0, n = count(half); i < n; i++) {
        *half_at(half, i) = half->dtype == NLM_F16 ? nlm_f16_from_f32(in[i]) : nlm_bf16_from_f32(in[i]);
    }
}

nlm_status fake_call_widened(const fake_device *device, fake_work *work, nlm_error *error) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    nlm_tensor halves[NLM_OP_MAX_FIELDS];
    float *numbers[NLM_OP_MAX_FIELDS] = {NULL};
    nlm_status status = NLM_OK;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!nlm_args_tensor(&work->args, &spec->fields[i]) || !is_activation(&spec->fields[i])) continue;
        if (!is_half(work->tensors[i].dtype)) continue;
        halves[i] = work->tensors[i];
        numbers[i] = malloc((count(&halves[i]) + 1) * sizeof(float));
        if (!numbers[i]) status = fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for activations");
        if (status != NLM_OK) break;
        const bool is_taken_for_other = fake_lies(device, "activations");
        read_numbers(&halves[i], is_taken_for_other ? NLM_F16 + NLM_BF16 - halves[i].dtype : halves[i].dtype,
                     numbers[i]);
        widen(&work->tensors[i]);
        work->tensors[i].data = numbers[i];
    }
    if (status == NLM_OK) status = fake_scalar_call(device->scalar, work->op, &work->x, &work->args);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!numbers[i]) continue;
        if (status == NLM_OK && (spec->fields[i].use & NLM_FIELD_OUT)) write_numbers(&halves[i], numbers[i]);
        work->tensors[i] = halves[i];
        free(numbers[i]);
    }
    return status;
}
