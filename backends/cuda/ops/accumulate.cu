/* A gradient added to what other runs found (elementwise.cuh). */
#include "elementwise.cuh"

struct accumulate_args {
    u32 struct_size, flags;
    view x, total;
};

extern "C" __global__ void __launch_bounds__(THREADS) accumulate(run run, accumulate_args a) {
    each_element<ALIGNED>(run, a.x, a.total, a.total, [](float x, float total) { return total + x; });
}
extern "C" __global__ void __launch_bounds__(THREADS) accumulate_unaligned(run run, accumulate_args a) {
    each_element<1>(run, a.x, a.total, a.total, [](float x, float total) { return total + x; });
}
