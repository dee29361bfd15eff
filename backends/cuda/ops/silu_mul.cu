/* The gate of a feed-forward block (elementwise.cuh). */
#include "elementwise.cuh"

struct silu_mul_args {
    u32 struct_size, flags;
    view gate, up, y;
};

extern "C" __global__ void __launch_bounds__(THREADS) silu_mul(run run, silu_mul_args a) {
    each_element<ALIGNED>(run, a.gate, a.up, a.y, [](float gate, float up) { return silu(gate) * up; });
}
extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_unaligned(run run, silu_mul_args a) {
    each_element<1>(run, a.gate, a.up, a.y, [](float gate, float up) { return silu(gate) * up; });
}
