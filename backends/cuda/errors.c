/* What goes wrong on a device, as statuses with a sentence. */
#include <inttypes.h>

#include "device.h"

/* What each kind of nlm_cuda_fault says: place, value and limit in this order. */
static const char *const fault_texts[NLM_CUDA_FAULT_KINDS] = {
    [NLM_CUDA_FAULT_ID] = "row %lld: id %lld, but there are %lld rows",
    [NLM_CUDA_FAULT_SLOT] = "sequence %lld: slot %lld, but there are %lld slots",
    [NLM_CUDA_FAULT_SEQ_START] = "seq_start[%lld] is %lld; entries ascend, to at most %lld",
    [NLM_CUDA_FAULT_POSITION] = "token %lld: position %lld, but a slot has room for %lld",
    [NLM_CUDA_FAULT_PAGE] = "token %lld: page %lld, but there are %lld pages",
    [NLM_CUDA_FAULT_LABEL] = "row %lld: label %lld, but there are %lld classes",
};

static nlm_status status_of(CUresult result) {
    switch (result) {
        case CUDA_ERROR_OUT_OF_MEMORY: return NLM_OUT_OF_MEMORY;
        case CUDA_ERROR_DEINITIALIZED:
        case CUDA_ERROR_ECC_UNCORRECTABLE:
        case CUDA_ERROR_NVLINK_UNCORRECTABLE:
        case CUDA_ERROR_ILLEGAL_ADDRESS:
        case CUDA_ERROR_LAUNCH_TIMEOUT:
        case CUDA_ERROR_CONTEXT_IS_DESTROYED:
        case CUDA_ERROR_ASSERT:
        case CUDA_ERROR_HARDWARE_STACK_ERROR:
        case CUDA_ERROR_ILLEGAL_INSTRUCTION:
        case CUDA_ERROR_MISALIGNED_ADDRESS:
        case CUDA_ERROR_INVALID_ADDRESS_SPACE:
        case CUDA_ERROR_INVALID_PC:
        case CUDA_ERROR_LAUNCH_FAILED: return NLM_DEVICE_LOST;
        default: return NLM_DEVICE_ERROR;
    }
}

nlm_status nlm_cuda_fail(nlm_cuda_device *d, nlm_error *error, const char *call, CUresult result) {
    const char *name = NULL, *text = NULL;
    nlm_status status = status_of(result);
    d->cu->cuGetErrorName(result, &name);
    d->cu->cuGetErrorString(result, &text);
    if (__atomic_load_n(&d->is_lost, __ATOMIC_RELAXED)) status = NLM_DEVICE_LOST;
    if (status == NLM_DEVICE_LOST) __atomic_store_n(&d->is_lost, true, __ATOMIC_RELAXED);
    nlm_kit_fail(error, status, call, "GPU %u (%s): %s: %s", d->ordinal, d->name, name ? name : "unknown error",
                 text ? text : "no description");
    if (error && error->struct_size >= sizeof *error) error->native_code = result;
    return status;
}

uint32_t nlm_cuda_fault_take(nlm_cuda_device *d) {
    for (uint32_t i = 0; i < NLM_CUDA_FAULTS; i++) {
        if (d->is_fault_used[i]) continue;
        d->is_fault_used[i] = 1;
        d->faults[i].kind = NLM_CUDA_FAULT_NONE;
        return i;
    }
    return UINT32_MAX;
}

void nlm_cuda_fault_give_back(nlm_cuda_device *d, uint32_t index) {
    d->is_fault_used[index] = 0;
}

nlm_status nlm_cuda_fault_read(nlm_cuda_device *d, uint32_t index, nlm_error *error) {
    volatile nlm_cuda_fault *fault = &d->faults[index];
    const unsigned kind = fault->kind;
    if (kind == NLM_CUDA_FAULT_NONE) return NLM_OK;
    const nlm_op_spec *spec = nlm_op_spec_of(fault->op);
    char text[160] = "a kernel told of a fault that is not known";
    if (kind < NLM_CUDA_FAULT_KINDS) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text, fault_texts[kind], fault->place, fault->value, fault->limit);
#pragma GCC diagnostic pop
    }
    fault->kind = NLM_CUDA_FAULT_NONE;
    return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, spec ? spec->name : "cuda", "%s", text);
}
