/* Option structs of any size from the caller, results of any size back. */
#include "session/options.h"

#include <string.h>

#include "base/status.h"

#define GREATEST_STRUCT 4096u

nlm_status nlm_struct_size(const void *given, const char *name, uint32_t *out_size, nlm_error *err) {
    memcpy(out_size, given, sizeof *out_size);
    if (*out_size >= sizeof *out_size && *out_size <= GREATEST_STRUCT) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, name, "struct_size is %u; set it to sizeof(%s)", *out_size, name);
}

nlm_status nlm_take_options(void *own, size_t own_size, const void *given, const char *name, nlm_error *err) {
    if (!given) return NLM_OK;
    uint32_t size = 0;
    NLM_TRY(nlm_struct_size(given, name, &size, err));
    for (size_t i = own_size; i < size; i++) {
        if (((const unsigned char *)given)[i] == 0) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, name,
                        "byte %zu is set, which this library (%zu bytes) does not know; it is older than the program",
                        i, own_size);
    }
    memcpy(own, given, size < own_size ? size : own_size);
    return NLM_OK;
}

nlm_status nlm_give_struct(void *given, const void *own, size_t own_size, const char *name, nlm_error *err) {
    if (!given) return NLM_OK;
    uint32_t size = 0;
    NLM_TRY(nlm_struct_size(given, name, &size, err));
    const size_t common = size < own_size ? size : own_size;
    memcpy(given, own, common);
    memset((unsigned char *)given + common, 0, size - common);
    memcpy(given, &size, sizeof size);
    return NLM_OK;
}
