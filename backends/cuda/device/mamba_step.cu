/* Layers of Mamba for one token, by one cluster of blocks: all of norm_xz_conv, dt_bc_scan and the product that
 * follows them, for as many layers as were recorded one behind the other (../step.c).
 *
 * A block has tiles of 16 channels, and of every product with all channels its part of the rows. What it makes of
 * them goes into the shared memory of all blocks by st.async, whose bytes a barrier in each counts: u, the convolved
 * channels; low, b and c; y, the scan's; and the next layer's h. A block sends into a place for the next layer only
 * when it has had what the readers of the place made of it, so none needs a second. No two blocks meet at a barrier
 * of the cluster but before the first layer.
 *
 * Weights come in stages of a layer each, as many as fit, by bulk copies that begin when the stage's last layer is
 * over; what is small, and the states, comes a layer ahead. Sums go in the order in which the three kernels' go
 * (few.cuh, dt_bc_scan.cu): a lane has a block of 32 of a row, so that 32 / LANES rows fit into a warp where a row
 * has fewer.
 *
 * Macros: ACT (f32), W and W_DT, the types of weights and of that which makes dt; PACKED (1), STATES. */
#include "packed.cuh"
#include "rows.cuh"
#include "scan.cuh"

#if __CUDA_ARCH__ >= 900
#include "mamba_step.cuh"

/* ---- products ---- */

/* Lanes that share a row of so many elements. */
__device__ __forceinline__ int lanes_of(int length) {
    const int blocks = (length + 31) / 32;
    return blocks <= 1 ? 1 : 1 << (32 - __clz(blocks - 1));
}

__device__ __forceinline__ float4 shared_quad(const float *x) {
    return *(const float4 *)x;
}

/* A block of a row with 32 elements of x, as few.cuh has it. With a norm x is multiplied by its weights. */
template <bool HAS_NORM>
__device__ __forceinline__ float block_product(const packed_block<W> &w, const float *x, const float *norm_w) {
    float4 quads[8];
#pragma unroll
    for (int q = 0; q < 8; q++) {
        quads[q] = shared_quad(x + 4 * q);
        if (!HAS_NORM) continue;
        const float4 by = shared_quad(norm_w + 4 * q);
        quads[q] = make_float4(__fmul_rn(quads[q].x, by.x), __fmul_rn(quads[q].y, by.y), __fmul_rn(quads[q].z, by.z),
                               __fmul_rn(quads[q].w, by.w));
    }
    float sum = 0;
    if constexpr (are_placed<W>) {
        constexpr int SUMMED = packing<W>::BITS == 6 ? 4 : 8;
#pragma unroll
        for (int part = 0; part < 8 / SUMMED; part++) {
            float of_part = 0, sums[SUMMED];
#pragma unroll
            for (int q = 0; q < SUMMED; q++) {
                const float4 v = quads[part * SUMMED + q];
                of_part = dot(w.placed(part * SUMMED + q), v, of_part);
                sums[q] = (v.x + v.y) + (v.z + v.w);
            }
#pragma unroll
            for (int o = 1; o < SUMMED; o *= 2) {
#pragma unroll
                for (int q = 0; q < SUMMED; q += 2 * o) sums[q] += sums[q + o];
            }
            sum = fmaf(w.factor(part > 0), of_part, fmaf(w.offset(part > 0), sums[0], sum));
        }
    } else {
#pragma unroll
        for (int q = 0; q < 8; q++) sum = dot(w.quad(q), quads[q], sum);
    }
    return sum;
}

/* The sum of a row, in all the lanes that share it. */
template <bool HAS_NORM>
__device__ __forceinline__ float row_product(const u8 *weight, int room, int row, int length, const float *x,
                                             const float *norm_w, int lanes) {
    const int b = threadIdx.x % lanes, blocks = (length + 31) / 32;
    float sum = 0;
    if (b < blocks) {
        const packed_row<W> of(weight, room, length, row);
        sum = block_product<HAS_NORM>(of.block(b), x + BLOCK_PITCH * b, norm_w + BLOCK_PITCH * b);
    }
    if (lanes < 32) sum += 0.0f; /* of the lanes that a warp has for the row elsewhere; it matters to -0 */
    for (int o = lanes / 2; o > 0; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    return sum;
}

/* What the norm divides h by, inverted, as few.cuh has it: by quads of the threads of a block. */
__device__ __forceinline__ float norm_factor(const step_here &b, int length, float eps) {
    float sum = 0;
    for (int first = 0; first < length; first += 128) {
        const int k = first + 4 * b.lane;
        const float4 v = k < length ? shared_quad(b.h + padded_at(k)) : make_float4(0, 0, 0, 0);
        sum += warp_sum(dot(v, v, 0.0f));
    }
    return 1.0f / sqrtf(sum / (float)length + eps);
}

/* A value that `lanes` neighbours have, to place `to` of all blocks; four at a time where four neighbours' places
 * are. All lanes of a warp call it. What the warp has read may be overwritten then. */
__device__ __forceinline__ void send(const step_here &b, exchange e, const float *to, float value, int lanes,
                                     int n_blocks, bool is_there) {
    const u32 barrier = shared_address(&b.barriers->came[e]), there = __ballot_sync(0xffffffffu, is_there);
    const u32 place = shared_address(to);
    if (lanes <= 8) {
        const int first = b.lane & -4 * lanes; /* of the lanes that have the four */
        const u32 all = lanes == 8 ? 0xffffffffu : (1u << 4 * lanes) - 1,
                  from = __shfl_sync(0xffffffffu, place, first);
        const u32 last = __shfl_sync(0xffffffffu, place, first + 3 * lanes);
        const float4 four = make_float4(
            __shfl_sync(0xffffffffu, value, first), __shfl_sync(0xffffffffu, value, first + lanes),
            __shfl_sync(0xffffffffu, value, first + 2 * lanes), __shfl_sync(0xffffffffu, value, first + 3 * lanes));
        __syncwarp();
        if ((there >> first & all) == all && from % 16 == 0 && last == from + 12) {
            for (int rank = b.lane - first; rank < n_blocks; rank += 4 * lanes) {
                store_async(of_block(from, rank), four, of_block(barrier, rank));
            }
            return;
        }
    }
    if (lanes > 8) __syncwarp();
    if (!is_there) return;
    for (int rank = b.lane % lanes; rank < n_blocks; rank += lanes) {
        store_async(of_block(place, rank), value, of_block(barrier, rank));
    }
}

/* Waits for what all blocks send for a layer, and counts on that for the next. */
__device__ __forceinline__ void receive(const step_args &s, const step_here &b, exchange e, int layer, int floats) {
    barrier_wait<OF_OTHERS>(&b.barriers->came[e], layer & 1);
    if (threadIdx.x == 0 && layer + 1 < s.n_layers) barrier_expect(&b.barriers->came[e], 4 * floats);
}

/* ---- a layer ---- */

/* x and z of this block's channels; x goes on through the convolution. */
__device__ __forceinline__ void project(const step_args &s, const step_here &b, int layer, const u8 *stage) {
    const layer_args &of = s.layer[layer];
    const step_smalls m = smalls_of(s, b, layer);
    const int lanes = lanes_of(s.model), n = b.channels.n, kept = s.width - 1;
    const float factor = norm_factor(b, s.model, s.eps);
    for (int first = b.warp * (32 / lanes); first < 2 * n; first += STEP_WARPS * (32 / lanes)) {
        const int row = first + b.lane / lanes, in_half = row < n ? row : row - n;
        const bool is_there = row < 2 * n, is_x = row < n, is_first = b.lane % lanes == 0;
        const float now =
            row_product<true>(stage, 2 * TILE * s.most_tiles, min(row, 2 * n - 1), s.model, b.h, m.norm_w, lanes) *
            factor;
        const int channel = b.channels.first + in_half;
        float u = 0;
        if (is_there && of.xz && is_first) ((float *)of.xz)[channel + (is_x ? 0 : s.inner)] = now;
        if (is_there && !is_x && is_first) b.z[in_half] = now;
        if (is_x) {
            float *out = (float *)(of.conv_state_out + b.slot * s.conv_slot_out) + channel;
            u = m.conv_bias[in_half];
            for (int j = 0; j < kept; j++) u = tap(u, m.conv_w[in_half * s.width + j], m.before[j * n + in_half]);
            u = tap(u, m.conv_w[in_half * s.width + kept], now);
            if (s.is_silu) u = silu(u);
            if (is_first) {
                if (of.u) ((float *)of.u)[channel] = u;
                for (int j = 0; j < kept; j++) {
                    out[j * (s.conv_row_out / 4)] = j + 1 < kept ? m.before[(j + 1) * n + in_half] : now;
                }
            }
        }
        send(b, OF_U, b.u + padded_at(channel), u, lanes, s.n_blocks, is_x);
    }
}

/* low, b and c. */
__device__ __forceinline__ void select(const step_args &s, const step_here &b, const u8 *stage) {
    const int lanes = lanes_of(s.inner), n = b.selected.n;
    for (int first = b.warp * (32 / lanes); first < n; first += STEP_WARPS * (32 / lanes)) {
        const int row = first + b.lane / lanes, at = b.selected.first + row;
        const float sum =
            row_product<false>(stage + s.x_at, s.most_selected, min(row, n - 1), s.inner, b.u, b.u, lanes);
        const int to = at < s.rank ? at : quads_up(s.rank) + at - s.rank;
        send(b, OF_LOW, b.low + to, sum, lanes, s.n_blocks, row < n);
    }
}

/* dt of a channel before softplus: as dt_bc_scan.cu, whose eight threads of a channel have quads in turn. */
__device__ __forceinline__ float step_size(const step_args &s, const step_here &b, const u8 *stage, int channel,
                                           float bias) {
    const packed_row<W_DT> of(stage + s.dt_at, TILE * s.most_tiles, s.rank, channel);
    float value = bias;
#pragma unroll 1
    for (int group = 0; group < GROUPS; group++) {
        float sum = 0;
        for (int quad = group; 4 * quad < s.rank; quad += GROUPS) {
            sum = dot(of.quad(quad / 8, quad % 8), shared_quad(b.low + 4 * quad), sum);
        }
        value += sum;
    }
    return value;
}

/* The states of four channels a warp, eight lanes a channel, and y. */
__device__ __forceinline__ void advance(const step_args &s, const step_here &b, int layer, const u8 *stage) {
    const layer_args &of = s.layer[layer];
    const step_smalls m = smalls_of(s, b, layer);
    const float *low_b = b.low + quads_up(s.rank), *low_c = low_b + STATES;
    const int group = b.lane % GROUPS, n = group * OWN;
    for (int first = 4 * b.warp; first < TILE * b.tiles.n; first += 4 * STEP_WARPS) {
        const int mine = first + b.lane / GROUPS, tile = mine / TILE, lane = mine % TILE;
        const int channel = b.channels.first + mine;
        const bool is_there = mine < b.channels.n;
        const float dt = is_there ? step_size(s, b, stage, mine, m.dt_bias[mine]) : 0.0f;
        const float x = is_there ? b.u[padded_at(channel)] : 0.0f, e = softplus(dt), e_x = __fmul_rn(e, x);
        float *out = (float *)(of.states_out + b.slot * s.state_slot_out + (b.tiles.first + tile) * s.state_tile_out);
        const float *before = m.states + tile * TILE * STATES;
        float sum = 0, y = 0;
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            if (n + j >= STATES) break;
            const float rate = is_there ? m.rate[mine * STATES + n + j] * 1.4426950408889634f : 0.0f;
            const float h = next_state(before[(n + j) * TILE + lane], e, rate, e_x, low_b[n + j]);
            sum = fmaf(low_c[n + j], h, sum);
            out[(n + j) * TILE + lane] = h;
        }
#pragma unroll
        for (int g = 0; g < GROUPS; g++) y += __shfl_sync(0xffffffffu, sum, b.lane / GROUPS * GROUPS + g);
        y = is_there ? scan_output(y, of.d != 0, m.d[mine], x, true, b.z[mine]) : 0.0f;
        if (is_there && of.y && group == 0) ((float *)of.y)[channel] = y;
        send(b, OF_Y, b.y + padded_at(channel), y, GROUPS, s.n_blocks, is_there);
    }
}

/* h of the next layer, or of what comes behind the last. */
__device__ __forceinline__ void join(const step_args &s, const step_here &b, int layer, const u8 *stage) {
    const layer_args &of = s.layer[layer];
    const int lanes = lanes_of(s.inner), n = b.outputs.n;
    for (int first = b.warp * (32 / lanes); first < n; first += STEP_WARPS * (32 / lanes)) {
        const int row = first + b.lane / lanes, at = b.outputs.first + min(row, n - 1);
        const float sum =
            row_product<false>(stage + s.out_at, s.most_outputs, min(row, n - 1), s.inner, b.y, b.y, lanes);
        const float h = sum + b.h[padded_at(at)];
        const bool is_there = row < n;
        if (is_there && of.h && b.lane % lanes == 0) ((float *)of.h)[at] = h;
        send(b, OF_H, b.h + padded_at(at), h, lanes, s.n_blocks, is_there && layer + 1 < s.n_layers);
    }
}

__device__ __forceinline__ void step_layer(const step_args &s, const step_here &b, int layer) {
    const u8 *stage = b.stages + layer % s.n_stages * s.stage_bytes;
    const bool is_last = layer + 1 == s.n_layers;
    barrier_wait<OF_OWN>(&b.barriers->full[layer % s.n_stages], layer / s.n_stages & 1);
    project(s, b, layer, stage);
    if (threadIdx.x == 0 && layer > 0 && layer - 1 + s.n_stages < s.n_layers) {
        begin_weights(s, b, layer - 1 + s.n_stages);
    }
    if (!is_last) begin_smalls(s, b, layer + 1);
    receive(s, b, OF_U, layer, s.inner);
    select(s, b, stage);
    __syncthreads(); /* z */
    receive(s, b, OF_LOW, layer, s.rank + 2 * STATES);
    advance(s, b, layer, stage);
    wait_for_copies();
    receive(s, b, OF_Y, layer, s.inner);
    join(s, b, layer, stage);
    __syncthreads(); /* the next layer's smalls */
    if (!is_last) receive(s, b, OF_H, layer, s.model);
}

/* ---- the kernel ---- */

/* Before the inputs are there: barriers, zeros past the ends of rows, and weights. */
__device__ __forceinline__ void begin_step(const step_args &s, const step_here &b) {
    if (threadIdx.x == 0) {
        const int floats[EXCHANGES] = {s.inner, s.rank + 2 * STATES, s.inner, s.model};
#pragma unroll 1
        for (int i = 0; i < s.n_stages; i++) barrier_init(&b.barriers->full[i], 1);
#pragma unroll
        for (int i = 0; i < EXCHANGES; i++) {
            barrier_init(&b.barriers->came[i], 1);
            barrier_expect(&b.barriers->came[i], 4 * floats[i]);
        }
        barriers_are_made();
#pragma unroll 1
        for (int i = 0; i < s.n_stages; i++) begin_weights(s, b, i);
    }
    const int floats = (int)(b.z - b.h);
#pragma unroll 1
    for (int i = threadIdx.x; i < floats; i += STEP_THREADS) b.h[i] = 0.0f;
#pragma unroll 1
    for (int i = threadIdx.x; i < 2 * padded(s.model); i += STEP_THREADS) {
        const int half = i < padded(s.model) ? 0 : 1;
        smalls_of(s, b, half).norm_w[i - half * padded(s.model)] = 0.0f;
    }
    __syncthreads();
    cluster_arrive();
}

/* States of a sequence without a token go on as they are. */
__device__ __forceinline__ void keep_states(const step_args &s, const step_here &b) {
    for (int layer = 0; layer < s.n_layers; layer++) {
        const layer_args &of = s.layer[layer];
        for (int j = 0; j < s.width - 1; j++) {
            const float *from = (const float *)(of.conv_state + b.slot * s.conv_slot + j * s.conv_row);
            float *to = (float *)(of.conv_state_out + b.slot * s.conv_slot_out + j * s.conv_row_out);
#pragma unroll 1
            for (int i = threadIdx.x; i < b.channels.n; i += STEP_THREADS) {
                to[b.channels.first + i] = from[b.channels.first + i];
            }
        }
        for (int t = b.tiles.first; t < b.tiles.first + b.tiles.n; t++) {
            const float *from = (const float *)(of.states + b.slot * s.state_slot + t * s.state_tile);
            float *to = (float *)(of.states_out + b.slot * s.state_slot_out + t * s.state_tile_out);
#pragma unroll 1
            for (int i = threadIdx.x; i < TILE * STATES; i += STEP_THREADS) to[i] = from[i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
    mamba_step(run run, const __grid_constant__ nlm_cuda_step s) {
    __shared__ step_barriers barriers;
    step_here b = here_of(s, &barriers);
    sequence q = {};
    begin_step(s, b);
    wait_for_inputs();
    const bool is_there =
        live_rows(run, s.slot) > 0 && read_sequence(run, s.seq_start, s.slot, 0, live_rows(run, s.x), s.n_slots, &q);
    cluster_wait();
    if (!is_there || q.n_tokens == 0) {
        for (int i = 0; i < s.n_stages; i++) barrier_wait<OF_OWN>(&b.barriers->full[i], 0);
        b.slot = q.slot;
        if (is_there) keep_states(s, b);
        return;
    }
    b.slot = q.slot;
    begin_smalls(s, b, 0);
#pragma unroll 1
    for (int i = threadIdx.x; i < s.model; i += STEP_THREADS) begin_copy(b.h + padded_at(i), at<float>(s.x, 0) + i);
    wait_for_copies();
    __syncthreads();
#pragma unroll 1
    for (int layer = 0; layer < s.n_layers; layer++) step_layer(s, b, layer);
}
#endif /* else there is no such kernel, and nobody launches it */
