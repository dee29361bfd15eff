/* The exponential of every element, times a factor (elementwise.cuh); exp alone is the name of
 * CUDA's own. */
#include "elementwise.cuh"

struct exp_args {
    u32 struct_size, flags;
    view x, y;
    float factor;
};

extern "C" __global__ void __launch_bounds__(THREADS) exp_aligned(run run, exp_args a) {
    each_element<ALIGNED>(run, a.x, view{}, a.y, [=](float x, float) { return a.factor * expf(x); });
}
extern "C" __global__ void __launch_bounds__(THREADS) exp_unaligned(run run, exp_args a) {
    each_element<1>(run, a.x, view{}, a.y, [=](float x, float) { return a.factor * expf(x); });
}
