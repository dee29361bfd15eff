// What the lanes of a warp do together, and matrices in their registers.
typedef unsigned u32;
typedef unsigned short u16;
typedef signed char s8;
#define KERNEL extern "C" __global__ void
#define LANE ((int)threadIdx.x & 31)
#define ALL 0xffffffffu

// y: 32 words for each of the collectives; x: 32 words.
KERNEL collectives(u32 *y, const u32 *x) {
    const u32 v = x[LANE];
    int at = 0;
    auto put = [&](u32 value) { y[32 * at++ + LANE] = value; };
    put(__shfl_sync(ALL, v, 5));
    put(__shfl_sync(ALL, v, LANE * 7));
    put(__shfl_up_sync(ALL, v, 3));
    put(__shfl_down_sync(ALL, v, 3, 8));
    put(__shfl_xor_sync(ALL, v, 9, 16));
    put(__shfl_sync(ALL, v, 2, 4));
    put(__ballot_sync(ALL, v & 1));
    put(__any_sync(ALL, v == x[3]));
    put(__all_sync(ALL, v != 1000000));
    put(__match_any_sync(ALL, v & 3));
    int is_same;
    put(__match_all_sync(ALL, v & 3, &is_same));
    put(__reduce_add_sync(ALL, v));
    put(__reduce_min_sync(ALL, v));
    put((u32)__reduce_max_sync(ALL, (int)v - 500));
    put(__reduce_xor_sync(ALL, v));
    if (LANE & 1) {
        put(__shfl_xor_sync(0xaaaaaaaau, v, 2));
    } else {
        put(__shfl_up_sync(0x55555555u, v, 2));
    }
    put((u32)__syncthreads_count(v & 1));
    put((u32)__syncthreads_and((int)v >= 0));
    put((u32)__syncthreads_or(v == x[7]));
    u32 leader, is_leader;
    asm volatile("{ .reg .pred p; elect.sync %0|p, 0xffffffff; selp.u32 %1, 1, 0, p; }" : "=r"(leader), "=r"(is_leader));
    put(__popc(__ballot_sync(ALL, is_leader && leader == (u32)LANE)) == 1 && __shfl_sync(ALL, leader, 0) == leader);
    put((__activemask() >> LANE & 1) != 0);
}

__device__ u32 address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

// d[16][8] = a[16][16] b[16][8], all through shared memory by ldmatrix; b lies by rows, so its matrices are transposed.
KERNEL mma_f16(float *d, const u16 *a, const u16 *b) {
    __shared__ __align__(16) u16 ta[16][24], tb[16][8];
    for (int i = LANE; i < 256; i += 32) ta[i / 16][i % 16] = a[i];
    for (int i = LANE; i < 128; i += 32) tb[i / 8][i % 8] = b[i];
    __syncwarp();
    u32 fa[4], fb[2];
    float f[4] = {1, 1, 1, 1};
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(address(&ta[LANE % 16][LANE / 16 * 8])) : "memory");
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1]) : "r"(address(&tb[LANE % 16][0])) : "memory");
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; i++) d[(LANE / 4 + i / 2 * 8) * 8 + LANE % 4 * 2 + i % 2] = f[i];
}

// The same with f16 sums, stored by stmatrix.
KERNEL mma_f16_sums(u16 *d, const u16 *a, const u16 *b) {
    __shared__ __align__(16) u16 td[16][8];
    u32 fa[4], fb[2], f[2] = {0, 0};
    const int g = LANE / 4, t = LANE % 4;
    for (int r = 0; r < 4; r++) fa[r] = *(const u32 *)&a[(g + r % 2 * 8) * 16 + t * 2 + r / 2 * 8];
    for (int r = 0; r < 2; r++) fb[r] = b[(t * 2 + r * 8) * 8 + g] | (u32)b[(t * 2 + r * 8 + 1) * 8 + g] << 16;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
                 : "+r"(f[0]), "+r"(f[1]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};" ::"r"(address(&td[LANE % 16][0])), "r"(f[0]), "r"(f[1])
                 : "memory");
    __syncwarp();
    for (int i = LANE; i < 128; i += 32) d[i] = td[i / 8][i % 8];
}

// d[16][8] = a[16][32] b[8][32]^T of bytes; the deep shape.
KERNEL mma_s8(int *d, const s8 *a, const s8 *b) {
    u32 fa[4], fb[2];
    int f[4] = {0, 0, 0, 0};
    const int g = LANE / 4, t = LANE % 4;
    for (int r = 0; r < 4; r++) fa[r] = *(const u32 *)&a[(g + r % 2 * 8) * 32 + t * 4 + r / 2 * 16];
    for (int r = 0; r < 2; r++) fb[r] = *(const u32 *)&b[g * 32 + t * 4 + r * 16];
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(f[0]), "+r"(f[1]), "+r"(f[2]), "+r"(f[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = f[i];
}

// d[16][8] = a[16][8] b[8][8]^T of floats whose low bits do not count.
KERNEL mma_tf32(float *d, const u32 *a, const u32 *b) {
    u32 fa[4], fb[2];
    float f[4] = {0, 0, 0, 0};
    const int g = LANE / 4, t = LANE % 4;
    for (int r = 0; r < 4; r++) fa[r] = a[(g + r % 2 * 8) * 8 + t + r / 2 * 4];
    for (int r = 0; r < 2; r++) fb[r] = b[g * 8 + t + r * 4];
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = f[i];
}
