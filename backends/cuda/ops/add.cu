/* Sums of two tensors (elementwise.cuh). */
#include "elementwise.cuh"

struct add_args {
    u32 struct_size, flags;
    view a, b, y;
};

extern "C" __global__ void __launch_bounds__(THREADS) add(run run, add_args a) {
    each_element<ALIGNED>(run, a.a, a.b, a.y, [](float a, float b) { return a + b; });
}
extern "C" __global__ void __launch_bounds__(THREADS) add_unaligned(run run, add_args a) {
    each_element<1>(run, a.a, a.b, a.y, [](float a, float b) { return a + b; });
}
