/* The gradient by a row that stands for all (columns.cuh). */
#include "columns.cuh"

struct sum_rows_args {
    u32 struct_size, flags;
    view a, b, y;
};

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) sum_rows(run run, sum_rows_args a) {
    sum_columns(run, live_rows(run, a.a), a.a.shape[1], a.y, a.flags, [&](i64 r, i64 c) {
        const float v = to_float(at<ACT>(a.a, r)[c]);
        return a.b.data ? v * to_float(at<ACT>(a.b, r)[c]) : v;
    });
}
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) sum_rows_join(run run, sum_rows_args a) {
    join_columns(run, live_rows(run, a.a), a.a.shape[1], a.y, a.flags);
}
