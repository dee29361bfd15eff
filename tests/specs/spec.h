/* Cases of op conformance: tables of one line each, and how a line becomes tensors.
 *
 * A case's name is its specification: "matmul/M=3,K=64,N=5,w:q4_0,bias,x+8". Items, separated by commas:
 *   M=3            a dimension of nlm/op_args.h, by the letter that core/exec/op_spec.c has for it
 *   shape=2x3      the shape of an op without letters (copy)
 *   w:q4_0         the type of every weight; cache:f16 of both caches; x:f16 of one tensor. A set stands
 *                  for one case a type: w:all, w:blocks (those that need a multiple of 32 at most),
 *                  w:plain; cache:all, cache:plain
 *   bias           an optional tensor is present
 *   y=residual     in place: an output has the memory of an input
 *   x+8            a gap of 8 elements (blocks) between the rows of a tensor
 *   b@1            of a tensor with several possible ranks, this one
 *   strides=odd    a layout no row-major tensor has (copy)
 *   seqs=3+0+5     tokens of each sequence of the batch; past=0+4+9 tokens each had before
 *   ones=300       so many sequences of one token
 *   pos=100        the position of the first row (rope); scattered: of rows in no order, up to this one
 *   drawn          every size that is given is drawn by the seed, up to what is given: a multiple of 256 or of 32 if
 *                  that is one
 *   pad=2          padding rows after the live ones; spare=1 padding sequences; fixed: the padding is
 *                  told by seq_start alone
 *   eps=1e-5       a scalar of the argument struct; half_split: a flag
 *   grown          struct_size covers a field that a later header appends, which does not count: its flag is not set
 *   data=mixed     what the activations look like, see spec_data
 *   bad=page       a run that must end in INVALID_ARGUMENT, see spec_bad
 *   refuse=flags   arguments that query() must turn down, see spec_refuse */
#ifndef NLM_TESTS_SPEC_H
#define NLM_TESTS_SPEC_H

#include <stdbool.h>
#include "exec/op_spec.h"

#define SPEC_NAME_BYTES 192
#define SPEC_SEQS       300

/* The table of an op. */
typedef struct spec_table {
    nlm_op op;
    const char *const *rows;
} spec_table;

/* The rows of each op, NULL-terminated. */
#define NLM_OP(number, name) extern const char *const spec_##name##_rows[];
#include <nlm/ops.def>
#undef NLM_OP

const spec_table *spec_tables(size_t *out_count);
/* 1: the ops of inference; 2: the fused ones, and those that spare the host; 3: those of training. */
int spec_level(nlm_op op);

/* Calls visit with the name of every case, sets spelled out; stops early when it returns false. */
typedef bool (*spec_visit_fn)(void *user, const spec_table *table, const char *name);
void spec_for_each(spec_visit_fn visit, void *user);
/* As spec_for_each for cases of the sizes that models have. */
void spec_for_each_large(spec_visit_fn visit, void *user);
/* Visits a row, once for each member of the sets in it. Returns false if visit did. */
bool spec_spell_out(spec_visit_fn visit, void *user, const spec_table *table, const char *row);

#define SPEC_DATA_LIST(X)                                        \
    X(normal)  /* N(0, 1) */                                     \
    X(tiny)    /* around 1e-6 */                                 \
    X(faint)   /* around 1e-37, where f32 ends */                \
    X(huge)    /* around 1e4 */                                  \
    X(mixed)   /* magnitudes from 1e-3 to 1e3 */                 \
    X(wide)    /* uniform in [-100, 100] */                      \
    X(masked)  /* a third is -inf; row 1 is nothing but -inf */  \
    X(nan)     /* a third is NaN; row 1 is nothing but NaN */    \
    X(one_nan) /* element 5 of every other row is NaN */         \
    X(one_inf) /* element 5 of every other row is -inf */        \
    X(equal)   /* one number: what is rounded is all greatest */ \
    X(ties)    /* small integers */                              \
    X(edges)   /* halfway cases, subnormals, infinities */

#define SPEC_BAD_LIST(X)                                      \
    X(none)                                                   \
    X(id) /* an id equal to the number of rows */             \
    X(negative_id)                                            \
    X(page)    /* the last page used is the cache's end */    \
    X(no_page) /* the last page used is -1 */                 \
    X(pos)     /* a position past the block table */          \
    X(negative_pos)                                           \
    X(slot)      /* a slot equal to the number of slots */    \
    X(label)     /* a label equal to the number of classes */ \
    X(seq_start) /* a sequence that ends past the last row */

#define SPEC_REFUSE_LIST(X)                                                         \
    X(nothing)                                                                      \
    X(flags)    /* an unknown flag */                                               \
    X(appended) /* a field that a later header appends, with the flag of its own */ \
    X(size)     /* struct_size ends before the last field */                        \
    X(missing)  /* the first required tensor is NULL */                             \
    X(type)     /* of the first tensor: no known type */                            \
    X(rank)     /* of the first tensor: 0 */                                        \
    X(layout)   /* of the first tensor: one nobody named */                         \
    X(shape)    /* an inner dimension disagrees */                                  \
    X(overlap)  /* the rows of an output share memory */

#define SPEC_ENUM_DATA(name)   SPEC_DATA_##name,
#define SPEC_ENUM_BAD(name)    SPEC_BAD_##name,
#define SPEC_ENUM_REFUSE(name) SPEC_REFUSE_##name,
typedef enum spec_data { SPEC_DATA_LIST(SPEC_ENUM_DATA) } spec_data;
typedef enum spec_bad { SPEC_BAD_LIST(SPEC_ENUM_BAD) } spec_bad;
typedef enum spec_refuse { SPEC_REFUSE_LIST(SPEC_ENUM_REFUSE) } spec_refuse;

/* What a line says of one tensor. */
typedef struct spec_field {
    bool is_present;
    nlm_dtype dtype;
    int64_t gap;  /* elements (blocks) between rows */
    int in_place; /* the field whose memory this output has, or -1 */
    int rank;     /* 0: the first there is */
} spec_field;

typedef struct spec_case {
    char name[SPEC_NAME_BYTES];
    nlm_op op;
    const nlm_op_spec *spec;
    spec_field fields[NLM_OP_MAX_FIELDS];
    int64_t dims[26]; /* by letter, of live rows where it is rows; -1: not given */
    int64_t shape[NLM_MAX_RANK];
    int rank; /* of shape; 0: none given */
    int n_seqs;
    int64_t seqs[SPEC_SEQS], past[SPEC_SEQS];
    int64_t pos, pad, spare;
    bool is_fixed, has_odd_strides, is_grown, is_scattered, is_drawn;
    spec_data data;
    spec_bad bad;
    spec_refuse refuse;
    nlm_any_args args; /* scalars and flags; tensors NULL */
} spec_case;

/* Errors INVALID_ARGUMENT: the item that is not understood. */
nlm_status spec_parse(const char *name, spec_case *out, nlm_error *err);

/* Which rows of a tensor belong to which row or sequence of the batch. */
typedef enum spec_rows { SPEC_ROWS_WHOLE, SPEC_ROWS_TOKENS, SPEC_ROWS_SEQS, SPEC_ROWS_STARTS } spec_rows;

typedef struct spec_tensor {
    nlm_tensor desc; /* data is `image`, or that of the tensor whose memory it shares */
    const nlm_op_field *field;
    uint8_t *image; /* contents before the op; gaps, padding rows and plain outputs are bytes 0xFF: NaN, -1 */
    uint64_t bytes;
    int shares; /* index of the tensor whose memory this is, or -1 */
    spec_rows rows;
    bool is_written;
    bool is_state;
    bool is_sum; /* written, but of no row, slot or page: what the op adds up over the batch */
} spec_tensor;

/* A case with its tensors. Borrows nothing; release with spec_release. */
typedef struct spec_instance {
    spec_case c;
    nlm_any_args args; /* points into tensors */
    int n_tensors;
    spec_tensor tensors[NLM_OP_MAX_FIELDS];
    int64_t live_rows;
    bool has_sequences;
    int32_t live[NLM_ROWS_KINDS]; /* as nlm_exec_v1.live_rows */
    uint64_t random;              /* state of the generator */
} spec_instance;

/* The same seed and name give the same contents. Errors INVALID_ARGUMENT (a dimension is missing),
 * OUT_OF_MEMORY. */
nlm_status spec_build(const spec_case *c, uint64_t seed, spec_instance *out, nlm_error *err);
void spec_release(spec_instance *instance);
spec_tensor *spec_find(spec_instance *instance, const char *field); /* NULL: absent */

/* Of the parts above. */
nlm_status spec_shape_tensors(spec_instance *instance, nlm_error *err); /* shape.c */
void spec_fill_tensors(spec_instance *instance);                        /* fill.c */
void spec_fill_batch(spec_instance *instance);                          /* batch.c */
void spec_fill_attention(spec_instance *instance);                      /* attention.c; after the batch */
void spec_fill_sample(spec_instance *instance);                         /* next.c; after the batch */
void spec_fill_advance(spec_instance *instance);
int64_t spec_ways(void);                       /* so many slots of sample are unlike */
double spec_cut(int64_t slot, int64_t column); /* of its field `cuts` */
uint64_t spec_random(spec_instance *instance);
int64_t spec_random_below(spec_instance *instance, int64_t n);
double spec_uniform(spec_instance *instance); /* [0, 1) */
double spec_normal(spec_instance *instance);
void spec_fill_blocks(spec_instance *instance, const nlm_tensor *t, double deviation); /* blocks.c */
void spec_store(int32_t dtype, void *at, double value); /* f32, f16, bf16, i32; rounds anyhow */

/* The letter of the batch's rows: 'M', 'R' or 'T'; 0 for copy, whose dimension 0 it is. */
char spec_rows_letter(const nlm_op_spec *spec);

#endif
