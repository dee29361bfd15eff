/* What every op should compute, in float64, straight from the formulas of nlm/op_args.h.
 *
 * Written apart from every backend and from nlm_core: slow, plain, one element at a time. Beside each
 * value stands the scale of its rounding errors (the sum of the magnitudes that were added up), from
 * which a bound follows by type and reduction length alone. */
#ifndef NLM_TESTS_ORACLE_H
#define NLM_TESTS_ORACLE_H

#include <nlm/plugin.h>
#include <stdbool.h>

#define ORACLE_RESULTS 12

/* What one output or state of an op should hold; elements are in row-major order of the tensor's shape.
 * How far an implementation may be off follows from scale[i], see oracle_bound; a scale of 0 asks for the
 * very value, a negative one for nothing (padding). */
typedef struct oracle_result {
    const nlm_tensor *tensor;
    int64_t count;
    double *value;
    double *scale;
    double rounding;  /* relative, of the inputs, by type: see oracle_rounding */
    int64_t terms;    /* how many f32 numbers were added up */
    bool is_absolute; /* scale is the bound itself */
} oracle_result;

/* How far activations may be rounded before they meet weights of quantised types, and others: see oracle_rounding. */
typedef enum oracle_activations {
    ORACLE_ROUNDED, /* what every backend may do */
    ORACLE_STRICT,  /* not at all, whatever the weights are */
    ORACLE_COARSE   /* what one may do that was opened with activations = 8 */
} oracle_activations;

typedef struct oracle_run {
    nlm_op op;
    const void *args; /* tensors hold inputs, and states as they were before the op; nothing is written */
    int64_t live_rows;
    int64_t live_seqs;
    oracle_activations activations;
    int n_results;
    oracle_result results[ORACLE_RESULTS];
    oracle_result spare; /* stands in for an optional output that is absent */
    bool has_failed;     /* out of memory */
} oracle_run;

/* Fills results; release with oracle_release. false: out of memory, or no reference for this op. */
bool oracle_compute(oracle_run *run);
void oracle_release(oracle_run *run);

/* Numbers of the references' own: a tensor of them is computed with as it is. No type of nlm. */
#define ORACLE_F64 1000

/* One element of a tensor of any type, as the number it stands for. Unused indices are 0. */
double oracle_at(const nlm_tensor *t, int64_t i, int64_t j, int64_t k, int64_t l);
/* Where element i, j, k, l (or its block) stands. */
const void *oracle_address(const nlm_tensor *t, int64_t i, int64_t j, int64_t k, int64_t l);
/* As oracle_at for a number in row-major order. */
double oracle_element(const nlm_tensor *t, int64_t index);
int64_t oracle_count(const nlm_tensor *t);

/* What a type of blocks is like: where a block keeps its scale and its minimum (-1: none), and how they relate to
 * the deviation of elements whose bits are random: scale * `spread` is their deviation, scale * `middle` the mean
 * that the minimum takes off. `error` bounds that of a good quantiser on normal values: the root of the mean square
 * over theirs. */
typedef struct oracle_block {
    int32_t dtype;
    int scale_at, min_at;
    double spread, middle, error;
} oracle_block;
/* NULL for other types. */
const oracle_block *oracle_block_of(int32_t dtype);

/* The nearest value of a type (f32, f16, bf16), ties to even. */
double oracle_round(int32_t dtype, double value);

/* How much an implementation may round activations before they meet numbers of this type: f32 0, f16
 * 2^-11, bf16 2^-8; quantised types 1/250 of the greatest of a block of 32. Strict: 0. Coarse: before quantised types
 * half a step of 8 bits, 1/254 of the greatest of 128 columns. */
double oracle_rounding(const oracle_run *run, int32_t dtype);

/* The greatest error allowed where the magnitudes added up to `scale`: the rounding of the inputs, and that
 * of `terms` additions in f32, which grows with their square root. Results below the smallest normal f32 may
 * be flushed to zero. */
double oracle_bound(double scale, double rounding, int64_t terms);

#endif
