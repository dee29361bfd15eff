/* One argument struct per op of ops.def.
 *
 * Every struct begins with struct_size and flags and only ever grows at its end. A field that was appended counts
 * only together with a flag bit of its own: a backend that does not know the field does not know the flag, and
 * refuses flags it does not know in query(); without the flag nobody reads the field. Tensors are
 * pointers to descriptors the host owns; an optional one is NULL. In query() `data` may be NULL.
 * Activations are f32 unless a comment says more. What changes from run to run (ids, positions,
 * slots, block tables) is the content of small i32 tensors, never a field here, so that a recorded
 * graph can be replayed.
 *
 * Names of dimensions: T tokens of the batch (grouped by sequence), S sequences, R output rows,
 * N and K the rows and columns of a weight, H query heads, G key/value heads, D head size,
 * C channels, P pages, B tokens a page.
 * The batch: pos[T] absolute position of each token; seq_start[S+1] first row of each sequence
 * (seq_start[S] = live tokens; an empty sequence has two equal neighbours); slot[S] the cache or
 * state slot of each sequence. A slot occurs at most once in a batch.
 * Outputs never overlap inputs, except that y may be exactly x where a comment says "in place". */
#ifndef NLM_OP_ARGS_H
#define NLM_OP_ARGS_H

#include <nlm/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y[r,:] = w[ids[r],:], dequantised.
 * Shapes   ids: [R] i32; w: [V, N] any type; y: [R, N] f32.
 * Errors   an id outside [0, V) of a live row is INVALID_ARGUMENT. Also gathers rows of activations. */
typedef struct nlm_embed_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *ids;
    const nlm_tensor *w;
    const nlm_tensor *y;
} nlm_embed_args;

/* y[m,n] = sum_k x[m,k] w[n,k] (+ bias[n]) (+ residual[m,n])
 * Shapes   x: [M, K] f32, any row stride; w: [N, K] any type, possibly packed; bias: [N] f32 or NULL;
 *          residual: [M, N] f32 or NULL, may be exactly y; y: [M, N] f32. */
typedef struct nlm_matmul_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *w;
    const nlm_tensor *bias;
    const nlm_tensor *residual;
    const nlm_tensor *y;
} nlm_matmul_args;

/* s = x (+ residual); y[r,c] = s[r,c] * w[c] / sqrt(mean_c(s[r,:]^2) + eps)
 * Shapes   x, residual, y, sum: [R, N] f32; w: [N] f32 or NULL (1). `sum` receives s if not NULL.
 *          Or all four [R, H, N]: each of a row's H heads is normed by itself, with the same w.
 *          In place: y may be x; sum may be x or residual. */
typedef struct nlm_rms_norm_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *residual;
    const nlm_tensor *w;
    const nlm_tensor *y;
    const nlm_tensor *sum;
    float eps;
    uint32_t reserved;
} nlm_rms_norm_args;

#define NLM_ROPE_HALF_SPLIT 1u /* pairs (i, i + n_rot/2) as in GPT-NeoX; else (2i, 2i+1) */
#define NLM_ROPE_INVERSE    2u /* rotate by -angle: the gradient of rope */

/* Rotates pairs of the first n_rot elements of each head by angle
 *   pos * freq_scale * freq_base^(-2i/n_rot) / freq_factors[i],  i = 0 .. n_rot/2-1;
 * the rest is copied.
 * Shapes   x, y: [T, H, D] f32, in place allowed; pos: [T] i32; freq_factors: [n_rot/2] f32 or NULL.
 * Source   Su et al. 2021; freq_scale = 1/factor is linear scaling, freq_factors those of Llama 3.1. */
typedef struct nlm_rope_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_ROPE_* */
    const nlm_tensor *x;
    const nlm_tensor *pos;
    const nlm_tensor *freq_factors;
    const nlm_tensor *y;
    float freq_base;
    float freq_scale;
    int32_t n_rot; /* even, 2..D */
    uint32_t reserved;
} nlm_rope_args;

/* Writes the keys and values of a batch into the paged cache: for row t of sequence s
 *   page = block_table[slot[s], pos[t] / B];  k_cache[page, g, pos[t] % B, :] = k[t, g, :]  (same for v)
 * Shapes   k, v: [T, G, D] f32; k_cache, v_cache: [P, G, B, D] f32, f16 or q8_0; pos: [T];
 *          seq_start: [S+1]; slot: [S]; block_table: [slots, blocks a slot] i32, all i32.
 * Reads k, v; writes the caches. Padding rows write nothing. A page outside [0, P) is INVALID_ARGUMENT. */
typedef struct nlm_kv_append_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *k;
    const nlm_tensor *v;
    const nlm_tensor *k_cache;
    const nlm_tensor *v_cache;
    const nlm_tensor *pos;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *block_table;
} nlm_kv_append_args;

/* Causal attention over the paged cache. For row t of sequence s and head h, with g = h / (H/G):
 *   p = softmax_j(scale * q[t,h,:] . k[j,g,:]),  y[t,h,:] = sum_j p_j v[j,g,:]
 * over positions j with max(0, pos[t]-window+1) <= j <= pos[t] (window 0: from 0).
 * Shapes   q, y: [T, H, D] f32; caches and tables as in kv_append, which ran before;
 *          lse: [T, H] f32 or NULL, receives log(sum_j exp(scale q.k)).
 * Numeric  the order of the sum depends on pos[t] and window alone. */
typedef struct nlm_attention_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *q;
    const nlm_tensor *k_cache;
    const nlm_tensor *v_cache;
    const nlm_tensor *pos;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *block_table;
    const nlm_tensor *y;
    const nlm_tensor *lse;
    float scale;
    int32_t window; /* tokens, 0 for none */
} nlm_attention_args;

/* y = silu(gate) * up, silu(v) = v / (1 + exp(-v)).
 * Shapes   gate, up, y: [R, N] f32; in place: y may be gate or up. */
typedef struct nlm_silu_mul_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *gate;
    const nlm_tensor *up;
    const nlm_tensor *y;
} nlm_silu_mul_args;

/* y = a + b. Shapes a, y: [R, N] f32; b: [R, N], or [N] for every row. In place: y may be a. */
typedef struct nlm_add_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *a;
    const nlm_tensor *b;
    const nlm_tensor *y;
} nlm_add_args;

/* y = a * b. Shapes a, y: [R, N] f32; b: [R, N], or [N] for every row. In place: y may be a. */
typedef struct nlm_mul_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *a;
    const nlm_tensor *b;
    const nlm_tensor *y;
} nlm_mul_args;

/* y = factor * x + offset. Shapes x, y: [R, N] f32. In place: y may be x. */
typedef struct nlm_scale_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *y;
    float factor;
    float offset;
} nlm_scale_args;

/* y[r,:] = softmax(factor * x[r,:]). Shapes x, y: [R, N] f32. In place: y may be x.
 * A row of -inf alone gives zeros. */
typedef struct nlm_softmax_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *y;
    float factor;
    uint32_t reserved;
} nlm_softmax_args;

#define NLM_CONV_SILU 1u /* y = silu(y) */

/* Depthwise causal convolution that carries its last K-1 inputs from run to run:
 *   y[t,c] = bias[c] + sum_{j<K} w[c,j] * x[t-K+1+j, c]
 * where rows before a sequence's first come from state[slot[s]] (oldest first); state_out[slot[s]] receives the
 * last K-1 inputs of the sequence, of an empty one those of state. Other slots of state_out are left alone.
 * Shapes   x, y: [T, C] f32; w: [C, K] f32; bias: [C] f32 or NULL; state, state_out: [slots, K-1, C] f32;
 *          seq_start: [S+1], slot: [S] i32. K is 2..8. In place: state_out may be state; else it is apart from
 *          it, and the op can run again with the same result. */
typedef struct nlm_conv1d_causal_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_CONV_* */
    const nlm_tensor *x;
    const nlm_tensor *w;
    const nlm_tensor *bias;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *y;
    const nlm_tensor *state_out;
} nlm_conv1d_causal_args;

/* Channels of an SSM state stand in tiles of this many, see nlm_ssm_scan_args. */
#define NLM_SSM_TILE 16

/* Mamba-1's selective scan, carrying h from run to run. For token t, channel c and state n:
 *   e = softplus(dt[t,c]);  h[c,n] = exp(e * a[c,n]) * h[c,n] + e * b[t,n] * x[t,c]
 *   y[t,c] = (sum_n c[t,n] * h[c,n] + d[c] * x[t,c]) * silu(z[t,c])
 * Shapes   x, dt, y: [T, C] f32; a: [C, N] f32, negative; b, c: [T, N] f32; d: [C] f32 or NULL (0);
 *          z: [T, C] f32 or NULL (no gate); seq_start: [S+1], slot: [S] i32. x, dt, b, c, z may have
 *          any row stride. state, state_out: [slots, ceil(C/16), N, 16] f32: h[c,n] at [slot, c/16, n, c%16], lanes
 *          past C zero. N is 1..256. In place: y may be x.
 * State    read from state[slot[s]], written to state_out[slot[s]], both as in conv1d_causal.
 * Source   Gu & Dao 2023; softplus(v) = log(1 + exp(v)), v itself above 20. */
typedef struct nlm_ssm_scan_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *dt;
    const nlm_tensor *a;
    const nlm_tensor *b;
    const nlm_tensor *c;
    const nlm_tensor *d;
    const nlm_tensor *z;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *y;
    const nlm_tensor *state_out;
} nlm_ssm_scan_args;

/* y = x, converted to y's type. Same shape, any strides, types f32 f16 bf16 i32 (i32 to i32 alone);
 * rounds to nearest even. x and y do not overlap. */
typedef struct nlm_copy_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *y;
} nlm_copy_args;

/* Only rows of numbers have a greatest: -1 where an element is a NaN or an infinity. */
#define NLM_ARGMAX_FINITE 1u

/* y[r] = the first index of the greatest x[r,:]; NaN never wins, an all-NaN row gives -1.
 * Shapes   x: [R, N] f32; y: [R] i32. */
typedef struct nlm_argmax_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_ARGMAX_* */
    const nlm_tensor *x;
    const nlm_tensor *y;
} nlm_argmax_args;

/* y = silu(x w_gate^T) * (x w_up^T): matmul, matmul, silu_mul in one.
 * Shapes   x: [M, K] f32; w_gate, w_up: [N, K] of one type; y: [M, N] f32. */
typedef struct nlm_gate_up_silu_mul_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *w_gate;
    const nlm_tensor *w_up;
    const nlm_tensor *y;
} nlm_gate_up_silu_mul_args;

/* q = rope(x w_q^T + b_q), k = rope(x w_k^T + b_k), v = x w_v^T + b_v, k and v appended to the cache:
 * three matmuls, two ropes and kv_append in one.
 * Shapes   x: [T, K] f32; w_q: [H*D, K], w_k, w_v: [G*D, K]; b_*: rows of w_* f32 or NULL;
 *          q: [T, H, D] f32; the rest as in rope and kv_append. flags as in rope. */
typedef struct nlm_qkv_rope_append_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_ROPE_* */
    const nlm_tensor *x;
    const nlm_tensor *w_q;
    const nlm_tensor *w_k;
    const nlm_tensor *w_v;
    const nlm_tensor *b_q;
    const nlm_tensor *b_k;
    const nlm_tensor *b_v;
    const nlm_tensor *freq_factors;
    const nlm_tensor *q;
    const nlm_tensor *k_cache;
    const nlm_tensor *v_cache;
    const nlm_tensor *pos;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *block_table;
    float freq_base;
    float freq_scale;
    int32_t n_rot;
    uint32_t reserved;
} nlm_qkv_rope_append_args;

/* y = rms_norm(x, norm_w, eps) w^T (+ bias): rms_norm and matmul in one.
 * Shapes   x: [M, K] f32; norm_w: [K] f32; w: [N, K]; bias: [N] f32 or NULL; y: [M, N] f32. */
typedef struct nlm_norm_matmul_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *norm_w;
    const nlm_tensor *w;
    const nlm_tensor *bias;
    const nlm_tensor *y;
    float eps;
    uint32_t reserved;
} nlm_norm_matmul_args;

/* xz = rms_norm(x, norm_w, eps) w^T; y = conv1d_causal(the first C columns of xz): rms_norm, matmul and
 * conv1d_causal in one, Mamba's way in.
 * Shapes   x: [T, K] f32; norm_w: [K] f32; w: [2C, K]; conv_w: [C, J] f32, possibly packed; xz: [T, 2C] f32;
 *          y: [T, C] f32; the rest as in conv1d_causal. flags as in conv1d_causal. */
typedef struct nlm_norm_xz_conv_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_CONV_* */
    const nlm_tensor *x;
    const nlm_tensor *norm_w;
    const nlm_tensor *w;
    const nlm_tensor *conv_w;
    const nlm_tensor *conv_bias;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *xz;
    const nlm_tensor *y;
    const nlm_tensor *state_out;
    float eps;
    uint32_t reserved;
} nlm_norm_xz_conv_args;

/* (low, b, c) = x w_x^T, of R, N and N columns; y = ssm_scan(x, dt = low w_dt^T + b_dt, a, b, c, d, z): two
 * matmuls and ssm_scan in one, Mamba's selection.
 * Shapes   x, y: [T, C] f32; w_x: [R+2N, C]; w_dt: [C, R]; b_dt: [C] f32 or NULL; a: [C, N] f32, negative,
 *          possibly packed; the rest as in ssm_scan, but y is not x. */
typedef struct nlm_dt_bc_scan_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *w_x;
    const nlm_tensor *w_dt;
    const nlm_tensor *b_dt;
    const nlm_tensor *a;
    const nlm_tensor *d;
    const nlm_tensor *z;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *y;
    const nlm_tensor *state_out;
} nlm_dt_bc_scan_args;

/* Causal attention over the keys and values of the batch itself, without a cache: sequences are packed and begin with
 * their first row. For row t of sequence s and head h, with g = h / (H/G):
 *   p = softmax_j(scale * q[t,h,:] . k[j,g,:]),  y[t,h,:] = sum_j p_j v[j,g,:]
 * over rows j with max(seq_start[s], t-window+1) <= j <= t (window 0: from seq_start[s]).
 * Shapes   q, y: [T, H, D] f32; k, v: [T, G, D] f32; seq_start: [S+1] i32;
 *          lse: [T, H] f32 or NULL, receives log(sum_j exp(scale q.k)): what a backward pass needs of p.
 * Numeric  the order of the sum depends on the row's place in its sequence and on window alone. */
typedef struct nlm_attention_plain_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *q;
    const nlm_tensor *k;
    const nlm_tensor *v;
    const nlm_tensor *seq_start;
    const nlm_tensor *y;
    const nlm_tensor *lse;
    float scale;
    int32_t window; /* tokens, 0 for none */
} nlm_attention_plain_args;

/* ---- training: the backward of an op is ops ----
 *
 * d<field> is the gradient of the loss by that field, of the field's shape. What a product or a norm adds up over
 * rows (dw, db, da, dd) is f32, may be memory that outlives the run, and with NLM_GRADIENT_ADD is added to what it
 * held; without, it is replaced. Orders of sums depend on shapes and seq_start alone. */
#define NLM_GRADIENT_ADD 256u

/* dx[m,k] = sum_n dy[m,n] w[n,k] (+ residual[m,k]): matmul's gradient by x.
 * Shapes   dy: [M, N] f32, any row stride; w: [N, K] any type, as matmul's; residual, dx: [M, K] f32, dx may be
 *          exactly residual.
 * Numeric  dy may be rounded to the type of w where that is f16 or bf16, but never to integers. */
typedef struct nlm_matmul_dx_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *dy;
    const nlm_tensor *w;
    const nlm_tensor *residual;
    const nlm_tensor *dx;
} nlm_matmul_dx_args;

/* dw[n,k] = sum_m dy[m,n] x[m,k];  db[n] = sum_m dy[m,n]: matmul's gradients by w and bias, over live rows.
 * Shapes   dy: [M, N] f32; x: [M, K] f32; dw: [N, K] f32; db: [N] f32 or NULL. */
typedef struct nlm_matmul_dw_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD */
    const nlm_tensor *dy;
    const nlm_tensor *x;
    const nlm_tensor *dw;
    const nlm_tensor *db;
} nlm_matmul_dw_args;

/* With i = 1 / sqrt(mean_c(x[r,:]^2) + eps):
 *   dx[r,c] = i w[c] dy[r,c] - x[r,c] i^3 mean_j(x[r,j] w[j] dy[r,j]) (+ residual[r,c])
 *   dw[c] = sum_r i x[r,c] dy[r,c]
 * Shapes   x, dy, residual, dx: [R, N] f32, or all [R, H, N] as in rms_norm, dw being summed over the heads too;
 *          w, dw: [N] f32 or NULL (1; not wanted). x is what was normed, the sum where rms_norm had a residual.
 *          In place: dx may be dy or residual. */
typedef struct nlm_rms_norm_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD */
    const nlm_tensor *x;
    const nlm_tensor *w;
    const nlm_tensor *dy;
    const nlm_tensor *residual;
    const nlm_tensor *dx;
    const nlm_tensor *dw;
    float eps;
    uint32_t reserved;
} nlm_rms_norm_bwd_args;

/* With s = 1 / (1 + exp(-gate)): dgate = dy up s (1 + gate (1 - s)); dup = dy gate s.
 * Shapes   gate, up, dy, dgate, dup: [R, N] f32. In place: dgate may be gate, dup may be up. */
typedef struct nlm_silu_mul_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *gate;
    const nlm_tensor *up;
    const nlm_tensor *dy;
    const nlm_tensor *dgate;
    const nlm_tensor *dup;
} nlm_silu_mul_bwd_args;

/* attention_plain's gradients. With p[t,h,j] = exp(scale q[t,h,:] . k[j,g,:] - lse[t,h]) over the rows j that t sees,
 * and e[t,h,j] = p (dy[t,h,:] . v[j,g,:] - dy[t,h,:] . y[t,h,:]):
 *   dq[t,h,:] = scale sum_j e k[j,g,:];  dk[j,g,:] = scale sum_{t,h} e q[t,h,:];  dv[j,g,:] = sum_{t,h} p dy[t,h,:]
 * Shapes   q, y, dy, dq: [T, H, D] f32; k, v, dk, dv: [T, G, D] f32; lse: [T, H]; seq_start: [S+1].
 * Source   Dao et al. 2022. */
typedef struct nlm_attention_plain_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *q;
    const nlm_tensor *k;
    const nlm_tensor *v;
    const nlm_tensor *seq_start;
    const nlm_tensor *y;
    const nlm_tensor *lse;
    const nlm_tensor *dy;
    const nlm_tensor *dq;
    const nlm_tensor *dk;
    const nlm_tensor *dv;
    float scale;
    int32_t window; /* tokens, 0 for none */
} nlm_attention_plain_bwd_args;

/* conv1d_causal's gradients. With u the sum before silu and g[t,c] = dy[t,c] silu'(u[t,c]), or dy without
 * NLM_CONV_SILU, over each sequence, rows before its first coming from state[slot[s]]:
 *   dx[t,c] = sum_j w[c,j] g[t+K-1-j, c] (+ what dstate_out says of inputs that the sequence leaves in its state)
 *   dw[c,j] = sum_t g[t,c] x[t-K+1+j, c];  db[c] = sum_t g[t,c]
 * dstate[slot[s]] receives the gradient by state; its other slots are left alone.
 * Shapes   x, dy, dx: [T, C] f32; w, dw: [C, K] f32; bias, db: [C] f32 or NULL; state, dstate_out, dstate:
 *          [slots, K-1, C] f32, the last two or NULL (zero; not wanted). */
typedef struct nlm_conv1d_causal_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_CONV_SILU, NLM_GRADIENT_ADD */
    const nlm_tensor *x;
    const nlm_tensor *w;
    const nlm_tensor *bias;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *dy;
    const nlm_tensor *dstate_out;
    const nlm_tensor *dx;
    const nlm_tensor *dw;
    const nlm_tensor *db;
    const nlm_tensor *dstate;
} nlm_conv1d_causal_bwd_args;

/* ssm_scan's gradients by all its inputs, from those it was given: h is computed again from state[slot[s]], and
 * dh[t] = exp(e[t+1] a) dh[t+1] + c[t] dy'[t] runs back from dstate_out[slot[s]], dy' being dy silu(z).
 * dd is NULL where d is, dz where z is; other slots of dstate are left alone.
 * Shapes   as in ssm_scan: x, dt, z, dy, dx, ddt, dz: [T, C] f32; a, da: [C, N]; b, c, db, dc: [T, N]; d, dd: [C];
 *          state, dstate_out, dstate: [slots, ceil(C/16), N, 16], the last two or NULL (zero; not wanted).
 *          ddt is by dt before softplus.
 * Source   Gu & Dao 2023. */
typedef struct nlm_ssm_scan_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD */
    const nlm_tensor *x;
    const nlm_tensor *dt;
    const nlm_tensor *a;
    const nlm_tensor *b;
    const nlm_tensor *c;
    const nlm_tensor *d;
    const nlm_tensor *z;
    const nlm_tensor *state;
    const nlm_tensor *seq_start;
    const nlm_tensor *slot;
    const nlm_tensor *dy;
    const nlm_tensor *dstate_out;
    const nlm_tensor *dx;
    const nlm_tensor *ddt;
    const nlm_tensor *da;
    const nlm_tensor *db;
    const nlm_tensor *dc;
    const nlm_tensor *dd;
    const nlm_tensor *dz;
    const nlm_tensor *dstate;
} nlm_ssm_scan_bwd_args;

/* dw[ids[r],:] += dy[r,:], in the order of r: embed's gradient, always added.
 * Shapes   ids: [R] i32; dy: [R, N] f32; dw: [V, N] f32.
 * Errors   as embed. */
typedef struct nlm_embed_bwd_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *ids;
    const nlm_tensor *dy;
    const nlm_tensor *dw;
} nlm_embed_bwd_args;

/* The head and the loss, with their gradients, the logits of some rows at a time. With u = x w^T (+ bias), e the
 * log-sum-exp of u[r,:] and y = labels[r]:
 *   loss[r] = e - (1 - smoothing) u[r,y] - smoothing mean_n(u[r,n]) + z_loss e^2
 *   du[r,n] = softmax_n(u[r,:]) (1 + 2 z_loss e) - (1 - smoothing) [n = y] - smoothing / N
 *   dx = du w;  dw = du^T x;  db = sum_r du[r,:]
 * A row with a negative label is not counted: its loss and dx are 0, and it adds nothing to dw and db.
 * Shapes   x, dx: [R, K] f32; w: [N, K] any type, as matmul's; bias, db: [N] f32; labels: [R] i32; loss: [R] f32;
 *          dw: [N, K] f32. bias, dx, dw and db may be NULL, db with bias alone; all gradients being so only the loss
 *          is computed. In place: dx may be x.
 * Errors   a label of N or more of a live row is INVALID_ARGUMENT.
 * Source   label smoothing: Szegedy et al. 2016; z_loss: Chowdhery et al. 2022. */
typedef struct nlm_cross_entropy_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD: of dw and db */
    const nlm_tensor *x;
    const nlm_tensor *w;
    const nlm_tensor *bias;
    const nlm_tensor *labels;
    const nlm_tensor *loss;
    const nlm_tensor *dx;
    const nlm_tensor *dw;
    const nlm_tensor *db;
    float smoothing; /* 0 to 1 */
    float z_loss;    /* 0 or more */
} nlm_cross_entropy_args;

/* total[0] = the sum of x^2, added to what it was with NLM_GRADIENT_ADD. A NaN or an infinity in x gives one.
 * Shapes   x: [R, N] or [N] f32; total: [1] f32. */
typedef struct nlm_sum_sq_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD */
    const nlm_tensor *x;
    const nlm_tensor *total;
} nlm_sum_sq_args;

/* A step of AdamW. With rates = [learning rate, factor of gradients, 1 - beta1^step, 1 - beta2^step] and
 * g = rates[1] dw:
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *   w = w (1 - rates[0] weight_decay) - rates[0] (m / rates[2]) / (sqrt(v / rates[3]) + eps);  dw = 0
 * Shapes   w: [R, N] or [N], f32, f16 or bf16; master: of the shape of w, f32, or NULL: it is what is updated, and w
 *          receives it rounded; dw, m, v: of the shape of w, f32; rates: [4] f32.
 * Source   Loshchilov & Hutter 2019. */
typedef struct nlm_adamw_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *w;
    const nlm_tensor *master;
    const nlm_tensor *dw;
    const nlm_tensor *m;
    const nlm_tensor *v;
    const nlm_tensor *rates;
    float beta1, beta2;
    float eps;
    float weight_decay;
} nlm_adamw_args;

/* y = factor exp(x). Shapes x, y: [R, N] f32. In place: y may be x. Its gradient by x is dy y. */
typedef struct nlm_exp_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *y;
    float factor;
    uint32_t reserved;
} nlm_exp_args;

/* total += x. Shapes x, total: [R, N] or [N] f32; total is memory that outlives the run. */
typedef struct nlm_accumulate_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *total;
} nlm_accumulate_args;

/* y[n] = sum_r a[r,n] (b[r,n]): the gradients of add and mul by a row that stands for all.
 * Shapes   a: [R, N] f32; b: [R, N] f32 or NULL; y: [N] f32. */
typedef struct nlm_sum_rows_args {
    uint32_t struct_size;
    uint32_t flags; /* NLM_GRADIENT_ADD */
    const nlm_tensor *a;
    const nlm_tensor *b;
    const nlm_tensor *y;
} nlm_sum_rows_args;

/* Draws a token from each row of logits. Of row r, with [temperature, top_p, min_p] = cuts[slot[r],:] and
 * [top_k, seed (low word, high word)] = draws[slot[r],:], candidate i weighs w_i = exp((x[r,i] - max x[r,:]) /
 * temperature). Candidates stand likeliest first, of equals the lower index first, and these stay, in this order:
 *   top_k > 0         the first top_k
 *   0 < top_p < 1     the fewest first ones whose weights reach top_p of the sum of those that are left
 *   min_p > 0         those with w_i >= min_p, or 1 if that is less
 * With neither top_k nor top_p they stand by index. y[r] is the first whose weight, with those before it, exceeds u
 * times the sum of all that are left; u = 2^-53 floor(2^-11 (2^32 word0 + word1)) of the four words that
 * Philox4x32-10 gives for the counter [pos[r] + 1, 0, 0, 0] and the seed as its key. temperature <= 0: y[r] is the
 * first index of the greatest x[r,:]. A row with an element that is a NaN or an infinity gives -1. Shapes   x: [R, N]
 * f32, N below 2^24; slot, pos, y: [R] i32; cuts: [slots, 3] f32; draws: [slots, 3] i32. Numeric  weights are of
 * double precision, and the order of their sums is free. Errors   a slot outside [0, slots) of a live row is
 * INVALID_ARGUMENT. Source   Salmon et al. 2011 (Philox); Holtzman et al. 2020 (top_p). */
typedef struct nlm_sample_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *x;
    const nlm_tensor *slot;
    const nlm_tensor *pos;
    const nlm_tensor *cuts;
    const nlm_tensor *draws;
    const nlm_tensor *y;
} nlm_sample_args;

/* Makes the inputs of a run those of the next one: each of its sequences, of one token, goes on with the token that
 * was chosen, and those that end leave the batch. Of row s, whose row of `tokens` and `stops` is that of its slot:
 * while there is room, next[s] is written behind the tokens that are there, tokens[slot[s], 1 + n] of n =
 * tokens[slot[s], 0], which becomes n + 1. There is room if 0 <= n < C - 1; where there is none, a negative n
 * included, the row of tokens stays. The sequence ends if there was no room, if next[s] is negative (which is written
 * all the same), or if it is one of stops[slot[s],:]. No two live rows have one slot. The m rows that go on, in their
 * order, are the first rows of ids, pos and slot then: next[s], pos[s] + 1, slot[s]; the rows behind them are
 * unspecified. seq_start[i] becomes min(i, m), all of them; live[1], live[2] and live[3] become m, and live[0] stays.
 * The counts of live rows are read before `live` is written: both may be one memory. With no live row nothing is
 * written. Shapes   next, ids, pos, slot: [S] i32; stops: [slots, Z] i32, negative ones are none; seq_start: [S+1]
 * i32; live: [4] i32; tokens: [slots, C] i32, 2 <= C. Errors   a slot outside [0, slots) of a live row is
 * INVALID_ARGUMENT. */
typedef struct nlm_advance_args {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const nlm_tensor *next;
    const nlm_tensor *stops;
    const nlm_tensor *ids;
    const nlm_tensor *pos;
    const nlm_tensor *slot;
    const nlm_tensor *seq_start;
    const nlm_tensor *live;
    const nlm_tensor *tokens;
} nlm_advance_args;

#ifdef __cplusplus
}
#endif
#endif
