/* Conversion between types, element by element or by rows. */
#include "cpu/plain.h"

#include "cpu/decode.h"
#include "cpu/view.h"

#include <string.h>

/* One element through f32, which holds every value of the narrower types. */
static void copy_element(const nlm_tensor *x, const nlm_tensor *y, const char *from, char *to) {
    float value;
    if (x->dtype == y->dtype) {
        memcpy(to, from, x->dtype == NLM_F32 || x->dtype == NLM_I32 ? 4 : 2);
        return;
    }
    nlm_cpu_decode(x->dtype, from, &value, 1);
    nlm_cpu_encode(y->dtype, &value, to, 1);
}

/* y = x in y's type; slices lines, that is all dimensions but the last. */
nlm_status nlm_cpu_copy(const nlm_exec_v1 *x, const nlm_copy_args *args) {
    const nlm_tensor *from = args->x, *to = args->y;
    const int last = from->rank - 1;
    int64_t lines = last > 0 ? nlm_live_rows(x, from) : 1;
    for (int i = 1; i < last; i++) lines *= from->shape[i];
    const int64_t length = last > 0 ? from->shape[last] : nlm_live_rows(x, from);
    const nlm_kit_range range = nlm_kit_slice(x, lines, 1);
    for (int64_t line = range.from; line < range.to; line++) {
        const char *source = from->data;
        char *target = to->data;
        int64_t left = line;
        for (int i = last - 1; i >= 0; i--) {
            source += left % from->shape[i] * from->stride_bytes[i];
            target += left % from->shape[i] * to->stride_bytes[i];
            left /= from->shape[i];
        }
        for (int64_t c = 0; c < length; c++) {
            copy_element(from, to, source + c * from->stride_bytes[last], target + c * to->stride_bytes[last]);
        }
    }
    return NLM_OK;
}
