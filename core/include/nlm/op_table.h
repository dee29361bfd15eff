/* The ops as data: for each the fields of its argument struct, their shapes and types, its scalars and
 * flags, the rules between them and, of a fused op, the ops it stands for. The host checks, infers and
 * plans from this table, plugin_kit.h checks a backend's arguments from it, nlm-conform reads its cases
 * with it. What an op computes is said in op_args.h. Constant data: nothing to link, C11 and C++17.
 *
 * Shapes are texts: dimensions separated by blanks, each
 *   M            a letter: equal letters of an op are equal sizes. Letters are those of op_args.h; beside
 *                them L slots, M blocks a slot (of block tables), F frequencies, Q and U rows of weights
 *   K-1 S+1 C/16 relative to a letter; / rounds up
 *   16           a number
 * "R N|N" are alternatives (a result has the longest whose letters are known), "*" is any shape, the same for all
 * fields of the op that have it. The rows of a result are of the kind (NLM_ROWS_*) of the first letter.
 *
 * Rules are texts too: comparisons, chained and separated by commas, of integer expressions that are worked
 * out from left to right: "2 <= n_rot <= D, n_rot % 2 = 0, U = 2 * N + R". Operands are numbers, letters,
 * integer scalars, and "w.type", "w.rank" or "x.is_i32" of a field. A rule on a letter or field that these arguments
 * lack holds.
 *
 * The parts of a fused op are texts, one an op, in an order in which they can run: the op's name, then
 * tensor fields. "x" is the fused op's x, "w=w_q" its w_q, "y=#0" a value between parts that nothing else
 * uses; "/1", "/2" ... behind a value are the slices into which parts cut its columns, in turn. Optional
 * fields that are not named are absent. Scalars of a part are the fused op's of that name; so are the flags
 * of a part that knows any.
 *
 * The cost of a run is a sum of products of numbers and letters (1 if not known), in operations; an exponential
 * counts as one, p is the number of pairs of a query row and a position that it sees. */
#ifndef NLM_OP_TABLE_H
#define NLM_OP_TABLE_H

#include <nlm/plugin.h>

#include <float.h>

#define NLM_OP_MAX_FIELDS 32

/* How an op uses a field. */
enum {
    NLM_FIELD_IN = 1,     /* read: an input, a weight or another op's result */
    NLM_FIELD_OUT = 2,    /* written: a result of this op */
    NLM_FIELD_READS = 4,  /* a state that is read; with IN it may be a value as well */
    NLM_FIELD_WRITES = 8, /* a state that is written; with OUT it may be a result as well */
    NLM_FIELD_STATE = NLM_FIELD_READS | NLM_FIELD_WRITES,
    NLM_FIELD_OPTIONAL = 16,   /* may be NULL */
    NLM_FIELD_ANY_STRIDE = 32, /* the innermost dimension need not be contiguous */
    NLM_FIELD_DENSE = 64,      /* only rows may stand apart; a state stands in one piece */
    NLM_FIELD_INPUT = 128,     /* a state that stands among the inputs of a run: the next run finds it there */
    NLM_FIELD_ANY_ROWS = 256   /* its live rows may be counted apart, as tokens, outputs or sequences: as many */
};

/* The types a field may have. */
typedef enum nlm_field_types {
    NLM_TYPES_ACTIVATION, /* f32, or f16 or bf16 where a device has them: one type for all of a call */
    NLM_TYPES_F32,
    NLM_TYPES_I32,
    NLM_TYPES_PLAIN,  /* f32 f16 bf16 i32 */
    NLM_TYPES_CACHE,  /* f32 f16 q8_0 */
    NLM_TYPES_WEIGHT, /* all but i32 */
    NLM_TYPES_FLOAT   /* f32 f16 bf16 */
} nlm_field_types;

typedef struct nlm_op_field {
    const char *name;
    const char *shape;
    const char *in_place; /* of an OUT: the inputs, separated by blanks, whose memory it may be */
    uint32_t offset;      /* of the tensor pointer in the argument struct */
    uint32_t use;         /* NLM_FIELD_* */
    nlm_field_types types;
    uint32_t role; /* NLM_ROLE_* that a weight has here, which may then be packed; 0: never packed */
    uint32_t flag; /* of a field that was appended: the bit of flags with which it counts; else 0 */
} nlm_op_field;

typedef enum nlm_scalar_kind { NLM_SCALAR_F32, NLM_SCALAR_I32, NLM_SCALAR_RESERVED, NLM_SCALAR_FLAG } nlm_scalar_kind;

/* A number of the argument struct, 4 bytes; or a bit of its flags. */
typedef struct nlm_op_scalar {
    const char *name; /* NULL ends a list */
    nlm_scalar_kind kind;
    uint32_t offset; /* of flags: the bit */
    uint32_t flag;   /* as in nlm_op_field */
    double least, greatest;
    double usual; /* for tests and examples; 0 where it depends on the shapes */
} nlm_op_scalar;

typedef struct nlm_op_spec {
    const char *name;
    uint32_t args_bytes;
    uint32_t n_fields;
    const nlm_op_field *fields; /* in the order of the struct */
    const nlm_op_scalar *scalars;
    const char *rules;
    const char *cost;
    const char *const *parts; /* of a fused op, NULL-terminated; else NULL */
} nlm_op_spec;

/* ---- lines of the table ---------------------------------------------------------------------- */

#define NLM_AT(op, field) ((uint32_t)offsetof(nlm_##op##_args, field))
#define NLM_ROW(op, field, use, types, shape, y, role) \
    { #field, shape, y, NLM_AT(op, field), use, types, role, 0 }
#define NLM_IN(op, field, types, shape) NLM_ROW(op, field, NLM_FIELD_IN, NLM_TYPES_##types, shape, "", 0)
#define NLM_OPTIONAL(op, field, types, shape) \
    NLM_ROW(op, field, NLM_FIELD_IN | NLM_FIELD_OPTIONAL, NLM_TYPES_##types, shape, "", 0)
#define NLM_WEIGHT(op, field, types, shape, role) \
    NLM_ROW(op, field, NLM_FIELD_IN, NLM_TYPES_##types, shape, "", NLM_ROLE_##role)
#define NLM_READS(op, field, types, shape)  NLM_ROW(op, field, NLM_FIELD_READS, NLM_TYPES_##types, shape, "", 0)
#define NLM_WRITES(op, field, types, shape) NLM_ROW(op, field, NLM_FIELD_WRITES, NLM_TYPES_##types, shape, "", 0)
/* A state as a pair: what is read, and what is written, which may be the same. In a graph either may be a value. */
#define NLM_STATE(op, field, types, shape) \
    NLM_ROW(op, field, NLM_FIELD_IN | NLM_FIELD_READS | NLM_FIELD_DENSE, NLM_TYPES_##types, shape, "", 0)
#define NLM_STATE_OUT(op, field, types, shape, in_place) \
    NLM_ROW(op, field, NLM_FIELD_OUT | NLM_FIELD_WRITES | NLM_FIELD_DENSE, NLM_TYPES_##types, shape, in_place, 0)
#define NLM_OUT(op, field, types, shape, in_place) \
    NLM_ROW(op, field, NLM_FIELD_OUT, NLM_TYPES_##types, shape, in_place, 0)
#define NLM_OPTIONAL_OUT(op, field, types, shape, in_place) \
    NLM_ROW(op, field, NLM_FIELD_OUT | NLM_FIELD_OPTIONAL, NLM_TYPES_##types, shape, in_place, 0)

/* What an op adds up, or adds to: memory that outlives a run, or in a graph a result. */
#define NLM_GRADIENT(op, field, shape) \
    NLM_ROW(op, field, NLM_FIELD_OUT | NLM_FIELD_WRITES | NLM_FIELD_DENSE, NLM_TYPES_F32, shape, "", 0)
#define NLM_OPTIONAL_GRADIENT(op, field, shape)                                                                \
    NLM_ROW(op, field, NLM_FIELD_OUT | NLM_FIELD_WRITES | NLM_FIELD_DENSE | NLM_FIELD_OPTIONAL, NLM_TYPES_F32, \
            shape, "", 0)
#define NLM_OPTIONAL_STATE(op, field, types, shape)                                                              \
    NLM_ROW(op, field, NLM_FIELD_IN | NLM_FIELD_READS | NLM_FIELD_DENSE | NLM_FIELD_OPTIONAL, NLM_TYPES_##types, \
            shape, "", 0)

#define NLM_NUMBER(op, name, kind, least, greatest, usual) \
    { #name, NLM_SCALAR_##kind, NLM_AT(op, name), 0, least, greatest, usual }
#define NLM_ANY_F32(op, name, usual) NLM_NUMBER(op, name, F32, -FLT_MAX, FLT_MAX, usual)
#define NLM_RESERVED(op)             NLM_NUMBER(op, reserved, RESERVED, 0, 0, 0)
#define NLM_FLAG(name, bit) \
    { #name, NLM_SCALAR_FLAG, bit, 0, 0, 0, 0 }
#define NLM_END_OF_SCALARS \
    { NULL, NLM_SCALAR_RESERVED, 0, 0, 0, 0, 0 }

#define NLM_SPEC(op, scalars, rules, cost, parts)                                                           \
    static const nlm_op_spec nlm_spec_##op = {#op,                                                          \
                                              (uint32_t)sizeof(nlm_##op##_args),                            \
                                              (uint32_t)(sizeof nlm_fields_##op / sizeof *nlm_fields_##op), \
                                              nlm_fields_##op,                                              \
                                              scalars,                                                      \
                                              rules,                                                        \
                                              cost,                                                         \
                                              parts};
/* The scalars of an op that has none. */
static const nlm_op_scalar nlm_no_scalars[] = {NLM_END_OF_SCALARS};

/* clang-format off: a field a line */
/* ---- the ops --------------------------------------------------------------------------------- */

static const nlm_op_field nlm_fields_embed[] = {
    NLM_IN(embed, ids, I32, "R"),
    NLM_WEIGHT(embed, w, WEIGHT, "V N", EMBED),
    NLM_OUT(embed, y, ACTIVATION, "R N", ""),
};
NLM_SPEC(embed, nlm_no_scalars, "", "", NULL)

static const nlm_op_field nlm_fields_matmul[] = {
    NLM_IN(matmul, x, ACTIVATION, "M K"),
    NLM_WEIGHT(matmul, w, WEIGHT, "N K", MATMUL),
    NLM_OPTIONAL(matmul, bias, F32, "N"),
    NLM_OPTIONAL(matmul, residual, ACTIVATION, "M N"),
    NLM_OUT(matmul, y, ACTIVATION, "M N", "residual"),
};
NLM_SPEC(matmul, nlm_no_scalars, "", "2 M N K", NULL)

static const nlm_op_field nlm_fields_rms_norm[] = {
    NLM_IN(rms_norm, x, ACTIVATION, "R N|R H N"),
    NLM_OPTIONAL(rms_norm, residual, ACTIVATION, "R N|R H N"),
    NLM_OPTIONAL(rms_norm, w, F32, "N"),
    NLM_OUT(rms_norm, y, ACTIVATION, "R N|R H N", "x"),
    NLM_OPTIONAL_OUT(rms_norm, sum, ACTIVATION, "R N|R H N", "x residual"),
};
static const nlm_op_scalar nlm_scalars_rms_norm[] = {
    NLM_NUMBER(rms_norm, eps, F32, 0, FLT_MAX, 1e-5),
    NLM_RESERVED(rms_norm),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(rms_norm, nlm_scalars_rms_norm, "x.rank = y.rank, x.rank = residual.rank, x.rank = sum.rank", "4 R H N",
         NULL)

static const nlm_op_field nlm_fields_rope[] = {
    NLM_IN(rope, x, ACTIVATION, "T H D"),
    NLM_IN(rope, pos, I32, "T"),
    NLM_OPTIONAL(rope, freq_factors, F32, "F"),
    NLM_OUT(rope, y, ACTIVATION, "T H D", "x"),
};
#define NLM_ROPE_SCALARS(op)                                                        \
    NLM_FLAG(half_split, NLM_ROPE_HALF_SPLIT), NLM_FLAG(inverse, NLM_ROPE_INVERSE), \
        NLM_ANY_F32(op, freq_base, 10000), NLM_ANY_F32(op, freq_scale, 1),          \
        NLM_NUMBER(op, n_rot, I32, 2, INT32_MAX, 0), NLM_RESERVED(op), NLM_END_OF_SCALARS
#define NLM_ROPE_RULES "n_rot % 2 = 0, n_rot <= D, F = n_rot / 2"
static const nlm_op_scalar nlm_scalars_rope[] = {NLM_ROPE_SCALARS(rope)};
NLM_SPEC(rope, nlm_scalars_rope, NLM_ROPE_RULES, "3 T H D", NULL)

static const nlm_op_field nlm_fields_kv_append[] = {
    NLM_IN(kv_append, k, ACTIVATION, "T G D"),
    NLM_IN(kv_append, v, ACTIVATION, "T G D"),
    NLM_WRITES(kv_append, k_cache, CACHE, "P G B D"),
    NLM_WRITES(kv_append, v_cache, CACHE, "P G B D"),
    NLM_IN(kv_append, pos, I32, "T"),
    NLM_IN(kv_append, seq_start, I32, "S+1"),
    NLM_IN(kv_append, slot, I32, "S"),
    NLM_IN(kv_append, block_table, I32, "L M"),
};
NLM_SPEC(kv_append, nlm_no_scalars, "1 <= B", "", NULL)

static const nlm_op_field nlm_fields_attention[] = {
    NLM_IN(attention, q, ACTIVATION, "T H D"),        NLM_READS(attention, k_cache, CACHE, "P G B D"),
    NLM_READS(attention, v_cache, CACHE, "P G B D"),  NLM_IN(attention, pos, I32, "T"),
    NLM_IN(attention, seq_start, I32, "S+1"),         NLM_IN(attention, slot, I32, "S"),
    NLM_IN(attention, block_table, I32, "L M"),       NLM_OUT(attention, y, ACTIVATION, "T H D", ""),
    NLM_OPTIONAL_OUT(attention, lse, F32, "T H", ""),
};
static const nlm_op_scalar nlm_scalars_attention[] = {
    NLM_ANY_F32(attention, scale, 0),
    NLM_NUMBER(attention, window, I32, 0, INT32_MAX, 0),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(attention, nlm_scalars_attention, "H % G = 0, 1 <= B", "4 p H D", NULL)

static const nlm_op_field nlm_fields_silu_mul[] = {
    NLM_IN(silu_mul, gate, ACTIVATION, "R N"),
    NLM_IN(silu_mul, up, ACTIVATION, "R N"),
    NLM_OUT(silu_mul, y, ACTIVATION, "R N", "gate up"),
};
NLM_SPEC(silu_mul, nlm_no_scalars, "", "4 R N", NULL)

static const nlm_op_field nlm_fields_add[] = {
    NLM_IN(add, a, ACTIVATION, "R N"),
    NLM_IN(add, b, ACTIVATION, "R N|N"),
    NLM_OUT(add, y, ACTIVATION, "R N", "a"),
};
NLM_SPEC(add, nlm_no_scalars, "", "R N", NULL)

static const nlm_op_field nlm_fields_mul[] = {
    NLM_IN(mul, a, ACTIVATION, "R N"),
    NLM_IN(mul, b, ACTIVATION, "R N|N"),
    NLM_OUT(mul, y, ACTIVATION, "R N", "a"),
};
NLM_SPEC(mul, nlm_no_scalars, "", "R N", NULL)

static const nlm_op_field nlm_fields_scale[] = {
    NLM_IN(scale, x, ACTIVATION, "R N"),
    NLM_OUT(scale, y, ACTIVATION, "R N", "x"),
};
static const nlm_op_scalar nlm_scalars_scale[] = {
    NLM_ANY_F32(scale, factor, 0.5),
    NLM_ANY_F32(scale, offset, 0),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(scale, nlm_scalars_scale, "", "2 R N", NULL)

static const nlm_op_field nlm_fields_softmax[] = {
    NLM_IN(softmax, x, ACTIVATION, "R N"),
    NLM_OUT(softmax, y, ACTIVATION, "R N", "x"),
};
static const nlm_op_scalar nlm_scalars_softmax[] = {
    NLM_ANY_F32(softmax, factor, 1),
    NLM_RESERVED(softmax),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(softmax, nlm_scalars_softmax, "", "4 R N", NULL)

static const nlm_op_field nlm_fields_conv1d_causal[] = {
    NLM_IN(conv1d_causal, x, ACTIVATION, "T C"),
    NLM_WEIGHT(conv1d_causal, w, F32, "C K", CONV),
    NLM_OPTIONAL(conv1d_causal, bias, F32, "C"),
    NLM_STATE(conv1d_causal, state, F32, "L K-1 C"),
    NLM_IN(conv1d_causal, seq_start, I32, "S+1"),
    NLM_IN(conv1d_causal, slot, I32, "S"),
    NLM_OUT(conv1d_causal, y, ACTIVATION, "T C", ""),
    NLM_STATE_OUT(conv1d_causal, state_out, F32, "L K-1 C", "state"),
};
static const nlm_op_scalar nlm_scalars_conv1d_causal[] = {NLM_FLAG(silu, NLM_CONV_SILU), NLM_END_OF_SCALARS};
NLM_SPEC(conv1d_causal, nlm_scalars_conv1d_causal, "2 <= K <= 8", "2 T C K", NULL)

static const nlm_op_field nlm_fields_ssm_scan[] = {
    NLM_IN(ssm_scan, x, ACTIVATION, "T C"),       NLM_IN(ssm_scan, dt, ACTIVATION, "T C"),
    NLM_WEIGHT(ssm_scan, a, F32, "C N", SSM_A),   NLM_IN(ssm_scan, b, ACTIVATION, "T N"),
    NLM_IN(ssm_scan, c, ACTIVATION, "T N"),       NLM_OPTIONAL(ssm_scan, d, F32, "C"),
    NLM_OPTIONAL(ssm_scan, z, ACTIVATION, "T C"), NLM_STATE(ssm_scan, state, F32, "L C/16 N 16"),
    NLM_IN(ssm_scan, seq_start, I32, "S+1"),      NLM_IN(ssm_scan, slot, I32, "S"),
    NLM_OUT(ssm_scan, y, ACTIVATION, "T C", "x"), NLM_STATE_OUT(ssm_scan, state_out, F32, "L C/16 N 16", "state"),
};
NLM_SPEC(ssm_scan, nlm_no_scalars, "1 <= N <= 256", "7 T C N", NULL)

static const nlm_op_field nlm_fields_copy[] = {
    NLM_ROW(copy, x, NLM_FIELD_IN | NLM_FIELD_ANY_STRIDE, NLM_TYPES_PLAIN, "*", "", 0),
    NLM_ROW(copy, y, NLM_FIELD_OUT | NLM_FIELD_ANY_STRIDE, NLM_TYPES_PLAIN, "*", "", 0),
};
NLM_SPEC(copy, nlm_no_scalars, "x.is_i32 = y.is_i32", "", NULL)

static const nlm_op_field nlm_fields_argmax[] = {
    NLM_IN(argmax, x, ACTIVATION, "R N"),
    NLM_OUT(argmax, y, I32, "R", ""),
};
static const nlm_op_scalar nlm_scalars_argmax[] = {NLM_FLAG(finite, NLM_ARGMAX_FINITE), NLM_END_OF_SCALARS};
NLM_SPEC(argmax, nlm_scalars_argmax, "", "", NULL)

/* ---- fused ops ------------------------------------------------------------------------------- */

static const nlm_op_field nlm_fields_gate_up_silu_mul[] = {
    NLM_IN(gate_up_silu_mul, x, ACTIVATION, "M K"),
    NLM_WEIGHT(gate_up_silu_mul, w_gate, WEIGHT, "N K", MATMUL),
    NLM_WEIGHT(gate_up_silu_mul, w_up, WEIGHT, "N K", MATMUL),
    NLM_OUT(gate_up_silu_mul, y, ACTIVATION, "M N", ""),
};
static const char *const nlm_parts_gate_up_silu_mul[] = {
    "matmul x w=w_gate y=#0",
    "matmul x w=w_up y=#1",
    "silu_mul gate=#0 up=#1 y",
    NULL,
};
NLM_SPEC(gate_up_silu_mul, nlm_no_scalars, "w_gate.type = w_up.type", "4 M N K", nlm_parts_gate_up_silu_mul)

static const nlm_op_field nlm_fields_qkv_rope_append[] = {
    NLM_IN(qkv_rope_append, x, ACTIVATION, "T K"),
    NLM_WEIGHT(qkv_rope_append, w_q, WEIGHT, "Q K", MATMUL),
    NLM_WEIGHT(qkv_rope_append, w_k, WEIGHT, "U K", MATMUL),
    NLM_WEIGHT(qkv_rope_append, w_v, WEIGHT, "U K", MATMUL),
    NLM_OPTIONAL(qkv_rope_append, b_q, F32, "Q"),
    NLM_OPTIONAL(qkv_rope_append, b_k, F32, "U"),
    NLM_OPTIONAL(qkv_rope_append, b_v, F32, "U"),
    NLM_OPTIONAL(qkv_rope_append, freq_factors, F32, "F"),
    NLM_ROW(qkv_rope_append, q, NLM_FIELD_OUT | NLM_FIELD_DENSE, NLM_TYPES_ACTIVATION, "T H D", "", 0),
    NLM_WRITES(qkv_rope_append, k_cache, CACHE, "P G B D"),
    NLM_WRITES(qkv_rope_append, v_cache, CACHE, "P G B D"),
    NLM_IN(qkv_rope_append, pos, I32, "T"),
    NLM_IN(qkv_rope_append, seq_start, I32, "S+1"),
    NLM_IN(qkv_rope_append, slot, I32, "S"),
    NLM_IN(qkv_rope_append, block_table, I32, "L M"),
};
static const nlm_op_scalar nlm_scalars_qkv_rope_append[] = {NLM_ROPE_SCALARS(qkv_rope_append)};
static const char *const nlm_parts_qkv_rope_append[] = {
    "matmul x w=w_q bias=b_q y=#0",
    "matmul x w=w_k bias=b_k y=#1",
    "matmul x w=w_v bias=b_v y=#2",
    "rope x=#0 pos freq_factors y=q",
    "rope x=#1 pos freq_factors y=#3",
    "kv_append k=#3 v=#2 k_cache v_cache pos seq_start slot block_table",
    NULL,
};
NLM_SPEC(qkv_rope_append, nlm_scalars_qkv_rope_append, "Q = H * D, U = G * D, 1 <= B, " NLM_ROPE_RULES,
         "2 T Q K + 4 T U K", nlm_parts_qkv_rope_append)

static const nlm_op_field nlm_fields_norm_matmul[] = {
    NLM_IN(norm_matmul, x, ACTIVATION, "M K"),         NLM_IN(norm_matmul, norm_w, F32, "K"),
    NLM_WEIGHT(norm_matmul, w, WEIGHT, "N K", MATMUL), NLM_OPTIONAL(norm_matmul, bias, F32, "N"),
    NLM_OUT(norm_matmul, y, ACTIVATION, "M N", ""),
};
static const nlm_op_scalar nlm_scalars_norm_matmul[] = {
    NLM_NUMBER(norm_matmul, eps, F32, 0, FLT_MAX, 1e-5),
    NLM_RESERVED(norm_matmul),
    NLM_END_OF_SCALARS,
};
static const char *const nlm_parts_norm_matmul[] = {
    "rms_norm x w=norm_w y=#0",
    "matmul x=#0 w bias y",
    NULL,
};
NLM_SPEC(norm_matmul, nlm_scalars_norm_matmul, "", "2 M N K", nlm_parts_norm_matmul)

static const nlm_op_field nlm_fields_norm_xz_conv[] = {
    NLM_IN(norm_xz_conv, x, ACTIVATION, "T K"),
    NLM_IN(norm_xz_conv, norm_w, F32, "K"),
    NLM_WEIGHT(norm_xz_conv, w, WEIGHT, "U K", MATMUL),
    NLM_WEIGHT(norm_xz_conv, conv_w, F32, "C J", CONV),
    NLM_OPTIONAL(norm_xz_conv, conv_bias, F32, "C"),
    NLM_STATE(norm_xz_conv, state, F32, "L J-1 C"),
    NLM_IN(norm_xz_conv, seq_start, I32, "S+1"),
    NLM_IN(norm_xz_conv, slot, I32, "S"),
    NLM_OUT(norm_xz_conv, xz, ACTIVATION, "T U", ""),
    NLM_OUT(norm_xz_conv, y, ACTIVATION, "T C", ""),
    NLM_STATE_OUT(norm_xz_conv, state_out, F32, "L J-1 C", "state"),
};
static const nlm_op_scalar nlm_scalars_norm_xz_conv[] = {
    NLM_FLAG(silu, NLM_CONV_SILU),
    NLM_NUMBER(norm_xz_conv, eps, F32, 0, FLT_MAX, 1e-5),
    NLM_RESERVED(norm_xz_conv),
    NLM_END_OF_SCALARS,
};
static const char *const nlm_parts_norm_xz_conv[] = {
    "rms_norm x w=norm_w y=#0",
    "matmul x=#0 w y=xz",
    "conv1d_causal x=xz/1 w=conv_w bias=conv_bias state seq_start slot y state_out",
    NULL,
};
NLM_SPEC(norm_xz_conv, nlm_scalars_norm_xz_conv, "U = 2 * C, 2 <= J <= 8", "2 T U K + 2 T C J",
         nlm_parts_norm_xz_conv)

static const nlm_op_field nlm_fields_dt_bc_scan[] = {
    NLM_IN(dt_bc_scan, x, ACTIVATION, "T C"),
    NLM_WEIGHT(dt_bc_scan, w_x, WEIGHT, "U C", MATMUL),
    NLM_WEIGHT(dt_bc_scan, w_dt, WEIGHT, "C R", MATMUL),
    NLM_OPTIONAL(dt_bc_scan, b_dt, F32, "C"),
    NLM_WEIGHT(dt_bc_scan, a, F32, "C N", SSM_A),
    NLM_OPTIONAL(dt_bc_scan, d, F32, "C"),
    NLM_OPTIONAL(dt_bc_scan, z, ACTIVATION, "T C"),
    NLM_STATE(dt_bc_scan, state, F32, "L C/16 N 16"),
    NLM_IN(dt_bc_scan, seq_start, I32, "S+1"),
    NLM_IN(dt_bc_scan, slot, I32, "S"),
    NLM_OUT(dt_bc_scan, y, ACTIVATION, "T C", ""),
    NLM_STATE_OUT(dt_bc_scan, state_out, F32, "L C/16 N 16", "state"),
};
static const char *const nlm_parts_dt_bc_scan[] = {
    "matmul x w=w_x y=#0",
    "matmul x=#0/1 w=w_dt bias=b_dt y=#1",
    "ssm_scan x dt=#1 a b=#0/2 c=#0/3 d z state seq_start slot y state_out",
    NULL,
};
NLM_SPEC(dt_bc_scan, nlm_no_scalars, "U = 2 * N + R, 1 <= N <= 256", "2 T U C + 2 T C R + 7 T C N",
         nlm_parts_dt_bc_scan)

/* ---- training -------------------------------------------------------------------------------- */

static const nlm_op_field nlm_fields_attention_plain[] = {
    NLM_IN(attention_plain, q, ACTIVATION, "T H D"),      NLM_IN(attention_plain, k, ACTIVATION, "T G D"),
    NLM_IN(attention_plain, v, ACTIVATION, "T G D"),      NLM_IN(attention_plain, seq_start, I32, "S+1"),
    NLM_OUT(attention_plain, y, ACTIVATION, "T H D", ""), NLM_OPTIONAL_OUT(attention_plain, lse, F32, "T H", ""),
};
static const nlm_op_scalar nlm_scalars_attention_plain[] = {
    NLM_ANY_F32(attention_plain, scale, 0),
    NLM_NUMBER(attention_plain, window, I32, 0, INT32_MAX, 0),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(attention_plain, nlm_scalars_attention_plain, "H % G = 0", "2 T T H D", NULL)

#define NLM_ADD_FLAG NLM_FLAG(accumulate, NLM_GRADIENT_ADD)
static const nlm_op_scalar nlm_scalars_of_gradients[] = {NLM_ADD_FLAG, NLM_END_OF_SCALARS};

static const nlm_op_field nlm_fields_matmul_dx[] = {
    NLM_IN(matmul_dx, dy, ACTIVATION, "M N"),
    NLM_WEIGHT(matmul_dx, w, WEIGHT, "N K", MATMUL),
    NLM_OPTIONAL(matmul_dx, residual, ACTIVATION, "M K"),
    NLM_OUT(matmul_dx, dx, ACTIVATION, "M K", "residual"),
};
NLM_SPEC(matmul_dx, nlm_no_scalars, "", "2 M N K", NULL)

static const nlm_op_field nlm_fields_matmul_dw[] = {
    NLM_IN(matmul_dw, dy, ACTIVATION, "M N"),
    NLM_IN(matmul_dw, x, ACTIVATION, "M K"),
    NLM_GRADIENT(matmul_dw, dw, "N K"),
    NLM_OPTIONAL_GRADIENT(matmul_dw, db, "N"),
};
NLM_SPEC(matmul_dw, nlm_scalars_of_gradients, "", "2 M N K", NULL)

static const nlm_op_field nlm_fields_rms_norm_bwd[] = {
    NLM_IN(rms_norm_bwd, x, ACTIVATION, "R N|R H N"),
    NLM_OPTIONAL(rms_norm_bwd, w, F32, "N"),
    NLM_IN(rms_norm_bwd, dy, ACTIVATION, "R N|R H N"),
    NLM_OPTIONAL(rms_norm_bwd, residual, ACTIVATION, "R N|R H N"),
    NLM_OUT(rms_norm_bwd, dx, ACTIVATION, "R N|R H N", "dy residual"),
    NLM_OPTIONAL_GRADIENT(rms_norm_bwd, dw, "N"),
};
static const nlm_op_scalar nlm_scalars_rms_norm_bwd[] = {
    NLM_ADD_FLAG,
    NLM_NUMBER(rms_norm_bwd, eps, F32, 0, FLT_MAX, 1e-5),
    NLM_RESERVED(rms_norm_bwd),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(rms_norm_bwd, nlm_scalars_rms_norm_bwd, "x.rank = dy.rank, x.rank = dx.rank, x.rank = residual.rank",
         "10 R H N", NULL)

static const nlm_op_field nlm_fields_silu_mul_bwd[] = {
    NLM_IN(silu_mul_bwd, gate, ACTIVATION, "R N"),       NLM_IN(silu_mul_bwd, up, ACTIVATION, "R N"),
    NLM_IN(silu_mul_bwd, dy, ACTIVATION, "R N"),         NLM_OUT(silu_mul_bwd, dgate, ACTIVATION, "R N", "gate"),
    NLM_OUT(silu_mul_bwd, dup, ACTIVATION, "R N", "up"),
};
NLM_SPEC(silu_mul_bwd, nlm_no_scalars, "", "10 R N", NULL)

static const nlm_op_field nlm_fields_attention_plain_bwd[] = {
    NLM_IN(attention_plain_bwd, q, ACTIVATION, "T H D"),
    NLM_IN(attention_plain_bwd, k, ACTIVATION, "T G D"),
    NLM_IN(attention_plain_bwd, v, ACTIVATION, "T G D"),
    NLM_IN(attention_plain_bwd, seq_start, I32, "S+1"),
    NLM_IN(attention_plain_bwd, y, ACTIVATION, "T H D"),
    NLM_IN(attention_plain_bwd, lse, F32, "T H"),
    NLM_IN(attention_plain_bwd, dy, ACTIVATION, "T H D"),
    NLM_OUT(attention_plain_bwd, dq, ACTIVATION, "T H D", ""),
    NLM_OUT(attention_plain_bwd, dk, ACTIVATION, "T G D", ""),
    NLM_OUT(attention_plain_bwd, dv, ACTIVATION, "T G D", ""),
};
static const nlm_op_scalar nlm_scalars_attention_plain_bwd[] = {
    NLM_ANY_F32(attention_plain_bwd, scale, 0),
    NLM_NUMBER(attention_plain_bwd, window, I32, 0, INT32_MAX, 0),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(attention_plain_bwd, nlm_scalars_attention_plain_bwd, "H % G = 0", "5 T T H D", NULL)

static const nlm_op_field nlm_fields_conv1d_causal_bwd[] = {
    NLM_IN(conv1d_causal_bwd, x, ACTIVATION, "T C"),
    NLM_IN(conv1d_causal_bwd, w, F32, "C K"),
    NLM_OPTIONAL(conv1d_causal_bwd, bias, F32, "C"),
    NLM_STATE(conv1d_causal_bwd, state, F32, "L K-1 C"),
    NLM_IN(conv1d_causal_bwd, seq_start, I32, "S+1"),
    NLM_IN(conv1d_causal_bwd, slot, I32, "S"),
    NLM_IN(conv1d_causal_bwd, dy, ACTIVATION, "T C"),
    NLM_OPTIONAL_STATE(conv1d_causal_bwd, dstate_out, F32, "L K-1 C"),
    NLM_OUT(conv1d_causal_bwd, dx, ACTIVATION, "T C", ""),
    NLM_GRADIENT(conv1d_causal_bwd, dw, "C K"),
    NLM_OPTIONAL_GRADIENT(conv1d_causal_bwd, db, "C"),
    NLM_OPTIONAL_GRADIENT(conv1d_causal_bwd, dstate, "L K-1 C"),
};
static const nlm_op_scalar nlm_scalars_conv1d_causal_bwd[] = {NLM_FLAG(silu, NLM_CONV_SILU), NLM_ADD_FLAG,
                                                              NLM_END_OF_SCALARS};
NLM_SPEC(conv1d_causal_bwd, nlm_scalars_conv1d_causal_bwd, "2 <= K <= 8", "6 T C K", NULL)

static const nlm_op_field nlm_fields_ssm_scan_bwd[] = {
    NLM_IN(ssm_scan_bwd, x, ACTIVATION, "T C"),
    NLM_IN(ssm_scan_bwd, dt, ACTIVATION, "T C"),
    NLM_IN(ssm_scan_bwd, a, F32, "C N"),
    NLM_IN(ssm_scan_bwd, b, ACTIVATION, "T N"),
    NLM_IN(ssm_scan_bwd, c, ACTIVATION, "T N"),
    NLM_OPTIONAL(ssm_scan_bwd, d, F32, "C"),
    NLM_OPTIONAL(ssm_scan_bwd, z, ACTIVATION, "T C"),
    NLM_STATE(ssm_scan_bwd, state, F32, "L C/16 N 16"),
    NLM_IN(ssm_scan_bwd, seq_start, I32, "S+1"),
    NLM_IN(ssm_scan_bwd, slot, I32, "S"),
    NLM_IN(ssm_scan_bwd, dy, ACTIVATION, "T C"),
    NLM_OPTIONAL_STATE(ssm_scan_bwd, dstate_out, F32, "L C/16 N 16"),
    NLM_OUT(ssm_scan_bwd, dx, ACTIVATION, "T C", ""),
    NLM_OUT(ssm_scan_bwd, ddt, ACTIVATION, "T C", ""),
    NLM_GRADIENT(ssm_scan_bwd, da, "C N"),
    NLM_OUT(ssm_scan_bwd, db, ACTIVATION, "T N", ""),
    NLM_OUT(ssm_scan_bwd, dc, ACTIVATION, "T N", ""),
    NLM_OPTIONAL_GRADIENT(ssm_scan_bwd, dd, "C"),
    NLM_OPTIONAL_OUT(ssm_scan_bwd, dz, ACTIVATION, "T C", ""),
    NLM_OPTIONAL_GRADIENT(ssm_scan_bwd, dstate, "L C/16 N 16"),
};
NLM_SPEC(ssm_scan_bwd, nlm_scalars_of_gradients, "1 <= N <= 256", "25 T C N", NULL)

static const nlm_op_field nlm_fields_embed_bwd[] = {
    NLM_IN(embed_bwd, ids, I32, "R"),
    NLM_IN(embed_bwd, dy, ACTIVATION, "R N"),
    NLM_WRITES(embed_bwd, dw, F32, "V N"),
};
NLM_SPEC(embed_bwd, nlm_no_scalars, "", "R N", NULL)

static const nlm_op_field nlm_fields_cross_entropy[] = {
    NLM_IN(cross_entropy, x, ACTIVATION, "R K"),     NLM_WEIGHT(cross_entropy, w, WEIGHT, "N K", MATMUL),
    NLM_OPTIONAL(cross_entropy, bias, F32, "N"),     NLM_IN(cross_entropy, labels, I32, "R"),
    NLM_OUT(cross_entropy, loss, F32, "R", ""),      NLM_OPTIONAL_OUT(cross_entropy, dx, ACTIVATION, "R K", "x"),
    NLM_OPTIONAL_GRADIENT(cross_entropy, dw, "N K"), NLM_OPTIONAL_GRADIENT(cross_entropy, db, "N"),
};
static const nlm_op_scalar nlm_scalars_cross_entropy[] = {
    NLM_ADD_FLAG,
    NLM_NUMBER(cross_entropy, smoothing, F32, 0, 1, 0),
    NLM_NUMBER(cross_entropy, z_loss, F32, 0, FLT_MAX, 0),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(cross_entropy, nlm_scalars_cross_entropy, "", "6 R N K", NULL)

static const nlm_op_field nlm_fields_sum_sq[] = {
    NLM_ROW(sum_sq, x, NLM_FIELD_IN | NLM_FIELD_READS, NLM_TYPES_F32, "R N|N", "", 0),
    NLM_GRADIENT(sum_sq, total, "1"),
};
NLM_SPEC(sum_sq, nlm_scalars_of_gradients, "", "2 R N", NULL)

static const nlm_op_field nlm_fields_adamw[] = {
    NLM_WRITES(adamw, w, FLOAT, "R N|N"),
    NLM_ROW(adamw, master, NLM_FIELD_WRITES | NLM_FIELD_OPTIONAL, NLM_TYPES_F32, "R N|N", "", 0),
    NLM_WRITES(adamw, dw, F32, "R N|N"),
    NLM_WRITES(adamw, m, F32, "R N|N"),
    NLM_WRITES(adamw, v, F32, "R N|N"),
    NLM_IN(adamw, rates, F32, "4"),
};
static const nlm_op_scalar nlm_scalars_adamw[] = {
    NLM_NUMBER(adamw, beta1, F32, 0, 1, 0.9),
    NLM_NUMBER(adamw, beta2, F32, 0, 1, 0.999),
    NLM_NUMBER(adamw, eps, F32, 0, FLT_MAX, 1e-8),
    NLM_NUMBER(adamw, weight_decay, F32, 0, FLT_MAX, 0.01),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(adamw, nlm_scalars_adamw, "w.rank = dw.rank, w.rank = m.rank, w.rank = v.rank, w.rank = master.rank",
         "12 R N", NULL)

static const nlm_op_field nlm_fields_exp[] = {
    NLM_IN(exp, x, F32, "R N"),
    NLM_OUT(exp, y, F32, "R N", "x"),
};
static const nlm_op_scalar nlm_scalars_exp[] = {
    NLM_ANY_F32(exp, factor, 1),
    NLM_RESERVED(exp),
    NLM_END_OF_SCALARS,
};
NLM_SPEC(exp, nlm_scalars_exp, "", "2 R N", NULL)

static const nlm_op_field nlm_fields_accumulate[] = {
    NLM_IN(accumulate, x, F32, "R N|N"),
    NLM_WRITES(accumulate, total, F32, "R N|N"),
};
NLM_SPEC(accumulate, nlm_no_scalars, "x.rank = total.rank", "R N", NULL)

static const nlm_op_field nlm_fields_sum_rows[] = {
    NLM_IN(sum_rows, a, ACTIVATION, "R N"),
    NLM_OPTIONAL(sum_rows, b, ACTIVATION, "R N"),
    NLM_GRADIENT(sum_rows, y, "N"),
};
NLM_SPEC(sum_rows, nlm_scalars_of_gradients, "", "2 R N", NULL)

/* ---- from token to token --------------------------------------------------------------------- */

static const nlm_op_field nlm_fields_sample[] = {
    NLM_IN(sample, x, ACTIVATION, "R N"),
    NLM_ROW(sample, slot, NLM_FIELD_IN | NLM_FIELD_ANY_ROWS, NLM_TYPES_I32, "R", "", 0),
    NLM_ROW(sample, pos, NLM_FIELD_IN | NLM_FIELD_ANY_ROWS, NLM_TYPES_I32, "R", "", 0),
    NLM_IN(sample, cuts, F32, "L 3"),
    NLM_IN(sample, draws, I32, "L 3"),
    NLM_OUT(sample, y, I32, "R", ""),
};
NLM_SPEC(sample, nlm_no_scalars, "1 <= N, N <= 16777215", "4 R N", NULL)

#define NLM_KEPT(op, field, shape)                                                                              \
    NLM_ROW(op, field, NLM_FIELD_STATE | NLM_FIELD_INPUT | NLM_FIELD_ANY_ROWS | NLM_FIELD_DENSE, NLM_TYPES_I32, \
            shape, "", 0)
static const nlm_op_field nlm_fields_advance[] = {
    NLM_IN(advance, next, I32, "S"), NLM_IN(advance, stops, I32, "L Z"), NLM_KEPT(advance, ids, "S"),
    NLM_KEPT(advance, pos, "S"),     NLM_KEPT(advance, slot, "S"),       NLM_KEPT(advance, seq_start, "S+1"),
    NLM_KEPT(advance, live, "4"),    NLM_KEPT(advance, tokens, "L C"),
};
NLM_SPEC(advance, nlm_no_scalars, "2 <= C", "", NULL)
#undef NLM_KEPT

/* clang-format on */
/* ---- finding one ----------------------------------------------------------------------------- */

/* NULL for a number that is no op of this header. */
static inline const nlm_op_spec *nlm_op_spec_of(nlm_op op) {
    switch (op) {
#define NLM_OP(number, name) \
    case number:             \
        return &nlm_spec_##name;
#include <nlm/ops.def>
#undef NLM_OP
        default: return NULL;
    }
}

/* Which of nlm_caps_v1.weight_layout is the field's; -1: none, it has no role. */
static inline int nlm_weight_index(const nlm_op_spec *spec, const nlm_op_field *field) {
    int index = 0;
    for (const nlm_op_field *before = spec->fields; before < field; before++) index += before->role != 0;
    return field->role ? index : -1;
}

#undef NLM_ROW
#undef NLM_IN
#undef NLM_OPTIONAL
#undef NLM_WEIGHT
#undef NLM_READS
#undef NLM_WRITES
#undef NLM_STATE
#undef NLM_STATE_OUT
#undef NLM_OUT
#undef NLM_OPTIONAL_OUT
#undef NLM_GRADIENT
#undef NLM_OPTIONAL_GRADIENT
#undef NLM_OPTIONAL_STATE
#undef NLM_ADD_FLAG
#undef NLM_NUMBER
#undef NLM_ANY_F32
#undef NLM_RESERVED
#undef NLM_FLAG
#undef NLM_END_OF_SCALARS
#undef NLM_SPEC
#undef NLM_AT

#endif
