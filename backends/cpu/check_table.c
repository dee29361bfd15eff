#include "cpu/check_table.h"

#include "cpu/fail.h"

#include <stddef.h>

#define BIT(NAME)                                    (UINT64_C(1) << NLM_##NAME)
#define F32                                          BIT(F32)
#define I32                                          BIT(I32)
#define CACHE                                        (BIT(F32) | BIT(F16) | BIT(Q8_0))
#define PLAIN                                        (BIT(F32) | BIT(F16) | BIT(BF16) | BIT(I32))
#define ANY_BIT(NAME, name, number, elements, bytes) | UINT64_C(1) << (number)
#define WEIGHT                                       ((0 NLM_DTYPE_LIST(ANY_BIT)) & ~BIT(I32))

#define IN(op, field, dtypes, shape) \
    { #field, offsetof(nlm_##op##_args, field), 0, dtypes, shape }
#define OPT(op, field, dtypes, shape) \
    { #field, offsetof(nlm_##op##_args, field), NLM_CPU_OPTIONAL, dtypes, shape }
#define OUT(op, field, dtypes, shape) \
    { #field, offsetof(nlm_##op##_args, field), NLM_CPU_OUTPUT, dtypes, shape }
#define WITH(op, field, traits, dtypes, shape) \
    { #field, offsetof(nlm_##op##_args, field), traits, dtypes, shape }

static const nlm_cpu_arg embed_args[] = {
    IN(embed, ids, I32, "R"),
    IN(embed, w, WEIGHT, "VN"),
    OUT(embed, y, F32, "RN"),
};
static const nlm_cpu_arg matmul_args[] = {
    IN(matmul, x, F32, "MK"),         IN(matmul, w, WEIGHT, "NK"), OPT(matmul, bias, F32, "N"),
    OPT(matmul, residual, F32, "MN"), OUT(matmul, y, F32, "MN"),
};
static const nlm_cpu_arg rms_norm_args[] = {
    IN(rms_norm, x, F32, "RN|RHN"),
    OPT(rms_norm, residual, F32, "RN|RHN"),
    OPT(rms_norm, w, F32, "N"),
    OUT(rms_norm, y, F32, "RN|RHN"),
    WITH(rms_norm, sum, NLM_CPU_OUTPUT | NLM_CPU_OPTIONAL, F32, "RN|RHN"),
};
static const nlm_cpu_arg rope_args[] = {
    IN(rope, x, F32, "THD"),
    IN(rope, pos, I32, "T"),
    OPT(rope, freq_factors, F32, "F"),
    OUT(rope, y, F32, "THD"),
};
static const nlm_cpu_arg kv_append_args[] = {
    IN(kv_append, k, F32, "TGD"),           IN(kv_append, v, F32, "TGD"),
    OUT(kv_append, k_cache, CACHE, "PGBD"), OUT(kv_append, v_cache, CACHE, "PGBD"),
    IN(kv_append, pos, I32, "T"),           IN(kv_append, slot, I32, "S"),
    IN(kv_append, seq_start, I32, "S+"),    IN(kv_append, block_table, I32, "LC"),
};
static const nlm_cpu_arg attention_args[] = {
    IN(attention, q, F32, "THD"),
    IN(attention, k_cache, CACHE, "PGBD"),
    IN(attention, v_cache, CACHE, "PGBD"),
    IN(attention, pos, I32, "T"),
    IN(attention, slot, I32, "S"),
    IN(attention, seq_start, I32, "S+"),
    IN(attention, block_table, I32, "LC"),
    OUT(attention, y, F32, "THD"),
    WITH(attention, lse, NLM_CPU_OUTPUT | NLM_CPU_OPTIONAL, F32, "TH"),
};
static const nlm_cpu_arg silu_mul_args[] = {
    IN(silu_mul, gate, F32, "RN"),
    IN(silu_mul, up, F32, "RN"),
    OUT(silu_mul, y, F32, "RN"),
};
static const nlm_cpu_arg add_args[] = {
    IN(add, a, F32, "RN"),
    IN(add, b, F32, "RN|N"),
    OUT(add, y, F32, "RN"),
};
static const nlm_cpu_arg mul_args[] = {
    IN(mul, a, F32, "RN"),
    IN(mul, b, F32, "RN|N"),
    OUT(mul, y, F32, "RN"),
};
static const nlm_cpu_arg scale_args[] = {
    IN(scale, x, F32, "RN"),
    OUT(scale, y, F32, "RN"),
};
static const nlm_cpu_arg softmax_args[] = {
    IN(softmax, x, F32, "RN"),
    OUT(softmax, y, F32, "RN"),
};
static const nlm_cpu_arg conv1d_causal_args[] = {
    IN(conv1d_causal, x, F32, "TC"),    IN(conv1d_causal, w, F32, "CK"),
    OPT(conv1d_causal, bias, F32, "C"), OUT(conv1d_causal, state, F32, "LK-C"),
    IN(conv1d_causal, slot, I32, "S"),  IN(conv1d_causal, seq_start, I32, "S+"),
    OUT(conv1d_causal, y, F32, "TC"),
};
static const nlm_cpu_arg ssm_scan_args[] = {
    IN(ssm_scan, x, F32, "TC"),   IN(ssm_scan, dt, F32, "TC"),
    IN(ssm_scan, a, F32, "CN"),   IN(ssm_scan, b, F32, "TN"),
    IN(ssm_scan, c, F32, "TN"),   OPT(ssm_scan, d, F32, "C"),
    OPT(ssm_scan, z, F32, "TC"),  WITH(ssm_scan, state, NLM_CPU_OUTPUT | NLM_CPU_STATE, F32, "LENW"),
    IN(ssm_scan, slot, I32, "S"), IN(ssm_scan, seq_start, I32, "S+"),
    OUT(ssm_scan, y, F32, "TC"),
};
static const nlm_cpu_arg copy_args[] = {
    WITH(copy, x, NLM_CPU_ANY_STRIDE, PLAIN, "*"),
    WITH(copy, y, NLM_CPU_ANY_STRIDE | NLM_CPU_OUTPUT, PLAIN, "*"),
};
static const nlm_cpu_arg argmax_args[] = {
    IN(argmax, x, F32, "RN"),
    OUT(argmax, y, I32, "R"),
};
static const nlm_cpu_arg gate_up_silu_mul_args[] = {
    IN(gate_up_silu_mul, x, F32, "MK"),
    IN(gate_up_silu_mul, w_gate, WEIGHT, "NK"),
    IN(gate_up_silu_mul, w_up, WEIGHT, "NK"),
    OUT(gate_up_silu_mul, y, F32, "MN"),
};
static const nlm_cpu_arg qkv_rope_append_args[] = {
    IN(qkv_rope_append, x, F32, "TK"),
    IN(qkv_rope_append, w_q, WEIGHT, "QK"),
    IN(qkv_rope_append, w_k, WEIGHT, "UK"),
    IN(qkv_rope_append, w_v, WEIGHT, "UK"),
    OPT(qkv_rope_append, b_q, F32, "Q"),
    OPT(qkv_rope_append, b_k, F32, "U"),
    OPT(qkv_rope_append, b_v, F32, "U"),
    OPT(qkv_rope_append, freq_factors, F32, "F"),
    WITH(qkv_rope_append, q, NLM_CPU_OUTPUT, F32, "THD"),
    OUT(qkv_rope_append, k_cache, CACHE, "PGBD"),
    OUT(qkv_rope_append, v_cache, CACHE, "PGBD"),
    IN(qkv_rope_append, pos, I32, "T"),
    IN(qkv_rope_append, slot, I32, "S"),
    IN(qkv_rope_append, seq_start, I32, "S+"),
    IN(qkv_rope_append, block_table, I32, "LC"),
};
static const nlm_cpu_arg norm_matmul_args[] = {
    IN(norm_matmul, x, F32, "MK"),    IN(norm_matmul, norm_w, F32, "K"), IN(norm_matmul, w, WEIGHT, "NK"),
    OPT(norm_matmul, bias, F32, "N"), OUT(norm_matmul, y, F32, "MN"),
};

static const nlm_cpu_arg norm_xz_conv_args[] = {
    IN(norm_xz_conv, x, F32, "TK"),         IN(norm_xz_conv, norm_w, F32, "K"),
    IN(norm_xz_conv, w, WEIGHT, "UK"),      WITH(norm_xz_conv, conv_w, NLM_CPU_PACKED, F32, "CJ"),
    OPT(norm_xz_conv, conv_bias, F32, "C"), OUT(norm_xz_conv, state, F32, "LJ-C"),
    IN(norm_xz_conv, slot, I32, "S"),       IN(norm_xz_conv, seq_start, I32, "S+"),
    OUT(norm_xz_conv, xz, F32, "TU"),       OUT(norm_xz_conv, y, F32, "TC"),
};
static const nlm_cpu_arg dt_bc_scan_args[] = {
    IN(dt_bc_scan, x, F32, "TC"),
    IN(dt_bc_scan, w_x, WEIGHT, "UC"),
    IN(dt_bc_scan, w_dt, WEIGHT, "CR"),
    OPT(dt_bc_scan, b_dt, F32, "C"),
    WITH(dt_bc_scan, a, NLM_CPU_PACKED, F32, "CN"),
    OPT(dt_bc_scan, d, F32, "C"),
    OPT(dt_bc_scan, z, F32, "TC"),
    WITH(dt_bc_scan, state, NLM_CPU_OUTPUT | NLM_CPU_STATE, F32, "LENW"),
    IN(dt_bc_scan, slot, I32, "S"),
    IN(dt_bc_scan, seq_start, I32, "S+"),
    OUT(dt_bc_scan, y, F32, "TC"),
};

/* ---- what shapes alone do not say ---------------------------------------------------------- */

static nlm_status check_rotation(int32_t n_rot, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const int64_t head = nlm_cpu_dim(dims, 'D'), factors = nlm_cpu_dim(dims, 'F');
    if (n_rot < 2 || n_rot % 2 != 0 || n_rot > head) {
        return nlm_cpu_refuse(out, "n_rot is %d, expected an even number from 2 to %lld", n_rot, (long long)head);
    }
    if (factors >= 0 && factors != n_rot / 2) {
        return nlm_cpu_refuse(out, "freq_factors: has %lld elements, expected %d", (long long)factors, n_rot / 2);
    }
    return NLM_OK;
}

static nlm_status check_pages(const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    if (nlm_cpu_dim(dims, 'B') > 0) return NLM_OK;
    return nlm_cpu_refuse(out, "k_cache: a page holds no token");
}

static nlm_status check_rope(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    return check_rotation(((const nlm_rope_args *)args)->n_rot, dims, out);
}

static nlm_status check_kv_append(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)args;
    return check_pages(dims, out);
}

static nlm_status check_attention(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const nlm_attention_args *a = args;
    const int64_t heads = nlm_cpu_dim(dims, 'H'), groups = nlm_cpu_dim(dims, 'G');
    if (a->window < 0) return nlm_cpu_refuse(out, "window is %d, expected 0 or more", a->window);
    if (groups < 1 || heads % groups != 0) {
        return nlm_cpu_refuse(out, "%lld heads are no multiple of %lld key/value heads", (long long)heads,
                              (long long)groups);
    }
    return check_pages(dims, out);
}

static nlm_status check_taps(int64_t taps, nlm_caps_v1 *out) {
    if (taps >= 2 && taps <= 8) return NLM_OK;
    return nlm_cpu_refuse(out, "%lld taps, expected 2 to 8", (long long)taps);
}

static nlm_status check_conv1d_causal(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)args;
    return check_taps(nlm_cpu_dim(dims, 'K'), out);
}

static nlm_status check_ssm_scan(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)args;
    const int64_t channels = nlm_cpu_dim(dims, 'C'), states = nlm_cpu_dim(dims, 'N');
    const int64_t tiles = (channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    if (states < 1 || states > 256) {
        return nlm_cpu_refuse(out, "a: %lld states a channel, expected 1 to 256", (long long)states);
    }
    if (nlm_cpu_dim(dims, 'E') != tiles || nlm_cpu_dim(dims, 'W') != NLM_SSM_TILE) {
        return nlm_cpu_refuse(out, "state: expected [slots, %lld, %lld, %d]", (long long)tiles, (long long)states,
                              NLM_SSM_TILE);
    }
    return NLM_OK;
}

static nlm_status check_norm_xz_conv(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)args;
    const int64_t rows = nlm_cpu_dim(dims, 'U'), channels = nlm_cpu_dim(dims, 'C');
    if (rows != 2 * channels) {
        return nlm_cpu_refuse(out, "w: %lld rows, expected %lld", (long long)rows, (long long)(2 * channels));
    }
    return check_taps(nlm_cpu_dim(dims, 'J'), out);
}

static nlm_status check_dt_bc_scan(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const int64_t rows = nlm_cpu_dim(dims, 'U'), wanted = nlm_cpu_dim(dims, 'R') + 2 * nlm_cpu_dim(dims, 'N');
    if (rows != wanted) {
        return nlm_cpu_refuse(out, "w_x: %lld rows, expected %lld", (long long)rows, (long long)wanted);
    }
    return check_ssm_scan(args, dims, out);
}

static nlm_status check_copy(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)dims;
    const nlm_tensor *x = ((const nlm_copy_args *)args)->x, *y = ((const nlm_copy_args *)args)->y;
    if (x->rank != y->rank) return nlm_cpu_refuse(out, "y: rank %d, expected %d", y->rank, x->rank);
    for (int i = 0; i < x->rank; i++) {
        if (x->shape[i] == y->shape[i]) continue;
        return nlm_cpu_refuse(out, "y: dimension %d is %lld, expected %lld", i, (long long)y->shape[i],
                              (long long)x->shape[i]);
    }
    if ((x->dtype == NLM_I32) != (y->dtype == NLM_I32)) return nlm_cpu_refuse(out, "i32 is copied to i32 alone");
    return NLM_OK;
}

static nlm_status check_gate_up(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    (void)dims;
    const nlm_gate_up_silu_mul_args *a = args;
    if (a->w_gate->dtype == a->w_up->dtype) return NLM_OK;
    return nlm_cpu_refuse(out, "w_up: its type differs from w_gate's");
}

static nlm_status check_qkv(const void *args, const nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const nlm_qkv_rope_append_args *a = args;
    const int64_t head = nlm_cpu_dim(dims, 'D'), heads = nlm_cpu_dim(dims, 'H'), groups = nlm_cpu_dim(dims, 'G');
    if (nlm_cpu_dim(dims, 'Q') != heads * head || nlm_cpu_dim(dims, 'U') != groups * head) {
        return nlm_cpu_refuse(out, "w_q, w_k: expected %lld and %lld rows", (long long)(heads * head),
                              (long long)(groups * head));
    }
    if (heads > 1 && a->q->stride_bytes[1] != head * (int64_t)sizeof(float)) {
        return nlm_cpu_refuse(out, "q: the heads of a row are not contiguous");
    }
    const nlm_status status = check_rotation(a->n_rot, dims, out);
    return status == NLM_OK ? check_pages(dims, out) : status;
}

#define RULE(op, flags, check) \
    [NLM_OP_##op] = {sizeof(nlm_##op##_args), flags, sizeof op##_args / sizeof *op##_args, op##_args, check}

static const nlm_cpu_rule rules[] = {
    RULE(embed, 0, NULL),
    RULE(matmul, 0, NULL),
    RULE(rms_norm, 0, NULL),
    RULE(rope, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, check_rope),
    RULE(kv_append, 0, check_kv_append),
    RULE(attention, 0, check_attention),
    RULE(silu_mul, 0, NULL),
    RULE(add, 0, NULL),
    RULE(mul, 0, NULL),
    RULE(scale, 0, NULL),
    RULE(softmax, 0, NULL),
    RULE(conv1d_causal, NLM_CONV_SILU, check_conv1d_causal),
    RULE(ssm_scan, 0, check_ssm_scan),
    RULE(copy, 0, check_copy),
    RULE(argmax, NLM_ARGMAX_FINITE, NULL),
    RULE(gate_up_silu_mul, 0, check_gate_up),
    RULE(qkv_rope_append, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, check_qkv),
    RULE(norm_matmul, 0, NULL),
    RULE(norm_xz_conv, NLM_CONV_SILU, check_norm_xz_conv),
    RULE(dt_bc_scan, 0, check_dt_bc_scan),
};

const nlm_cpu_rule *nlm_cpu_rule_of(nlm_op op) {
    if (op >= sizeof rules / sizeof *rules || !rules[op].args_bytes) return NULL;
    return &rules[op];
}
