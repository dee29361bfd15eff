/* Small per-channel tables turned so that a vector's lanes are channels. */
#include "cpu/vector/vector.h"

const float *nlm_vector_lanes(const nlm_tensor *t, int64_t channel, int n, float *memory) {
    const int64_t columns = t->shape[1], stride = t->stride_bytes[0] / (int64_t)sizeof(float);
    if (t->layout != NLM_LAYOUT_ROW_MAJOR) return (const float *)t->data + channel * columns;
    const float *from = nlm_kit_at(t, channel);
    int64_t c = 0;
    for (; n == V_LANES && c + V_LANES <= columns; c += V_LANES) {
        vf rows[V_LANES];
        for (int lane = 0; lane < V_LANES; lane++) rows[lane] = vf_load(from + lane * stride + c);
        v_transpose(rows, memory + c * V_LANES, V_LANES);
    }
    for (; c < columns; c++) {
        for (int lane = 0; lane < V_LANES; lane++)
            memory[c * V_LANES + lane] = lane < n ? from[lane * stride + c] : 0.0f;
    }
    return memory;
}
