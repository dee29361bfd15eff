/* The device table of the vector backends; free of vector types, for files compiled for the baseline. */
#ifndef NLM_CPU_VECTOR_DEVICE_H
#define NLM_CPU_VECTOR_DEVICE_H

#include <nlm/plugin_kit.h>
#include <string.h>

/* What a device was opened with: nlm_device_v1.self points at one. */
typedef struct nlm_vector_device {
    const struct nlm_gemm_quant *gemm; /* the int8 kernels for many tokens */
    const char *name, *arch;           /* of nlm_device_info_v1 */
} nlm_vector_device;

/* A dot product of 4 columns, or of 2, an instruction; a backend is built with the one that suits its CPUs. */
extern const struct nlm_gemm_quant nlm_vector_gemm_quant_dword, nlm_vector_gemm_quant_words;
/* Activations of 8 bits, beside weights of no more than 6 at least; the others as words. */
extern const struct nlm_gemm_quant nlm_vector_gemm_quant_bytes;

extern const nlm_ops_v1 nlm_vector_ops;
nlm_status nlm_vector_describe(void *self, nlm_device_info_v1 *out, nlm_error *error);
nlm_status nlm_vector_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);
nlm_status nlm_vector_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                                nlm_pack_info_v1 *out, nlm_error *error);
nlm_status nlm_vector_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                           int64_t row_to, void *packed, nlm_error *error);

/* The table of the device that `self` points at, an nlm_vector_device. */
#define NLM_VECTOR_DEVICE(vector_device)                                                                          \
    {                                                                                                             \
        .struct_size = sizeof(nlm_device_v1), .self = (void *)(uintptr_t)(vector_device), .ops = &nlm_vector_ops, \
        .describe = nlm_vector_describe, .query = nlm_vector_query, .pack_size = nlm_vector_pack_size,            \
        .pack = nlm_vector_pack,                                                                                  \
    }

/* Option `activations`: whether those that meet quantised weights have 8 bits, as other engines have them; else they
 * are finer, 12 or 15 bits by type of weight, which is what 15 asks for. */
static inline nlm_status nlm_vector_take_activations(const nlm_host_v1 *host, int *out_is_8_bits, nlm_error *error) {
    const char *bits = host->option(host->self, "activations");
    *out_is_8_bits = bits && strcmp(bits, "8") == 0;
    if (!bits || *out_is_8_bits || strcmp(bits, "15") == 0) return NLM_OK;
    return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open", "option activations is '%s'; expected 8 or 15 (bits)",
                        bits);
}

/* Whether an option leaves a form allowed: anything but "false". */
static inline int nlm_vector_may_use(const nlm_host_v1 *host, const char *option) {
    const char *value = host->option(host->self, option);
    return !value || strcmp(value, "false") != 0;
}

#endif
