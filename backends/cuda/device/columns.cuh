/* Sums over the rows of a matrix, column by column: a block has 32 columns and ROWS_PART rows, eight of them at a
 * time. Where there are more rows a second kernel adds up the parts. The order of a sum depends on the number of rows
 * alone
 * (../columns.h). */
#pragma once
#include "device.cuh"

#define COLUMN_THREADS 256
#define ROWS_PART      256
#define ADD            256u /* NLM_GRADIENT_ADD */

__device__ __forceinline__ float *part_of(const run &run, i64 part, i64 n) {
    return (float *)run.workspace + part * n;
}

/* What is in the workspace behind the parts of so many rows, which are those planned. */
__device__ __forceinline__ float *behind_parts(const run &run, i64 rows, i64 n) {
    const i64 parts = rows > ROWS_PART ? (rows + ROWS_PART - 1) / ROWS_PART : 0;
    return (float *)run.workspace + (parts * n + 63) / 64 * 64;
}

/* The sum of of(row, column) over the rows of part blockIdx.y, of column 32 blockIdx.x + threadIdx.x % 32: for the
 * first 32 threads. Every thread of a block calls it. */
template <class Of>
__device__ __forceinline__ float part_sum(i64 rows, i64 n, Of of) {
    __shared__ float sums[8][32];
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x % 32, first = (i64)blockIdx.y * ROWS_PART;
    const i64 end = min(first + ROWS_PART, rows);
    float sum = 0;
    if (column < n) {
#pragma unroll 4
        for (i64 r = first + threadIdx.x / 32; r < end; r += 8) sum += of(r, column);
    }
    sums[threadIdx.x / 32][threadIdx.x % 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return 0;
    sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) sum += sums[i][threadIdx.x];
    return sum;
}

__device__ __forceinline__ void store_sum(float *y, float sum, u32 flags) {
    *y = flags & ADD ? *y + sum : sum;
}

/* y[n] = the sum of of(row, n), or a part of it for join_columns. */
template <class Of>
__device__ __forceinline__ void sum_columns(const run &run, i64 rows, i64 n, const view &y, u32 flags, Of of) {
    const float sum = part_sum(rows, n, of);
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.x >= 32 || column >= n) return;
    if (gridDim.y == 1)
        store_sum((float *)y.data + column, sum, flags);
    else
        part_of(run, blockIdx.y, n)[column] = sum;
}

/* A thread a column. */
__device__ __forceinline__ void join_columns(const run &run, i64 rows, i64 n, const view &y, u32 flags) {
    const i64 column = (i64)blockIdx.x * COLUMN_THREADS + threadIdx.x, parts = (rows + ROWS_PART - 1) / ROWS_PART;
    float sum = 0;
    if (column >= n) return;
#pragma unroll 4
    for (i64 i = 0; i < parts; i++) sum += part_of(run, i, n)[column];
    store_sum((float *)y.data + column, sum, flags);
}
