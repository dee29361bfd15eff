#include "exec/op_spec.h"

#include <string.h>

#define FIELD(op, field, use, types, shape) \
    { #field, offsetof(nlm_##op##_args, field), (use), NLM_TYPES_##types, (shape), "" }
#define RESULT(op, field, types, shape, in_place) \
    { #field, offsetof(nlm_##op##_args, field), NLM_FIELD_OUT, NLM_TYPES_##types, (shape), (in_place) }
#define OPTIONAL_RESULT(op, field, types, shape, in_place)                                                        \
    {                                                                                                             \
#field, offsetof(nlm_##op##_args, field), NLM_FIELD_OUT | NLM_FIELD_OPTIONAL, NLM_TYPES_##types, (shape), \
            (in_place)                                                                                            \
    }

enum {
    IN = NLM_FIELD_IN,
    OPTIONAL = NLM_FIELD_IN | NLM_FIELD_OPTIONAL,
    MATMUL = NLM_FIELD_IN | NLM_FIELD_MATMUL,
    EMBED = NLM_FIELD_IN | NLM_FIELD_EMBED,
    READS = NLM_FIELD_READS,
    WRITES = NLM_FIELD_WRITES,
    UPDATES = NLM_FIELD_READS | NLM_FIELD_WRITES,
};

/* Letters as in nlm/op_args.h where it names them; L slots, M blocks a slot, F frequencies. */

static const nlm_op_field embed_fields[] = {
    FIELD(embed, ids, IN, I32, "R"),
    FIELD(embed, w, EMBED, WEIGHT, "V N"),
    RESULT(embed, y, F32, "R N", ""),
};

static const nlm_op_field matmul_fields[] = {
    FIELD(matmul, x, IN, F32, "M K"),          FIELD(matmul, w, MATMUL, WEIGHT, "N K"),
    FIELD(matmul, bias, OPTIONAL, F32, "N"),   FIELD(matmul, residual, OPTIONAL, F32, "M N"),
    RESULT(matmul, y, F32, "M N", "residual"),
};

static const nlm_op_field rms_norm_fields[] = {
    FIELD(rms_norm, x, IN, F32, "R N"),
    FIELD(rms_norm, residual, OPTIONAL, F32, "R N"),
    FIELD(rms_norm, w, OPTIONAL, F32, "N"),
    RESULT(rms_norm, y, F32, "R N", "x"),
    OPTIONAL_RESULT(rms_norm, sum, F32, "R N", "x residual"),
};

static const nlm_op_field rope_fields[] = {
    FIELD(rope, x, IN, F32, "T H D"),
    FIELD(rope, pos, IN, I32, "T"),
    FIELD(rope, freq_factors, OPTIONAL, F32, "F"),
    RESULT(rope, y, F32, "T H D", "x"),
};

static const nlm_op_field kv_append_fields[] = {
    FIELD(kv_append, k, IN, F32, "T G D"),
    FIELD(kv_append, v, IN, F32, "T G D"),
    FIELD(kv_append, k_cache, WRITES, CACHE, "P G B D"),
    FIELD(kv_append, v_cache, WRITES, CACHE, "P G B D"),
    FIELD(kv_append, pos, IN, I32, "T"),
    FIELD(kv_append, seq_start, IN, I32, "S+1"),
    FIELD(kv_append, slot, IN, I32, "S"),
    FIELD(kv_append, block_table, IN, I32, "L M"),
};

static const nlm_op_field attention_fields[] = {
    FIELD(attention, q, IN, F32, "T H D"),
    FIELD(attention, k_cache, READS, CACHE, "P G B D"),
    FIELD(attention, v_cache, READS, CACHE, "P G B D"),
    FIELD(attention, pos, IN, I32, "T"),
    FIELD(attention, seq_start, IN, I32, "S+1"),
    FIELD(attention, slot, IN, I32, "S"),
    FIELD(attention, block_table, IN, I32, "L M"),
    RESULT(attention, y, F32, "T H D", ""),
    OPTIONAL_RESULT(attention, lse, F32, "T H", ""),
};

static const nlm_op_field silu_mul_fields[] = {
    FIELD(silu_mul, gate, IN, F32, "R N"),
    FIELD(silu_mul, up, IN, F32, "R N"),
    RESULT(silu_mul, y, F32, "R N", "gate up"),
};

static const nlm_op_field add_fields[] = {
    FIELD(add, a, IN, F32, "R N"),
    FIELD(add, b, IN, F32, "R N|N"),
    RESULT(add, y, F32, "R N", "a"),
};

static const nlm_op_field mul_fields[] = {
    FIELD(mul, a, IN, F32, "R N"),
    FIELD(mul, b, IN, F32, "R N|N"),
    RESULT(mul, y, F32, "R N", "a"),
};

static const nlm_op_field scale_fields[] = {
    FIELD(scale, x, IN, F32, "R N"),
    RESULT(scale, y, F32, "R N", "x"),
};

static const nlm_op_field softmax_fields[] = {
    FIELD(softmax, x, IN, F32, "R N"),
    RESULT(softmax, y, F32, "R N", "x"),
};

static const nlm_op_field conv1d_causal_fields[] = {
    FIELD(conv1d_causal, x, IN, F32, "T C"),         FIELD(conv1d_causal, w, IN, F32, "C K"),
    FIELD(conv1d_causal, bias, OPTIONAL, F32, "C"),  FIELD(conv1d_causal, state, UPDATES, F32, "L K-1 C"),
    FIELD(conv1d_causal, seq_start, IN, I32, "S+1"), FIELD(conv1d_causal, slot, IN, I32, "S"),
    RESULT(conv1d_causal, y, F32, "T C", ""),
};

static const nlm_op_field ssm_scan_fields[] = {
    FIELD(ssm_scan, x, IN, F32, "T C"),         FIELD(ssm_scan, dt, IN, F32, "T C"),
    FIELD(ssm_scan, a, IN, F32, "C N"),         FIELD(ssm_scan, b, IN, F32, "T N"),
    FIELD(ssm_scan, c, IN, F32, "T N"),         FIELD(ssm_scan, d, OPTIONAL, F32, "C"),
    FIELD(ssm_scan, z, OPTIONAL, F32, "T C"),   FIELD(ssm_scan, state, UPDATES, F32, "L C/16 N 16"),
    FIELD(ssm_scan, seq_start, IN, I32, "S+1"), FIELD(ssm_scan, slot, IN, I32, "S"),
    RESULT(ssm_scan, y, F32, "T C", "x"),
};

static const nlm_op_field copy_fields[] = {
    FIELD(copy, x, IN, PLAIN, "*"),
    RESULT(copy, y, PLAIN, "*", ""),
};

static const nlm_op_field argmax_fields[] = {
    FIELD(argmax, x, IN, F32, "R N"),
    RESULT(argmax, y, I32, "R", ""),
};

static const nlm_op_field gate_up_silu_mul_fields[] = {
    FIELD(gate_up_silu_mul, x, IN, F32, "M K"),
    FIELD(gate_up_silu_mul, w_gate, MATMUL, WEIGHT, "N K"),
    FIELD(gate_up_silu_mul, w_up, MATMUL, WEIGHT, "N K"),
    RESULT(gate_up_silu_mul, y, F32, "M N", ""),
};

static const nlm_op_field qkv_rope_append_fields[] = {
    FIELD(qkv_rope_append, x, IN, F32, "T K"),
    FIELD(qkv_rope_append, w_q, MATMUL, WEIGHT, "Q K"),
    FIELD(qkv_rope_append, w_k, MATMUL, WEIGHT, "U K"),
    FIELD(qkv_rope_append, w_v, MATMUL, WEIGHT, "U K"),
    FIELD(qkv_rope_append, b_q, OPTIONAL, F32, "Q"),
    FIELD(qkv_rope_append, b_k, OPTIONAL, F32, "U"),
    FIELD(qkv_rope_append, b_v, OPTIONAL, F32, "U"),
    FIELD(qkv_rope_append, freq_factors, OPTIONAL, F32, "F"),
    RESULT(qkv_rope_append, q, F32, "T H D", ""),
    FIELD(qkv_rope_append, k_cache, WRITES, CACHE, "P G B D"),
    FIELD(qkv_rope_append, v_cache, WRITES, CACHE, "P G B D"),
    FIELD(qkv_rope_append, pos, IN, I32, "T"),
    FIELD(qkv_rope_append, seq_start, IN, I32, "S+1"),
    FIELD(qkv_rope_append, slot, IN, I32, "S"),
    FIELD(qkv_rope_append, block_table, IN, I32, "L M"),
};

static const nlm_op_field norm_matmul_fields[] = {
    FIELD(norm_matmul, x, IN, F32, "M K"),        FIELD(norm_matmul, norm_w, IN, F32, "K"),
    FIELD(norm_matmul, w, MATMUL, WEIGHT, "N K"), FIELD(norm_matmul, bias, OPTIONAL, F32, "N"),
    RESULT(norm_matmul, y, F32, "M N", ""),
};

static const nlm_op_field norm_xz_conv_fields[] = {
    FIELD(norm_xz_conv, x, IN, F32, "T K"),
    FIELD(norm_xz_conv, norm_w, IN, F32, "K"),
    FIELD(norm_xz_conv, w, MATMUL, WEIGHT, "U K"),
    FIELD(norm_xz_conv, conv_w, MATMUL, F32, "C J"),
    FIELD(norm_xz_conv, conv_bias, OPTIONAL, F32, "C"),
    FIELD(norm_xz_conv, state, UPDATES, F32, "L J-1 C"),
    FIELD(norm_xz_conv, seq_start, IN, I32, "S+1"),
    FIELD(norm_xz_conv, slot, IN, I32, "S"),
    RESULT(norm_xz_conv, xz, F32, "T U", ""),
    RESULT(norm_xz_conv, y, F32, "T C", ""),
};

static const nlm_op_field dt_bc_scan_fields[] = {
    FIELD(dt_bc_scan, x, IN, F32, "T C"),           FIELD(dt_bc_scan, w_x, MATMUL, WEIGHT, "U C"),
    FIELD(dt_bc_scan, w_dt, MATMUL, WEIGHT, "C R"), FIELD(dt_bc_scan, b_dt, OPTIONAL, F32, "C"),
    FIELD(dt_bc_scan, a, MATMUL, F32, "C N"),       FIELD(dt_bc_scan, d, OPTIONAL, F32, "C"),
    FIELD(dt_bc_scan, z, OPTIONAL, F32, "T C"),     FIELD(dt_bc_scan, state, UPDATES, F32, "L C/16 N 16"),
    FIELD(dt_bc_scan, seq_start, IN, I32, "S+1"),   FIELD(dt_bc_scan, slot, IN, I32, "S"),
    RESULT(dt_bc_scan, y, F32, "T C", ""),
};

static const nlm_op_spec specs[NLM_OP_END] = {
#define NLM_OP(number, name) \
    [number] = {#name, sizeof(nlm_##name##_args), sizeof name##_fields / sizeof *name##_fields, name##_fields},
#include <nlm/ops.def>
#undef NLM_OP
};

#define NLM_OP(number, name) \
    _Static_assert(sizeof name##_fields / sizeof *name##_fields <= NLM_OP_MAX_FIELDS, "too many fields");
#include <nlm/ops.def>
#undef NLM_OP

const nlm_op_spec *nlm_op_spec_of(nlm_op op) {
    return &specs[op];
}

int nlm_op_spec_find(const nlm_op_spec *spec, const char *name, size_t length) {
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const char *field = spec->fields[i].name;
        if (strlen(field) == length && memcmp(field, name, length) == 0) return (int)i;
    }
    return -1;
}

bool nlm_op_field_may_take(const nlm_op_spec *spec, uint32_t output, uint32_t input) {
    const char *list = spec->fields[output].in_place;
    while (*list) {
        const size_t length = strcspn(list, " ");
        if (nlm_op_spec_find(spec, list, length) == (int)input) return true;
        list += length;
        list += strspn(list, " ");
    }
    return false;
}

bool nlm_field_accepts(nlm_field_types types, nlm_dtype dtype) {
    switch (types) {
        case NLM_TYPES_F32: return dtype == NLM_F32;
        case NLM_TYPES_I32: return dtype == NLM_I32;
        case NLM_TYPES_PLAIN: return dtype == NLM_F32 || dtype == NLM_F16 || dtype == NLM_BF16 || dtype == NLM_I32;
        case NLM_TYPES_CACHE: return dtype == NLM_F32 || dtype == NLM_F16 || dtype == NLM_Q8_0;
        case NLM_TYPES_WEIGHT: return dtype != NLM_I32;
    }
    return false;
}

const char *nlm_field_types_text(nlm_field_types types) {
    switch (types) {
        case NLM_TYPES_F32: return "f32";
        case NLM_TYPES_I32: return "i32";
        case NLM_TYPES_PLAIN: return "f32, f16, bf16 or i32";
        case NLM_TYPES_CACHE: return "f32, f16 or q8_0";
        case NLM_TYPES_WEIGHT: return "any type but i32";
    }
    return "?";
}
