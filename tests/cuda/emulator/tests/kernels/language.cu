// What C++ becomes beside arithmetic: calls, local memory, jump tables, variables of the module, atomic operations.
typedef unsigned u32;
typedef unsigned long long u64;
#define KERNEL extern "C" __global__ void
#define THREAD ((int)threadIdx.x)

__device__ int table[5] = {3, 1, 4, 1, 5};
__device__ double pair[2] = {0.5, -2.25};
__device__ const char word[8] = "emulate";
__device__ int *pointer = table + 0;
__constant__ int scale[4];
__device__ u32 counter;

struct four {
    float a;
    int b;
    double c;
    char d;
};

__device__ __noinline__ four make(float a, four other, int n) {
    if (n > 100) other.c += 1;
    four f = {a + other.a, n * other.b, other.c / 4, (char)(other.d + 1)};
    return f;
}

__device__ __noinline__ int sum_of(const int *values, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += values[i];
    return sum;
}

// y: 8 a thread.
KERNEL calls(int *y, const int *x) {
    int local[9];
    four f = {0.5f, 3, 8.0, 'a'};
    for (int i = 0; i < 9; i++) local[i] = x[(THREAD + i) % 32];
    f = make((float)x[THREAD], f, THREAD);
    f = make(1.0f, f, local[THREAD % 9]);
    y[8 * THREAD] = sum_of(local, 9);
    y[8 * THREAD + 1] = (int)(f.a * 2);
    y[8 * THREAD + 2] = f.b;
    y[8 * THREAD + 3] = (int)(f.c * 2);
    y[8 * THREAD + 4] = f.d;
    y[8 * THREAD + 5] = sum_of(table, THREAD % 6) + sum_of(pointer, 2);
    y[8 * THREAD + 6] = word[THREAD % 7] + scale[THREAD % 4];
    y[8 * THREAD + 7] = (int)(pair[THREAD % 2] * 4);
}

KERNEL jumps(int *y, const int *x) {
    int v = x[THREAD];
    switch (v) {
        case 0: v = y[THREAD] * 3 + 1; break;
        case 1: v = __clz(y[THREAD] + 1); break;
        case 2: v ^= y[THREAD] >> 1; break;
        case 3: v = y[THREAD] / 3; break;
        case 4: v = __popc(y[THREAD]); break;
        case 5: v = y[THREAD] % 7; break;
        case 6: v = min(y[THREAD], 12); break;
        case 7: v = -y[THREAD]; break;
        case 8: v = __brev(y[THREAD]); break;
        case 9: v = y[THREAD] << 4; break;
        default: v = 1000; break;
    }
    y[THREAD] = v;
}

struct sums { // without a hole
    u32 add, min, max, inc, both, either, odd, halves, cas, exchanged;
    int lowest, highest;
    u64 wide;
    double real;
    float single, none;
};

KERNEL atomics(sums *s, const int *x) {
    const int v = x[blockIdx.x * 64 + THREAD];
    atomicAdd(&s->add, (u32)v);
    atomicMin(&s->min, (u32)v);
    atomicMax(&s->max, (u32)v);
    atomicInc(&s->inc, 50);
    atomicAnd(&s->both, (u32)v | 1);
    atomicOr(&s->either, (u32)v);
    atomicXor(&s->odd, (u32)v);
    atomicMin(&s->lowest, -v);
    atomicMax(&s->highest, v);
    atomicAdd(&s->wide, (u64)v << 30);
    atomicAdd(&s->single, (float)(v & 255));
    atomicAdd(&s->real, 0.5 * v);
    asm volatile("red.global.add.noftz.f16x2 [%0], %1;" ::"l"(__cvta_generic_to_global(&s->halves)), "r"(0x3c003c00) : "memory");
    u32 seen = 0, found;
    while ((found = atomicCAS(&s->cas, seen, seen + 3)) != seen) seen = found;
    atomicSub(&counter, 1);
    if (atomicAdd(&counter, 0) > 1000000) atomicExch(&s->exchanged, 7);
}

KERNEL shared_atomics(u32 *y, const int *x) {
    __shared__ u32 bins[8];
    __shared__ float total;
    if (THREAD < 8) bins[THREAD] = 0;
    if (THREAD == 0) total = 0;
    __syncthreads();
    atomicAdd(&bins[x[THREAD] & 7], 1u);
    atomicAdd(&total, 1.0f);
    __syncthreads();
    if (THREAD < 8) y[THREAD] = bins[THREAD];
    if (THREAD == 8) y[8] = (u32)total;
}

// Vectors of every width, through shared memory.
KERNEL vectors(float *y, const float *x) {
    extern __shared__ __align__(16) unsigned char bytes[];
    float4 *quads = (float4 *)bytes;
    quads[THREAD] = ((const float4 *)x)[THREAD];
    __syncthreads();
    const double2 d = ((const double2 *)bytes)[THREAD ^ 1];
    ((double2 *)y)[THREAD] = d;
    uchar4 c = ((const uchar4 *)bytes)[THREAD];
    c.x = (unsigned char)(c.y + c.z);
    __syncthreads();
    ((uchar4 *)bytes)[THREAD] = c;
    __syncthreads();
    y[4 * 64 + THREAD] = __uint_as_float(((const u32 *)bytes)[THREAD]);
}

// Two of a grid's three dimensions, and of a block's.
KERNEL dimensions(u32 *y) {
    const u32 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const u32 thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = threadIdx.z * 100 + threadIdx.y * 10 + threadIdx.x;
}
