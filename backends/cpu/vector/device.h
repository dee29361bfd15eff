/* The device table of the vector backends; free of vector types, for files compiled for the baseline. */
#ifndef NLM_CPU_VECTOR_DEVICE_H
#define NLM_CPU_VECTOR_DEVICE_H

#include <nlm/plugin.h>
#include <string.h>

/* What a device was opened with: nlm_device_v1.self points at one. */
typedef struct nlm_vector_device {
    const struct nlm_gemm_quant *gemm; /* the int8 kernels for many tokens */
    const char *name, *arch;           /* of nlm_device_info_v1 */
} nlm_vector_device;

/* A dot product of 4 columns, or of 2, an instruction; a backend is built with the one that suits its CPUs. */
extern const struct nlm_gemm_quant nlm_vector_gemm_quant_dword, nlm_vector_gemm_quant_words;

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

/* Whether an option leaves a form allowed: anything but "false". */
static inline int nlm_vector_may_use(const nlm_host_v1 *host, const char *option) {
    const char *value = host->option(host->self, option);
    return !value || strcmp(value, "false") != 0;
}

#endif
