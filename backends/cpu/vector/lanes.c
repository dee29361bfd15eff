#include "cpu/vector/vector.h"

const float *nlm_vector_lanes(const nlm_tensor *t, int64_t channel, int n, float *memory) {
    const int64_t columns = t->shape[1];
    if (t->layout != NLM_LAYOUT_ROW_MAJOR) return (const float *)t->data + channel * columns;
    for (int64_t c = 0; c < columns; c++) {
        for (int lane = 0; lane < V_LANES; lane++)
            memory[c * V_LANES + lane] = lane < n ? ((const float *)nlm_cpu_at(t, channel + lane))[c] : 0.0f;
    }
    return memory;
}
