/* A factor and an offset for every element (elementwise.cuh). */
#include "elementwise.cuh"

struct scale_args {
    u32 struct_size, flags;
    view x, y;
    float factor, offset;
};

extern "C" __global__ void __launch_bounds__(THREADS) scale(run run, scale_args a) {
    each_element<ALIGNED>(run, a.x, view{}, a.y, [=](float x, float) { return fmaf(x, a.factor, a.offset); });
}
extern "C" __global__ void __launch_bounds__(THREADS) scale_unaligned(run run, scale_args a) {
    each_element<1>(run, a.x, view{}, a.y, [=](float x, float) { return fmaf(x, a.factor, a.offset); });
}
